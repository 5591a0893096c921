"""Any history of declarations converges on PostgreSQL too, with any part of it done by hand or broken off.

What is declared is then there, every row and value that was there is there still, and a second run finds
nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from abathur.schema import Schema
from abathur.schema.apply import Progress, Work, converge
from abathur.script import Built, Script
from tests.property.test_initialize import histories
from tests.unit.planned import OURS
from tests.unit.planned_postgres import OPTIONS, apply, connected, plan_of, run

TABLES = ("one", "two", "three", "users")
VALUES = {
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
    "timestamp": st.just("2026-01-01"),
    "integer": st.integers(-9, 9),
    "real": st.floats(0, 1),
    "blob": st.binary(max_size=2),
}
WATCH = """
CREATE OR REPLACE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN UPDATE users SET n = n + 1; RETURN NEW; END $$
"""


def for_postgres(schema: Schema) -> Schema:
    """Without the values that no assignment takes: a number is no bytea."""
    return evolve(
        schema, backfills=tuple(fill for fill in schema.backfills if not fill.column.endswith("_blob"))
    )


async def everything(db: asyncpg.Connection) -> dict[tuple[str, str], list[Any]]:
    """Each column of each table of the application, in the order of its rows."""
    listed = await db.fetch(
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = ANY($1)",
        TABLES,
    )
    return {
        (table, column): [row[0] for row in await db.fetch(f'SELECT "{column}" FROM "{table}" ORDER BY id')]
        for table, column in listed
    }


def nothing_is_lost(before: dict[Any, Any], after: dict[Any, Any]) -> None:
    assert {name: after.get(name) for name in before} == before


async def insert(db: asyncpg.Connection, schema: Schema, data: st.DataObject) -> None:
    """Rows with drawn values in some of the columns."""
    for table in schema.tables:
        kinds = {c.name: c.name.partition("_")[2] for c in table.columns if c.name != "id" and not c.not_null}
        drawn = st.fixed_dictionaries({name: st.none() | VALUES[kind] for name, kind in kinds.items()})
        for row in data.draw(st.lists(drawn, max_size=3)):
            names = "".join(f', "{name}"' for name in row)
            holes = "".join(f", ${number}" for number in range(1, len(row) + 1))
            await db.execute(f"INSERT INTO {table.name} (id{names}) VALUES (DEFAULT{holes})", *row.values())


async def by_hand(db: asyncpg.Connection, schema: Schema, data: st.DataObject) -> None:
    """Somebody executes some of the statements, and makes a table and triggers of his own."""
    wanted = await plan_of(db, schema)
    await db.execute("CREATE TABLE IF NOT EXISTS users (id bigint PRIMARY KEY, n bigint)")
    await db.execute("INSERT INTO users VALUES (1, 0) ON CONFLICT DO NOTHING")
    for sql in (built.sql for step in wanted.steps for built in step.statements):
        is_ddl = sql.startswith(("CREATE", "ALTER", "COMMENT"))
        if is_ddl and data.draw(st.booleans(), label=sql):
            with suppress(
                asyncpg.UndefinedColumnError, asyncpg.UndefinedObjectError, asyncpg.UndefinedTableError
            ):
                await db.execute(sql)
    await db.execute(WATCH)
    for name in ("one", "two", "three"):
        if await db.fetchval("SELECT to_regclass($1)", name) is not None:
            event = f"AFTER UPDATE ON {name} FOR EACH ROW"
            await db.execute(f"CREATE OR REPLACE TRIGGER watch {event} EXECUTE FUNCTION watch()")


class BrokenOffError(Exception):
    """The process is gone; what it had not committed is undone."""


async def broken_off(db: asyncpg.Connection, schema: Schema, after: int) -> None:
    """Initialize, but be gone after some statements, if there are so many."""

    def some() -> Script[None]:
        work = Work(
            name="db", schemas=[OURS, schema], options=OPTIONS, progress=Progress(), clock=lambda: 0.0
        )
        script, answer, done = converge(work, 0), None, 0
        while done < after:
            try:
                step = script.send(answer)  # type: ignore[arg-type]  # the first send must be None
            except StopIteration:
                break
            assert isinstance(step, Built)
            answer = yield step
            done += 1
        script.close()
        raise BrokenOffError

    with suppress(BrokenOffError):
        async with db.transaction():
            await run(db, some())


def test_any_history_with_any_part_done_by_hand_or_broken_off_converges_and_keeps_every_row(
    postgres_url: str, figure: Callable[[str], None]
) -> None:
    seen = 0

    async def scenario(history: list[Schema], data: st.DataObject) -> None:
        async with connected(postgres_url) as db:
            schema = await db.fetchval("SELECT current_schema()")
            await db.execute(f'DROP SCHEMA "{schema}" CASCADE; CREATE SCHEMA "{schema}"')
            for version in history[:-1]:
                await apply(db, version)
                await insert(db, version, data)
            await by_hand(db, history[-1], data)
            before = await everything(db)
            await broken_off(db, history[-1], data.draw(st.integers(0, 30), label="broken off after"))
            assert await everything(db) == before
            await apply(db, history[-1])  # and sees that nothing is left to do
            nothing_is_lost(before, await everything(db))

    @settings(max_examples=40)
    @given(histories(), st.data())
    def any_history(history: list[Schema], data: st.DataObject) -> None:
        nonlocal seen
        seen += 1
        asyncio.run(scenario([for_postgres(version) for version in history], data))

    any_history()
    figure(f"{seen} histories on PostgreSQL, parts by hand and broken off: converged, no row lost")
