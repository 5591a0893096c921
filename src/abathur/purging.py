"""Emptying every declared table in one transaction, with a trail that says so and can still be verified."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from abathur import audit, payload, times
from abathur.closing import Closing
from abathur.errors import ConstraintError
from abathur.rows.tables import HEADS, REGISTRY
from abathur.schema.declare import Schema
from abathur.schema.found import META, Found
from abathur.schema.inspect import inspect, violations
from abathur.schema.render import quoted
from abathur.script import Built, Script

PURGED: Final = "database.purged"
"""The action of the row by which a new trail begins."""
KEPT: Final = frozenset({META, "schema_history", REGISTRY.name, HEADS.name, "audit_readers"})
"""What is about the schema, that of plugins too, and how far the readers of the trail are: it stays."""


def purge(dialect: str, schemas: Sequence[Schema], actor: str, aside: str | None, now: int) -> Script[int]:
    """Delete the rows of all declared tables; returns how many. Tables that nobody declares keep theirs.

    aside: a schema of the server that gets a copy of the tables first. The trail is cut at its end, as
    `abathur prune` cuts the part of it that was pruned: what other writers add later is still proved.
    """
    found = yield from inspect(dialect, schemas)
    declared = [table.name.lower() for schema in schemas for table in schema.tables if table.name not in KEPT]
    tables = _children_first(found, [table for table in declared if table in found.tables])
    tables += [
        table.name for schema in schemas for table in schema.virtual_tables if table.name in found.names
    ]
    if dialect == "postgres":
        yield from _locked(tables)
    if aside is not None:
        yield from _copied(tables, aside)
    others = [thing.name for thing in found.objects if thing.kind == "table" and thing.name not in tables]
    before = yield from violations(dialect, others)
    cut = yield from audit.cut_all(actor, now)
    rows = 0
    for table in tables:
        (counted,) = yield Built(f"SELECT count(*) AS n FROM {quoted(table)}")
        if table not in audit.TABLES:
            rows += counted["n"]
            yield Built(f"DELETE FROM {quoted(table)}")
    for (table, parent), count in ((yield from violations(dialect, others)) - before).items():
        raise ConstraintError("the purge", f"{count} rows of {table} refer to rows of {parent}")
    said = payload.encode({"rows": rows}, "the audit data")
    entries = [(times.iso(now), None, PURGED, said, actor), *cut]
    yield from Closing().script({audit.TOPIC: entries}, now)
    return rows


def copy_aside(tables: Sequence[str], schema: str) -> Script[None]:
    """Copy tables into a new schema of the server, all as they are at one moment."""
    yield from _locked(tables)
    yield from _copied(tables, schema)


def _locked(tables: Sequence[str]) -> Script[None]:
    """Let nobody else write to tables of a server until the transaction ends."""
    yield Built(f"LOCK TABLE {', '.join(map(quoted, _tasks_first(tables)))} IN EXCLUSIVE MODE")


def _copied(tables: Sequence[str], schema: str) -> Script[None]:
    yield Built(f"CREATE SCHEMA {quoted(schema)}")
    for table in tables:
        yield Built(f"CREATE TABLE {quoted(schema)}.{quoted(table)} AS TABLE {quoted(table)}")


def _children_first(found: Found, tables: Sequence[str]) -> list[str]:
    """The tables in an order in which none is emptied before those that refer to it."""
    referring = {
        table: {other for other in tables if other != table and _refers(found, other, table)}
        for table in tables
    }
    ordered: list[str] = []
    while referring:
        free = [table for table, others in referring.items() if not others - set(ordered)]
        ordered += free or list(referring)  # a circle: the database says whether it can be done
        for table in free or list(referring):
            del referring[table]
    return [found.tables[table].name for table in ordered]


def _refers(found: Found, table: str, to: str) -> bool:
    return any(key.table.lower() == to for key in found.tables[table].foreign_keys)


def _tasks_first(tables: Sequence[str]) -> Iterator[str]:
    """Whoever writes begins with a task, so that is what to wait for first."""
    yield from sorted(tables, key=lambda table: (table != "tasks", table))
