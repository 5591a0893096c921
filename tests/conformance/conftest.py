"""The engines that every behaviour is tested on. Another engine is one more entry of ENGINES."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from abathur import Database
from abathur.rows import Store
from tests.conformance import tampering
from tests.conformance.checks import QUERIES, check_invariants
from tests.conformance.projects import world
from tests.conformance.rows import FIELDS
from tests.schemas import Prepared, place

__all__ = ["world"]

ENGINES: Mapping[str, frozenset[str]] = {
    "file": frozenset({"file", "processes", "backup", "loose_types"}),
    "memory": frozenset({"backup", "loose_types"}),
    "postgres": frozenset({"processes"}),
}
"""Each engine with its capabilities. A test asks for a capability by the fixture of that name."""

CAPABILITIES = frozenset().union(*ENGINES.values())
OF_THE_SUITE = frozenset({"loose_types"})
"""Those that no engine declares, because only a test asks for them."""

COMMON: Mapping[str, Any] = {"environment": "test", "durability": "normal"}
"""What databases are opened with. What a sync is for shows only when the power fails: tests/faults."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        needed = CAPABILITIES & set(metafunc.fixturenames)
        metafunc.parametrize("engine", [name for name, has in ENGINES.items() if needed <= has])


@pytest.fixture
def url(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new place for a database on this engine."""
    if engine == "postgres":
        return request.getfixturevalue(
            "_prepared_url" if "initialized" in request.fixturenames else "postgres_url"
        )
    return {"file": str(tmp_path / "agents.db"), "memory": ":memory:"}[engine]


@pytest.fixture(scope="session")
def _prepared(postgres_server: str) -> Iterator[Prepared]:
    prepared = Prepared(postgres_server)
    yield prepared
    prepared.remove()


@pytest.fixture
def _prepared_url(postgres_server: str, _prepared: Prepared) -> Iterator[str]:
    """The URL of an empty database in PostgreSQL, which other tests had before."""
    yield place(postgres_server, _prepared.take())
    _prepared.give_back()


@pytest.fixture
def dialect(engine: str) -> str:
    """The dialect of SQL that the engine speaks."""
    return "postgres" if engine == "postgres" else "sqlite"


@pytest.fixture
def unopened(url: str, dialect: str) -> Callable[..., Database]:
    """Makes a Database at the test's place, not open yet. Who opens it closes it.

    A statement of `queries` is a text, or a mapping of dialects to texts.
    """

    def make(**options: Any) -> Database:
        given = {**QUERIES, **options.pop("queries", {})}
        queries = {name: sql if isinstance(sql, str) else sql[dialect] for name, sql in given.items()}
        return Database(options.pop("url", url), queries=queries, **{**COMMON, **options})

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty database; copying it takes a tenth of the time of making one."""
    path = tmp_path_factory.mktemp("template") / "agents.db"

    async def make() -> None:
        async with Database(path, environment="test"):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def initialized(engine: str, url: str, template: Path) -> None:
    """At the test's place there is an empty database, if it outlasts a connection: it opens faster."""
    if "file" in ENGINES[engine]:
        shutil.copy(template, url)  # with its mode


@pytest.fixture
async def make_db(
    unopened: Callable[..., Database], initialized: None
) -> AsyncIterator[Callable[..., Awaitable[Database]]]:
    """Opens databases at the test's place; they are checked and closed after the test."""
    opened: list[Database] = []
    threads = threading.active_count()

    async def make(**options: Any) -> Database:
        db = unopened(**options)
        opened.append(db)
        await db.initialize()
        return db

    yield make
    try:
        for db in opened:
            if "initialized" in repr(db):
                await check_invariants(db)
    finally:
        for db in opened:
            await db.close()
        # A thread ends a moment after it was told to; the leak check would collect garbage meanwhile.
        deadline = time.monotonic() + 0.1
        while threading.active_count() > threads and time.monotonic() < deadline:
            time.sleep(0.0002)


@pytest.fixture
async def db(make_db: Callable[..., Awaitable[Database]]) -> Database:
    """An open database, on each engine. After the test its counts, trail and seals must agree."""
    return await make_db()


@pytest.fixture
def file(engine: str, url: str) -> Path:
    """The capability `file`: where the database's file is."""
    assert "file" in ENGINES[engine]
    return Path(url)


@pytest.fixture
def processes(engine: str, url: str) -> str:
    """The capability `processes`: the URL by which other processes, and other Databases, share it."""
    assert "processes" in ENGINES[engine]
    return url


@pytest.fixture
def outside(processes: str) -> Callable[..., Awaitable[list[Mapping[str, Any]]]]:
    """Executes SQL on a connection that is not the library's."""
    return partial(tampering.execute, processes)


@pytest.fixture
def tamper(processes: str) -> Callable[..., Awaitable[list[Mapping[str, Any]]]]:
    """The same, without the triggers that protect the trail."""
    return partial(tampering.tamper, processes)


@pytest.fixture
def loose_types(engine: str) -> None:
    """The capability `loose_types`: a column takes a value of any type, and text that is no UTF-8."""
    assert "loose_types" in ENGINES[engine]


@pytest.fixture
def backup(engine: str, tmp_path: Path) -> Path:
    """The capability `backup`: a new place for a copy."""
    assert "backup" in ENGINES[engine]
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies" / "copy.db"


@pytest.fixture
async def store(db: Database) -> Store:
    """The rows of a plugin, with the table `items`."""
    store = db.rows.for_plugin("quotes")
    await store.register({"table": "items", "schema": {"fields": FIELDS}})
    return store
