"""Statements for one row made into statements for many, and URLs of servers: both are text in, text out."""

from __future__ import annotations

import pytest

from abathur.engines.urls import Server, target_of
from abathur.errors import InvalidUrlError
from abathur.sql import Query, library
from abathur.sql.sets import VARIANTS, SetBased, joined, set_based


@pytest.mark.parametrize(
    ("sql", "types", "expected"),
    [
        (
            "UPDATE t SET n = n - $1 WHERE id = $2 AND kind = 'a $3 b'",
            ["int8", "text"],
            (
                "UPDATE t SET n = n - given.p1 FROM unnest($1::int8[], $2::text[]) AS given (p1, p2)"
                " WHERE id = given.p2 AND kind = 'a $3 b'"
            ),
        ),
        (
            (
                "INSERT INTO t (id, n)\nVALUES ($1, COALESCE($2, 0))\n"
                "ON CONFLICT (id) DO UPDATE SET n = excluded.n"
            ),
            ["text", "int8"],
            (
                "INSERT INTO t (id, n) SELECT given.p1, COALESCE(given.p2, 0)"
                " FROM unnest($1::text[], $2::int8[]) AS given (p1, p2)"
                " ON CONFLICT (id) DO UPDATE SET n = excluded.n"
            ),
        ),
        (
            "DELETE FROM t WHERE id = $1",
            ["text"],
            "DELETE FROM t USING unnest($1::text[]) AS given (p1) WHERE id = given.p1",
        ),
        ("SELECT id FROM t WHERE id = $1", ["text"], None),
        ("DELETE FROM t WHERE id = 1", [], None),
    ],
)
def test_a_statement_for_one_row_becomes_one_for_many(sql, types, expected):
    assert set_based(sql, types) == expected


@pytest.mark.parametrize(
    ("sql", "types", "same", "expected"),
    [
        (
            "UPDATE t SET n = n - $1 WHERE id = $2",
            ["int8", "text"],
            [True, False],
            "UPDATE t SET n = n - $1::int8 FROM unnest($2::text[]) AS given (p2) WHERE id = given.p2",
        ),
        (
            "INSERT INTO t (id, n, at) VALUES ($1, COALESCE($2, 0), $3)",
            ["text", "int8", "text"],
            [False, True, True],
            (
                "INSERT INTO t (id, n, at) SELECT given.p1, COALESCE($2::int8, 0), $3::text"
                " FROM unnest($1::text[]) AS given (p1)"
            ),
        ),
        ("DELETE FROM t WHERE id = $1", ["text"], [True], None),
    ],
)
def test_what_is_the_same_in_all_rows_is_given_once(sql, types, same, expected):
    assert set_based(sql, types, same) == expected


def test_values_are_sent_once_where_all_rows_have_the_same():
    update = SetBased("UPDATE t SET n = $1 WHERE id = $2", ("int8", "text"))
    assert update.over([(1, "a"), (2, "b")]) == (
        "UPDATE t SET n = given.p1 FROM unnest($1::int8[], $2::text[]) AS given (p1, p2) WHERE id = given.p2",
        [(1, 2), ("a", "b")],
    )
    assert update.over([(7, "a"), (7, "b"), (7, "c")]) == (
        "UPDATE t SET n = $1::int8 FROM unnest($2::text[]) AS given (p2) WHERE id = given.p2",
        [7, ("a", "b", "c")],
    )
    assert update.over([(None, "a"), (None, "b")])[1] == [None, ("a", "b")]
    assert update.over([(1, "a"), (2, "b"), (1, "c")])[1] == [(1, 2, 1), ("a", "b", "c")]
    assert SetBased("SELECT $1", ("text",)).over([("a",), ("b",)]) is None
    assert update.over([(1, "a"), (1, "a")]) is None, "one statement would change the row once, not twice"


