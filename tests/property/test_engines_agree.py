"""R13: one sequence of operations, done on every engine, gets the same answers on each.

The same values, the same types of errors with the same words, the same trail in the same order, the same
counts: after each operation, and of everything that there is at the end. The engines share one clock, which
only the test moves; ids are compared by the order in which they appear.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from abathur import Database
from tests.conformance.checks import QUERIES as CHECKS
from tests.conformance.checks import check_invariants
from tests.property.clocks import FakeClock
from tests.property.operations import OPERATIONS, QUERIES, SHOP, Operation, World
from tests.schemas import Prepared, place

EXAMPLES = int(os.environ.get("ABATHUR_EXAMPLES", "50"))
"""Sequences; more of them for a long run."""
PHASES = [phase for phase in Phase if phase is not Phase.explain]  # it would run each failure many times more
SEEN: Counter[str] = Counter()


def database(url: str | Path, clock: FakeClock) -> Database:
    db = Database(
        url,
        schema=SHOP,
        queries={**QUERIES, **CHECKS},
        environment="test",
        durability="normal",
        actor="tester",
    )
    db._engine._clock = clock  # type: ignore[attr-defined]
    return db


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the application's table; copying it takes a tenth of the time of making it."""
    path = tmp_path_factory.mktemp("template") / "agents.db"

    async def make() -> None:
        async with database(path, FakeClock()):
            pass

    asyncio.run(make())
    return path


async def agree(worlds: Sequence[World], operations: Sequence[Operation]) -> None:
    """Do everything to each of the worlds, and compare."""
    first = worlds[0]
    for number, operation in enumerate(operations):
        at = first.clock.time
        answers = []
        for world in worlds:
            world.clock.time = at  # one clock for all, and the operation may be that time passes
            answers.append(await world.do(operation))
        for world, answer in zip(worlds[1:], answers[1:], strict=True):
            assert answer == answers[0], f"{number}: {operation} on {world.db.name} and {first.db.name}"
        SEEN["operations"] += 1
        SEEN["refused"] += isinstance(answers[0], str) and "Error" in answers[0]
    ends = [await world.everything() for world in worlds]
    for world, end in zip(worlds[1:], ends[1:], strict=True):
        for name, found in end.items():
            assert found == ends[0][name], f"{name} at the end on {world.db.name} and {first.db.name}"
    for world in worlds:
        await check_invariants(world.db)
    SEEN["tasks"] += len(first.tasks)
    SEEN["examples"] += 1


class Shop(Prepared):
    """A schema of the server with the application's table, for one sequence after the other."""

    async def _initialize(self, url: str) -> None:
        async with database(url, FakeClock()):
            pass


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Iterator[Shop]:
    shop = Shop(postgres_server)
    yield shop
    shop.remove()


async def run(urls: Sequence[str | Path], operations: Sequence[Operation]) -> None:
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(database(url, clock)) for url in urls]
        await agree([World(db, clock) for db in opened], operations)


@pytest.mark.slow
@pytest.mark.row("R13")
def test_the_engines_answer_alike_whatever_is_asked_of_them(
    template: Path, server: Shop, figure: Callable[[str], None]
) -> None:
    SEEN.clear()

    @settings(
        max_examples=EXAMPLES,
        phases=PHASES,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(OPERATIONS)
    def agreed(operations: list[Operation]) -> None:
        with tempfile.TemporaryDirectory(prefix="abathur-") as directory:
            file = Path(shutil.copy(template, directory))
            try:
                asyncio.run(run([file, ":memory:", place(server.server, server.take())], operations))
            finally:
                server.give_back()

    agreed()
    figure(
        f"R13: {SEEN['examples']} sequences of {SEEN['operations']:,} operations, {SEEN['refused']:,} of "
        f"them refused, on {SEEN['tasks']:,} tasks: the engines agree"
    )
