"""What the errors of SQLite and of the operating system mean, as errors of this library."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from typing import Final

from abathur.errors import (
    AbathurError,
    ConstraintError,
    CorruptDatabaseError,
    DiskFullError,
    DiskIOError,
    InvalidInputError,
    LockTimeoutError,
    MissingModuleError,
    NotADatabaseError,
    OutOfMemoryError,
    ReadOnlyDatabaseError,
    StatementError,
)

TRANSACTION_IS_GONE: Final = (DiskFullError, DiskIOError, OutOfMemoryError, CorruptDatabaseError)
"""After these SQLite may have rolled the whole transaction back, whoever caused it."""

NEEDS_SPACE: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_DIR_FSYNC,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
"""What SQLite also says where no space is left: it reports SQLITE_FULL for ENOSPC at a write alone."""
LITTLE: Final = 64 * 1024
"""Bytes below which a disk is full: the index of the log alone takes 32 KiB."""

_NO_MODULE: Final = "no such module: "


def translate(error: BaseException, path: str, doing: str) -> AbathurError:
    """The typed error for what `sqlite3` raised while `doing` something with the database at `path`."""
    if isinstance(error, MemoryError):
        return OutOfMemoryError(path)
    if isinstance(error, (KeyError, OverflowError, UnicodeError)):
        return wrong_value(error, doing)
    code = getattr(error, "sqlite_errorcode", None)
    found = str(error)
    match code & 0xFF if code is not None else None:  # the primary code
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return LockTimeoutError(path, None, None)
        case sqlite3.SQLITE_NOMEM:
            return OutOfMemoryError(path)
        case sqlite3.SQLITE_READONLY:
            return ReadOnlyDatabaseError(path, found)
        case sqlite3.SQLITE_CANTOPEN:
            return DiskFullError(path) if _is_full(path) else ReadOnlyDatabaseError(path, found)
        case sqlite3.SQLITE_IOERR:
            return DiskFullError(path) if code in NEEDS_SPACE and _is_full(path) else DiskIOError(path, found)
        case sqlite3.SQLITE_CORRUPT:
            return CorruptDatabaseError(path, found)
        case sqlite3.SQLITE_FULL:
            return DiskFullError(path)
        case sqlite3.SQLITE_CONSTRAINT:
            return ConstraintError(doing, found)
        case sqlite3.SQLITE_NOTADB:
            return NotADatabaseError(path, found)
        case _:
            return _of_text(found, path, doing)


def _of_text(found: str, path: str, doing: str) -> AbathurError:
    """The error for what SQLite tells from others by its words alone."""
    if found.startswith(_NO_MODULE):
        return MissingModuleError(path, found.removeprefix(_NO_MODULE))
    return StatementError(doing, found)


def translate_os(error: OSError, path: str) -> AbathurError:
    """The typed error for what the operating system said about a file or directory of the database."""
    found = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFullError(path)
        case (
            errno.EACCES
            | errno.EPERM
            | errno.EROFS
            | errno.ENOENT
            | errno.ENOTDIR
            | errno.EISDIR
            | errno.ELOOP
        ):
            return ReadOnlyDatabaseError(path, found)
        case _:
            return DiskIOError(path, found)


def _is_full(path: str) -> bool:
    """Whether the disk has no room, or this process may not write files of any size (`ulimit -f`)."""
    if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return True
    try:
        found = os.statvfs(os.path.dirname(path))  # noqa: PTH120  # `:memory:` has none, and fails
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LITTLE or (found.f_files > 0 and found.f_favail == 0)


def wrong_value(error: KeyError | OverflowError | UnicodeError, doing: str) -> InvalidInputError:
    """The error for a value that a script did not give, or that no database can take."""
    if isinstance(error, KeyError):
        return InvalidInputError(
            f"The statement {doing} got no value for its parameter :{error.args[0]}.",
            "Expected a value for each of its parameters.",
            "Pass it as a keyword of Statement(...), or in each of its rows.",
        )
    if isinstance(error, OverflowError):
        return InvalidInputError(
            f"A number given to {doing} is too large.", "Expected integers of 64 bits.", "Store it as text."
        )
    return InvalidInputError(
        f"A text given to {doing} holds a lone surrogate.",
        "Expected text that UTF-8 can hold.",
        "Decode it with errors='replace'.",
    )
