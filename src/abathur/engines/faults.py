"""What the errors of SQLite and of the operating system mean, as errors of this library."""

from __future__ import annotations

import errno
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
    NotADatabaseError,
    OutOfMemoryError,
    ReadOnlyDatabaseError,
    StatementError,
)

TRANSACTION_IS_GONE: Final = (DiskFullError, DiskIOError, OutOfMemoryError, CorruptDatabaseError)
"""After these SQLite may have rolled the whole transaction back, whoever caused it."""


def translate(error: BaseException, path: str, doing: str) -> AbathurError:
    """The typed error for what `sqlite3` raised while `doing` something with the database at `path`."""
    if isinstance(error, MemoryError):
        return OutOfMemoryError(path)
    if isinstance(error, (KeyError, OverflowError, UnicodeError)):
        return _wrong_value(error, doing)
    code = getattr(error, "sqlite_errorcode", None)
    found = str(error)
    match code & 0xFF if code is not None else None:  # the primary code
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return LockTimeoutError(path, 0, None)
        case sqlite3.SQLITE_NOMEM:
            return OutOfMemoryError(path)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return ReadOnlyDatabaseError(path, found)
        case sqlite3.SQLITE_IOERR:
            return DiskIOError(path, found)
        case sqlite3.SQLITE_CORRUPT:
            return CorruptDatabaseError(path, found)
        case sqlite3.SQLITE_FULL:
            return DiskFullError(path)
        case sqlite3.SQLITE_CONSTRAINT:
            return ConstraintError(doing, found)
        case sqlite3.SQLITE_NOTADB:
            return NotADatabaseError(path, found)
        case _:
            return StatementError(doing, found)


def translate_os(error: OSError, path: str) -> AbathurError:
    """The typed error for what the operating system said about a file or directory of the database."""
    found = error.strerror or str(error)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return DiskFullError(path)
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return ReadOnlyDatabaseError(path, found)
        case _:
            return DiskIOError(path, found)


def _wrong_value(error: KeyError | OverflowError | UnicodeError, doing: str) -> InvalidInputError:
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
