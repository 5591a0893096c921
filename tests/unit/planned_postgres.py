"""A small driver over asyncpg, without the engine: for the tests of schemas on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from abathur.schema import Schema, Table
from abathur.schema.apply import Progress, Work, converge, count_rows, look
from abathur.schema.plan import Options, Plan
from abathur.script import Built, Emit, Script
from tests.unit.planned import OURS

Answer = TypeVar("Answer")
OPTIONS = Options(dialect="postgres", version="1.0", environment="test", database_id="d", is_file=False)


def placed(sql: str) -> str:
    """The statement with `$n` for each `?`. Our own have none in their strings."""
    first, *others = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))


async def drive(db: asyncpg.Connection, script: Script[Answer]) -> Answer:
    """Run a script's statements one after the other on a connection."""
    answer: list[Any] | None = None
    while True:
        try:
            step = script.send(answer)  # type: ignore[arg-type]  # the first send must be None
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        if isinstance(step, Emit):
            answer = []
            continue
        assert isinstance(step, Built)
        answer = await db.fetch(placed(step.sql), *step.params)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose search path is the schema of the URL alone, as the engine's are."""
    plain, _, schema = url.partition("&schema=")
    db = await asyncpg.connect(plain, server_settings={"search_path": schema})
    try:
        yield db
    finally:
        await db.close()


def _schemas(declared: Schema | Table | Sequence[Schema]) -> list[Schema]:
    if isinstance(declared, Table):
        declared = Schema("app", (declared,))
    return [OURS, declared] if isinstance(declared, Schema) else list(declared)


async def plan_of(
    db: asyncpg.Connection, declared: Schema | Table | Sequence[Schema], options: Options = OPTIONS
) -> Plan:
    async with db.transaction(isolation="repeatable_read", readonly=True):
        found, plan = await drive(db, look(_schemas(declared), options, 0))
        return await drive(db, count_rows(plan, found))


async def apply(
    db: asyncpg.Connection,
    declared: Schema | Table | Sequence[Schema],
    options: Options = OPTIONS,
    **settings: Any,
) -> Plan:
    """Apply the plan as the engine does, under the lock, and see that nothing is left to do."""
    work = Work(
        name="db",
        schemas=_schemas(declared),
        options=options,
        progress=Progress(),
        clock=lambda: 0.0,
        **settings,
    )
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(hashtext(current_setting('search_path')))")
        plan = await drive(db, converge(work, 0))
    left = await plan_of(db, declared, options)
    assert left.empty, left.to_text()
    return plan
