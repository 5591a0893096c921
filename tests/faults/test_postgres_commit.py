"""The connection is lost during COMMIT: what was applied is told as done, what was not is done again."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from abathur import Database, Statement, schema
from abathur.errors import OutcomeUnknownError
from tests import schemas
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults.servers import Victim
from tests.faults.wire import wire

SCHEMA = schema.Schema(
    owner="app", tables=(schema.Table("app_rows", (schema.Column("id", "INTEGER", primary_key=True),)),)
)
SQL = {
    "app.add": "INSERT INTO app_rows (id) VALUES (:id)",
    "app.all": "SELECT id FROM app_rows ORDER BY id",
}


def add(number):
    yield Statement("app.add", id=number)
    return number


def rows():
    return [row["id"] for row in (yield Statement("app.all"))]


@pytest.fixture
async def cut(victim: Victim):
    """A wire to the server, and a Database behind it."""
    async with wire(victim.place) as (line, server):
        url = schemas.place(server, schemas.a_name())
        queries = {**QUERIES, **SQL}
        async with Database(url, environment="test", schema=SCHEMA, queries=queries, lock_timeout=5) as db:
            yield db, line, victim
            await check_invariants(db)


async def nothing() -> None:
    pass


@pytest.mark.row("R21")
async def test_what_was_cut_off_before_its_commit_is_done_again_and_once(cut):
    db, line, _ = cut
    line.before = nothing
    made = await db.tasks.enqueue("x")
    line.before = nothing
    assert await db.run(add, 1) == 1
    assert line.cuts == 2
    assert [task.id for task in await db.tasks.list()] == [made.id]
    assert await db.read(rows) == [1]


@pytest.mark.row("R21")
async def test_what_was_committed_before_its_answer_was_lost_is_told_as_done(cut):
    db, line, _ = cut
    line.after = nothing
    made = await db.tasks.enqueue("x")
    assert line.cuts == 1
    assert [task.id for task in await db.tasks.list()] == [made.id]
    await db.tasks.enqueue("y")


@pytest.mark.row("R21")
async def test_of_what_left_no_trail_nobody_can_tell_and_that_is_said(cut):
    """Its number may be another transaction's by now, if the server has crashed."""
    db, line, _ = cut
    line.after = nothing
    with pytest.raises(OutcomeUnknownError):
        await db.run(add, 1)
    assert await db.read(rows) == [1]


@pytest.mark.row("R21")
async def test_a_backend_that_was_ended_in_good_order_can_be_asked_about(cut):
    db, line, victim = cut

    async def end_it() -> None:
        pids = [
            row["pid"]
            for row in await ask(
                victim, "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'"
            )
        ]
        await ask(victim, "SELECT pg_terminate_backend($1)", pids[0])

    line.before = end_it
    assert await db.run(add, 1) == 1
    assert await db.read(rows) == [1]


@pytest.mark.row("R21")
@pytest.mark.parametrize("what", ["a task", "an application's row"])
async def test_a_number_that_a_crashed_server_has_given_again_proves_nothing(cut, what):
    """The server dies with the transaction in its memory; the next one gets its number, and commits."""
    db, line, victim = cut

    async def crash() -> None:
        await asyncio.to_thread(victim.restart, "immediate")
        connection = await asyncpg.connect(victim.url)
        for number in range(40):  # whoever comes first after the crash gets the numbers that were lost
            await connection.execute(f"CREATE TABLE IF NOT EXISTS somebody_{number % 2} (id int)")
            await connection.execute(f"INSERT INTO somebody_{number % 2} VALUES (1)")
        await connection.close()

    line.before = crash
    if what == "a task":
        made = await db.tasks.enqueue("x")
        assert [task.id for task in await db.tasks.list()] == [made.id]
    else:
        with pytest.raises(OutcomeUnknownError):
            await db.run(add, 1)
        assert await db.read(rows) == []
    assert line.cuts == 1


async def ask(victim: Victim, sql: str, *values: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(victim.url)
    try:
        return await connection.fetch(sql, *values)
    finally:
        await connection.close()
