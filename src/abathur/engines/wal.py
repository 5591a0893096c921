"""Keeps the write-ahead log short. Every checkpoint runs under the side lock.

A checkpoint beside a writer can corrupt a database in SQLite before 3.51.3, so nothing here runs
without the lock, and nothing waits for a reader while it holds it.
"""

from __future__ import annotations

import sqlite3
import time
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
"""How long a cut may wait for readers while the lock is held."""
PAUSE: Final = 1.0
"""Seconds between two tries to cut a log that a reader pins."""


class Wal:
    """The log beside one database file."""

    def __init__(self, database: Path, connection: sqlite3.Connection, timeout_ms: int) -> None:
        self._path = Path(f"{database}-wal")
        self._connection = connection
        self._timeout_ms = timeout_ms
        self._not_before = 0.0
        self._commits = 0

    def after_commit(self) -> None:
        """Cut a log that has grown long. The size comes from the directory, not from opening the file."""
        self._commits += 1
        is_due = self._commits % LOOK_EVERY == 0 and time.monotonic() >= self._not_before
        if is_due and self._size() > LONG:
            self.cut(PATIENCE_MS)

    def cut(self, patience_ms: int = 0) -> None:
        """Copy the whole log into the database and truncate it, unless a reader is in the way."""
        if not self._size():
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
        if busy:
            self._not_before = time.monotonic() + PAUSE

    def _size(self) -> int:
        """The log's size; 0 if nobody can tell: the commit before this look is done all the same."""
        try:
            return files.size(self._path)
        except (EngineError, OpenError):
            return 0
