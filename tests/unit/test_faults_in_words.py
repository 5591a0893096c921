"""What SQLite says becomes the error of this library that says what to do."""

from __future__ import annotations

import errno
import resource
import sqlite3

import pytest

from abathur import errors
from abathur.engines.faults import translate, translate_os


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
        (sqlite3.SQLITE_PROTOCOL, errors.LockTimeoutError),
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


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.DiskFullError),
        (errno.EDQUOT, errors.DiskFullError),
        (errno.EFBIG, errors.DiskFullError),
        (errno.EACCES, errors.ReadOnlyDatabaseError),
        (errno.EROFS, errors.ReadOnlyDatabaseError),
        (errno.EIO, errors.DiskIOError),
        (errno.EMFILE, errors.DiskIOError),
    ],
)
def test_each_number_of_the_operating_system_has_its_error(number, kind):
    found = translate_os(OSError(number, "what the system said"), "/a/b.db")
    assert type(found) is kind
    assert "/a/b.db" in str(found)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, errors.DiskFullError),
        (sqlite3.SQLITE_IOERR_SHMSIZE, errors.DiskFullError),
        (sqlite3.SQLITE_IOERR_READ, errors.DiskIOError),
    ],
)
def test_where_files_may_not_grow_a_write_that_fails_means_that_there_is_no_space(code, kind, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_000, resource.RLIM_INFINITY))
    assert type(translate(sqlite_error(code), "/a/b.db", "COMMIT")) is kind
