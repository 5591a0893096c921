"""The lane: cancellation at any await, one connection for many coroutines, readers beside a writer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time

import anyio
import pytest

from abathur import Database, Prerequisite, Statement, schema, tasks
from abathur.engines import lane
from abathur.errors import AbathurError
from tests.conformance.checks import QUERIES, check_invariants

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
    "app.raise": "UPDATE app_rows SET n = n + 1 WHERE id = :id",
}


@pytest.fixture(params=["file", "memory"])
async def db(request, tmp_path):
    url = tmp_path / "agents.db" if request.param == "file" else ":memory:"
    async with Database(url, schema=SCHEMA, queries=SQL, environment="test") as db:
        await db.tasks.enqueue("first", agent_type="first")
        yield db
        assert not in_transaction(db)
        await check_invariants(db)


def in_transaction(db):
    return db.engine._writer.executor.connection.in_transaction


def rows():
    return {row["id"]: row["n"] for row in (yield Statement("app.all"))}


def pair(number, boom=False):
    """Two rows that stand and fall together."""
    yield Statement("app.add", id=2 * number, n=0)
    if boom:
        raise ValueError(number)
    yield Statement("app.add", id=2 * number + 1, n=0)
    return number


# -- cancellation ------------------------------------------------------------------------------


async def test_a_call_that_is_cancelled_before_its_turn_leaves_nothing(db):
    call = asyncio.create_task(db.run(pair, 1))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    started, go_on = threading.Event(), threading.Event()

    def slow():
        yield from pair(2)
        started.set()
        go_on.wait(10)

    running = asyncio.create_task(db.run(slow))
    await asyncio.to_thread(started.wait, 10)
    queued = asyncio.create_task(db.run(pair, 3))
    await asyncio.sleep(0.01)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(queued, 5)
    go_on.set()
    await running
    await db.run(pair, 4)
    assert set(await db.read(rows)) == {4, 5, 8, 9}


async def test_a_call_that_is_cancelled_in_its_turn_waits_for_the_outcome(db):
    started, go_on = threading.Event(), threading.Event()

    def slow():
        yield from pair(1)
        started.set()
        go_on.wait(10)

    call = asyncio.create_task(db.run(slow))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0.01)
        assert not call.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert set(await db.read(rows)) == {2, 3}, "it is wholly done"


async def test_a_timeout_waits_for_the_outcome_without_spinning(db):
    started, go_on = threading.Event(), threading.Event()

    def slow():
        yield from pair(1)
        started.set()
        go_on.wait(10)

    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.001)

    async def call():
        with anyio.move_on_after(0.02) as scope:
            await db.run(slow)
        return scope.cancelled_caught

    counting, calling = asyncio.create_task(count()), asyncio.create_task(call())
    cpu = time.process_time()
    await asyncio.sleep(0.3)
    cpu = time.process_time() - cpu
    go_on.set()
    assert await calling
    counting.cancel()
    assert set(await db.read(rows)) == {2, 3}
    assert turns > 20
    assert cpu < 0.2, "the waiting task is woken again and again"


# -- many coroutines, one connection -----------------------------------------------------------


async def test_updates_of_one_row_by_many_coroutines_are_all_counted(db):
    await db.run(pair, 1)

    def raise_it():
        yield Statement("app.raise", id=2)

    await asyncio.gather(*(db.run(raise_it) for _ in range(500)))
    assert (await db.read(rows))[2] == 500


# -- readers and the writer --------------------------------------------------------------------


async def test_readers_do_not_wait_for_a_long_transaction(tmp_path):
    async with Database(tmp_path / "agents.db", schema=SCHEMA, queries=SQL, environment="test") as db:
        started, go_on = threading.Event(), threading.Event()

        def slow():
            yield from pair(1)
            started.set()
            go_on.wait(20)

        call = asyncio.create_task(db.run(slow))
        await asyncio.to_thread(started.wait, 10)
        began = time.monotonic()
        for _ in range(20):
            assert await db.read(rows) == {}, "what is not committed is not seen"
            assert await db.tasks.list() == []
        assert time.monotonic() - began < 2
        assert not call.done()
        go_on.set()
        await call
        assert set(await db.read(rows)) == {2, 3}


async def test_a_read_is_one_snapshot(tmp_path):
    async with Database(tmp_path / "agents.db", schema=SCHEMA, queries=SQL, environment="test") as db:
        looked, written = threading.Event(), threading.Event()

        def twice():
            first = yield from rows()
            looked.set()
            written.wait(10)
            return first, (yield from rows())

        reading = asyncio.create_task(db.read(twice))
        await asyncio.to_thread(looked.wait, 10)
        await db.run(pair, 1)
        written.set()
        assert await reading == ({}, {})
        assert set(await db.read(rows)) == {2, 3}


async def test_a_read_cannot_write_to_a_file(tmp_path):
    async with Database(tmp_path / "agents.db", schema=SCHEMA, queries=SQL, environment="test") as db:
        with pytest.raises(AbathurError):
            await db.read(pair, 1)
        assert await db.read(rows) == {}


async def test_many_readers_share_a_few_connections(tmp_path):
    async with Database(tmp_path / "agents.db", environment="test") as db:
        await db.tasks.enqueue("x")
        before = threading.active_count()
        found = await asyncio.gather(*(db.tasks.list() for _ in range(200)))
        assert {len(page) for page in found} == {1}
        assert threading.active_count() - before <= 4


async def test_a_cancelled_read_ends_early_and_its_connection_is_used_again(tmp_path):
    sql = {
        **SQL,
        "app.long": (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000000) "
            "SELECT COUNT(*) AS n FROM n"
        ),
    }

    def long():
        yield Statement("app.long")

    async with Database(tmp_path / "agents.db", schema=SCHEMA, queries=sql, environment="test") as db:
        for _ in range(3):
            call = asyncio.create_task(db.read(long))
            await asyncio.sleep(0.05)
            began = time.monotonic()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert time.monotonic() - began < 2
        assert await db.read(rows) == {}


async def test_a_script_in_the_lane_sees_what_the_one_before_it_committed(db):
    """Callers that do not wait for each other keep their order."""
    seen = []

    def look(number):
        seen.append((number, set((yield from rows()))))
        yield from pair(number)

    await asyncio.gather(*(db.run(look, n) for n in range(5)))
    assert [number for number, _ in seen] == list(range(5))
    assert [len(found) for _, found in seen] == [0, 2, 4, 6, 8]


async def test_a_transaction_of_a_script_and_a_task_is_whole_or_nothing_under_cancellation(db):
    def both(number, now):
        yield from pair(number)
        yield from tasks.enqueue([tasks.new_task(f"{number}", agent_type="both")], now)

    async def one(number):
        with anyio.move_on_after(0.0005 * (number % 5)):
            await db.run(both, number)

    for start in range(0, 200, 50):
        await asyncio.gather(*(one(number) for number in range(start, start + 50)))
    found = {number // 2 for number in await db.read(rows)}
    assert {int(task.prompt) for task in await db.tasks.list(agent_type="both", limit=1000)} == found


def test_a_lane_whose_pump_was_cancelled_before_its_first_step_goes_on(tmp_path):
    code = f"""
