"""What a caller is told when the server is not as it should be."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from abathur import Database, Statement
from abathur.engines.postgres_migration import key_of
from abathur.engines.urls import target_of
from abathur.errors import (
    AccessDeniedError,
    LockTimeoutError,
    MissingDatabaseError,
    OpenError,
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
        with pytest.raises(LockTimeoutError, match="has kept a lock in .* for too long"):
            await db.initialize()
        assert not await db.exists()
        await db.close()
    finally:
        await connection.close()


async def test_a_lost_connection_is_noticed_while_the_clock_is_measured(postgres_url, dsn):
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE $1 AND pid <> pg_backend_pid()"
    schema = target_of(postgres_url).schema
    async with Database(postgres_url) as db:
        for call in (db.tasks.list, db.engine.clock, lambda: db.tasks.enqueue("x")):
            await db.tasks.enqueue("before")
            await asyncio.gather(*(db.read(mark, schema) for _ in range(4)), db.run(mark, schema))
            meanwhile(dsn, lambda other: other.execute(kill, f"%{schema}%"))
            db.engine._clock._measured = float("-inf")
            await call()
