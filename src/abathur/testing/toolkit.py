"""Fixtures for tests of agents.

All are synchronous, so they work under anyio, pytest-asyncio and in plain tests. Most are about `abathur_db`,
the database of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pytest

if TYPE_CHECKING:  # every session of pytest imports this module, so it imports nothing that takes time
    from pathlib import Path

    from abathur.database import Database
    from abathur.models import Task
    from abathur.testing.clock import FakeClock
    from abathur.testing.crashing.points import CrashPoints
    from abathur.testing.factories import TaskFactory
    from abathur.testing.schemas import Prepared


@pytest.fixture
def abathur_clock() -> FakeClock:
    """A FakeClock, which stands still until it is moved; `abathur_db` goes by it where both are asked for."""
    from abathur.testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def crash_points(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., CrashPoints]]:
    """The function of `abathur.testing`, with files in the test's own directory.

    With `engine="postgres"` in an emptied schema of the server of `abathur_postgres`, from crash to crash.
    """
    from abathur.testing.crashing import points

    taken: list[Prepared] = []

    def give_back() -> None:
        while taken:
            taken.pop().give_back(left_open=False)

    def made(scenario: Any, *, engine: Literal["file", "postgres"] = "file", **options: Any) -> CrashPoints:
        if engine == "postgres":
            prepared: Prepared = request.getfixturevalue("_abathur_prepared")
            from abathur.testing import schemas

            def place() -> str:
                give_back()
                taken.append(prepared)
                return schemas.place(prepared.server, prepared.take())

            options["place"] = place
        return points.crash_points(scenario, directory=tmp_path, **options)

    yield made
    give_back()


@pytest.fixture
def task_factory(abathur_db: Database) -> TaskFactory:
    """A TaskFactory for `abathur_db`.

    `await task_factory(status="failed")`, `await task_factory.batch(3)`, `.graph("fetch -> parse")`.
    """
    from abathur.testing.factories import TaskFactory

    return TaskFactory(abathur_db)


@pytest.fixture
def assert_enqueued(abathur_db: Database) -> Callable[..., Coroutine[Any, Any, Any]]:
    """The function of `abathur.testing`, for `abathur_db`.

    `await assert_enqueued(agent_type="reviewer")`
    """
    from abathur.testing import assertions

    return partial(assertions.assert_enqueued, abathur_db)


@pytest.fixture
def refute_enqueued(abathur_db: Database) -> Callable[..., Coroutine[Any, Any, None]]:
    """The function of `abathur.testing`, for `abathur_db`."""
    from abathur.testing import assertions

    return partial(assertions.refute_enqueued, abathur_db)


@pytest.fixture
def assert_completed(abathur_db: Database) -> Callable[..., Coroutine[Any, Any, Task]]:
    """The function of `abathur.testing`, for `abathur_db`.

    `await assert_completed(task, result=...)`
    """
    from abathur.testing import assertions

    return partial(assertions.assert_completed, abathur_db)


@pytest.fixture
def assert_failed(abathur_db: Database) -> Callable[..., Coroutine[Any, Any, Task]]:
    """The function of `abathur.testing`, for `abathur_db`.

    `await assert_failed(task, error="timed out")`
    """
    from abathur.testing import assertions

    return partial(assertions.assert_failed, abathur_db)


@pytest.fixture
def assert_cancelled(abathur_db: Database) -> Callable[..., Coroutine[Any, Any, Task]]:
    """The function of `abathur.testing`, for `abathur_db`."""
    from abathur.testing import assertions

    return partial(assertions.assert_cancelled, abathur_db)
