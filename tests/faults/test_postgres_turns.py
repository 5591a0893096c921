"""Many processes at once on a PostgreSQL server: R2, the processes part of R21, R23."""

from __future__ import annotations

import asyncio
import time

import pytest

from abathur import Database
from tests.faults.conftest import new_database
from tests.faults.proof import check
from tests.faults.test_kills import WRITES, zombies
from tests.faults.test_turns import one_key
from tests.schemas import drop


@pytest.mark.row("R23")
def test_one_key_from_eight_processes_is_one_task_on_a_server(start, postgres_url, budget, figure):
    new_database(postgres_url)
    total = 0
    for number in budget(quick=100, long=10_000, each=100):
        one_key(start, postgres_url, 100, f"round {number}")
        total += 100
    check(postgres_url)
    figure(f"R23: {total:,} keys from 8 processes on PostgreSQL: {total:,} tasks")


@pytest.mark.row("R2")
@pytest.mark.timeout(90)
def test_a_worker_on_a_server_that_was_stopped_for_longer_than_its_lease_is_refused(
    start, postgres_url, figure
):
    new_database(postgres_url)
    answers = zombies(start, postgres_url, WRITES)
    assert answers == ["lost"] * len(WRITES) + ["right"] * len(WRITES)
    found, _ = check(postgres_url)
    assert {task.status for task in found.values()} == {"completed"}
    figure(f"R2: {len(WRITES)} zombies on PostgreSQL: every late write refused, every result the right one")


@pytest.mark.row("R2")
@pytest.mark.timeout(90)
def test_without_the_fence_in_its_sql_a_late_write_is_accepted_by_a_server(start, postgres_url, figure):
    """The mutant shows that the test above has teeth."""
    new_database(postgres_url)
    answers = zombies(start, postgres_url, WRITES, "mutant")
    assert answers.count("accepted") == len(WRITES), answers
    assert "wrong" in answers
    figure(f"R2: the mutant without the fence fails on PostgreSQL: {len(WRITES)} late writes accepted")


@pytest.mark.row("R21")
@pytest.mark.timeout(90)
def test_eight_processes_that_initialize_a_new_schema_at_once_make_one(
    start, postgres_url, postgres_server, budget, figure
):
    """In each second round some of them are killed meanwhile; who is left finds nothing in the way."""
    rounds = killed = 0
    draw = budget.draw()
    schema = postgres_url.rpartition("=")[2]
    for number in budget(quick=4, long=100):
        everybody = [start("initializer", postgres_url) for _ in range(8)]
        for process in everybody:
            process.line(0)
        for process in everybody:
            process.go()
        if number % 2:
            for process in everybody[:4]:
                time.sleep(draw.random() * 0.06)
                process.end(kill=True)
                killed += 1
        left = [process for process in everybody if not process.ended]
        for process in left:
            assert process.end() == 0, process.errors
            assert "Error" not in process.errors
        steps = sorted(int(line) for process in everybody for line in process.lines[1:])
        assert steps[:-1] == [0] * (len(steps) - 1), steps  # one of them has made everything, at most
        asyncio.run(_nothing_to_do(postgres_url))
        check(postgres_url)
        drop(postgres_server, schema)
        rounds += 1
    figure(
        f"R21: 8 processes initialize a new schema at once, {rounds} times, {killed} killed meanwhile: "
        "no error, one schema"
    )


async def _nothing_to_do(url: str) -> None:
    db = Database(url, environment="test")
    try:
        report = await db.initialize(verify=True)
        assert report.steps == ()
    finally:
        await db.close()
