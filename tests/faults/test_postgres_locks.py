"""Transactions that wait for each other's locks, or for somebody's who keeps them, on a server."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter

import asyncpg
import pytest

from abathur import Database, Prerequisite, Statement, schema
from abathur.errors import AbathurError, IllegalMoveError, LeaseLostError, LockTimeoutError
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults.conftest import new_database
from tests.faults.proof import check
from tests.faults.stepping import Pair

STOCK = schema.Schema(
    owner="app",
    tables=(
        schema.Table(
            "app_stock",
            (schema.Column("id", "INTEGER", primary_key=True), schema.Column("n", "INTEGER", not_null=True)),
        ),
    ),
)
SQL = {
    **QUERIES,
    "app.put": "INSERT INTO app_stock (id, n) VALUES (:id, 10)",
    "app.take": "UPDATE app_stock SET n = n - 1 WHERE id = :id",
    "app.all": "SELECT id, n FROM app_stock ORDER BY id",
    "app.deadlocks": "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
}
OPTIONS = {"environment": "test", "schema": STOCK, "queries": SQL}


def put(*ids):
    for one in ids:
        yield Statement("app.put", id=one)


def take(*ids):
    for one in ids:
        yield Statement("app.take", id=one)
    return True


def stock():
    return {row["id"]: row["n"] for row in (yield Statement("app.all"))}


def deadlocks():
    (row,) = yield Statement("app.deadlocks")
    return row["deadlocks"]


@pytest.mark.row("R21")
async def test_two_scripts_that_lock_rows_in_opposite_orders_both_succeed(victim, monkeypatch, figure):
    url = victim.new_url()
    async with Database(url, **OPTIONS) as one, Database(url, **OPTIONS) as other:
        await one.run(put, 1, 2)
        before = await one.read(deadlocks)
        pair = Pair(one, other, monkeypatch)
        for number in (1, 1, 1):
            first, second, was_held = await pair.race(
                number, lambda db: db.run(take, 1, 2), lambda db: db.run(take, 2, 1)
            )
            assert (first, second, was_held) == (True, True, True)
        assert await one.read(stock) == {1: 4, 2: 4}
        await asyncio.sleep(1.1)  # a backend says at most once a second what it has counted
        await asyncio.gather(one.run(take, 3), other.run(take, 3))
        found = await other.read(deadlocks) - before
        assert found >= 3
        await check_invariants(one)
    figure(f"3 pairs of scripts that lock crosswise on PostgreSQL: all done, {found} deadlocks counted")


@pytest.mark.row("R21")
async def test_whatever_is_written_crosswise_nobody_hears_of_a_deadlock(victim, budget, figure):
    """Fan-in that completes, cancelled trees, and edges between everything, from four connections."""
    url = victim.new_url()
    outcomes: Counter[str] = Counter()
    draw = budget.draw()
    databases = [Database(url, **OPTIONS) for _ in range(4)]
    for db in databases:
        await db.initialize()
    try:
        before = await databases[0].read(deadlocks)
        roots = [await databases[0].tasks.enqueue("root") for _ in range(6)]
        for _ in budget(quick=20, long=2_000):
            await asyncio.gather(
                *(_some_calls(db, random.Random(draw.random()), roots, outcomes) for db in databases)
            )
        await check_invariants(databases[0])
        found = await databases[0].read(deadlocks) - before
    finally:
        for db in databases:
            await db.close()
    figure(
        f"crosswise on PostgreSQL: {outcomes.total():,} calls, {found} deadlocks, none told: {dict(outcomes)}"
    )


async def _some_calls(db, draw, roots, outcomes) -> None:
    async def one() -> None:
        how = draw.randrange(6)
        try:
            if how == 0:
                waits = draw.sample(roots, 3)
                made = await db.tasks.enqueue("x", depends_on=waits, parent=draw.choice(roots))
                roots.append(made)
            elif how == 1:
                for claim in await db.tasks.claim("w", limit=3, lease=600):
                    await db.tasks.complete(claim)
            elif how == 2:
                await db.tasks.cancel(draw.choice(roots), tree=draw.random() < 0.5)
            elif how == 3:
                await db.tasks.retry(draw.choice(roots))
            elif how == 4:
                waits = [Prerequisite(task.id, "cancel") for task in draw.sample(roots, 3)]
                many = [
                    {"prompt": "a", "depends_on": waits, "ref": "a"},
                    {"prompt": "b", "depends_on": ["a"]},
                ]
                roots.extend(await db.tasks.enqueue_many(many))
            else:
                await db.tasks.add_dependencies(draw.choice(roots), [draw.choice(roots)])
            outcomes["done"] += 1
        except (IllegalMoveError, LeaseLostError) as error:
            outcomes[type(error).__name__] += 1
        except AbathurError as error:
            if "wait for each other" not in str(error):
                raise
            outcomes["circle"] += 1

    await asyncio.gather(*(one() for _ in range(5)))


@pytest.mark.row("R21")
async def test_a_lock_that_somebody_keeps_is_a_lock_timeout_and_nothing_is_applied(victim):
    url = victim.new_url()
    async with Database(url, **OPTIONS, lock_timeout=0.3) as db:
        task = await db.tasks.enqueue("x")
        schema = url.rpartition("=")[2]
        psql = await asyncpg.connect(victim.url)
        try:
            await psql.execute(f"BEGIN; SELECT id FROM {schema}.tasks FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(LockTimeoutError) as caught:
                await db.tasks.cancel(task)
            assert 0.25 < time.monotonic() - began < 5
            assert "kept a lock" in str(caught.value)
            assert await db.tasks.get(task) == task, "who only reads does not wait"
            await db.tasks.enqueue("another")
            await psql.execute(f"ROLLBACK; BEGIN; UPDATE {schema}.abathur_meta SET value = value")
            answers = await asyncio.gather(
                db.tasks.enqueue("y"), db.tasks.cancel(task), return_exceptions=True
            )
            assert [type(one) for one in answers] == [LockTimeoutError, LockTimeoutError]
            await psql.execute("ROLLBACK")
        finally:
            await psql.close()
        assert {one.prompt: one.status for one in await db.tasks.list()} == {"x": "ready", "another": "ready"}
        await db.tasks.cancel(task)
        await check_invariants(db)


@pytest.mark.row("R21")
@pytest.mark.timeout(60)
def test_a_process_that_is_stopped_in_a_transaction_does_not_keep_the_others_waiting(start, victim, figure):
    url = new_database(victim.new_url())

    async def make() -> str:
        async with Database(url, environment="test") as db:
            return (await db.tasks.enqueue("x")).id

    async def cancel(task_id: str) -> float:
        async with Database(url, environment="test") as db:
            began = time.monotonic()
            await db.tasks.cancel(task_id)
            return time.monotonic() - began

    task_id = asyncio.run(make())
    stopped = start("keeper", url, task_id, "1s")
    assert stopped.line(0) == "holding", stopped.errors
    stopped.send(signal.SIGSTOP)
    waited = asyncio.run(cancel(task_id))
    assert 0.2 < waited < 5
    stopped.send(signal.SIGCONT)
    stopped.go()
    assert stopped.end() == 0, stopped.errors
    assert stopped.lines == ["holding", "holding", "2"], "its transaction is done again"
    found, _ = check(url)
    assert sorted(task.status for task in found.values()) == ["cancelled", "ready"]
    figure(f"a process stopped in a transaction on PostgreSQL kept others for {waited:.1f} s (1 s allowed)")
