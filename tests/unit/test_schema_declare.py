"""A declaration checks itself and is written as SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from abathur.errors import InvalidInputError
from abathur.schema import (
    Backfill,
    Column,
    CopyRows,
    ForeignKey,
    Index,
    InsertRows,
    PerDialect,
    Reference,
    Schema,
    Table,
    Trigger,
    VirtualTable,
    changes_postgres,
    render,
    render_postgres,
    render_sqlite,
)
from abathur.schema.tokens import tokens_equal

KEY = Column("id", "TEXT", primary_key=True)
UP = Column("p", "TEXT", references=Reference("t"))
T = Table("t", (KEY, Column("a", "TEXT")))


@pytest.mark.parametrize("name", ["", "A", "1a", "a-b", "a\n", "a" * 64, "sqlite_a", "é", 'a"b', None])
def test_a_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be the name"):
        Schema("x", (Table(name, (KEY,)),))


@pytest.mark.parametrize(
    "declare",
    [
        lambda: Schema("x", (T, T)),
        lambda: Schema("x", (T,), indexes=(Index("t", "t", ("a",)),)),
        lambda: Schema("x", (T,), indexes=(Index("i", "t", ("b",)),)),
        lambda: Schema("x", (T,), indexes=(Index("i", "u", ("a",)),)),
        lambda: Schema("x", (Table("t", ()),)),
        lambda: Schema("x", (Table("t", (KEY, KEY)),)),
        lambda: Schema("x", (Table("t", (KEY,), primary_key=("id",)),)),
        lambda: Schema("x", (Table("t", (KEY,), unique=(("b",),)),)),
        lambda: Schema("x", (Table("t", (Column("n", "TEXT", autoincrement=True),)),)),
        lambda: Schema("x", (Table("t", (KEY, Column("g", "TEXT", generated="1", default="2"))),)),
        lambda: Schema("x", (Table("t", (KEY, Column("g", "TEXT", generated=PerDialect(sqlite="1")))),)),
        lambda: Schema("x", (T,), indexes=(Index("i", "t", ("a",), using="gin (a)"),)),
        lambda: Schema("x", (Table("t", [KEY]),)),  # type: ignore[arg-type]
        lambda: Schema("x", (Table("t", (KEY, UP), free_foreign_keys=("p",)),)),
        lambda: Schema("x", (T,), backfills=(Backfill("t", "b", "1"),)),
        lambda: Schema("x", (T,), copies=(CopyRows("old", "t", "b"),)),
        lambda: Schema("x", (T,), inserts=(InsertRows("u", "rows", "INSERT"),)),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(declare: Callable[[], Schema]) -> None:
    with pytest.raises(InvalidInputError):
        declare()


def test_equal_declarations_have_equal_hashes_and_any_change_changes_it() -> None:
    one = Schema("x", (T,), indexes=(Index("i", "t", ("a",)),))
    assert one.sha256 == Schema("x", (T,), indexes=(Index("i", "t", ("a",)),)).sha256
    assert one.sha256 != Schema("x", (T,), indexes=(Index("i", "t", ("a DESC",)),)).sha256


def test_what_is_rendered_is_what_sqlite_keeps() -> None:
    table = Table(
        "order",
        (
            Column("id", "INTEGER", primary_key=True, autoincrement=True),
            Column("group", "TEXT", not_null=True, default="'a''b'", collate="NOCASE"),
            Column("made", "TEXT", default="CURRENT_TIMESTAMP"),
            Column("half", "REAL", default="1 / 2.0"),
            Column("up", "INTEGER", references=Reference("order", "id", "CASCADE"), check="up <> id"),
            Column("loud", "TEXT", generated='upper("group")'),
        ),
        unique=(("group", "up"),),
        checks=("half < 10",),
        foreign_keys=(ForeignKey(("up",), "order", ("id",), "SET NULL"),),
    )
    index = Index("i", "order", ("group DESC", {"sqlite": "lower(loud)"}), unique=True, where="up IS NULL")
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(render_sqlite.create_table(table))
        text = render.create_index(index, "sqlite")
        assert text is not None
        connection.execute(text)
        kept = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        assert tokens_equal(kept["order"], render_sqlite.create_table(table))
        assert tokens_equal(kept["i"], text)
    finally:
        connection.close()


def test_a_thing_without_a_text_for_the_dialect_is_left_out() -> None:
    only = PerDialect(postgres="lower(a)")
    assert render.create_index(Index("i", "t", (only,)), "sqlite") is None
    assert render_sqlite.create_trigger(Trigger("x", "t", only)) is None
    assert changes_postgres.virtual_table(VirtualTable("v", "fts5", ("a",))) is None


def test_a_generated_column_may_be_computed_differently_and_an_index_have_a_method_of_the_server() -> None:
    words = Column("g", "TEXT", generated={"sqlite": "lower(a)", "postgres": "upper(a)"}, postgres="tsvector")
    assert render_sqlite.column_text(words) == '"g" TEXT GENERATED ALWAYS AS (lower(a)) VIRTUAL'
    assert render_postgres.column_text(words) == '"g" tsvector GENERATED ALWAYS AS (upper(a)) STORED'
    index = Index("i", "t", ("a",), using="gin")
    assert render.create_index(index, "sqlite") == 'CREATE INDEX IF NOT EXISTS "i" ON "t" ("a")'
    assert render.create_index(index, "postgres") == 'CREATE INDEX IF NOT EXISTS "i" ON "t" USING gin ("a")'


def test_what_a_declaration_does_not_use_is_not_in_its_hash() -> None:
    assert Schema("x", (T,), indexes=(Index("i", "t", ("a",)),)).sha256 == (
        "ff698055e4993825fe57ab6e388319676199aa03e1ff3496e5872b72f6a5a319"
    )


@pytest.mark.parametrize("default", ["5", "-1.5", "1e3", "'it''s'", "NULL", "x'00'", "true"])
def test_a_constant_default_is_added_with_its_column(default: str) -> None:
    added = render_sqlite.add_column("t", Column("n", "TEXT", not_null=True, default=default))
    assert added == f'ALTER TABLE "t" ADD COLUMN "n" TEXT NOT NULL DEFAULT {default}'


def test_what_sqlite_cannot_add_to_rows_is_left_out_of_the_added_column() -> None:
    late = Column("n", "TEXT", not_null=True, default="CURRENT_TIMESTAMP")
    assert render_sqlite.add_column("t", late) == 'ALTER TABLE "t" ADD COLUMN "n" TEXT'
    bare = Column("n", "TEXT", not_null=True)
    assert render_sqlite.add_column("t", bare) == 'ALTER TABLE "t" ADD COLUMN "n" TEXT'


@pytest.mark.parametrize(
    ("sql", "guarded"),
    [
        ("CREATE TABLE t (a)", "CREATE TABLE IF NOT EXISTS t (a)"),
        ("create  unique index i ON t(a)", "create  unique index IF NOT EXISTS i ON t(a)"),
        ("CREATE TRIGGER IF NOT EXISTS x AFTER", "CREATE TRIGGER IF NOT EXISTS x AFTER"),
        ("DROP TABLE t", "DROP TABLE t"),
    ],
)
def test_every_create_says_if_not_exists(sql: str, guarded: str) -> None:
    assert render_sqlite.guarded(sql) == guarded
