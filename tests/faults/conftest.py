"""What the fault tests share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from abathur import Database
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults.budget import SECONDS, Budget
from tests.faults.children import start

__all__ = ["budget", "path", "start"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if SECONDS in os.environ:  # the long run sets one time-out for its whole share
        for item in items:
            item.own_markers = [marker for marker in item.own_markers if marker.name != "timeout"]


@pytest.fixture
def budget(record_property: Callable[[str, object], None]) -> Budget:
    """How many rounds this test is to do; see `tests.faults.budget`."""
    return Budget.from_environment(record_property)


def new_database(path: Path) -> Path:
    """Make a database with no task in it, and close it."""

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
