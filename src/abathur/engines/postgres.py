"""The PostgreSQL engine: a pool of connections, one lane for the writes, LISTEN and NOTIFY for the news."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import asyncpg
from attrs import evolve

from abathur.engines.base import Closing, GivenClock, MergedFunction, Migration, Progress
from abathur.engines.checks.server import examine_server
from abathur.engines.home import Home
from abathur.engines.lane import Lane
from abathur.engines.postgres_clock import QUERY as CLOCK
from abathur.engines.postgres_clock import GivenServerClock, ServerClock
from abathur.engines.postgres_connection import Options, connect, transaction
from abathur.engines.postgres_faults import DRIVER, Transient, translate
from abathur.engines.postgres_group import PostgresGroup
from abathur.engines.postgres_migration import READ, PostgresMigration, open_migration
from abathur.engines.postgres_pool import LONGEST_PAUSE, Pool
from abathur.engines.urls import Server
from abathur.engines.waiting import outlast
from abathur.errors import (
    AbathurError,
    AccessDeniedError,
    BackupUnsupportedError,
    DatabaseClosedError,
    UnsupportedVersionError,
)
from abathur.ids import new_id
from abathur.models import Finding
from abathur.script import Built, Emitted, Script, ScriptFunction, drive_async, start
from abathur.sql import Catalog

T = TypeVar("T")

log = logging.getLogger("abathur.engines")

OLDEST: Final = 15
POLL_EVERY: Final = 5.0
"""Seconds between two looks, where notifications do not come through (a pooler between, say)."""
EXISTS: Final = """
SELECT n.oid, has_schema_privilege(n.oid, 'USAGE') AS may_use,
       EXISTS (SELECT 1 FROM pg_class AS c
               WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')) AS has_any
FROM pg_namespace AS n WHERE n.nspname = $1
"""


class PostgresEngine:
    """PostgreSQL through asyncpg; everything lies in one schema of the database."""

    dialect = "postgres"
    capabilities = frozenset({"processes"})

    def __init__(
        self,
        server: Server,
        catalog: Catalog,
        *,
        closing: Callable[[], Closing] | None = None,
        observer: Callable[[Emitted], None] | None = None,
        recorded: ScriptFunction[int] | None = None,
        durability: str = "full",
        lock_timeout: float = 30.0,
        clock: GivenClock | None = None,
    ) -> None:
        del recorded  # for an engine that has the host's clock; the server's is one for all
        self.name = server.name
        self.catalog = catalog
        self._options = Options(server, catalog, durability, lock_timeout)
        self._closing = closing
        self._observer = observer or (lambda _: None)
        self._given = clock
        self._clock = ServerClock(server.name) if clock is None else GivenServerClock(server.name, clock)
        self._home = Home()
        self._sender = new_id()
        self._channel = f"abathur_{server.schema}"[:63]
        self._pool: Pool | None = None
        self._lane: Lane | None = None
        self._opening = asyncio.Lock()

    @property
    def address(self) -> str:
        return self._options.server.address

    # -- opening and closing -------------------------------------------------------------------

    async def open(self) -> None:
        self._home.move_in()
        async with self._opening:  # of several calls at once one opens
            if self._home.closed:
                raise DatabaseClosedError
            if self._pool is None:
                await self._open()

    async def _open(self) -> None:
        pool = Pool(self._options, self._options.server.pool)
        try:
            await _refuse_older(pool)
        except BaseException:
            await pool.close()
            raise
        commit = PostgresGroup(pool, self._clock, self._closing, self._channel, self._sender)
        self._pool, self._lane = pool, Lane(commit, self._observer)

    async def _let_go(self) -> None:
        async with self._opening:  # whoever needs a connection meanwhile is told that there is none
            await self._disconnect()
            await self._open()

    async def remove(self, aside: str | None = None) -> None:
        self._ready()
        await outlast(self._let_go())
        schema = self._options.server.schema
        async with self.migration() as migration:
            await migration.write(_remove, schema, aside)

    async def close(self) -> None:
        if self._home.closed:
            return
        self._home.check_process()
        self._home.closed = True
        await outlast(self._close())

    async def _close(self) -> None:
        async with self._opening:  # what is being opened now is closed too
            await self._disconnect()

    async def _disconnect(self) -> None:
        if self._lane is not None and self._pool is not None:
            await self._lane.drain()
            await self._pool.close()

    async def clock(self) -> int:
        pool, _ = self._ready()
        if self._given is not None:
            return self._given.now()
        (moment,) = await pool.read(lambda raw: _fetchrow(raw, CLOCK))
        return int(moment)

    def not_before(self, moment: int) -> None:
        self._clock.at_least(moment)

    def beside(self, name: str) -> str:
        return evolve(self._options.server, schema=name).address

    async def which_beside(self, name: str) -> str | None:
        return await self._which(name)

    async def exists(self) -> bool:
        return await self._which(self._options.server.schema) is not None

    async def _which(self, schema: str) -> str | None:
        pool, _ = self._ready()
        found = await pool.read(lambda raw: _fetchrow(raw, EXISTS, schema))
        if found is not None and not found["may_use"]:  # its tables would look as if they were not there
            raise AccessDeniedError(self.name, f"permission denied for schema {schema}")
        return str(found["oid"]) if found is not None and found["has_any"] else None

    # -- transactions --------------------------------------------------------------------------

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        _, lane = self._ready()
        return await lane.submit(fn, args)  # type: ignore[no-any-return]

    async def merge(self, fn: MergedFunction, item: Any) -> Any:
        _, lane = self._ready()
        return await lane.submit(fn, (item,), merged=True)

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        pool, _ = self._ready()
        return await pool.read(partial(self._read, fn, args))

    async def _read(self, fn: ScriptFunction[T], args: tuple[Any, ...], raw: asyncpg.Connection) -> T:
        await self._clock.prepare(raw)
        async with transaction(raw, self._options, READ) as execute:
            return await drive_async(start(fn, args, self._clock.now()), execute, {})

    # -- other processes -----------------------------------------------------------------------

    @asynccontextmanager
    async def listen(self, heard: Callable[[], None]) -> AsyncIterator[None]:
        self._ready()
        listening = asyncio.ensure_future(self._listen(heard))
        try:
            yield
        finally:
            listening.cancel()
            await asyncio.wait([listening])  # not `await listening`: our own cancellation is not to be lost

    async def _listen(self, heard: Callable[[], None]) -> None:
        pause = 0.1
        while True:
            try:
                connection = await connect(self._options)
            except (Transient, AbathurError) as error:
                log.warning("listening to %s failed and goes on: %s", self.name, error)
            else:
                pause = 0.1
                try:
                    await self._hear(connection, heard)
                except DRIVER as error:
                    log.warning("listening to %s was interrupted and goes on: %s", self.name, error)
                finally:
                    connection.terminate()
            heard()  # what was committed meanwhile was not heard
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _hear(self, connection: asyncpg.Connection, heard: Callable[[], None]) -> None:
        """Pass on what others notify, until the connection is lost."""
        lost = asyncio.Event()

        def notified(_connection: Any, _pid: int, _channel: str, sender: str) -> None:
            if sender != self._sender:  # of our own commits the observer has told
                heard()

        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(self._channel, notified)
        while not lost.is_set():
            heard()  # the first time too: it may have been missed
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), POLL_EVERY)

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[Migration]:
        self._ready()
        try:
            connection = await open_migration(self._options)
        except Transient as error:
            raise error.error from error
        try:
            yield PostgresMigration(connection, self._options, self._clock)
        finally:
            await outlast(connection.close(timeout=5))

    async def backup(self, target: Path, progress: Progress | None = None) -> None:
        del progress
        raise BackupUnsupportedError(self.name, str(target))

    async def examine(self, *, deep: bool) -> list[Finding]:
        if self._home.closed:
            raise DatabaseClosedError
        return await examine_server(self._options, deep=deep)

    def _ready(self) -> tuple[Pool, Lane]:
        self._home.check()
        if self._pool is None or self._lane is None:
            raise DatabaseClosedError
        return self._pool, self._lane


def _remove(schema: str, aside: str | None) -> Script[None]:
    if aside is None:
        yield Built(f'DROP SCHEMA "{schema}" CASCADE')
    else:
        yield Built(f'ALTER SCHEMA "{schema}" RENAME TO "{aside}"')


async def _refuse_older(pool: Pool) -> None:
    version = await pool.open()
    if version < OLDEST * 10_000:
        raise UnsupportedVersionError("PostgreSQL", f"{version // 10_000}.{version % 10_000}", str(OLDEST))


async def _fetchrow(raw: asyncpg.Connection, sql: str, *parameters: Any) -> Any:
    try:
        return await raw.fetchrow(sql, *parameters)
    except DRIVER as error:
        raise translate(error, "", sql) from error
