"""Places for databases on a PostgreSQL server for tests: each test has a schema of its own.

To initialize a schema takes 75 to 110 ms, a copy of a template database by CREATE DATABASE 60 to 150 ms
(by either strategy), and TRUNCATE of its tables 65 ms, for each of these writes some fifty files. A test
leaves a few rows: to delete them takes 2 ms. So a schema is given on from test to test, emptied, until a test
has altered its structure.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg
from attrs import define, field

from abathur import Database
from abathur.testing.threads import run_apart

Connection: TypeAlias = asyncpg.Connection

STRUCTURE = """
WITH here AS (SELECT oid FROM pg_namespace WHERE nspname = $1),
  relations AS (SELECT oid, xmin FROM pg_class WHERE relnamespace = (SELECT oid FROM here))
SELECT string_agg(entry, ',' ORDER BY entry) FROM (
  SELECT concat_ws(' ', oid, xmin) FROM relations
  UNION ALL SELECT concat_ws(' ', attrelid, attnum, xmin) FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM relations)
  UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM relations)
  UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_constraint
    WHERE connamespace = (SELECT oid FROM here)
  UNION ALL SELECT concat_ws(' ', oid, xmin) FROM pg_proc WHERE pronamespace = (SELECT oid FROM here)
) AS entries (entry)
"""
"""The rows of the catalogs, by the transactions that wrote them, so that any DDL shows.

A trigger is shown by what it does: a test may disable one, which is enabled again.
"""

DISABLED = """
SELECT DISTINCT c.relname AS table FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND t.tgenabled = 'D' AND NOT t.tgisinternal
"""

REGISTERED = """
SELECT c.relname AS table FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname ~ '^r_[0-9]{6,}$'
"""
"""The tables that plugins have registered (abathur.rows); without them the structure is as it was."""

HOLDERS = """
SELECT pg_terminate_backend(pid) FROM (
  SELECT DISTINCT l.pid FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND l.pid <> pg_backend_pid()
) AS holders
"""


def place(server: str, schema: str) -> str:
    """The URL of a database in this schema of the server."""
    return f"{server}{'&' if '?' in server else '?'}schema={schema}"


def a_name() -> str:
    """The name of a schema that nobody else has."""
    return f"test_{secrets.token_hex(6)}"


def run(server: str, work: Callable[[Connection], Awaitable[None]]) -> None:
    """Do something with a connection, from outside of any event loop."""

    async def connected() -> None:
        connection = await asyncpg.connect(server)
        try:
            await work(connection)
        finally:
            await connection.close()

    run_apart(connected)


def drop(server: str, *schemas: str) -> None:
    """Remove schemas with all that is in them."""

    async def work(connection: Connection) -> None:
        for schema in schemas:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    run(server, work)


@define
class Prepared:
    """A schema that holds an empty, initialized database, for one test after the other."""

    server: str
    _schema: str | None = field(default=None, init=False)
    _structure: str = field(default="", init=False)
    _empty: str = field(default="", init=False)

    def take(self) -> str:
        """The name of the schema."""
        if self._schema is None:
            self._schema = a_name()
            run_apart(lambda: self._initialize(place(self.server, str(self._schema))))
            run(self.server, self._remember)
        return self._schema

    def give_back(self, *, left_open: bool = False) -> None:
        """Empty the schema; remove it if its structure is another one than it was.

        left_open: whether the test has left a connection behind, which may hold locks; it is ended then.
        """
        if left_open:
            run(self.server, self._end_others)
        run(self.server, self._clean)

    def remove(self) -> None:
        """Remove the schema."""
        if self._schema is not None:
            drop(self.server, self._schema, f"{self._schema}_kept")
            self._schema = None

    async def _initialize(self, url: str) -> None:
        async with Database(url, environment="test"):
            pass

    async def _remember(self, connection: Connection) -> None:
        """Keep a copy of the rows that there are, and write down how to get back to them."""
        schema, kept = f'"{self._schema}"', f'"{self._schema}_kept"'
        query = (
            "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = $2 ORDER BY 1"
        )
        steps = [
            "BEGIN",
            # What `abathur prune` does to be allowed to remove rows of the trail.
            f"INSERT INTO {schema}.abathur_meta (key, value) VALUES ('audit_guard', 'up')",
        ]
        await connection.execute(f"CREATE SCHEMA {kept}")
        tables = [row["relname"] for row in await connection.fetch(query, schema, b"r")]
        for table in sorted(tables, key="abathur_meta".__eq__):  # the guard comes down last
            steps.append(f'DELETE FROM {schema}."{table}"')
            await connection.execute(f'CREATE TABLE {kept}."{table}" AS TABLE {schema}."{table}"')
            if await connection.fetchval(f'SELECT EXISTS (SELECT 1 FROM {kept}."{table}")'):
                steps.append(f'INSERT INTO {schema}."{table}" SELECT * FROM {kept}."{table}"')
        for row in await connection.fetch(query, schema, b"S"):
            name = f'{schema}."{row["relname"]}"'
            last = await connection.fetchrow(f"SELECT last_value, is_called FROM {name}")
            steps.append(f"SELECT setval('{name}', {last['last_value']}, {last['is_called']})")
        self._empty = "; ".join([*steps, "COMMIT"])
        self._structure = await connection.fetchval(STRUCTURE, self._schema)

    async def _end_others(self, connection: Connection) -> None:
        await connection.execute(HOLDERS, self._schema)

    async def _clean(self, connection: Connection) -> None:
        for row in await connection.fetch(DISABLED, self._schema):
            await connection.execute(f'ALTER TABLE "{self._schema}"."{row["table"]}" ENABLE TRIGGER USER')
        for row in await connection.fetch(REGISTERED, self._schema):
            await connection.execute(f'DROP TABLE "{self._schema}"."{row["table"]}"')
        if await connection.fetchval(STRUCTURE, self._schema) == self._structure:
            await connection.execute(self._empty)
        else:
            for schema in (self._schema, f"{self._schema}_kept"):
                await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
            self._schema = None
