"""The right to change the schema of an SQLite database: its own connection, under the side lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any, TypeVar

from abathur.engines.backup import back_up_file
from abathur.engines.base import GivenClock
from abathur.engines.clock import Clock
from abathur.engines.connection import Connection
from abathur.engines.faults import translate
from abathur.engines.sidelock import SideLock
from abathur.engines.waiting import outlast
from abathur.errors import LockTimeoutError, MigrationError
from abathur.script import ScriptFunction, drive, start

T = TypeVar("T")

WAL_TRIES = 200
WAL_PAUSE = 0.01  # seconds


class SqliteMigration:
    """Implements `engines.base.Migration`. A `lock` of None means an in-memory database."""

    def __init__(
        self, connection: Connection, path: Path, clock: Clock | GivenClock, lock: SideLock | None
    ) -> None:
        self._connection = connection
        self._path = path
        self._clock = clock
        self._lock = lock
        self._begun = False

    async def begin(self) -> None:
        """Take the lock; on the shared connection of a memory database, lift the foreign keys."""
        await self._connection.hop(self._begin)

    def _begin(self, raw: sqlite3.Connection) -> None:
        if self._lock is not None:
            self._lock.acquire()
        else:
            raw.execute("PRAGMA foreign_keys=OFF").fetchall()
            raw.execute("PRAGMA legacy_alter_table=ON").fetchall()
        self._begun = True

    async def end(self) -> None:
        """Give back what `begin` took."""
        if self._lock is None:
            await self._connection.hop(_restore)
            return
        try:
            if self._begun:
                await self._connection.hop(_checkpoint)
            await self._connection.close()
        finally:
            self._lock.close()

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await outlast(self._connection.hop(lambda _: self._transact("BEGIN", fn, args)))

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await outlast(self._connection.hop(lambda _: self._transact("BEGIN IMMEDIATE", fn, args)))

    async def back_up_and_write(self, target: Path, fn: ScriptFunction[T], *args: Any) -> T:
        return await outlast(
            self._connection.hop(lambda _: self._transact("BEGIN IMMEDIATE", fn, args, target))
        )

    def _transact(
        self, begin: str, fn: ScriptFunction[T], args: tuple[Any, ...], target: Path | None = None
    ) -> T:
        execute = self._connection.executor
        execute.begin(begin)
        try:
            if target is not None:
                back_up_file(self._path, target)
            result = drive(start(fn, args, self._clock.now()), execute, {})
            if begin != "BEGIN":
                execute.commit()
        finally:
            execute.roll_back()
        return result

    async def set_pragma(self, name: str, value: str) -> None:
        await outlast(self._connection.hop(lambda raw: self._set_pragma(raw, name, value)))

    def _set_pragma(self, raw: sqlite3.Connection, name: str, value: str) -> None:
        # The switch to WAL answers "locked" at once when somebody else has the file open,
        # whatever the busy timeout says, so it is tried again here.
        found: object = "unknown"
        for _ in range(WAL_TRIES):
            holds = False
            try:
                raw.execute(f"PRAGMA {name}={value}").fetchall()
                found = raw.execute(f"PRAGMA {name}").fetchone()[name]
                holds = name != "journal_mode" or self._lock is None or str(found).lower() == value.lower()
            except (sqlite3.Error, MemoryError) as error:
                typed = translate(error, str(self._path), f"PRAGMA {name}")
                if not isinstance(typed, LockTimeoutError):
                    raise typed from error
            if holds:
                return
            time.sleep(WAL_PAUSE)
        raise MigrationError(
            str(self._path),
            f"PRAGMA {name}={value}",
            f"it is still {found}; another program has the file open",
        )

    async def backup(self, target: Path) -> None:
        # A second connection: the first may be inside of a transaction.
        await outlast(self._connection.hop(lambda _: back_up_file(self._path, target)))


def _checkpoint(raw: sqlite3.Connection) -> None:
    """Bring the stamp into the main file, where a reader of its header finds it."""
    # It fails on a full disk, say. Every commit is in the log all the same.
    with contextlib.suppress(sqlite3.Error, MemoryError):
        raw.execute("PRAGMA busy_timeout=50").fetchall()
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _restore(raw: sqlite3.Connection) -> None:
    raw.execute("PRAGMA legacy_alter_table=OFF").fetchall()
    raw.execute("PRAGMA foreign_keys=ON").fetchall()