def test_a_statement_has_a_few_texts_however_its_columns_are_filled():
    columns = ("a", "b", "c", "d", "e")
    names, places = ", ".join(columns), ", ".join(f"${at}" for at in range(1, 6))
    insert = SetBased(f"INSERT INTO t ({names}) VALUES ({places})", ("int8",) * 5)
    texts = set()
    for same in range(31):  # each way in which some columns, but not all, hold one value
        rows = [tuple(1 if same >> at & 1 else row for at in range(5)) for row in range(3)]
        text, values = insert.over(rows)
        texts.add(text)
        again = [value if isinstance(value, tuple) else (value,) * 3 for value in values]
        assert list(zip(*again, strict=True)) == rows
    assert len(texts) <= VARIANTS + 1


def test_every_statement_of_ours_that_changes_rows_can_take_many():
    """Those that are given rows are found by the engine at run time; here all that could be."""
    catalog = library("postgres")
    changing = [name for name in catalog if catalog[name].numbered.startswith(("INSERT", "UPDATE"))]
    changing = [name for name in changing if name.startswith(("tasks.", "dependencies.", "audit.append"))]
    single = [
        name
        for name in changing
        if catalog[name].names
        and set_based(catalog[name].numbered, ["text"] * len(catalog[name].names)) is None
    ]
    assert len(changing) > 15
    assert single == []


def test_the_rows_that_a_write_locks_are_named_by_the_last_line():
    query = Query(
        "a.b", "x", "SELECT id FROM t WHERE id > :id -- a remark\nLIMIT :n\n-- locking FOR UPDATE SKIP LOCKED"
    )
    assert query.numbered == "SELECT id FROM t WHERE id > $1 LIMIT $2"
    assert query.positional == "SELECT id FROM t WHERE id > ? LIMIT ?"
    assert query.locking == " FOR UPDATE SKIP LOCKED"
    assert query.names == ("id", "n")


@pytest.mark.parametrize(
    ("url", "dsn", "name", "schema", "pool"),
    [
        (
            "postgresql://me:secret@db.example:5433/agents",
            "postgresql://me:secret@db.example:5433/agents",
            "postgresql://me:***@db.example:5433/agents",
            "abathur",
            4,
        ),
        (
            "postgres://me@/agents?host=/run/pg&schema=team_a&pool=8",
            "postgresql://me@/agents?host=%2Frun%2Fpg",
            "postgresql://me@/agents?host=/run/pg&schema=team_a",
            "team_a",
            8,
        ),
        (
            "postgresql:///agents?user=me&password=secret&sslmode=verify-full",
            "postgresql:///agents?user=me&password=secret&sslmode=verify-full",
            "postgresql:///agents?user=me&password=***&sslmode=verify-full",
            "abathur",
            4,
        ),
    ],
)
def test_a_url_of_a_server_is_taken_apart_and_its_name_has_no_password(url, dsn, name, schema, pool):
    assert target_of(url) == Server(dsn, name, schema, pool)
    assert "secret" not in repr(target_of(url))


def test_statements_are_joined_into_one_whose_places_are_theirs_in_order():
    texts = (
        "INSERT INTO a (x, y) VALUES ($1, '$1')",
        "UPDATE c SET n = 0",
        "DELETE FROM b WHERE y = $1 OR z = $2",
    )
    assert joined(texts) == (
        "WITH part1 AS (INSERT INTO a (x, y) VALUES ($1, '$1')), part2 AS (UPDATE c SET n = 0)"
        " DELETE FROM b WHERE y = $2 OR z = $3"
    )
    assert joined(texts[:1]) == texts[0]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://host/db",
        "postgresql://host/db?schema=Upper",
        "postgresql://host/db?schema=pg_mine",
        "postgresql://host/db?schema=a%22b",
        "postgresql://host/db?pool=0",
        "postgresql://host/db?pool=many",
        "postgresql://host:port/db",
        "postgresql://[host/db",
    ],
)
def test_a_url_that_names_no_database_is_refused(url):
    with pytest.raises(InvalidUrlError):
        target_of(url)
