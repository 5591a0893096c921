"""R7: the power goes while a load runs; the disk holds what was synced, and parts of the rest."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from abathur import Database, Task
from tests import older
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults import checking
from tests.faults.nursery import Fault, Nursery
from tests.faults.powercut import Cut, cuts, read_log

CUTS = 50
"""In each recording."""
STARTS = (older.empty, older.empty, older.first)


async def after(path: Path) -> tuple[dict[str, Task], set[tuple[str | None, str]]]:
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


class PowerCuts:
    """Records loads and judges what is on the disk after each cut."""

    def __init__(
        self, nursery: Nursery, place: Path, durability: str, *, turns: int = 2, mutant: bool = False
    ) -> None:
        self._nursery = nursery
        self._live, self._dead = place / "live", place / "dead"
        self._log = place / "log"
        self._durability = durability
        self._turns = turns
        self._mutant = mutant
        self._cuts: Iterator[Cut] = iter(())
        self._rows: dict[str, list[tuple[object, ...]]] = {}
        self.answers = self.lost = self.failed = 0
        self._live.mkdir()
        self._dead.mkdir()

    def one(self, number: int) -> None:
        """The power cut with this number: fails if anything is corrupt; adds to `lost`."""
        if number % CUTS == 0:
            self._record(number // CUTS)
        cut = next(self._cuts)
        checking.empty_directory(self._dead)
        cut.write(self._dead)
        path = self._dead / "agents.db"
        try:
            tasks, trail = asyncio.run(after(path))
            checking.sound(path)
            assert older.lost(self._rows, path) == []
        except Exception as error:
            sizes = {name: len(content) for name, content in cut.files.items()}
            raise AssertionError(f"cut {number}, after {cut.after}; on the disk: {sizes}") from error
        self.answers += sum(word in ("made", "moved") for word, *_ in cut.said)
        self.lost += len(lost(cut, tasks, trail))

    def _record(self, turn: int) -> None:
        draw = random.Random(f"{self._durability} {turn}")
        path = self._live / "agents.db"
        checking.empty_directory(self._live)
        STARTS[turn % 3](path)
        before = {one.name: one.read_bytes() for one in self._live.iterdir()}
        self._rows = older.contents(path) if before else {}
        # With `full`, one sync fails in every second recording. With `normal`, the checkpoint after that
        # can trust a log that the system has dropped in part: nothing helps then if the power goes too.
        at = draw.randrange(1, 40) if turn % 2 and self._durability == "full" else 0
        end = self._nursery.run(
            "recorded",
            path,
            Fault(at=at, kinds=("sync",)),
            log=str(self._log),
            durability=self._durability,
            turns=self._turns,
            mutant=self._mutant,
        )
        assert end.code == 0, end.errors
        assert not end.of("untyped"), end.of("untyped")
        self.failed += end.hit != ""
        self._cuts = cuts(read_log(self._log), before, CUTS, draw)


@pytest.mark.row("R7")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_power_cut_corrupts_nothing_and_loses_nothing_that_was_acknowledged(nursery, fast, budget, figure):
    power = PowerCuts(nursery, fast, "full")
    for number in budget(quick=300, long=12_000):
        power.one(number)
        assert power.lost == 0, number
    figure(
        f"R7: {budget.done:,} power cuts with durability='full', a failed sync in {power.failed} recordings: "
        f"{power.answers:,} answers, 0 lost; 0 corrupt"
    )


@pytest.mark.row("R7")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_power_cut_may_lose_what_normal_has_acknowledged_and_corrupts_nothing(
    nursery, fast, budget, figure
):
    power = PowerCuts(nursery, fast, "normal")
    for number in budget(quick=200, long=8_000):
        power.one(number)
    figure(
        f"R7: {budget.done:,} power cuts with durability='normal': "
        f"{power.answers:,} answers, {power.lost:,} lost; 0 corrupt"
    )


@pytest.mark.row("R7")
@pytest.mark.timeout(0)
def test_a_power_cut_during_initialize_corrupts_nothing(nursery, fast, budget, figure):
    """The journal of a file that is not in WAL mode yet is only proof against torn writes if it is synced
    twice, which SQLite does at synchronous=FULL.
    """
    power = PowerCuts(nursery, fast, "normal", turns=0)
    for number in budget(quick=150, long=4_000):
        power.one(number)
    figure(f"R7: {budget.done:,} power cuts during initialize(): 0 corrupt, no row of an older file lost")


@pytest.mark.timeout(0)
def test_without_syncs_the_same_test_fails(nursery, fast):
    power = PowerCuts(nursery, fast, "full", mutant=True)
    with pytest.raises(AssertionError):
        for number in range(10 * CUTS):
            power.one(number)
            assert power.lost == 0
