"""The right to change the schema of an SQLite database: its own connection, under the side lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from abathur.engines.backup import back_up
from abathur.engines.clock import Clock
from abathur.engines.connection import Connection, outlast
from abathur.engines.faults import translate
from abathur.engines.sidelock import SideLock
from abathur.errors import LockTimeoutError, MigrationError
from abathur.script import ScriptFunction, drive, start

T = TypeVar("T")

WAL_TRIES = 200
WAL_PAUSE = 0.01  # seconds


class SqliteMigration:
    """Implements `engines.base.Migration`. A `lock` of None means an in-memory database."""

    def __init__(self, connection: Connection, path: Path, clock: Clock, lock: SideLock | None) -> None:
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
        return await outlast(self._connection.hop(lambda _: self._transact("BEGIN", "ROLLBACK", fn, args)))

    async def write(self, fn: ScriptFunction[T], *args: Any) -> T:
        return await outlast(
            self._connection.hop(lambda _: self._transact("BEGIN IMMEDIATE", "COMMIT", fn, args))
        )

    def _transact(self, begin: str, end: str, fn: ScriptFunction[T], args: tuple[Any, ...]) -> T:
        execute = self._connection.executor
        execute.control(begin)
        try:
            result = drive(start(fn, args, self._clock.now()), execute, {})
            execute.control(end)
        finally:
            if execute.connection.in_transaction:
                execute.control("ROLLBACK")
        return result

    async def set_pragma(self, name: str, value: str) -> None:
        await outlast(self._connection.hop(lambda raw: self._set_pragma(raw, name, value)))

    def _set_pragma(self, raw: sqlite3.Connection, name: str, value: str) -> None:
        # The switch to WAL answers "locked" at once when somebody else has the file open,
        # whatever the busy timeout says, so it is tried again here.
        for _ in range(WAL_TRIES):
            try:
                raw.execute(f"PRAGMA {name}={value}").fetchall()
            except sqlite3.Error as error:
                typed = translate(error, str(self._path), f"PRAGMA {name}")
                if not isinstance(typed, LockTimeoutError):
                    raise typed from error
            found = raw.execute(f"PRAGMA {name}").fetchone()[name]
            if name != "journal_mode" or self._lock is None or str(found).lower() == value.lower():
                return
            time.sleep(WAL_PAUSE)
        raise MigrationError(
            str(self._path),
            f"PRAGMA {name}={value}",
            f"it is still {found}; another program has the file open",
        )

    async def backup(self, target: Path) -> None:
        await outlast(self._connection.hop(lambda _: self._backup(target)))

    def _backup(self, target: Path) -> None:
        # A second connection: the first may be inside of a transaction.
        with closing(sqlite3.connect(self._path, isolation_level=None)) as source:
            back_up(source, str(self._path), target, lambda _done, _total: None)


def _checkpoint(raw: sqlite3.Connection) -> None:
    """Bring the stamp into the main file, where a reader of its header finds it."""
    raw.execute("PRAGMA busy_timeout=50").fetchall()
    with contextlib.suppress(sqlite3.Error):  # a full disk: every commit is in the log all the same
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _restore(raw: sqlite3.Connection) -> None:
    raw.execute("PRAGMA legacy_alter_table=OFF").fetchall()
    raw.execute("PRAGMA foreign_keys=ON").fetchall()
