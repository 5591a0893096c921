"""R10 and R11: calls that are cancelled at any await, and two hundred coroutines on one connection."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from attrs import define, field

from abathur import Database, Statement, schema
from tests.conformance.checks import QUERIES, check_invariants, select

SCHEMA = schema.Schema(
    owner="app",
    tables=(
        schema.Table(
            "app_rows",
            (schema.Column("id", "INTEGER", primary_key=True), schema.Column("n", "INTEGER", not_null=True)),
        ),
    ),
)
SQL = {
    **QUERIES,
    "app.add": "INSERT INTO app_rows (id, n) VALUES (:id, :n)",
    "app.all": "SELECT id, n FROM app_rows ORDER BY id",
}
BATCH = 20
"""Calls that are under way at the same time."""
PER_FILE = 3_000
"""Calls on one database, before it is looked through and another is made."""


def rows():
    return {row["id"]: row["n"] for row in (yield Statement("app.all"))}


def pair(number, boom=False):
    """Two rows that stand and fall together."""
    yield Statement("app.add", id=2 * number, n=0)
    if boom:
        raise ValueError(number)
    yield Statement("app.add", id=2 * number + 1, n=0)
    return number


async def in_transaction(db):
    """Whether a connection of the database is left in the midst of a transaction."""
    if db.engine.dialect == "sqlite":
        return db.engine._writer.executor.connection.in_transaction
    return [row for row in await db.read(select, "check.others") if row["state"] != "idle"] != []


@define
class Caller:
    """Makes calls on one database, cancels them, and keeps what it was told."""

    db: Database
    draw: random.Random
    outcomes: Counter[str]
    slow: float = 1
    """How many times as long a call takes as on a file."""
    numbers: int = 9
    told: set[int] = field(factory=set)
    made: set[str] = field(factory=set)
    completed: set[str] = field(factory=set)

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    async def script(self):
        self.told.add(await self.db.run(pair, self.number(), self.draw.random() < 0.1))

    async def enqueue(self):
        key = f"{self.number()}" if self.draw.random() < 0.2 else None
        self.made.add((await self.db.tasks.enqueue("x", key=key)).id)

    async def many(self):
        found = await self.db.tasks.enqueue_many(
            [{"prompt": "a", "ref": "a"}, {"prompt": "b", "depends_on": ["a"]}]
        )
        self.made.update(task.id for task in found)

    async def work(self):
        for claim in await self.db.tasks.claim("w", limit=self.draw.randrange(1, 4), lease=3600):
            await self.db.tasks.complete(claim, {"n": 1})
            self.completed.add(claim.task.id)

    async def read(self):
        await self.db.tasks.list(limit=3)

    async def one(self):
        """One call, cut off by a time-out or cancelled up to three times, now or in a moment."""
        enqueue, script, work = self.enqueue, self.script, self.work
        call = self.draw.choice([script, script, enqueue, enqueue, enqueue, self.many, work, work, self.read])
        await cut_off(call, self.draw, self.outcomes, self.slow)

    async def prove(self):
        found = await self.db.read(rows)
        assert all(number ^ 1 in found for number in found), "half of a transaction"
        assert {2 * number for number in self.told} <= set(found)
        there = {task.id: task for task in await self.db.tasks.list(limit=10_000)}
        assert self.made <= set(there)
        assert {one for one in self.completed if there[one].status != "completed"} == set()
        assert not await in_transaction(self.db)
        assert not self.db.engine._lane._queue
        await self.db.run(pair, 1)
        await check_invariants(self.db)


async def cut_off(call, draw, outcomes, slow=1):
    try:
        if draw.randrange(4) == 0:
            with anyio.move_on_after(draw.random() * 0.004 * slow) as scope:
                await call()
            outcomes["timed out" if scope.cancelled_caught else "done"] += 1
            return
        task = asyncio.create_task(call())
        for _ in range(draw.choice([0, 1, 2, 3, 5, 8, 20, 60])):
            await asyncio.sleep(0)
        if draw.random() < 0.3:
            await asyncio.sleep(draw.random() * 0.003 * slow)
        for _ in range(draw.choice([0, 1, 1, 2, 3])):
            task.cancel()
            await asyncio.sleep(0)
        await task
        outcomes["done"] += 1
    except asyncio.CancelledError:
        outcomes["cancelled"] += 1
    except ValueError:
        outcomes["raised"] += 1


@pytest.mark.row("R10", weight=2)
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_calls_that_are_cancelled_anywhere_leave_no_half_transaction(kind, tmp_path, budget, figure):
    """Enqueue, claim, complete, read and scripts; by tasks, twice and thrice, and by time-outs."""
    outcomes: Counter[str] = Counter()
    rounds = iter(budget(quick=9_500, long=240_000, each=BATCH))
    number = next(rounds, None)
    while number is not None:
        url = tmp_path / f"{number}.db" if kind == "file" else ":memory:"
        async with Database(url, schema=SCHEMA, queries=SQL, environment="test") as db:
            caller = Caller(db, random.Random(), outcomes)
            await caller.enqueue()
            for _ in range(PER_FILE // BATCH):
                await asyncio.gather(*(caller.one() for _ in range(BATCH)))
                if (number := next(rounds, None)) is None:
                    break
            await caller.prove()
    assert outcomes["cancelled"] > outcomes.total() * 0.2
    assert outcomes["done"] > outcomes.total() * 0.03
    figure(f"R10: {outcomes.total():,} calls on {kind}: {dict(outcomes)}; nothing half done")


@pytest.mark.row("R10")
@pytest.mark.timeout(120)
async def test_opening_and_closing_that_are_cancelled_anywhere_can_be_done_again(tmp_path, budget, figure):
    """What is left behind, threads and descriptors too, is looked at after the test as after every other."""
    outcomes: Counter[str] = Counter()
    draw = random.Random()
    for number in budget(quick=500, long=20_000):
        path = tmp_path / f"{number % 20}.db"  # new the first time, and there the other times
        db = Database(path, environment="test")
        await cut_off(db.initialize, draw, outcomes)
        await cut_off(db.close, draw, outcomes)
        await db.close()
        if number % 20 == 19:
            async with Database(path, environment="test") as again:
                await again.tasks.enqueue("x")
                assert not await in_transaction(again)
    for path in tmp_path.glob("*.db"):
        async with Database(path, environment="test", queries=QUERIES) as db:
            await check_invariants(db)
    assert outcomes["cancelled"] > outcomes.total() * 0.1
    figure(f"R10: {outcomes.total():,} openings and closings: {dict(outcomes)}; each could be done again")


@pytest.mark.row("R10")
def test_an_interpreter_whose_calls_were_all_cancelled_ends(tmp_path):
    code = f"""
