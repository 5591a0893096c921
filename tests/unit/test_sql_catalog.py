"""Statements are read from files, and their parameters are found outside of strings and comments."""

from __future__ import annotations

import sqlite3

import pytest

from abathur.errors import InvalidInputError, UnknownStatementError
from abathur.sql import DIALECTS, Catalog, Query, library, parse, read_directory
from abathur.tasks import reading


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("SELECT :a, :b_2, :a", ("a", "b_2", "a")),
        ("SELECT ':a', \":b\", :c", ("c",)),
        ("SELECT 'it''s :a', :b", ("b",)),
        ("SELECT :a -- :b\n, :c /* :d\n :e */, :f", ("a", "c", "f")),
        ("SELECT CAST(:a AS TEXT)", ("a",)),
        ("SELECT x::text, a:b FROM t", ()),
        ("SELECT 1", ()),
    ],
)
def test_parameters_stand_outside_of_strings_and_comments(sql, names):
    query = Query("t.x", "", sql)
    assert query.names == names
    assert query.positional.count("?") == len(names)
    values = {name: f"value of {name}" for name in names}
    assert query.bind(values) == tuple(values[name] for name in names)
    if names:
        with pytest.raises(KeyError):
            query.bind({})


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_tasks_have_the_same_columns_wherever_they_are_read(dialect):
    def columns(name):
        text = " ".join(library(dialect)[name].positional.split())
        selected = text.partition(" FROM ")[0].removeprefix("SELECT ")
        return [column.partition(".")[2] for column in selected.split(", ")]

    assert columns("tasks.next") == columns("batches.read")
    assert sorted(columns("tasks.next")) == sorted([*reading.STEADY, *reading.CLAIMED])


def test_every_statement_of_the_library_can_be_prepared():
    """Its tables exist, its columns are spelled right, and its parameters have values."""
    import asyncio

    from abathur import Database
    from abathur.projects.tables import STORE

    async def prepare():
        async with Database(":memory:", schema=STORE) as db:
            catalog = library("sqlite")
            raw = db.engine._writer

            def explain(connection):
                for name in catalog:
                    query = catalog[name]
                    try:
                        connection.execute(
                            f"EXPLAIN {query.positional}", [None] * len(query.names)
                        ).fetchall()
                    except sqlite3.Error as error:
                        pytest.fail(f"{name}: {error}")
                return len(list(catalog))

            return await raw.hop(explain)

    assert asyncio.run(prepare()) > 50


def test_a_file_of_statements_is_read_by_its_headers():
    found = parse("t", "-- a: first.\nSELECT 1;\n\n-- b: second.\n-- a note\nSELECT :x\n;\n")
    assert {name: query.purpose for name, query in found.items()} == {"t.a": "first.", "t.b": "second."}
    assert found["t.a"].sql == "SELECT 1"
    assert found["t.b"].names == ("x",)


@pytest.mark.parametrize(
    "text", ["-- a: x.\nSELECT 1\n-- a: y.\nSELECT 2\n", "-- a: x.\n\n-- b: y.\nSELECT 1\n"]
)
def test_a_statement_that_is_empty_or_twice_is_refused(text):
    with pytest.raises(InvalidInputError, match=r"t\.a"):
        parse("t", text)


def test_a_directory_gives_the_shared_files_and_those_of_one_dialect(tmp_path):
    (tmp_path / "a.sql").write_text("-- x: shared.\nSELECT 1\n")
    (tmp_path / "b.sqlite.sql").write_text("-- x: ours.\nSELECT 2\n")
    (tmp_path / "b.postgres.sql").write_text("-- x: theirs.\nSELECT 3\n")
    assert {name: query.sql for name, query in read_directory(tmp_path, "sqlite").items()} == {
        "a.x": "SELECT 1",
        "b.x": "SELECT 2",
    }
    with pytest.raises(InvalidInputError):
        read_directory(tmp_path / "missing", "sqlite")


def test_a_name_that_is_unknown_or_taken_is_said():
    catalog = Catalog({}).extended({"shop.add": "SELECT 1", "other.x": "SELECT 2"}, "sqlite")
    with pytest.raises(UnknownStatementError, match=r"shop\.add"):
        catalog["shop.remove"]
    with pytest.raises(InvalidInputError, match=r"shop\.add"):
        catalog.extended({"shop.add": "SELECT 3"}, "sqlite")
