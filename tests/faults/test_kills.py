"""R1 and R2: workers and producers on one file that are killed and stopped at random instants."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path

import pytest

from abathur import Database
from tests.faults.children import Start
from tests.faults.colony import Colony, Total
from tests.faults.conftest import new_database
from tests.faults.proof import check

LIVES = 300
"""Kills on one file, before it is finished and proved and another is begun."""


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


def zombies(start: Start, path: Path | str, writes: list[str], *mutant: str) -> list[str]:
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
