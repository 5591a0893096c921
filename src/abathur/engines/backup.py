"""A consistent copy of an SQLite database while others write: the one way in which copies are made.

The source connection holds a read transaction from the first page to the last, and the backup API
reads within it. So all chunks are of one snapshot, and a backup never begins again because somebody
writes, however much they do. A reader holds no writer up in WAL mode; it only keeps the log from
being cut until the copy is made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from abathur.engines import files
from abathur.engines.base import Progress
from abathur.engines.connection import Connection
from abathur.engines.faults import translate, translate_os
from abathur.engines.integrity import problems
from abathur.errors import (
    AbathurError,
    CorruptDatabaseError,
    DiskFullError,
    MissingDirectoryError,
    TargetExistsError,
)

CHUNK: Final = 256
"""Pages between two looks at whether to go on: 1 MiB, about 2 ms."""
SYNC_EVERY: Final = 16
"""Chunks between two syncs. Measured with 200 MB: others' commits wait up to 25 ms, else up to 115."""
PARTIAL: Final = ".abathur-backup-"
"""How the name of an unfinished copy begins; its maker's pid follows. A killed one leaves it behind."""

Step = Callable[[int, int], None]
"""Called between chunks with the pages that are copied and all pages. What it raises ends the backup."""


class Stop(Exception):  # noqa: N818  # a signal, no error
    """Raised by a Step: nobody wants the copy any more."""


def back_up(source: sqlite3.Connection, name: str, target: Path, step: Step) -> None:
    """Copy the database of `source`, called `name` in messages, to the new file `target`.

    The copy is written beside `target`, checked and synced, and only then gets its name, so there is
    never half a copy under it. It has mode 0600, the stamp of its source, and no log beside it. Raises
    TargetExistsError, DiskFullError, CorruptDatabaseError or another EngineError.
    """
    with _explained(name, target):
        _back_up(source, name, target, step)


def back_up_file(path: Path, target: Path) -> None:
    """The same from a file, over a connection of its own."""
    with (
        _explained(str(path), target),
        closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=rw", isolation_level=None, uri=True)
        ) as source,
    ):
        _back_up(source, str(path), target, lambda _done, _total: None)


def _back_up(source: sqlite3.Connection, name: str, target: Path, step: Step) -> None:
    if os.path.lexists(target):
        raise TargetExistsError(str(target))
    if not target.parent.is_dir():
        raise MissingDirectoryError(str(target.parent))
    partial = target.with_name(f"{PARTIAL}{os.getpid()}-{secrets.token_hex(4)}")
    fd = files.create_anew(partial)
    try:
        with _snapshot(source), closing(_opened(partial)) as copy:
            pages = _copy(source, copy, target, _synced(step, fd))
            found = problems(copy)
            step(pages, pages)
        if found:
            raise CorruptDatabaseError(name, "; ".join(found))
        files.publish(partial, fd, target)
    finally:
        os.close(fd)
        for leftover in (partial, *(Path(f"{partial}{ending}") for ending in ("-journal", "-wal", "-shm"))):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _opened(path: Path) -> sqlite3.Connection:
    # Nobody else knows of this file, and half of it is worth nothing: no locks, which a network drive
    # may not have, no journal, and its syncs are ours.
    copy = sqlite3.connect(f"file:{quote(str(path))}?mode=rw&vfs=unix-none", isolation_level=None, uri=True)
    try:
        for setting in ("locking_mode=EXCLUSIVE", "journal_mode=OFF", "synchronous=OFF"):
            copy.execute(f"PRAGMA {setting}").fetchall()
    except BaseException:
        copy.close()
        raise
    return copy


def _synced(step: Step, fd: int) -> Step:
    """Bring it to the disk bit by bit: one sync of 200 MB keeps the commits of others waiting."""
    chunks = 0

    def stepped(done: int, total: int) -> None:
        nonlocal chunks
        chunks += 1
        if chunks % SYNC_EVERY == 0:
            os.fsync(fd)
        step(done, total)

    return stepped


def _copy(source: sqlite3.Connection, copy: sqlite3.Connection, target: Path, step: Step) -> int:
    """Copy all pages; returns how many there are."""
    version = _pragma(source, "schema_version")
    pages = _pragma(source, "page_count")
    if shutil.disk_usage(target.parent).free < pages * _pragma(source, "page_size"):
        raise DiskFullError(str(target))

    def copied(_: int, remaining: int, total: int) -> None:
        step(total - remaining, total)

    source.backup(copy, pages=CHUNK, progress=copied)
    # One file that can be opened anywhere, a write-protected directory included.
    copy.execute("PRAGMA journal_mode=DELETE").fetchall()
    # The backup API counts the copy's own up; the stamp holds the source's.
    copy.execute(f"PRAGMA schema_version={version:d}").fetchall()
    return int(pages)


@contextmanager
def _snapshot(source: sqlite3.Connection) -> Iterator[None]:
    """Hold a read transaction; its first read is what fixes the moment."""
    source.execute("BEGIN").fetchall()
    try:
        source.execute("SELECT count(*) FROM sqlite_master").fetchall()
        yield
    finally:
        if source.in_transaction:
            source.execute("ROLLBACK").fetchall()


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


@contextmanager
def _explained(name: str, target: Path) -> Iterator[None]:
    """SQLite's errors as ours: the source is what is damaged or locked, the target what is full."""
    try:
        yield
    except (sqlite3.Error, MemoryError) as error:
        primary = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        of_target = primary in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY)
        path = f"{target} (a copy of {name})" if of_target else name
        raise translate(error, path, "the backup") from error
    except OSError as error:
        if isinstance(error, AbathurError):  # some of ours are also of Python's kinds
            raise
        raise translate_os(error, str(target)) from error


class Backup:
    """One backup: made on a connection's thread, watched and ended from the event loop."""

    def __init__(self, name: str, target: Path, progress: Progress | None) -> None:
        self._name = name
        self._target = target
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._refused: BaseException | None = None

    async def run(self, source: Connection) -> None:
        """Make it. Raises what `progress` raised."""
        with contextlib.suppress(Stop):
            await source.hop(self.make)
        if self._refused is not None:
            raise self._refused

    def make(self, raw: sqlite3.Connection) -> None:
        """Make it, on the connection's thread. Raises Stop if it was ended early."""
        back_up(raw, self._name, self._target, self._step)

    async def end_early(self) -> None:
        """Nobody waits for it any more: leave nothing behind."""
        self._stopped = True

    def _step(self, done: int, total: int) -> None:
        if self._stopped:
            raise Stop
        if self._progress is not None:
            self._loop.call_soon_threadsafe(self._tell, done, total)

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None and not self._stopped:
            try:
                self._progress(done, total)
            except BaseException as error:  # noqa: BLE001  # raised again by `run`
                self._refused = error
                self._stopped = True