import asyncio
from abathur import Database
async def work(db):
    while True:
        await db.tasks.enqueue("x")
async def main():
    async with Database({str(tmp_path / "a.db")!r}) as db:
        for _ in range(30):
            busy = [asyncio.ensure_future(work(db)) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in asyncio.all_tasks() - {{asyncio.current_task()}}:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            await asyncio.wait_for(db.tasks.enqueue("y"), 5)
asyncio.run(main())
print("ended")
"""
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.stdout == "ended\n", found.stderr


async def test_a_task_that_is_retried_is_not_failed_again_by_somebody_elses_enqueue():
    async with Database(":memory:") as db:
        bad = await db.tasks.enqueue("bad")
        await db.tasks.cancel(bad)
        waits = await db.tasks.enqueue("waits", depends_on=[Prerequisite(bad.id, "fail")])
        assert waits.status == "failed"
        await db.tasks.retry(waits)
        other = await db.tasks.enqueue("other", depends_on=[Prerequisite(bad.id, "fail")])
        assert other.status == "failed"
        assert (await db.tasks.get(waits)).status == "blocked"


async def test_a_tidying_up_that_fails_is_said_and_harms_nobody(db, monkeypatch, caplog):
    def fail():
        raise OSError("no")

    monkeypatch.setattr(db.engine._lane, "_tidy", fail)
    monkeypatch.setattr(lane, "IDLE", 0.01)
    await db.tasks.enqueue("x")
    async with asyncio.timeout(5):
        while "was not tidied up, and will be after the next write: no" not in caplog.text:
            await asyncio.sleep(0.01)
    await db.tasks.enqueue("y")


async def test_when_the_connection_does_not_answer_every_caller_hears_of_it(db, monkeypatch):
    async def fail(fn):
        raise ValueError("Connection closed")

    await db.run(pair, 1)
    with monkeypatch.context() as patched:
        patched.setattr(db.engine._writer, "hop", fail)
        calls = [db.run(pair, 2), db.run(pair, 3), db.tasks.enqueue("x")]
        answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [repr(answer) for answer in answers] == ["ValueError('Connection closed')"] * 3
    assert await db.read(rows) == {2: 0, 3: 0}
    await db.run(pair, 4)


async def test_when_the_pump_is_ended_those_who_still_wait_for_their_turn_are_told(db):
    """As when the event loop ends: nobody is left waiting for an answer that does not come."""
    started, go_on = threading.Event(), threading.Event()

    def slow():
        yield from pair(1)
        started.set()
        go_on.wait(10)

    running = asyncio.create_task(db.run(slow))
    await asyncio.to_thread(started.wait, 10)
    waiting = [asyncio.create_task(db.run(pair, number)) for number in (2, 3)]
    await asyncio.sleep(0.01)
    db.engine._lane._pump_task.cancel()
    done, _ = await asyncio.wait(waiting, timeout=5)
    go_on.set()
    assert [task.cancelled() for task in done] == [True, True]
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(10):  # its caller heard of the end before the writer's thread was through
        while not (found := set(await db.read(rows))):
            await asyncio.sleep(0.005)
    assert found == {2, 3}, "what was under way is done; what waited is not"
