"""What somebody with the rights of the database's owner can do to the trail, on each engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import asyncpg

from abathur import Statement
from abathur.engines.urls import Server, target_of
from abathur.script import Script

TABLES = ("audit", "audit_seals", "audit_checkpoints", "audit_tombstones")
"""The tables that triggers keep as they were written."""


def unguarded(table: str, what: str) -> Mapping[str, str]:
    """Takes away the trigger that keeps `rows` or `values` of a table."""
    trigger = f"{table}_keeps_{what}"
    return {
        "sqlite": f"DROP TRIGGER {trigger}",
        # Its like on PostgreSQL; what is only disabled can be enabled again after the test.
        "postgres": f"ALTER TABLE {table} DISABLE TRIGGER {trigger}",
    }


UNGUARD = {
    f"test.drop_{table}_{what}": unguarded(table, what) for table in TABLES for what in ("rows", "values")
}
"""The statements by which all of them are taken away."""


def unguard() -> Script[None]:
    """A script that takes all of them away."""
    for name in UNGUARD:
        yield Statement(name)


WIND_BACK = {
    "sqlite": "UPDATE sqlite_sequence SET seq = :row WHERE name = 'audit'",
    "postgres": "UPDATE abathur_meta SET value = CAST(CAST(:row AS BIGINT) AS TEXT)"
    " WHERE key = 'audit_issued'",
}
"""Makes the last id that was given to a row of the trail a lower one."""


async def execute(url: str, *statements: str) -> list[Mapping[str, Any]]:
    """Execute SQL on a connection of one's own. Returns the rows of the last statement."""
    found: list[Any] = []
    server = target_of(url)
    if isinstance(server, Server):
        connection = await asyncpg.connect(server.dsn, server_settings={"search_path": server.schema})
        try:
            for sql in statements:
                found = await connection.fetch(sql)
        finally:
            await connection.close()
    else:
        with closing(sqlite3.connect(server, isolation_level=None)) as file:
            file.row_factory = sqlite3.Row
            for sql in statements:
                found = file.execute(sql).fetchall()
    return [dict(row) for row in found]


async def tamper(url: str, *statements: str) -> list[Mapping[str, Any]]:
    """The same without the triggers that protect the trail."""
    if isinstance(target_of(url), Server):
        disable = [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in TABLES]
    else:
        found = await execute(url, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
        disable = [f"DROP TRIGGER {row['name']}" for row in found]
    return await execute(url, *disable, *statements)
