"""R1 and R2: workers and producers on one file that are killed and stopped at random instants."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from attrs import define, field

from abathur import Database
from tests.faults.children import Child, Start
from tests.faults.conftest import new_database
from tests.faults.proof import check

LEASE = 0.5
LIVES = 300
"""Kills on one file, before it is finished and proved and another is begun."""


@define
class Total:
    """What the colonies of one test came to."""

    kills: int = 0
    stops: int = 0
    tasks: int = 0
    acknowledged: int = 0
    moves: int = 0
    refused: int = 0
    lost: list[str] = field(factory=list)
    unfinished: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)
    """Tasks whose result is not that of their last claim."""

    @property
    def bad(self) -> int:
        return sum(map(len, (self.lost, self.unfinished, self.twice, self.wrong)))


class Colony:
    """4 workers and 2 producers on one file. Who is killed is replaced at once."""

    def __init__(self, start: Start, path: Path, total: Total, *mutant: str) -> None:
        self._start, self.path, self._total, self._mutant = start, path, total, mutant
        self._everybody: list[Child] = []
        self._slots: dict[str, Child] = {}
        self._draw = random.Random()
        for slot in [*(f"worker-{n}" for n in range(4)), *(f"producer-{n}" for n in range(2))]:
            self._place(slot)

    def _place(self, slot: str) -> None:
        program = slot.partition("-")[0]
        more = (LEASE, "", *self._mutant) if program == "worker" else ()
        child = self._start(program, self.path, f"{slot}.{len(self._everybody)}", *more)
        self._slots[slot] = child
        self._everybody.append(child)

    def wait(self) -> None:
        """Let everybody work for a moment, and let those go on that were stopped long enough."""
        end = time.monotonic() + self._draw.uniform(0.02, 0.2)
        while (now := time.monotonic()) < end:
            for child in self._slots.values():
                if child.stopped_until is not None and child.stopped_until <= now:
                    child.send(signal.SIGCONT)
                    child.stopped_until = None
            time.sleep(0.005)

    def stop_one(self) -> None:
        """SIGSTOP a worker for longer than its lease."""
        going = [
            child
            for child in self._slots.values()
            if child.program == "worker" and child.stopped_until is None and child.lines
        ]
        if going:
            child = self._draw.choice(going)
            child.send(signal.SIGSTOP)
            child.stopped_until = time.monotonic() + LEASE * self._draw.uniform(1.1, 1.8)
            self._total.stops += 1

    def kill_one(self) -> None:
        """Kill -9 anybody, whatever it is doing: also one that is starting or stopped."""
        slot = self._draw.choice(list(self._slots))
        child = self._slots[slot]
        assert child.is_alive, f"{slot} ended by itself: {child.errors}"
        child.end(kill=True)
        self._total.kills += 1
        self._place(slot)

    def refused(self) -> int:
        return sum(child.lines.count("lost") for child in self._everybody)

    def finish(self) -> None:
        """Kill everybody, let two others do what is left, and compare with what everybody has said."""
        for child in self._slots.values():
            assert child.is_alive, child.errors
            child.end(kill=True)
        finishers = [self._start("worker", self.path, f"finisher-{n}", 5, "until empty") for n in range(2)]
        for child in finishers:
            assert child.end(timeout=120) == 0, child.errors
        accepted: set[str] = set()
        completions: Counter[str] = Counter()
        fences: dict[str, int] = {}
        for child in [*self._everybody, *finishers]:
            assert "Traceback" not in child.errors, child.errors
            for line in child.lines:
                if child.program == "producer":
                    accepted.update(line.split())
                elif line != "lost":
                    task_id, fence = line.split()
                    completions[task_id] += 1
                    fences[task_id] = int(fence)
        found, moved = check(self.path)
        total = self._total
        total.tasks += len(found)
        total.acknowledged += len(accepted)
        total.moves += moved
        total.refused += self.refused()
        total.lost += accepted - set(found)
        total.unfinished += [one for one, task in found.items() if task.status != "completed"]
        total.twice += [one for one, times in completions.items() if times > 1]
        total.wrong += [
            one
            for one, task in found.items()
            if (task.result or {}).get("fence") != task.fence or fences.get(one, task.fence) != task.fence
        ]
        assert set(completions) <= set(found)


@pytest.mark.row("R1", weight=6)
@pytest.mark.timeout(300)
def test_workers_and_producers_that_are_killed_lose_nothing_and_do_nothing_twice(
    start, tmp_path, budget, figure
):
    """R1, with R2 mixed in: each sixth kill goes with a SIGSTOP that is longer than the lease."""
    total = Total()
    began = time.monotonic()
    colony = None
    for number in budget(quick=300, long=10_000):
        if colony is None:
            colony = Colony(start, new_database(tmp_path / f"{number}.db"), total)
        colony.wait()
        if number % 6 == 0:
            colony.stop_one()
        colony.kill_one()
        if number % LIVES == LIVES - 1:
            colony.finish()
            colony = None
    if colony is not None:
        colony.finish()
    assert not total.lost
    assert not total.unfinished
    assert not total.twice
    assert not total.wrong
    assert total.acknowledged > total.kills
    figure(
        f"R1, R2: {total.kills:,} kills and {total.stops:,} stops in {time.monotonic() - began:.0f} s, "
        f"{total.tasks:,} tasks ({total.acknowledged:,} acknowledged), {total.moves:,} transitions, "
        f"{total.refused:,} late writes refused: 0 lost, 0 unfinished, 0 twice"
    )


@pytest.mark.row("R2")
@pytest.mark.timeout(120)
def test_without_the_fence_in_their_sql_workers_do_the_wrong_thing(start, tmp_path, figure):
    """The mutant of the test above: the same workers, killed and stopped, only the fence is missing."""
    rounds = broken = 0
    total = Total()
    began = time.monotonic()
    while not total.wrong and not broken and rounds < 6:
        rounds += 1
        colony = Colony(start, new_database(tmp_path / f"{rounds}.db"), total, "mutant")
        for number in range(40):
            colony.wait()
            if number % 3 == 0:
                colony.stop_one()
            if number % 8 == 0:
                colony.kill_one()
        try:
            colony.finish()
        except AssertionError:  # the trail of a task is broken
            broken += 1
    assert total.wrong or broken
    figure(
        f"R1, R2: the mutant without the fence fails: {len(total.wrong)} of {total.tasks:,} tasks have the "
        f"result of a lost claim, {broken} trails are broken, after {time.monotonic() - began:.0f} s"
    )


def zombies(start: Start, path: Path, writes: list[str], *mutant: str) -> list[str]:
    """Workers that are stopped for longer than their lease while another does their task.

    Returns what each is told when it goes on, after the other has claimed and before it has completed.
    """

    async def make(count: int) -> list[str]:
        async with Database(path, environment="test") as db:
            # Each has an agent type of its own, so that none is given another's task.
            made = await db.tasks.enqueue_many(
                {"prompt": "x", "agent_type": f"zombie-{n}"} for n in range(count)
            )
            return [task.id for task in made]

    async def take_over() -> list[str]:
        async with Database(path, environment="test") as db:
            found = []
            deadline = time.monotonic() + 20
            while len(found) < len(writes) and time.monotonic() < deadline:
                found += await db.tasks.claim("other", limit=len(writes), lease=600)
                await asyncio.sleep(0.02)
            assert {claim.task.id for claim in found} == set(made)
            assert {claim.fence for claim in found} == {2}
            for process in stopped:
                process.send(signal.SIGCONT)
                process.go()
            answers = [process.line(1) for process in stopped]
            for claim in found:
                with contextlib.suppress(Exception):  # the mutant may have ended it
                    await db.tasks.complete(claim, {"by": "other"})
            results = [(await db.tasks.get(task_id)).result for task_id in made]
            return [*answers, *("right" if result == {"by": "other"} else "wrong" for result in results)]

    made = asyncio.run(make(len(writes)))
    stopped = [start("zombie", path, f"zombie-{n}", write, *mutant) for n, write in enumerate(writes)]
    for process in stopped:
        assert process.line(0).startswith("claimed"), process.errors
        process.send(signal.SIGSTOP)
    answers = asyncio.run(take_over())
    for process in stopped:
        assert process.end() == 0, process.errors
    return answers


WRITES = ["complete", "fail", "release", "heartbeat", "complete", "complete"]


@pytest.mark.row("R2")
@pytest.mark.timeout(90)
def test_a_worker_that_was_stopped_for_longer_than_its_lease_is_refused(start, tmp_path, budget, figure):
    refused = 0
    for number in budget(quick=12, long=1_500, each=len(WRITES)):
        path = new_database(tmp_path / f"{number}.db")
        answers = zombies(start, path, WRITES)
        assert answers == ["lost"] * len(WRITES) + ["right"] * len(WRITES)
        found, _ = check(path)
        assert {task.status for task in found.values()} == {"completed"}
        refused += len(WRITES)
    figure(f"R2: {refused:,} zombies: every late write refused, every result the right one")


@pytest.mark.row("R2")
@pytest.mark.timeout(90)
def test_without_the_fence_in_its_sql_a_late_write_is_accepted(start, path, figure):
    """The mutant shows that the test above has teeth."""
    answers = zombies(start, path, WRITES, "mutant")
    assert answers.count("accepted") == len(WRITES), answers
    assert "wrong" in answers
    figure(f"R2: the mutant without the fence fails: {len(WRITES)} of {len(WRITES)} late writes accepted")
