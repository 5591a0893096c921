"""The log is cut when it is long, waits the longer the longer it is, and is let alone behind a long read."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from abathur.engines import wal as module
from abathur.engines.wal import LONG, LONGEST_PATIENCE_MS, LOOK_EVERY, PATIENCE_MS, Wal, patience

PAGE = b"x" * 4_000


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.db"


@pytest.fixture
def connection(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("PRAGMA wal_autocheckpoint=0").fetchall()
        connection.execute("CREATE TABLE t (x)")
        yield connection


@pytest.fixture
def reader(path, connection):
    """Another connection, with a snapshot of the table as it is now."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM t").fetchall()
        yield reader


def size(path) -> int:
    return path.with_name("a.db-wal").stat().st_size


def fill(connection, pages: int = 100) -> None:
    connection.executemany("INSERT INTO t VALUES (?)", [(PAGE,)] * pages)


def commits(wal, number: int = LOOK_EVERY) -> None:
    for _ in range(number):
        wal.after_commit()


def test_patience_grows_with_the_log_and_has_an_end():
    assert patience(LONG) == PATIENCE_MS
    assert patience(2 * LONG) == 8 * PATIENCE_MS
    assert patience(100 * LONG) == LONGEST_PATIENCE_MS
    sizes = [patience(LONG * n // 4) for n in range(4, 40)]
    assert sizes == sorted(sizes)


def test_a_short_log_is_let_alone_until_it_is_cut(path, connection):
    wal = Wal(path, connection, 5_000)
    wal.cut()
    fill(connection)
    before = size(path)
    assert before > 0
    commits(wal)
    assert size(path) == before
    wal.cut()
    assert size(path) == 0
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5_000


def test_a_long_log_is_cut_at_every_sixteenth_commit(path, connection, monkeypatch):
    monkeypatch.setattr(module, "LONG", 200_000)
    wal = Wal(path, connection, 0)
    fill(connection)
    commits(wal, LOOK_EVERY - 1)
    assert size(path) > 200_000
    commits(wal, 1)
    assert size(path) == 0
    assert connection.execute("SELECT COUNT(*) FROM t").fetchone()[0] == 100


def test_behind_a_long_read_the_log_is_not_tried_again_before_it_has_grown(
    path, connection, reader, monkeypatch
):
    monkeypatch.setattr(module, "LONG", 200_000)
    wal = Wal(path, connection, 0)
    cuts = []
    cut = wal.cut
    monkeypatch.setattr(wal, "cut", lambda patience_ms=0: (cuts.append(size(path)), cut(patience_ms)))
    fill(connection)
    commits(wal, 5 * LOOK_EVERY)
    assert len(cuts) == 1
    assert size(path) == cuts[0]
    fill(connection, 50)
    commits(wal, 5 * LOOK_EVERY)
    assert len(cuts) == 2
    reader.execute("ROLLBACK")
    commits(wal, LOOK_EVERY)
    assert size(path) > 0, "it has not grown since"
    cut()
    assert size(path) == 0
    fill(connection)
    commits(wal, LOOK_EVERY)
    assert size(path) == 0
    assert len(cuts) == 3


def test_a_log_that_another_process_has_cut_counts_from_nothing(path, connection, reader, monkeypatch):
    monkeypatch.setattr(module, "LONG", 200_000)
    wal = Wal(path, connection, 0)
    fill(connection, 400)
    commits(wal)
    assert size(path) > 1_000_000, "the reader is in the way"
    reader.execute("ROLLBACK")
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    commits(wal)
    fill(connection)
    commits(wal)
    assert size(path) == 0


def test_a_cut_that_fails_is_no_error(path, connection):
    wal = Wal(path, connection, 0)
    fill(connection)
    connection.execute("BEGIN")
    connection.execute("INSERT INTO t VALUES (1)")
    wal.cut()  # SQLite refuses to do it inside of a transaction
    assert size(path) > 0
    connection.execute("COMMIT")
    wal.cut()
    assert size(path) == 0
