"""R18: the host's clock is set back, set ahead and trembles while workers work and die.

All processes of a host share its clock, so all of them get the same offset, at the same moment.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from abathur import Database
from tests.faults.children import Child, Start
from tests.faults.conftest import new_database
from tests.faults.proof import check

HOUR = 3_600_000_000
LEASE = 1.0
TASKS = 60


class HostClock:
    """A file with the offset of the host's clock in microseconds; all programs of a test map it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.set(0)

    def set(self, micros: int) -> None:
        if not self.path.exists():
            self.path.write_bytes(bytes(8))
        with self.path.open("r+b") as file:  # in place: the programs have it mapped
            file.write(micros.to_bytes(8, "little", signed=True))


def back(clock: HostClock) -> None:
    clock.set(-HOUR)


def ahead(clock: HostClock) -> None:
    clock.set(HOUR)


def ahead_for_a_moment(clock: HostClock) -> None:
    """As a time server that is wrong and put right: whoever looks meanwhile sees the wrong hour."""
    clock.set(HOUR)
    time.sleep(0.1)
    clock.set(0)


def trembles(clock: HostClock) -> None:
    """Each look is up to 300 ms off."""


STEPS = {
    "an hour back": back,
    "an hour ahead": ahead,
    "ahead and back": ahead_for_a_moment,
    "jitter": trembles,
}


@pytest.mark.row("R18")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", STEPS)
def test_no_task_is_stuck_or_done_twice_whatever_the_clock_does(name, start, tmp_path, budget, figure):
    longest = 0.0
    rounds = 0
    for number in budget(quick=2, long=200):
        path = new_database(tmp_path / f"{number}.db")
        longest = max(longest, _round(name, start, path, HostClock(tmp_path / f"{number}.clock")))
        rounds += 1
    figure(
        f"R18: {name}, {rounds} times with {TASKS} tasks: none done twice, the claims of a dead worker were "
        f"free again after {longest:.1f} s (lease {LEASE:.0f} s)"
    )


def _round(name: str, start: Start, path: Path, clock: HostClock) -> float:
    """Two claim, before and after the clock is set, and die; their tasks are done within two leases."""
    jitter = 0.3 if name == "jitter" else 0
    draw = random.Random()
    everybody: list[Child] = []

    def worker(*arguments: object) -> Child:
        child = start("clocked", clock.path, jitter, *arguments)
        everybody.append(child)
        return child

    async def fill() -> None:
        async with Database(path, environment="test") as db:
            await db.tasks.enqueue_many({"prompt": "x", "max_attempts": 1000} for _ in range(TASKS))
            await db.tasks.enqueue_many({"prompt": "x", "agent_type": name} for name in ("early", "late"))

    asyncio.run(fill())
    first = [worker("worker", path, f"first-{n}", LEASE) for n in range(2)]
    for child in first:
        child.line(0)
    early = worker("zombie", path, "early", "complete")
    early.line(0)
    STEPS[name](clock)
    time.sleep(draw.random() * 0.1)
    # This one claims after the step, so its lease is counted from the new time. Then both die.
    late = worker("zombie", path, "late", "complete")
    late.line(0)
    for child in (early, late):
        child.end(kill=True)
    died = time.monotonic()
    others = [worker("worker", path, f"other-{n}", LEASE, "until empty") for n in range(2)]
    for child in others:
        assert child.end(timeout=30) == 0, child.errors
    took = time.monotonic() - died
    for child in first:
        child.end(kill=True)
    completions = Counter(
        line.split()[0] for child in (*first, *others) for line in child.lines if line != "lost"
    )
    found, _ = check(path)
    assert [task.id for task in found.values() if task.status != "completed"] == []
    assert not [task_id for task_id, times in completions.items() if times > 1]
    assert took < 2 * LEASE + 1, f"stuck for {took:.1f} s; a second is for starting and stopping"
    return took
