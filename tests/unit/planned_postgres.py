"""A plan made and applied on a plain connection of PostgreSQL, for the tests of schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg

from abathur.engines.urls import Server, target_of
from abathur.schema import Schema, Table
from abathur.schema.apply import Progress, Work, converge, count_rows, look
from abathur.schema.plan import Options, Plan
from abathur.script import Built, Script, Statement, drive_async
from tests.unit.planned import OURS

Answer = TypeVar("Answer")
OPTIONS = Options(dialect="postgres", version="1.0", environment="test", database_id="d", is_file=False)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose search path is the schema of the URL alone, as the engine's are."""
    server = target_of(url)
    assert isinstance(server, Server)
    db = await asyncpg.connect(server.dsn, server_settings={"search_path": server.schema})
    try:
        await db.execute("SET client_min_messages = warning")
        await db.execute(f'CREATE SCHEMA IF NOT EXISTS "{server.schema}"')
        yield db
    finally:
        await db.close()


async def run(db: asyncpg.Connection, script: Script[Answer]) -> Answer:
    async def execute(built: Statement | Built) -> list[Any]:
        assert isinstance(built, Built)
        first, *others = built.sql.split("?") if built.params else [built.sql]
        sql = first + "".join(f"${number}{part}" for number, part in enumerate(others, 1))
        return list(await db.fetch(sql, *built.params))

    return await drive_async(script, execute, {})


async def plan_of(db: asyncpg.Connection, declared: Schema | Table, options: Options = OPTIONS) -> Plan:
    schema = declared if isinstance(declared, Schema) else Schema("app", (declared,))
    async with db.transaction(isolation="repeatable_read", readonly=True):
        found, plan = await run(db, look([OURS, schema], options, 0))
        return await run(db, count_rows(plan, found))


async def apply(db: asyncpg.Connection, declared: Schema | Table, options: Options = OPTIONS) -> Plan:
    """Apply the plan, and see that nothing is left to do."""
    schema = declared if isinstance(declared, Schema) else Schema("app", (declared,))
    work = Work(name="db", schemas=[OURS, schema], options=options, progress=Progress(), clock=lambda: 0.0)
    async with db.transaction():
        plan = await run(db, converge(work, 0))
    left = await plan_of(db, schema, options=options)
    assert left.empty, left.to_text()
    return plan


async def rows(db: asyncpg.Connection, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await db.fetch(sql)]
