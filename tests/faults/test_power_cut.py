"""R7: the power goes while a load runs; the disk holds what was synced, and parts of the rest."""

from __future__ import annotations

import asyncio
import random

import pytest

from abathur import Database, Task
from tests import older
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults import checking
from tests.faults.nursery import Fault
from tests.faults.powercut import Cut, cuts, read_log

CUTS = 50
"""In each recording."""
STARTS = {"new": older.empty, "first": older.first}


async def after(path) -> tuple[dict[str, Task], set[tuple[str | None, str]]]:
    """The tasks and the trail that are there, after every check."""
    async with Database(path, queries=QUERIES, environment="test", backup=False) as db:
        report = await db.audit.verify()
        assert report.ok, report
        if not report.adopted:  # what an older version made has no such trail
            await check_invariants(db)
        trail = await db.audit.list(limit=100_000)
        found = {task.id: task for task in await db.tasks.list(limit=10_000)}
        return found, {(entry.task_id, entry.action) for entry in trail}


def lost(cut: Cut, tasks: dict[str, Task], trail: set[tuple[str | None, str]]) -> list[str]:
    """What had been acknowledged before the cut, and is not there after it."""
    problems = []
    for word, *rest in cut.said:
        if word == "made":
            problems += [f"task {task_id}" for task_id in rest if task_id not in tasks]
        elif word == "moved" and (rest[0], f"task.{rest[1]}") not in trail:
            problems.append(f"{rest[0]} -> {rest[1]}")
    return problems


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("durability", "quick", "long"), [("full", 300, 12_000), ("normal", 200, 8_000)])
def test_a_power_cut_corrupts_nothing_and_loses_nothing_that_full_has_acknowledged(
    durability, quick, long, nursery, fast, budget, figure
):
    live, dead = fast / "live", fast / "dead"
    live.mkdir()
    dead.mkdir()
    path, log = live / "agents.db", fast / "log"
    pending = iter(())
    rows = {}
    acknowledged = gone = failed = 0
    for number in budget(quick=quick, long=long):
        if number % CUTS == 0:
            turn = number // CUTS
            draw = random.Random(f"{durability} {turn}")
            checking.empty_directory(live)
            STARTS["first" if turn % 3 == 2 else "new"](path)
            before = {one.name: one.read_bytes() for one in live.iterdir()}
            rows = older.contents(path) if before else {}
            # In every second recording one sync fails.
            fault = Fault(at=draw.randrange(1, 40) if turn % 2 and 0 else 0, kinds=("sync",))
            end = nursery.run("recorded", path, fault, log=str(log), durability=durability)
            assert end.code == 0, end.errors
            assert not end.of("untyped"), end.of("untyped")
            failed += end.hit != ""
            pending = cuts(read_log(log), before, CUTS, draw)
        cut = next(pending)
        checking.empty_directory(dead)
        cut.write(dead)
        there = dead / path.name
        try:
            tasks, trail = asyncio.run(after(there))
            checking.sound(there)
            assert older.lost(rows, there) == []
            missing = lost(cut, tasks, trail)
            if durability == "full":
                assert missing == []
        except Exception as error:
            sizes = {name: len(content) for name, content in cut.files.items()}
            raise AssertionError(f"round {number}: cut after {cut.after}, on the disk: {sizes}") from error
        acknowledged += sum(word in ("made", "moved") for word, *_ in cut.said)
        gone += len(missing)
    figure(
        f"R7: {budget.done:,} power cuts, durability {durability}, {failed} recordings with a failed sync: "
        f"{acknowledged:,} answers, {gone:,} lost; 0 corrupt"
    )
