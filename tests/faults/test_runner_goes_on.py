"""A Runner outlives a database that cannot answer for a while."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from abathur import Database, Runner


@pytest.fixture
async def db(tmp_path):
    async with Database(tmp_path / "agents.db", environment="test", lock_timeout=0.2) as db:
        yield db


@asynccontextmanager
async def working(db: Database, **options):
    """A runner at work; it must still be there at the end."""
    runner = Runner(db, grace=0.1, **options)
    started, go_on = asyncio.Event(), asyncio.Event()

    @runner.agent("quick")
    async def quick(ctx):
        return "done"

    @runner.agent("slow")
    async def slow(ctx):
        started.set()
        await go_on.wait()
        return "done"

    running = asyncio.ensure_future(runner.run())
    try:
        yield running, started, go_on
    finally:
        runner.stop()
        await asyncio.wait_for(running, 10)


@contextmanager
def gone(path: str | Path, *tables: str):
    """Let tables be missing, as while somebody repairs a database by hand."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
        for table in tables:
            other.execute(f"ALTER TABLE {table} RENAME TO hidden_{table}")
        try:
            yield
        finally:
            for table in tables:
                other.execute(f"ALTER TABLE hidden_{table} RENAME TO {table}")


async def said(caplog, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in caplog.text:
            await asyncio.sleep(0.02)


async def test_a_claim_that_cannot_get_the_lock_is_tried_again(db, caplog):
    async with working(db) as (running, _, _):
        task = await db.tasks.enqueue("x", agent_type="quick")
        await db.tasks.wait(task, timeout=5)
        task = await db.tasks.enqueue("x", agent_type="quick", run_at=_soon(0.3))
        lock = os.open(f"{db.name}-lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            await said(caplog, "claiming failed and will be tried again")
            assert "has held the write lock" in caplog.text
            assert not running.done()
        finally:
            os.close(lock)
        assert (await db.tasks.wait(task, timeout=10)).status == "completed"


async def test_a_look_for_tasks_that_fails_is_tried_again(db, caplog):
    async with working(db) as (running, _, _):
        await asyncio.sleep(0.2)
        with gone(db.name, "tasks"):
            await said(caplog, "looking for tasks failed and will be tried again")
            assert not running.done()
        task = await db.tasks.enqueue("x", agent_type="quick")
        assert (await db.tasks.wait(task, timeout=10)).status == "completed"


async def test_whether_it_is_idle_is_asked_again_when_that_failed(db, caplog):
    task = await db.tasks.enqueue("x", agent_type="quick", run_at=_soon(1.5))
    runner = Runner(db)

    @runner.agent("quick")
    async def quick(ctx):
        return "done"

    with gone(db.name, "task_counts"):
        running = asyncio.ensure_future(runner.run(until_idle=True))
        await said(caplog, "looking for tasks failed and will be tried again")
        assert not running.done()
    await asyncio.wait_for(running, 10)
    assert (await db.tasks.get(task)).status == "completed"


async def test_a_look_for_cancelled_tasks_that_fails_stops_no_handler(db, caplog):
    caplog.set_level(logging.WARNING)
    async with working(db, lease=60) as (running, started, go_on):
        task = await db.tasks.enqueue("x", agent_type="slow")
        await asyncio.wait_for(started.wait(), 5)
        with gone(db.name, "tasks"):
            await said(caplog, "whether anything was cancelled could not be seen")
            assert not running.done()
        go_on.set()
        assert (await db.tasks.wait(task, timeout=10)).status == "completed"


def _soon(seconds: float):
    return datetime.now(UTC) + timedelta(seconds=seconds)
