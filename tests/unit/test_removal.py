"""Removing a database's file: what is left where it could not be done."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from abathur.engines.removal import remove
from abathur.errors import LockTimeoutError


def make(path, mode):
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"PRAGMA journal_mode={mode}")
        raw.execute("CREATE TABLE t (x)")


def mode_of(path):
    with closing(sqlite3.connect(path, timeout=0)) as raw:
        raw.execute("INSERT INTO t VALUES (1)")
        raw.commit()
        return raw.execute("PRAGMA journal_mode").fetchone()[0]


def refuse(_):
    raise RuntimeError("no copy")


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_without_a_copy_nothing_is_removed_and_the_file_is_as_it_was(tmp_path, mode):
    path = tmp_path / "a.db"
    make(path, mode)
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        with pytest.raises(RuntimeError, match="no copy"):
            remove(raw, path, 1, refuse)
        assert mode_of(path) == mode, "others may use it although our connection is still open"


def test_a_removal_that_others_have_kept_waiting_leaves_wal_mode(tmp_path):
    path = tmp_path / "a.db"
    make(path, "wal")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as raw,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockTimeoutError):
            remove(raw, path, 0.1)
        other.execute("ROLLBACK")
        assert mode_of(path) == "wal"


def test_a_copy_is_made_when_nobody_can_write_any_more(tmp_path):
    path = tmp_path / "a.db"
    make(path, "wal")

    def copy(_):
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            mode_of(path)

    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        remove(raw, path, 1, copy)
    assert [left.name for left in tmp_path.iterdir()] == ["a.db-lock"]
