"""R4: each system call on a database's files is the last one of its process, or fails."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections import Counter
from pathlib import Path

import pytest

from abathur import Database
from abathur.states import READY, RUNNING
from tests import older
from tests.faults import checking
from tests.faults.nursery import FAIL, KILL, End, Fault

FAULTS = {
    "SIGKILL": Fault(what=KILL),
    "EIO": Fault(what=FAIL, error=errno.EIO),
    "ENOSPC": Fault(what=FAIL, error=errno.ENOSPC),
}


class Scenario:
    """One operation, on a file that `make` puts there; `check` judges what is there after the fault."""

    def __init__(self, program: str, place: Path) -> None:
        self.program = program
        self.path = place / "agents.db"

    def make(self) -> None:
        checking.empty_directory(self.path.parent)

    def check(self, end: End, *, told: bool) -> None:
        raise NotImplementedError


class Initialize(Scenario):
    """A new or an older file: the old schema or the new one, and every row."""

    def __init__(self, place: Path, make: object) -> None:
        super().__init__("initialize", place)
        self._make = make
        self._fill()
        self.before = older.contents(self.path) if self.path.exists() else {}
        self.old = older.schema(self.path) if self.path.exists() else []
        self.new = checking.converged(self.path, self.before)

    def _fill(self) -> None:
        super().make()
        self._make(self.path)

    def make(self) -> None:
        self._fill()

    def check(self, end: End, *, told: bool) -> None:
        there = checking.look_at_a_copy(self.path)
        assert there in ((self.new,) if told else (self.old, self.new))
        for copy in self.path.parent.glob("*.before-*.db"):
            assert older.contents(copy) == self.before, "a backup that is not whole"
        assert checking.converged(self.path, self.before) == self.new
        checking.sound(self.path)


class Operation(Scenario):
    """An operation on two tasks that are ready."""

    def __init__(self, program: str, place: Path) -> None:
        super().__init__(program, place)
        self._template = place.with_name(f"{program}.db")

        async def fill() -> list[str]:
            async with Database(self._template, environment="test") as db:
                return [task.id for task in await db.tasks.enqueue_many([{"prompt": "a"}, {"prompt": "b"}])]

        self.first, self.second = asyncio.run(fill())

    def make(self) -> None:
        super().make()
        shutil.copyfile(self._template, self.path)

    def check(self, end: End, *, told: bool) -> None:
        checking.sound(self.path)
        found = checking.tasks_of(self.path)
        assert {self.first, self.second} <= set(found)
        changed = self.change(found)
        assert changed in ((True,) if told else (True, False))
        if end.of("refused") and end.of("refused")[0][0] == self.program:
            assert not changed, "its caller was told that nothing was applied"

    def change(self, found: dict) -> bool:
        """Whether the operation was applied; it fails if it was applied by halves."""
        first, second = found[self.first], found[self.second]
        if self.program == "enqueue":
            assert len(found) in (2, 3)
            return len(found) == 3
        if self.program == "claim":
            assert (first.status, first.fence) == (second.status, second.fence)
            assert (first.status, first.fence) in ((READY, 0), (RUNNING, 1))
            return first.status == RUNNING
        assert (second.status, second.fence) == (READY, 0)
        assert first.result == ({"n": 2} if first.status == "completed" else None)
        return first.status == "completed"


@pytest.mark.row("R4")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_call_that_fails_or_is_the_last_one_leaves_the_old_state_or_the_new_one(
    nursery, fast, budget, figure
):
    place = fast / "place"
    place.mkdir()
    scenarios = {
        "initialize a new file": Initialize(place, older.empty),
        "initialize an older file": Initialize(place, older.first),
        **{name: Operation(name, place) for name in ("enqueue", "claim", "complete")},
    }
    cases = []
    for name, scenario in scenarios.items():
        scenario.make()
        end = nursery.run(scenario.program, scenario.path, Fault())
        assert end.code == 0, end.errors
        cases += [(name, fault, at) for fault in FAULTS for at in range(1, end.calls + 1)]
    outcomes: Counter[str] = Counter()
    for number in budget(quick=150, long=len(cases)):
        name, kind, at = cases[checking.spread(number, len(cases))]
        scenario, fault = scenarios[name], FAULTS[kind]
        scenario.make()
        end = nursery.run(scenario.program, scenario.path, Fault(at=at, what=fault.what, error=fault.error))
        case = f"{name}, {kind} at call {at}: {end}"
        assert end.code == (-9 if fault.what == KILL else 0), case
        assert not end.of("untyped"), case
        assert not end.of("left"), case
        told = any(word == scenario.program for word, *_ in end.of("done"))
        try:
            scenario.check(end, told=told)
        except Exception as error:
            raise AssertionError(case) from error
        outcomes["killed" if end.code else "refused" if end.of("refused") else "done all the same"] += 1
    counts = ", ".join(f"{count:,} {word}" for word, count in sorted(outcomes.items()))
    figure(
        f"R4: {budget.done:,} of {len(cases):,} system calls x SIGKILL, EIO, ENOSPC: {counts}; "
        "0 lost, 0 by halves"
    )
