"""R10 on PostgreSQL: calls that are cancelled at any await leave no half transaction and no connection."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from abathur import Database
from tests.conformance.checks import check_invariants
from tests.faults.servers import Victim
from tests.faults.test_cancellation import BATCH, SCHEMA, SQL, Caller, cut_off

OTHERS = """
SELECT state FROM pg_stat_activity
WHERE application_name = 'abathur' AND pid <> pg_backend_pid()
  AND state_change < clock_timestamp() - INTERVAL '1s'
"""
QUERIES = {**SQL, "check.others": OTHERS}
"""A connection that was given up is gone a moment later."""


async def left_behind(victim: Victim) -> list[int]:
    """The backends that still serve this library, a moment after everything was closed."""
    deadline = time.monotonic() + 5
    while (left := await asyncio.to_thread(victim.backends)) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return left


@pytest.mark.row("R10")
@pytest.mark.timeout(120)
async def test_calls_that_are_cancelled_anywhere_leave_no_half_transaction_on_a_server(
    victim, budget, figure
):
    """Enqueue, claim, complete, read and scripts; by tasks, twice and thrice, and by time-outs."""
    outcomes: Counter[str] = Counter()
    url = victim.new_url()
    async with Database(url, schema=SCHEMA, queries=QUERIES, environment="test") as db:
        caller = Caller(db, random.Random(), outcomes, slow=6)
        await caller.enqueue()
        for _ in budget(quick=800, long=50_000, each=BATCH):
            await asyncio.gather(*(caller.one() for _ in range(BATCH)))
        await asyncio.sleep(1.2)
        await caller.prove()
    assert await left_behind(victim) == []
    assert outcomes["cancelled"] > outcomes.total() * 0.2
    assert outcomes["done"] > outcomes.total() * 0.03
    figure(f"R10 on PostgreSQL: {outcomes.total():,} calls: {dict(outcomes)}; nothing half done")


@pytest.mark.row("R10")
@pytest.mark.timeout(120)
async def test_opening_and_closing_that_are_cancelled_anywhere_leave_no_connection(victim, budget, figure):
    outcomes: Counter[str] = Counter()
    draw = random.Random()
    urls = []
    for number in budget(quick=40, long=4_000):
        if number % 10 == 0:
            urls.append(victim.new_url())  # new the first time, and there the other times
        db = Database(urls[-1], environment="test")
        await cut_off(db.initialize, draw, outcomes, slow=60)
        await cut_off(db.close, draw, outcomes, slow=2)
        await db.close()
    assert await left_behind(victim) == []
    for url in urls:
        async with Database(url, environment="test", queries=SQL) as db:
            await db.tasks.enqueue("x")
            await check_invariants(db)
    assert outcomes["cancelled"] > outcomes.total() * 0.1
    figure(
        f"R10 on PostgreSQL: {outcomes.total():,} openings and closings: {dict(outcomes)}; each could be "
        "done again, no connection is left"
    )
