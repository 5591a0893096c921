"""Removing the file of a database, with its log, when nobody else has it open."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from abathur.engines.faults import translate, translate_os
from abathur.engines.sidelock import SideLock
from abathur.errors import LockTimeoutError

PAUSE: Final = 0.02
"""Seconds between two looks at whether everybody has let go of it."""
LOGS: Final = ("-wal", "-shm", "-journal")


Copy = Callable[[sqlite3.Connection], None]
"""Makes a copy of what a connection has open. What it raises keeps the file from being removed."""


def remove(raw: sqlite3.Connection, path: Path, timeout: float, copy: Copy | None = None) -> None:
    """Remove the file that a connection has open; `timeout` is how many seconds to wait for the others.

    Whoever has it open would go on with a file that has no name, and what it writes would be lost. Only a
    connection that is alone can end WAL mode, so that is asked for, and the file stays locked until it is
    gone: nothing can be written between the copy and the end. The side lock's file stays: a process that
    waits on a deleted one would exclude nobody. Raises LockTimeoutError or another EngineError, or what
    `copy` raises, and then nothing was removed.
    """
    with _alone(raw, path, timeout):
        if copy is not None:
            copy(raw)
        try:
            path.unlink()
            for ending in LOGS:
                Path(f"{path}{ending}").unlink(missing_ok=True)
            _sync(path.parent)
        except OSError as error:
            raise translate_os(error, str(path)) from error


@contextlib.contextmanager
def _alone(raw: sqlite3.Connection, path: Path, timeout: float) -> Iterator[None]:
    """Hold the side lock, and the file, which nobody else can have open; it stays locked with the connection.

    Between two tries the side lock is free: those that are waited for need it to come to an end. A file
    that is still there afterwards is in WAL mode again, if it was before.
    """
    lock = SideLock(path, timeout)
    deadline = time.monotonic() + timeout
    mode = None
    try:
        raw.execute("PRAGMA busy_timeout=0").fetchall()
        while True:
            lock.acquire()
            try:
                mode = mode or raw.execute("PRAGMA journal_mode").fetchone()[0]
                # The mode that it is in is answered, if it cannot be changed.
                if raw.execute("PRAGMA journal_mode=DELETE").fetchone()[0] != "wal":
                    raw.execute("PRAGMA locking_mode=EXCLUSIVE").fetchall()
                    raw.execute("BEGIN EXCLUSIVE").fetchall()
                    raw.execute("COMMIT").fetchall()  # the lock stays, and a copy can be made
                    break
            except (sqlite3.Error, MemoryError) as error:
                typed = translate(error, str(path), "its removal")
                if not isinstance(typed, LockTimeoutError):
                    raise typed from error
            lock.release()
            _pause(path, timeout, deadline)
        yield
    except BaseException:
        if path.exists():
            _let_go(raw, mode)
        raise
    finally:
        lock.close()


def _pause(path: Path, timeout: float, deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise LockTimeoutError(str(path), timeout, None)
    time.sleep(PAUSE)


def _let_go(raw: sqlite3.Connection, mode: str | None) -> None:
    # If somebody has it open by now WAL mode cannot be set; whoever initializes it next does it.
    with contextlib.suppress(sqlite3.Error, MemoryError):
        raw.execute("PRAGMA locking_mode=NORMAL").fetchall()
        raw.execute("SELECT count(*) FROM sqlite_master").fetchall()  # only with that the lock is given back
        if mode == "wal":
            raw.execute("PRAGMA journal_mode=WAL").fetchall()


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
