"""The SQLite engine: one writer behind the lane, a small pool of readers, one file or memory."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from abathur.engines import files
from abathur.engines.backup import Backup
from abathur.engines.base import Closing, GivenClock, MergedFunction, Migration, Progress
from abathur.engines.checks import contents, library
from abathur.engines.checks.file import examine_file
from abathur.engines.clock import Clock
from abathur.engines.connection import Connection, address, connect
from abathur.engines.group import GroupCommit
from abathur.engines.home import Home
from abathur.engines.lane import Lane
from abathur.engines.removal import remove
from abathur.engines.sidelock import SideLock
from abathur.engines.sqlite_migration import SqliteMigration
from abathur.engines.urls import MEMORY
from abathur.engines.waiting import outlast
from abathur.engines.wal import AUTOCHECKPOINT, Wal
from abathur.errors import (
    DatabaseClosedError,
    EngineError,
    OpenError,
    UnsupportedVersionError,
)
from abathur.models import Finding
from abathur.script import Emitted, ScriptFunction, drive, start
from abathur.sql import Catalog

T = TypeVar("T")

log = logging.getLogger("abathur.engines")

READERS: Final = 4
LISTEN_EVERY: Final = 0.01
"""Seconds between two looks at `data_version`; a change is heard 5 ms later on average."""


class SqliteEngine:
    """SQLite through aiosqlite. `target` is a path, or ``:memory:`` for one shared connection."""

    dialect = "sqlite"

    def __init__(
        self,
        target: Path | str,
        catalog: Catalog,
        *,
        closing: Callable[[], Closing] | None = None,
        observer: Callable[[Emitted], None] | None = None,
        recorded: ScriptFunction[int] | None = None,
        durability: str = "full",
        lock_timeout: float = 30.0,
        clock: GivenClock | None = None,
    ) -> None:
        self.memory = str(target) == MEMORY
        self.path = Path(MEMORY) if self.memory else Path(os.path.realpath(target))
        self.name = self.address = str(self.path)
        self.capabilities = frozenset({"backup"} if self.memory else {"file", "processes", "backup"})
        self.catalog = catalog
        self._closing = closing
        self._recorded = recorded
        self._observer = observer or (lambda _: None)
        self._lock_timeout = lock_timeout
        self._pragmas = _pragmas(durability)
        self._given = clock
        self._clock = clock or Clock()
        self._lock = None if self.memory else SideLock(self.path, lock_timeout)
        self._home = Home()
        self._writer: Connection | None = None
        self._lane: Lane | None = None
        self._opening = asyncio.Lock()
        self._idle: list[Connection] = []
        self._permits = asyncio.Semaphore(READERS)

    # -- opening and closing -------------------------------------------------------------------

    async def exists(self) -> bool:
        return self._writer is not None if self.memory else files.size(self.path) > 0

    def beside(self, name: str) -> str:
        return MEMORY if self.memory else str(self.path.with_name(name))

    async def which_beside(self, name: str) -> str | None:
        return None if self.memory else files.which(self.path.with_name(name))

    async def open(self) -> None:
        if sqlite3.sqlite_version_info < library.OLDEST:
            oldest = ".".join(map(str, library.OLDEST))
            raise UnsupportedVersionError("SQLite", sqlite3.sqlite_version, oldest)
        self._home.move_in()
        if not self.memory:
            files.check_place(self.path)

    async def close(self) -> None:
        if self._home.closed:
            return
        self._home.check_process()
        self._home.closed = True
        await outlast(self._close())

    async def _let_go(self) -> None:
        async with self._opening:  # whoever needs a connection meanwhile waits for it
            await self._disconnect()
            for _ in range(READERS):
                self._permits.release()

    async def remove(self, aside: str | None = None) -> None:
        self._check()
        await outlast(self._let_go())
        if self.memory:
            return
        async with self._opening:
            connection = await self._connect()
            making = Backup(self.name, Path(aside), None) if aside is not None else None
            removing = partial(
                remove, path=self.path, timeout=self._lock_timeout, copy=making.make if making else None
            )
            try:
                await outlast(connection.hop(removing), making.end_early if making else None)
            finally:
                await outlast(connection.close())

    async def _close(self) -> None:
        async with self._opening:  # a lane that is being opened now is closed too; none is opened later
            pass
        await self._disconnect()
        if self._lock is not None:
            self._lock.close()

    async def _disconnect(self) -> None:
        if self._lane is not None:
            await self._lane.drain()
        for _ in range(READERS):  # whoever still reads ends first
            await self._permits.acquire()
        for reader in self._idle:
            await reader.close()
        if self._writer is not None:
            if self._lock is not None:
                # The last connection checkpoints when it closes, which must not run beside a writer.
                # Who keeps it for so long has the database open, so ours is not the last.
                # Without the lock it is safe too: SQLite then needs the file for itself alone.
                with contextlib.suppress(EngineError, OpenError):
                    await self._writer.hop(lambda _: self._acquire())
            try:
                await self._writer.close()
            finally:
                if self._lock is not None:
                    self._lock.release()
        self._lane, self._writer, self._idle = None, None, []

    async def clock(self) -> int:
        return self._given.now() if self._given is not None else time.time_ns() // 1000

    def not_before(self, moment: int) -> None:
        self._clock.at_least(moment)

    # -- transactions --------------------------------------------------------------------------

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await self._submit(fn, args)  # type: ignore[no-any-return]

    async def merge(self, fn: MergedFunction, item: Any) -> Any:
        lane = self._lane or await self._open_lane()
        self._check()
        return await lane.submit(fn, (item,), merged=True)

    async def _submit(self, fn: ScriptFunction[Any], args: tuple[Any, ...], *, reads: bool = False) -> Any:
        lane = self._lane or await self._open_lane()
        self._check()
        return await lane.submit(fn, args, reads=reads)

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        if self.memory:
            return await self._submit(fn, args, reads=True)  # type: ignore[no-any-return]
        self._check()
        async with self._permits:
            self._check()
            reader = self._idle.pop() if self._idle else await self._connect("query_only=ON")
            try:
                return await outlast(reader.hop(lambda _: self._read(reader, fn, args)), reader.interrupt)
            finally:
                self._idle.append(reader)

    def _read(self, reader: Connection, fn: ScriptFunction[T], args: tuple[Any, ...]) -> T:
        execute = reader.executor
        execute.begin("BEGIN")
        try:
            return drive(start(fn, args, self._clock.now()), execute, {})
        finally:
            execute.roll_back()

    # -- other processes -----------------------------------------------------------------------

    @asynccontextmanager
    async def listen(self, heard: Callable[[], None]) -> AsyncIterator[None]:
        self._check()
        if self.memory:  # nobody else can reach it
            yield
            return
        connection = await self._connect("query_only=ON")
        loop = asyncio.get_running_loop()
        stop = threading.Event()

        def watch(raw: sqlite3.Connection) -> None:
            seen = None
            while not stop.wait(LISTEN_EVERY):
                try:
                    found = raw.execute("PRAGMA data_version").fetchone()["data_version"]
                except (sqlite3.Error, MemoryError) as error:
                    log.warning("listening to %s failed and goes on: %s", self.name, error)
                    stop.wait(1)
                    continue
                if found != seen:
                    seen = found
                    loop.call_soon_threadsafe(heard)  # the first time too: it may have been missed

        watching = asyncio.ensure_future(connection.hop(watch))
        try:
            yield
        finally:
            stop.set()
            await outlast(_end(watching, connection))

    @asynccontextmanager
    async def migration(self) -> AsyncIterator[Migration]:
        self._check()
        if self.memory:
            session = SqliteMigration(await self._open_shared(), self.path, self._clock, None)
        else:
            files.create(self.path)
            # In full, whatever was asked for: the journal of a file that is not in WAL mode yet is synced
            # once otherwise, and one that a power cut has torn is then taken for whole.
            pragmas = (*_pragmas("full"), "foreign_keys=OFF", "legacy_alter_table=ON")
            connection = await self._connect(*pragmas)
            session = SqliteMigration(
                connection, self.path, self._clock, SideLock(self.path, self._lock_timeout)
            )
        try:
            await outlast(session.begin())
            yield session
        finally:
            await outlast(session.end())

    async def backup(self, target: Path, progress: Progress | None = None) -> None:
        self._check()
        making = Backup(self.name, target, progress)
        if self.memory:  # in one go, between two transactions: all share its one connection
            await outlast(making.run(await self._open_shared()), making.end_early)
            return
        async with self._permits:  # so that `close` waits for it
            self._check()
            source = await self._connect("query_only=ON")
            try:
                await outlast(making.run(source), making.end_early)
            finally:
                await outlast(source.close())

    async def examine(self, *, deep: bool) -> list[Finding]:
        if self._home.closed:
            raise DatabaseClosedError
        normal = "synchronous=NORMAL" in self._pragmas
        found = [*library.findings(), library.durability(normal=normal)]
        if not self.memory:
            return found + await examine_file(self.path, partial(self._connect, "query_only=ON"), deep=deep)
        if self._writer is None:
            return found  # nothing was ever put into it
        shared = self._writer.hop(lambda raw: contents.findings(raw, deep=deep, is_file=False))
        return found + await outlast(shared)

    # -- connections ---------------------------------------------------------------------------

    async def _connect(self, *extra: str) -> Connection:
        target = MEMORY if self.memory else address(self.name)
        return await connect(
            target,
            self.catalog,
            name=self.name,
            pragmas=extra,
            timeout=self._lock_timeout,
            uri=not self.memory,
        )

    async def _open_lane(self) -> Lane:
        self._check()
        async with self._opening:
            self._check()
            if self._lane is None:
                # One that is left from a try that failed is used again, so that it is closed at the end.
                if self._writer is None:
                    self._writer = await self._open_writer()
                writer = self._writer
                closing = self._closing() if self._closing else None
                recorded = None if self.memory else self._recorded  # nobody else writes to memory
                commit = GroupCommit(
                    writer.executor, self._clock, closing, self._acquire, self._release, recorded
                )
                self._wal = Wal(self.path, writer.executor.connection, int(self._lock_timeout * 1000))
                self._lane = Lane(
                    lambda batches: writer.hop(lambda _: commit(batches)),
                    self._observer,
                    lambda: writer.hop(lambda _: self._tidy()),
                )
        return self._lane

    async def _open_shared(self) -> Connection:
        """The one connection of a database in memory."""
        if self._lane is None:
            await self._open_lane()
        assert self._writer is not None  # noqa: S101  # the lane has it
        return self._writer

    async def _open_writer(self) -> Connection:
        writer = await self._connect(*self._pragmas, "foreign_keys=ON")
        try:
            await outlast(writer.hop(lambda _: writer.executor.check_writable()))
        except BaseException:
            await outlast(writer.close())
            raise
        return writer

    def _acquire(self) -> None:
        if self._lock is not None:
            self._lock.acquire()

    def _release(self) -> None:
        if self._lock is not None:
            try:
                self._wal.after_commit()
            finally:
                self._lock.release()

    def _tidy(self) -> None:
        if self._writer is not None:
            self._writer.executor.roll_back()
        if self._lock is not None and self._lock.try_acquire():
            try:
                self._wal.cut()
            finally:
                self._lock.release()

    def _check(self) -> None:
        self._home.check()


async def _end(watching: asyncio.Future[None], connection: Connection) -> None:
    try:
        await watching
    finally:
        await connection.close()


def _pragmas(durability: str) -> tuple[str, ...]:
    synchronous = {"full": "FULL", "normal": "NORMAL"}[durability]
    barriers = ("fullfsync=ON", "checkpoint_fullfsync=ON") if sys.platform == "darwin" else ()
    return (
        f"synchronous={synchronous}",
        f"wal_autocheckpoint={AUTOCHECKPOINT}",
        "cache_size=-16384",
        *barriers,
    )
