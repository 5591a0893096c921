"""What the fault tests share."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from abathur import Database
from tests.conformance.checks import QUERIES, check_invariants
from tests.conftest import require
from tests.faults.budget import SECONDS, Budget
from tests.faults.children import start
from tests.faults.nursery import Nursery
from tests.faults.servers import Victim
from tests.postgres import UnavailableError

__all__ = ["budget", "path", "start"]

Place = TypeVar("Place", Path, str)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SECONDS in os.environ:  # the long run sets one time-out for its whole share
        for item in items:
            item.own_markers = [marker for marker in item.own_markers if marker.name != "timeout"]


@pytest.fixture
def budget(record_property: Callable[[str, object], None]) -> Budget:
    """How many rounds this test is to do; see `tests.faults.budget`."""
    return Budget.from_environment(record_property)


def new_database(path: Place) -> Place:
    """Make a database with no task in it, and close it. A text is a URL."""

    async def make() -> None:
        async with Database(path, environment="test"):
            pass

    asyncio.run(make())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with no task in it, open nowhere."""
    return new_database(tmp_path / "agents.db")


@pytest.fixture
async def db(path: Path) -> AsyncIterator[Database]:
    """The same database, open; it is checked after the test."""
    async with Database(path, environment="test", queries=QUERIES) as db:
        yield db
        await check_invariants(db)


@pytest.fixture(scope="session")
def shim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled tests/faults/shim.c."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        require(request, "cc", "there is no C compiler to compile tests/faults/shim.c with")
    source = Path(__file__).with_name("shim.c")
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        require(request, "cc", f"it does not compile tests/faults/shim.c here:\n{done.stderr}")
    return target


@pytest.fixture(scope="session")
def nursery(shim: Path) -> Iterator[Nursery]:
    """Forks children whose calls on the files of a database can be made to fail."""
    nursery = Nursery(shim)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def children() -> Iterator[Nursery]:
    """Forks children without a shim."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: for what dies with its process, not with the power."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="abathur-", dir=memory) as place:
        yield Path(place)


@pytest.fixture(scope="session")
def victim(request: pytest.FixtureRequest) -> Iterator[Victim]:
    """A PostgreSQL server that faults may be done to; nobody else uses it."""
    with tempfile.TemporaryDirectory(prefix="abathur-victim-") as place:
        server = Victim(Path(place))
        try:
            server.make()
        except UnavailableError as error:
            require(request, "postgres", str(error))
        server.start()
        yield server
        server.stop()
