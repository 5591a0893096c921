"""The right to change the schema of a PostgreSQL database: one transaction under an advisory lock."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg

from abathur.engines.postgres_clock import ServerClock
from abathur.engines.postgres_connection import BY_SIZE, Executor, Options, connect, transaction
from abathur.engines.postgres_faults import Transient
from abathur.errors import BackupUnsupportedError
from abathur.script import Built, ScriptFunction, drive_async, start

T = TypeVar("T")

READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
LOCK: Final = "SELECT pg_advisory_xact_lock(?)"
TRIES: Final = 5
IS_THERE: Final = "SELECT to_regnamespace(?) IS NOT NULL AS is_there"


class PostgresMigration:
    """Implements `engines.base.Migration` on a connection of its own."""

    def __init__(self, raw: asyncpg.Connection, options: Options, clock: ServerClock) -> None:
        self._raw = raw
        self._options = options
        self._clock = clock

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await self._transact(READ, fn, args)

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        # Scripts see rows that were committed before each statement, so what another process has changed
        # while this one waited for the lock is seen too.
        return await self._transact("BEGIN ISOLATION LEVEL READ COMMITTED", fn, args)

    async def back_up_and_write(self, target: Path, fn: ScriptFunction[T], *args: Any) -> T:
        del fn, args
        raise BackupUnsupportedError(self._options.server.name, str(target))

    async def _transact(self, begin: str, fn: ScriptFunction[T], args: tuple[Any, ...]) -> T:
        for left in reversed(range(TRIES)):
            try:
                return await self._try(begin, fn, args)
            except Transient as error:
                # Writers lock the tables in other orders, so a migration may be a deadlock's victim.
                if error.lost or not left:
                    raise error.error from error
        raise AssertionError  # the last try has returned or raised

    async def _try(self, begin: str, fn: ScriptFunction[T], args: tuple[Any, ...]) -> T:
        await self._clock.prepare(self._raw)
        async with transaction(self._raw, self._options, begin) as execute:
            if begin != READ:
                await self._take_over(execute)
            result = await drive_async(start(fn, args, self._clock.now()), execute, {})
            if begin != READ:
                await execute.control("COMMIT")
            return result

    async def _take_over(self, execute: Executor) -> None:
        """Take the lock that orders all migrations of this schema, and make the schema if there is none."""
        schema = self._options.server.schema
        await execute(Built(LOCK, (key_of(schema),)))
        # Not IF NOT EXISTS alone: that asks for the right to make schemas even where there is this one.
        (found,) = await execute(Built(IS_THERE, (f'"{schema}"',)))
        if not found["is_there"]:
            await execute.control(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')

    async def set_pragma(self, name: str, value: str) -> None:
        raise NotImplementedError(f"{name}={value}: no plan for PostgreSQL has such a step")

    async def backup(self, target: Path) -> None:
        raise BackupUnsupportedError(self._options.server.name, str(target))


async def open_migration(options: Options) -> asyncpg.Connection:
    """A connection for changing the schema: DDL makes plans stale, so none is kept."""
    return await connect(options, **BY_SIZE)


def key_of(schema: str) -> int:
    """The key of the advisory lock: advisory locks are shared by all schemas of a database."""
    digest = hashlib.sha256(f"abathur migration of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
