"""Runners are among the live workers while they run, and a dead one only for a while."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import asynccontextmanager

import pytest

from abathur import Runner, Statement, presence


def runner_of(db, *agent_types, **options) -> Runner:
    runner = Runner(db, grace=0.1, **options)
    for agent_type in agent_types:

        @runner.agent(agent_type)
        async def handle(ctx):
            await asyncio.sleep(ctx.input.get("seconds", 0))

    return runner


@asynccontextmanager
async def working(runner: Runner):
    running = asyncio.ensure_future(runner.run())
    try:
        yield running
    finally:
        runner.stop()
        await asyncio.wait_for(running, 10)


async def live(db, n, *, timeout=10):
    """The live workers, as soon as there are `n`."""
    async with asyncio.timeout(timeout):
        while len(found := await db.tasks.workers()) != n:
            await asyncio.sleep(0.01)
    return found


async def test_a_runner_is_live_while_it_runs_and_withdraws_when_it_stops(db):
    assert await db.tasks.workers() == []
    async with working(runner_of(db, "b", "a", concurrency=3, worker="w1")):
        (found,) = await live(db, 1)
        assert (found.name, found.agent_types, found.concurrency) == ("w1", ("a", "b"), 3)
        assert (found.host, found.pid, found.running) == (socket.gethostname(), os.getpid(), 0)
        task = await db.tasks.enqueue("x", agent_type="a", input={"seconds": 30})
        async with asyncio.timeout(5):
            while (await db.tasks.get(task)).status != "running":
                await asyncio.sleep(0.01)
        (found,) = await db.tasks.workers()
        assert found.running == 1
        (reason,) = (await db.tasks.why(task)).reasons
        assert (reason.code, reason.data["worker"]) == ("running", "w1")
    assert await db.tasks.workers() == []


async def test_two_runners_of_one_process_are_both_live(db):
    async with working(runner_of(db, "a")), working(runner_of(db, "b")):
        found = await live(db, 2)
        assert sorted(worker.agent_types for worker in found) == [("a",), ("b",)]
        missing, _ = (await db.tasks.why(await db.tasks.enqueue("x", agent_type="c"))).reasons
        assert missing.code == "no_worker"


@pytest.mark.parametrize("how", ["idle", "cancelled"])
async def test_a_runner_that_ends_in_another_way_withdraws_too(db, how):
    runner = runner_of(db, "a")
    if how == "idle":
        await runner.run(until_idle=True)
    else:
        running = asyncio.ensure_future(runner.run())
        await live(db, 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert await db.tasks.workers() == []


async def test_a_runner_announces_itself_again_and_again(db, monkeypatch):
    monkeypatch.setattr(presence, "EVERY", 0.05)
    async with working(runner_of(db, "a")):
        (first,) = await live(db, 1)
        async with asyncio.timeout(10):
            while (await db.tasks.workers())[0].seen_at == first.seen_at:
                await asyncio.sleep(0.01)
        (again,) = await db.tasks.workers()
        assert again.started_at == first.started_at


async def test_a_database_in_trouble_stops_no_runner_and_it_announces_itself_later(
    make_db, caplog, monkeypatch, file
):
    monkeypatch.setattr(presence, "EVERY", 0.05)
    db = await make_db(queries=_TABLE)
    await db.run(_statement, "test.hide")
    with caplog.at_level(logging.WARNING, "abathur.runner"):
        async with working(runner_of(db, "a")) as running:
            async with asyncio.timeout(10):
                while "will be tried again" not in caplog.text:
                    await asyncio.sleep(0.01)
            task = await db.tasks.enqueue("x", agent_type="a")
            assert (await db.tasks.wait(task, timeout=5)).status == "completed"
            assert not running.done()
            await db.run(_statement, "test.show")
            await live(db, 1)
            await db.run(_statement, "test.hide")
    assert "did not withdraw" in caplog.text
    await db.run(_statement, "test.show")


_TABLE = {
    "test.hide": "ALTER TABLE task_workers RENAME TO hidden_workers",
    "test.show": "ALTER TABLE hidden_workers RENAME TO task_workers",
}


def _statement(name):
    yield Statement(name)
