"""What SQLite says becomes the error of this library that says what to do."""

from __future__ import annotations

import sqlite3

import pytest

from abathur import errors
from abathur.engines.faults import translate


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("what SQLite said")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, errors.LockTimeoutError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, errors.LockTimeoutError),
        (sqlite3.SQLITE_LOCKED, errors.LockTimeoutError),
        (sqlite3.SQLITE_NOMEM, errors.OutOfMemoryError),
        (sqlite3.SQLITE_READONLY, errors.ReadOnlyDatabaseError),
        (sqlite3.SQLITE_CANTOPEN, errors.ReadOnlyDatabaseError),
        (sqlite3.SQLITE_IOERR_WRITE, errors.DiskIOError),
        (sqlite3.SQLITE_CORRUPT, errors.CorruptDatabaseError),
        (sqlite3.SQLITE_FULL, errors.DiskFullError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, errors.ConstraintError),
        (sqlite3.SQLITE_NOTADB, errors.NotADatabaseError),
        (sqlite3.SQLITE_ERROR, errors.StatementError),
    ],
)
def test_each_code_of_sqlite_has_its_error(code, kind):
    found = translate(sqlite_error(code), "/a/b.db", "t.x")
    assert type(found) is kind
    assert "/a/b.db" in str(found) or "t.x" in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (MemoryError(), errors.OutOfMemoryError, "/a/b.db"),
        (KeyError("n"), errors.InvalidInputError, ":n"),
        (OverflowError(), errors.InvalidInputError, "too large"),
        ("\ud800", errors.InvalidInputError, "lone surrogate"),
        (sqlite3.ProgrammingError("closed"), errors.StatementError, "closed"),
    ],
)
def test_what_python_says_has_its_error_too(error, kind, said):
    if isinstance(error, str):
        with pytest.raises(UnicodeEncodeError) as caught:
            error.encode()
        error = caught.value
    found = translate(error, "/a/b.db", "t.x")
    assert type(found) is kind
    assert said in str(found)