import asyncio, random
from abathur import Database
async def go(call):
    await call()
async def main():
    db = Database({str(tmp_path / "a.db")!r})
    calls = [db.initialize, db.initialize, lambda: db.tasks.enqueue("x"), lambda: db.tasks.list(), db.close]
    for call in calls:
        task = asyncio.ensure_future(go(call))
        await asyncio.sleep(random.random() * 0.003)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await db.close()
    print("ended", flush=True)
asyncio.run(main())
"""
    source = str(Path(__file__).parents[2])
    for _ in range(3):
        found = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=source,
        )
        assert (found.returncode, found.stdout, found.stderr) == (0, "ended\n", "")


async def one(db, worker, first, told, ends):
    number = first + worker
    boom = number % 3 == 0
    try:
        await db.run(pair, number, boom)
        told.add(number)
    except ValueError:
        assert boom
    if worker % 50 == 0:
        seen = await db.read(rows)
        assert all(row ^ 1 in seen for row in seen), "a dirty read"
    if worker % 20 == 0:
        await db.tasks.enqueue("x")
        ends["task"] += 1


@pytest.mark.row("R11")
@pytest.mark.timeout(120)
async def test_two_hundred_coroutines_on_one_memory_database_mix_nothing_up(budget, figure):
    """Commits and rollbacks: nothing lost, nothing undead, no dirty read."""
    committed = transactions = 0
    rounds = iter(budget(quick=100, long=1_000))
    number = next(rounds, None)
    while number is not None:
        async with Database(":memory:", schema=SCHEMA, queries=SQL, environment="test") as db:
            told: set[int] = set()
            ends = {"task": 0}
            for _ in range(10):  # on one database; each look reads everything that is in it
                await asyncio.gather(*(one(db, worker, number * 200, told, ends) for worker in range(200)))
                transactions += 200
                if (number := next(rounds, None)) is None:
                    break
            found = await db.read(rows)
            assert set(found) == {2 * one for one in told} | {2 * one + 1 for one in told}
            committed += len(told)
            assert await db.tasks.counts() == {"ready": ends["task"]}
            await check_invariants(db)
    figure(
        f"R11: 200 coroutines, {transactions:,} transactions, {committed:,} committed: nothing lost, "
        "nothing undead, no dirty read"
    )
