"""What cannot hold a declaration is a conflict, and what is merely looser is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from abathur.schema import (
    Column,
    Index,
    Reference,
    Schema,
    Table,
    VirtualTable,
)
from abathur.schema.compare_sqlite import can_hold
from tests.unit.planned import BARE, KEY, A, T, apply, plan_of, said


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA legacy_alter_table=ON")
        yield connection


def test_a_table_of_our_name_that_is_not_ours_is_a_conflict(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE abathur_meta (something TEXT)")
    assert plan_of(db, BARE).conflicts


@pytest.mark.parametrize(
    ("before", "table", "found"),
    [
        ("CREATE VIEW t AS SELECT 1 AS id", BARE, "a view"),
        ("CREATE VIRTUAL TABLE t USING fts5(id)", BARE, "a virtual table"),
        ("CREATE TABLE u (a); CREATE INDEX t ON u (a)", BARE, "an index of u"),
        ("CREATE TABLE t (a TEXT)", T, "missing"),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, a INTEGER)", T, "INTEGER"),
        ("CREATE TABLE t (id TEXT, a TEXT PRIMARY KEY)", T, "keyed by (a)"),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)",
            Table("t", (KEY, A), unique=(("a",),)),
            "not UNIQUE",
        ),
        ("CREATE TABLE t (id TEXT PRIMARY KEY)", Table("t", (KEY, A), unique=(("a",),)), "missing"),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)",
            Table("t", (KEY, Column("a", "TEXT", check="a > 1"))),
            "without CHECK a > 1",
        ),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY)",
            Table("t", (KEY,), checks=("id > 1",)),
            "without CHECK (id > 1)",
        ),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)",
            Table("t", (KEY, Column("a", "TEXT", collate="NOCASE"))),
            "without COLLATE NOCASE",
        ),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT)",
            Table("t", (KEY, Column("a", "TEXT", generated="id"))),
            "a stored column",
        ),
        ("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT AS (id))", T, "a generated column"),
    ],
)
def test_what_cannot_hold_the_declaration_is_a_conflict_with_a_remedy(
    db: sqlite3.Connection, before: str, table: Table, found: str
) -> None:
    db.executescript(before)
    conflict = plan_of(db, table).conflicts[0]
    assert conflict.table == "t"
    assert conflict.found == found
    assert conflict.remedy


def test_a_unique_index_stands_for_a_unique_constraint(db: sqlite3.Connection) -> None:
    db.executescript("CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT); CREATE UNIQUE INDEX mine ON t (a DESC)")
    apply(db, Table("t", (KEY, A), unique=(("a",),)))


def test_an_index_name_on_a_table_of_the_user_is_a_conflict(db: sqlite3.Connection) -> None:
    db.executescript("CREATE TABLE mine (a); CREATE INDEX i ON mine (a)")
    schema = Schema("app", (BARE,), indexes=(Index("i", "t", ("id",)),))
    assert plan_of(db, schema).conflicts[0].found == "an index of mine"


def test_a_virtual_table_with_other_arguments_is_a_conflict_and_an_unknown_module_is_left_alone(
    db: sqlite3.Connection,
) -> None:
    db.execute("CREATE VIRTUAL TABLE found USING fts5(a)")
    db.execute("PRAGMA writable_schema=ON")
    db.execute(
        "INSERT INTO sqlite_master (type, name, tbl_name, rootpage, sql) "
        "VALUES ('table', 'vectors', 'vectors', 0, 'CREATE VIRTUAL TABLE vectors USING vss0(e(768))')"
    )
    db.execute("PRAGMA writable_schema=RESET")
    same = Schema("app", virtual_tables=(VirtualTable("vectors", "vss0", ("e(768)",)),))
    apply(db, same)
    other = Schema("app", virtual_tables=(VirtualTable("found", "fts5", ("b",)),))
    assert plan_of(db, other).conflicts[0].table == "found"


def test_looser_constraints_and_other_defaults_are_no_difference(db: sqlite3.Connection) -> None:
    db.execute("CREATE TABLE t (ID text primary key, a TEXT DEFAULT 'x', p TEXT)")
    table = Table(
        "t",
        (
            KEY,
            Column("a", "TEXT", not_null=True, default="'y'"),
            Column("p", "TEXT", references=Reference("t")),
        ),
    )
    plan = apply(db, table)
    assert said(plan) == []
    assert plan.notes == ("t.a has the default 'x', not 'y'", "t.p has no foreign key to t")


@pytest.mark.parametrize(
    ("found", "declared", "holds"),
    [
        ("INTEGER", "TEXT", False),
        ("VARCHAR(9)", "TEXT", True),
        ("", "TEXT", True),
        ("BLOB", "REAL", True),
        ("NUMERIC", "INTEGER", True),
        ("TIMESTAMP", "TIMESTAMP", True),
        ("timestamp", "TEXT", False),
        ("INTEGER", "REAL", False),
        ("REAL", "INTEGER", False),
        ("BIGINT", "INTEGER", True),
        ("TEXT", "BLOB", False),
    ],
)
def test_a_column_holds_what_it_gives_back_unchanged(found: str, declared: str, holds: bool) -> None:
    assert can_hold(found, declared) is holds
