"""Reads one file: its text if it has one, and what tells later whether it has changed.

Other programs write to these files meanwhile, replace them by links or pipes, or remove them. So a file is
opened without following a link and without waiting, it is looked at before and after it was read, and a
moment that is too near to tell two changes apart is not trusted.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Collection, Iterator
from typing import Final

from attrs import frozen

LARGEST: Final = 1024 * 1024
"""Bytes of the largest file that is indexed."""
TRIES: Final = 3
"""Times that a file which changes while it is read is read again at once."""
RECENT: Final = 2 * 10**9
"""Nanoseconds after a change in which another one may leave no other time; some file systems have whole
seconds, or two."""
UNKNOWN: Final = -1
"""The time of a file whose content has to be looked at next time."""

REASONS: Final = {errno.ENOENT: "gone", errno.ENOTDIR: "gone", errno.ELOOP: "special"}
"""Errors that say what a file is by now: removed, below one that is no directory any more, or a link."""
OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_SQLITE: Final = b"SQLite format 3\0"
_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@frozen
class Reading:
    """What a file held when it was read."""

    text: str | None
    """None when it is skipped."""
    skipped: str | None
    """``binary``, ``oversized``, ``unreadable``, ``special`` or ``gone``; None for text."""
    size: int = 0
    mtime_ns: int = UNKNOWN
    sha256: str = ""
    """Of its bytes, in hexadecimal; empty if they were not read."""


def read(path: str, *, live: Collection[tuple[int, int]] = (), largest: int = LARGEST) -> Reading:
    """Read a file. Raises nothing that is about the file: what cannot be read is skipped, with the reason.

    What this process lacks, descriptors or memory, is an OSError: it says nothing about the file.

    live: the files, as (device, inode), that this process has open. They are not opened here, because
    closing them would give away the locks that SQLite holds on them.
    """
    found = Reading(None, "gone")
    for left in reversed(range(TRIES)):
        try:
            found, is_steady = _read_once(path, live, largest)
        except OSError as error:
            if error.errno in OURS:
                raise
            return Reading(None, REASONS.get(error.errno or 0, "unreadable"))
        if is_steady:
            return found
        if left:
            time.sleep(0.01)
    return Reading(found.text, found.skipped, found.size, UNKNOWN, found.sha256)


def _read_once(path: str, live: Collection[tuple[int, int]], largest: int) -> tuple[Reading, bool]:
    """What the file holds, and whether it stayed the same meanwhile."""
    seen = os.lstat(path)
    if not stat.S_ISREG(seen.st_mode):
        return Reading(None, "special"), True
    if (seen.st_dev, seen.st_ino) in live:
        return Reading(None, "binary"), True
    if seen.st_size > largest:
        return Reading(None, "oversized"), True
    began = time.time_ns()
    descriptor = os.open(path, _FLAGS)
    data = b""
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):  # it was replaced meanwhile
            return Reading(None, "special"), True
        data = _bytes(descriptor, largest + 1)
        after = os.fstat(descriptor)
    finally:
        # A connection of this process may have opened it since `live` was made; then it stays open.
        if not (data.startswith(_SQLITE) and _times_open(descriptor) > 1):
            os.close(descriptor)
    if len(data) > largest:
        return Reading(None, "oversized"), True
    is_steady = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(
        data
    ) == before.st_size
    # A clock that is wrong, or another machine's, makes a time in the future: it is not trusted either.
    mtime = before.st_mtime_ns if before.st_mtime_ns < began - RECENT else UNKNOWN
    text = decoded(data)
    digest = hashlib.sha256(data).hexdigest()
    skipped = "binary" if text is None else None
    return Reading(text, skipped, before.st_size, mtime, digest), is_steady


def _bytes(descriptor: int, most: int) -> bytes:
    parts = []
    while most > 0:
        part = os.read(descriptor, min(most, 1 << 20))
        if not part:
            break
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def decoded(data: bytes) -> str | None:
    """The text of a file's bytes, or None for bytes that are none.

    UTF-8, or what its byte order mark says. Wrong bytes of a text become U+FFFD.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, "replace")
            break
    else:
        if b"\0" in data:
            return None
        text = data.decode("utf-8", "replace")
    return None if "\0" in text else text


def open_files() -> frozenset[tuple[int, int]]:
    """The files that this process has open now, as (device, inode)."""
    return frozenset(_open())


def _times_open(descriptor: int) -> int:
    """How many descriptors of this process lead to the file of one."""
    seen = os.fstat(descriptor)
    return sum(file == (seen.st_dev, seen.st_ino) for file in _open())


def _open() -> Iterator[tuple[int, int]]:
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError, ValueError):  # that of the listing itself is closed again
            seen = os.fstat(int(name))
            if stat.S_ISREG(seen.st_mode):
                yield seen.st_dev, seen.st_ino
