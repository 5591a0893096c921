"""What a caller is told when the server is not as it should be."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import anyio
import asyncpg
import pytest

from abathur import Database, Statement
from abathur.engines import postgres_pool
from abathur.engines.postgres_migration import key_of
from abathur.engines.urls import target_of
from abathur.errors import (
    AccessDeniedError,
    LockTimeoutError,
    MissingDatabaseError,
    ReadOnlyDatabaseError,
)


@pytest.fixture
def dsn(postgres_url) -> str:
    return target_of(postgres_url).dsn


def meanwhile(dsn: str, work: Callable[[asyncpg.Connection], Awaitable[object]]) -> None:
    """Do something with another connection while the test's own loop stands still, and notices nothing."""

    async def connected() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await work(connection)
        finally:
            await connection.close()

    thread = threading.Thread(target=asyncio.run, args=(connected(),))
    thread.start()
    thread.join()


async def test_a_migration_waits_for_another_one_as_long_as_it_may(postgres_url, dsn):
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", key_of(target_of(postgres_url).schema))
        db = Database(postgres_url, lock_timeout=0.2)
        with pytest.raises(LockTimeoutError, match=r"has kept a lock in .* for too long"):
            await db.initialize()
        assert not await db.exists()
        await db.close()
    finally:
        await connection.close()


PID = {"test.pid": "SELECT pg_backend_pid() AS pid"}


def pid():
    (row,) = yield Statement("test.pid")
    return row["pid"]


async def test_a_lost_connection_is_noticed_while_the_clock_is_measured(postgres_url, dsn):
    async with Database(postgres_url, queries=PID) as db:
        calls = {"list": db.tasks.list, "clock": db.engine.clock, "enqueue": lambda: db.tasks.enqueue("x")}
        for call in calls.values():
            pids = [await db.run(pid), *await asyncio.gather(*(db.read(pid) for _ in range(4)))]
            kill = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS ours (pid)"
            meanwhile(dsn, lambda other, kill=kill, pids=pids: other.execute(kill, pids))
            db.engine._clock._measured = float("-inf")
            await call()
        assert len(await db.tasks.list()) == 1


async def test_connections_that_nobody_needs_are_closed_and_opened_again(postgres_url, dsn, monkeypatch):
    monkeypatch.setattr(postgres_pool, "IDLE", 0.1)
    async with Database(postgres_url, queries=PID) as db:
        pids = [await db.run(pid), await db.read(pid)]
        other = await asyncpg.connect(dsn)
        try:
            are_there = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY ($1::int[])"
            with anyio.fail_after(20):
                while await other.fetchval(are_there, pids):
                    await asyncio.sleep(0.02)
        finally:
            await other.close()
        assert await db.run(pid) not in pids
        assert await db.read(pid) not in pids


async def test_a_role_that_the_server_does_not_know_is_refused_at_once(postgres_url):
    parts = urlsplit(postgres_url)
    stranger = parts._replace(netloc=f"stranger:wrong@{parts.netloc.rpartition('@')[2]}").geturl()
    db = Database(stranger)
    began = time.monotonic()
    with pytest.raises(AccessDeniedError, match="stranger"):
        await db.initialize()
    assert time.monotonic() - began < 5, "what does not change is not waited for"
    await db.close()


async def test_a_database_that_the_server_does_not_have_is_not_made(postgres_url):
    there_is_none = urlsplit(postgres_url)._replace(path="/there_is_none").geturl()
    db = Database(there_is_none)
    for call in (db.initialize, db.plan, db.exists):
        with pytest.raises(MissingDatabaseError, match="createdb"):
            await call()
    (finding,) = await db.doctor()
    assert (finding.code, finding.level) == ("server", "problem")
    await db.close()


async def test_what_was_made_exists(postgres_url):
    db = Database(postgres_url)
    assert not await db.exists()
    await db.initialize()
    assert await db.exists()
    await db.close()


async def test_a_script_that_only_reads_cannot_write(postgres_url):
    def write():
        yield Statement("test.write")

    queries = {"test.write": "UPDATE tasks SET priority = 1"}
    async with Database(postgres_url, queries=queries) as db:
        with pytest.raises(ReadOnlyDatabaseError):
            await db.read(write)
