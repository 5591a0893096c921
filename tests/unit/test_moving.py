"""What a move copies, in which order, which values it refuses, and the digests by which it compares."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from abathur import Database, moving
from abathur.errors import UnmovableValueError
from abathur.moving import pages, values
from abathur.moving.mark import Mark
from abathur.moving.tables import Moving
from abathur.moving.tables import moving as tables_of
from abathur.schema import Column, ForeignKey, Reference, Schema, Table
from abathur.schema.tables import LIBRARY
from tests import older

TENTH = Decimal("0.1000000000000000055511151231257827021181583404541015625")  # what a float of 0.1 is
COLUMNS = [Column("x", name) for name in ("TEXT", "INTEGER", "REAL", "BLOB", "NUMERIC")]
ROW = ("text", 1, 1.5, b"\0\xff", 2)


# ---------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("dialect", ["sqlite", "postgres"])
def test_values_of_the_declared_kinds_fit(dialect):
    rows = [ROW, (None,) * 5, ("ünïcode 🦋", -(2**63), math.inf, b"", 2.5)]
    assert values.unfit(COLUMNS, rows, dialect) is None
    assert values.unfit(COLUMNS, [], dialect) is None


@pytest.mark.parametrize(
    ("column", "value", "found"),
    [
        (0, 7, "a whole number"),
        (0, b"x", "bytes"),
        (0, "with \0 in it", "text with the character NUL"),
        (0, "no \udcff utf-8", "text that is no UTF-8"),
        (1, "seven", "text"),
        (1, 1.5, "a number with a fraction"),
        (2, "x", "text"),
        (2, math.nan, "NaN, which is no number"),
        (3, "x", "text"),
        (4, "x", "text"),
    ],
)
def test_a_value_that_postgresql_cannot_hold_is_named(column, value, found):
    wrong = (*ROW[:column], value, *ROW[column + 1 :])
    assert values.unfit(COLUMNS, [ROW, ROW, wrong, ROW], "postgres") == (2, column, found)


def test_sqlite_holds_everything_but_text_that_is_none():
    strange = ("x\0", "seven", "x", 1, "y")
    assert values.unfit(COLUMNS, [strange, (1, 1.5, b"", "x", b"y")], "sqlite") is None
    assert values.unfit(COLUMNS, [("\udcff", 1, 1, None, 1)], "sqlite") == (0, 0, "text that is no UTF-8")


def test_a_digest_does_not_depend_on_the_order_and_adds_up():
    rows = [(f"{n}", n, n / 3, bytes([n]), None) for n in range(20)]
    whole = values.digest(rows)
    assert values.digest(rows[::-1]) == whole
    parts = values.digest(rows[:7]) + values.digest(rows[7:])
    assert parts % values.MODULUS == whole


@pytest.mark.parametrize(
    "other",
    [
        ("Text", *ROW[1:]),
        ("text", 2, *ROW[2:]),
        ("text", 1, 1.25, *ROW[3:]),
        ("text", 1, 1.5, b"\0", 2),
        (None, *ROW[1:]),
    ],
)
def test_another_value_has_another_digest(other):
    assert values.digest([ROW]) != values.digest([other])
    assert values.digest([ROW]) != values.digest([ROW, ROW])


def test_text_and_numbers_and_bytes_that_look_alike_have_different_digests():
    alike = ["1", 1, b"1", None, "None", "b'1'", "1.0"]
    assert len({values.digest([(one,)]) for one in alike}) == len(alike)


def test_a_number_has_one_digest_with_and_without_a_fraction():
    for alike in (
        (5, 5.0, Decimal(5), Decimal("5.0")),
        (0.0, -0.0, False),
        (0.1, Decimal("0.1"), TENTH),
    ):
        assert len({values.digest([(one,)]) for one in alike}) == 1
    assert values.digest([(0.1,)]) != values.digest([(0.2,)])
    assert values.digest([(math.inf,)]) != values.digest([(-math.inf,)])


def test_numbers_that_sqlite_would_round_are_refused_and_others_are_converted():
    kept = [("x", 1, 1.5, b"", one) for one in (Decimal("0.1"), TENTH, Decimal(10**18), Decimal("1e-7"))]
    assert values.unfit(COLUMNS, kept, "sqlite") is None
    assert [row[4] for row in values.for_sqlite(kept)] == [0.1, 0.1, 10**18, 1e-7]
    assert values.for_sqlite([ROW]) == [ROW]
    for lost in (Decimal("0.1234567890123456789"), Decimal(10**19), Decimal("NaN")):
        assert values.unfit(COLUMNS, [(*ROW[:4], lost)], "sqlite") is not None


def test_a_column_whose_type_on_postgresql_is_another_one_is_judged_by_that():
    fraction = Column("seconds", "INTEGER", postgres="double precision")
    assert values.unfit([fraction], [(1.5,), (2,)], "postgres") is None
    own = Column("at", "TEXT", postgres="timestamptz")
    assert values.unfit([own], [(datetime(2026, 1, 1, tzinfo=UTC),)], "postgres") is None
    assert values.unfit([own], [(datetime(2026, 1, 1, tzinfo=UTC),)], "sqlite") == (0, 0, "datetime")


# ----------------------------------------------------------------------------------------- pages


def test_pages_of_large_rows_are_short():
    pace = pages.Pace()
    pace.look([("id", "short")] * pages.FIRST)
    assert pace.limit == pages.MOST
    pace.look([("id", "x" * 500_000, None, 1)] * 2_000)
    assert pace.limit == 8
    pace.look([("id", b"x" * 2 * pages.SIZE)] * 8)
    assert pace.limit == 1
    pace.look([(1, 2)])
    assert pace.limit == pages.MOST


# ---------------------------------------------------------------------------------------- tables


ID = Column("id", "TEXT", primary_key=True)


def refers(name: str, to: str) -> Column:
    return Column(name, "TEXT", references=Reference(to))


def test_a_table_comes_after_those_that_it_refers_to():
    pair = (Column("a", "TEXT"), Column("b", "TEXT"))
    leaf = Table("leaf", pair, foreign_keys=(ForeignKey(("a", "b"), "twig", ("a", "b")),))
    twig = Table("twig", (refers("a", "root"), pair[1]))
    root = Table("root", (ID, refers("up", "root")))
    assert [one.name for one in tables_of([Schema("s", (leaf, twig, root))])] == ["root", "twig", "leaf"]


def test_tables_that_refer_to_each_other_are_all_there():
    schema = Schema("s", (Table("hen", (ID, refers("egg", "egg"))), Table("egg", (ID, refers("hen", "hen")))))
    assert {one.name for one in tables_of([schema])} == {"hen", "egg"}


def test_every_table_of_the_library_is_moved_but_the_stamp_and_the_workers():
    assert {table.name for table in LIBRARY.tables} - {one.name for one in tables_of([LIBRARY])} == {
        "abathur_meta",
        "task_workers",
    }


def test_what_is_computed_is_not_copied():
    table = Table("t", (Column("a", "INTEGER"), Column("b", "INTEGER", generated="a * 2")))
    assert Moving(table).columns == ("a",)


@pytest.mark.parametrize("after", [(), ("id", 7), (b"\0\xff", -1), ("ünïcode",)])
def test_a_mark_is_read_as_it_was_written(after):
    mark = Mark("an id").at("tasks", after)
    assert Mark.parse(str(mark)) == mark
    assert Mark.parse(str(mark.then("comparing"))).phase == "comparing"


# --------------------------------------------------------------------------- strange older files


def sql(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for statement in statements:
            raw.execute(statement)


@pytest.fixture
async def source(tmp_path):
    async with Database(tmp_path / "source.db", environment="test") as db:
        for n in range(3):
            await db.tasks.enqueue(f"{n}")
    return tmp_path / "source.db"


@pytest.mark.parametrize(
    ("change", "column", "found"),
    [
        ("UPDATE tasks SET prompt = CAST(x'61ff' AS TEXT) WHERE prompt = '1'", "prompt", "no UTF-8"),
        ("UPDATE tasks SET id = NULL WHERE prompt = '1'", "id", "NULL, as a key"),
    ],
)
async def test_a_value_that_cannot_be_moved_is_named_and_the_move_goes_on_when_it_is_corrected(
    source, tmp_path, change, column, found
):
    sql(source, "CREATE TABLE kept AS SELECT rowid AS place, id, prompt FROM tasks", change)
    here, there = Database(source), Database(tmp_path / "target.db")
    try:
        with pytest.raises(UnmovableValueError, match=found) as caught:
            await moving.move(here, there, only_declared=True)
        assert (caught.value.table, caught.value.column) == ("tasks", column)
        for name in ("id", "prompt"):
            sql(
                source,
                f"UPDATE tasks SET {name} = (SELECT k.{name} FROM kept AS k WHERE k.place = tasks.rowid)",
            )
        await moving.move(here, there, only_declared=True)
        assert len(await there.tasks.list()) == 3
    finally:
        await here.close()
        await there.close()


async def test_what_postgresql_cannot_hold_is_found_before_anything_is_copied(source):
    sql(source, "UPDATE tasks SET run_at = 'soon', summary = 'a' || char(0) WHERE prompt = '1'")
    (tasks,) = (one for one in tables_of([LIBRARY]) if one.name == "tasks")
    async with Database(source) as db:
        page = await db.read(pages.suspects, tasks)
        with pytest.raises(UnmovableValueError) as caught:
            pages.check(tasks, page, "postgres")
        assert (caught.value.table, caught.value.column) == ("tasks", "summary")
        for one in tables_of([LIBRARY]):
            if one.name != tasks.name:
                assert (await db.read(pages.suspects, one)).rows == []


@pytest.mark.parametrize("version", older.ALL)
async def test_an_older_database_is_moved_when_its_owner_says_what_stays_behind(tmp_path, version):
    older.ALL[version](tmp_path / "old.db")
    here, there = Database(tmp_path / "old.db"), Database(tmp_path / "new.db")
    try:
        done = await moving.move(here, there, only_declared=True)
        names = {one.name: one.rows for one in done.left_behind}
        assert names["tasks.template_name"] == len(older.STATUSES)
        assert names.keys() >= {"agents", "state", "users_own"}
        assert len(await there.tasks.list()) == len(older.STATUSES)
        before, after = await here.audit.verify(), await there.audit.verify()
        assert (after.ok, after.adopted) == (before.ok, before.adopted) == (True, 6)
        assert (await there.initialize(verify=True)).steps == ()
    finally:
        await here.close()
        await there.close()


async def test_a_virtual_table_is_named_and_those_in_which_it_keeps_its_rows_are_not(source, tmp_path):
    sql(source, "CREATE VIRTUAL TABLE words USING fts5(word)", "INSERT INTO words VALUES ('x')")
    here, there = Database(source), Database(tmp_path / "target.db")
    try:
        done = await moving.move(here, there, only_declared=True)
        assert [str(one) for one in done.left_behind] == ["words (virtual)"]
    finally:
        await here.close()
        await there.close()
