"""What the driver would change without a word is refused, or arrives as it was given."""

from __future__ import annotations

from decimal import Decimal

import pytest

from abathur import Database, Statement
from abathur.errors import InvalidInputError
from abathur.schema import Column, Schema, Table
from abathur.script import Together

SCHEMA = Schema(
    "numbers",
    (
        Table(
            "numbers", (Column("id", "TEXT", primary_key=True), Column("n", "INTEGER"), Column("x", "REAL"))
        ),
    ),
)
QUERIES = {
    "numbers.add": "INSERT INTO numbers (id, n, x) VALUES (:id, :n, :x)",
    "numbers.above": "SELECT id FROM numbers WHERE n > :n",
    "numbers.all": "SELECT id, n, x FROM numbers ORDER BY id",
}


def add(name, n, x):
    yield Statement("numbers.add", id=name, n=n, x=x)


def add_many(*rows):
    yield Statement("numbers.add", rows=rows, columns=("id", "n", "x"))


def add_together(name, n, x):
    yield Together(Statement("numbers.add", id="t", n=1, x=1), Statement("numbers.add", id=name, n=n, x=x))


def above(n):
    yield Statement("numbers.above", n=n)


def found():
    return [(row["id"], row["n"], row["x"]) for row in (yield Statement("numbers.all"))]


@pytest.mark.parametrize("fraction", [1.5, -0.25, float("inf"), float("nan"), Decimal("2.5")])
async def test_a_fraction_is_refused_where_a_whole_number_is_stored(postgres_url, fraction):
    async with Database(postgres_url, schema=SCHEMA, queries=QUERIES) as db:
        for fn, args in (
            (add, ("a", fraction, 0)),
            (add_many, (("b", 1, 0.5), ("c", fraction, 0.5))),
            (add_together, ("d", fraction, 0)),
        ):
            with pytest.raises(InvalidInputError, match=r"numbers\.add was given :n = .*whole number.*int8"):
                await db.run(fn, *args)
        with pytest.raises(InvalidInputError, match=r"numbers\.above was given :n = "):
            await db.read(above, fraction)
        assert await db.read(found) == []


async def test_a_whole_number_may_be_given_as_any_type_and_a_fraction_to_a_column_that_holds_it(postgres_url):
    async with Database(postgres_url, schema=SCHEMA, queries=QUERIES) as db:
        await db.run(add_many, ("a", 3.0, 0.5), ("b", None, -2.25))
        await db.run(add, "c", Decimal(4), 1)
        assert await db.read(found) == [("a", 3, 0.5), ("b", None, -2.25), ("c", 4, 1.0)]
