"""Keeps the write-ahead log short. Every checkpoint runs under the side lock.

A checkpoint beside a writer can corrupt a database in SQLite before 3.51.3, so nothing here runs
without the lock, and nothing waits for a reader while it holds it, but for a moment when the log is long.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from abathur.engines import files
from abathur.errors import EngineError, OpenError

AUTOCHECKPOINT: Final = 1_000
"""Pages after which a COMMIT itself copies the log back: the better throughput of two measured ways."""
LONG: Final = 4 * AUTOCHECKPOINT * 4_096
"""Bytes of log after which it is cut to nothing; a reader that pins it keeps it from restarting."""
LOOK_EVERY: Final = 16
"""Commits between two looks at the log's size, which cost as much as a small statement."""
PATIENCE_MS: Final = 20
"""How long a cut may wait for readers while the lock is held, when the log is just long."""
LONGEST_PATIENCE_MS: Final = 1_000
"""The same for a log that is four times as long: about the length of the read that it outgrows."""


def patience(size: int) -> int:
    """Milliseconds that a cut of a log of `size` bytes may wait for readers.

    Where reads overlap, somebody always reads, and a cut has to wait for those that began before it.
    The longer the log, the more it is worth: with reads of 50 ms, 20 ms never cut it, and it grew for ever.
    """
    return min(PATIENCE_MS * size**3 // LONG**3, LONGEST_PATIENCE_MS)


class Wal:
    """The log beside one database file."""

    def __init__(self, database: Path, connection: sqlite3.Connection, timeout_ms: int) -> None:
        self._path = Path(f"{database}-wal")
        self._connection = connection
        self._timeout_ms = timeout_ms
        self._cut_at = LONG
        self._commits = 0

    def after_commit(self) -> None:
        """Cut a log that has grown long. The size comes from the directory, not from opening the file."""
        self._commits += 1
        if self._commits % LOOK_EVERY:
            return
        size = self._size()
        if size <= LONG:
            self._cut_at = LONG  # another process has cut it
        elif size > self._cut_at:
            self.cut(patience(size))

    def cut(self, patience_ms: int = 0) -> None:
        """Copy the whole log into the database and truncate it, unless a reader is in the way."""
        size = self._size()
        if not size:
            return
        try:
            self._connection.execute(f"PRAGMA busy_timeout={patience_ms}").fetchall()
            try:
                busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()["busy"]
            finally:
                self._connection.execute(f"PRAGMA busy_timeout={self._timeout_ms}").fetchall()
        except (sqlite3.Error, MemoryError):
            # A full disk, say. Every commit is in the log, and the next COMMIT reports what is wrong.
            busy = True
        # Not again before it has grown: behind a read that lasts, each try would only cost its patience. By
        # steps that are small until the patience is at its longest, so that the log is cut before 64 MiB.
        step = LONG // 2 if size < 4 * LONG else size // 4
        self._cut_at = size + step if busy else LONG

    def _size(self) -> int:
        """The log's size; 0 if nobody can tell: the commit before this look is done all the same."""
        try:
            return files.size(self._path)
        except (EngineError, OpenError):
            return 0
