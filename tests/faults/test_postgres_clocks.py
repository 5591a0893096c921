"""A worker's host has a wrong clock: on a server its clock counts, and so nobody is rescued early or late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from abathur import Database
from tests.faults.proof import check

LEASE = 1.0
SKEWS = {"right": 0, "ahead": 3600, "behind": -3600}


@pytest.mark.row("R18")
@pytest.mark.timeout(120)
def test_a_wrong_clock_on_a_workers_host_rescues_nothing_early(start, postgres_url, figure):
    began = datetime.now(UTC)
    later = began + timedelta(seconds=3)

    async def fill() -> None:
        async with Database(postgres_url, environment="test") as db:
            many = [{"prompt": "x", "max_attempts": 1000} for _ in range(60)]
            many += [{"prompt": "later", "run_at": later, "max_attempts": 1000} for _ in range(6)]
            many += [{"prompt": "x", "agent_type": f"zombie-{name}", "max_attempts": 1000} for name in SKEWS]
            await db.tasks.enqueue_many(many)

    asyncio.run(fill())
    workers = [start("skewed", wrong, "worker", postgres_url, name, LEASE) for name, wrong in SKEWS.items()]
    zombies = [
        start("skewed", wrong, "zombie", postgres_url, f"zombie-{name}", "complete")
        for name, wrong in SKEWS.items()
    ]
    for child in (*workers, *zombies):
        child.line(0)
    for child in zombies:
        child.end(kill=True)
    died = time.monotonic()
    others = [
        start("skewed", wrong, "worker", postgres_url, f"other-{name}", LEASE, "until empty")
        for name, wrong in SKEWS.items()
    ]
    for child in others:
        assert child.end(timeout=30) == 0, child.errors
    took = time.monotonic() - died
    for child in workers:
        child.end(kill=True)
    said = [line.split()[0] for child in (*workers, *others) for line in child.lines if line != "lost"]
    found, _ = check(postgres_url)
    assert {task.status for task in found.values()} == {"completed"}
    assert not [task_id for task_id, times in Counter(said).items() if times > 1]

    expired = 0
    claimed = {}
    for entry in asyncio.run(trail(postgres_url)):
        assert began - timedelta(seconds=1) <= entry.at <= datetime.now(UTC) + timedelta(seconds=1), entry
        if entry.action == "task.running":
            task = found[entry.task_id]
            assert task.prompt != "later" or entry.at >= later, "claimed before its run_at"
            claimed[entry.task_id] = entry
        elif entry.data.get("outcome") == "expired":
            before = claimed[entry.task_id]
            lease = 0.3 if before.actor.startswith("zombie") else LEASE
            held = (entry.at - before.at).total_seconds()
            assert held >= lease, f"{entry.actor} took {entry.task_id} from {before.actor} after {held} s"
            assert held <= lease + 2 * LEASE, f"{entry.task_id} was stuck for {held} s"
            expired += 1
    assert expired >= len(SKEWS)
    figure(
        f"clocks of hosts that are an hour ahead and behind, on PostgreSQL: {len(said)} tasks, {expired} "
        f"leases expired, none early; what dead workers held was done {took:.1f} s after their death"
    )


async def trail(url: str):
    async with Database(url, environment="test") as db:
        return await db.audit.list(limit=100_000)
