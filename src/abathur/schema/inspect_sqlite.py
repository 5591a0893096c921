"""What is in an SQLite database: its tables by the pragmas, and the texts of everything else.

Only ordinary tables are looked into. A virtual table whose extension is missing, or a view of a
column that is gone, answers every question with an error; their texts never do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from abathur.schema.declare import CopyRows, Schema
from abathur.schema.found import (
    META,
    Fingerprint,
    Found,
    FoundColumn,
    FoundCopy,
    FoundForeignKey,
    FoundObject,
    FoundTable,
)
from abathur.schema.render import quoted
from abathur.script import Built, Script

_HEADER = """
SELECT a.application_id AS application_id, s.schema_version AS schema_version,
       EXISTS (SELECT 1 FROM sqlite_master AS m, pragma_table_info(m.name) AS c
               WHERE m.type = 'table' AND m.name = 'abathur_meta' AND c.name = 'value') AS has_meta
FROM pragma_application_id AS a, pragma_schema_version AS s
"""
_OBJECTS = """
SELECT name, tbl_name, coalesce(sql, '') AS sql,
       CASE WHEN type = 'table' AND sql LIKE 'create virtual%' THEN 'virtual' ELSE type END AS kind
FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR type = 'index'
"""
_COLUMNS = """
SELECT wanted.value AS "table", x.name AS name, x.type AS type, x."notnull" AS not_null,
       x.dflt_value AS "default", x.pk AS pk, x.hidden AS hidden
FROM json_each(?) AS wanted, pragma_table_xinfo(wanted.value) AS x
"""
_FOREIGN_KEYS = """
SELECT wanted.value AS "table", k.id AS id, k."table" AS parent, k."from" AS child, k."to" AS target
FROM json_each(?) AS wanted, pragma_foreign_key_list(wanted.value) AS k
ORDER BY wanted.value, k.id, k.seq
"""


def fingerprint() -> Script[Fingerprint]:
    """The stamp, the schema's version and the journal's mode."""
    header = (yield Built(_HEADER))[0]
    mode = (yield Built("PRAGMA journal_mode"))[0]["journal_mode"]
    meta = {}
    if header["has_meta"]:
        meta = {row["key"]: row["value"] for row in (yield Built(f"SELECT key, value FROM {META}"))}
    return Fingerprint(header["application_id"], header["schema_version"], mode, meta)


def inspect(schemas: Sequence[Schema]) -> Script[Found]:
    """Everything that the schemas have to be compared with."""
    seen = yield from fingerprint()
    vacuum = (yield Built("PRAGMA auto_vacuum"))[0]["auto_vacuum"]
    size = (yield Built("PRAGMA page_size"))[0]["page_size"]
    objects = tuple(
        FoundObject(row["kind"], row["name"], row["tbl_name"], row["sql"]) for row in (yield Built(_OBJECTS))
    )
    wanted = {table.name for schema in schemas for table in schema.tables}
    copies = [copy for schema in schemas for copy in schema.copies]
    copies = [copy for copy in copies if f"adopted:{copy.source}" not in seen.meta]
    wanted |= {name for copy in copies for name in (copy.source, copy.target)}
    there = [thing for thing in objects if thing.kind == "table" and thing.name.lower() in wanted]
    tables = yield from _tables(there) if there else _nothing()
    found = Found(seen, objects, tables, {}, vacuum, size)
    states = {}
    for copy in copies:
        if copy.source in tables:
            states[copy.source] = yield from _copy_state(copy, found)
    return evolve(found, copies=states) if states else found


def _nothing() -> Script[dict[str, FoundTable]]:
    return {}
    yield


def _tables(there: Sequence[FoundObject]) -> Script[dict[str, FoundTable]]:
    names = [thing.name for thing in there]
    columns: dict[str, dict[str, FoundColumn]] = {name: {} for name in names}
    for row in (yield Built(_COLUMNS, (json.dumps(names),))):
        columns[row["table"]][row["name"].lower()] = FoundColumn(
            row["name"], row["type"], bool(row["not_null"]), row["default"], row["pk"], row["hidden"]
        )
    keys: dict[str, dict[int, list[Any]]] = {name: {} for name in names}
    for row in (yield Built(_FOREIGN_KEYS, (json.dumps(names),))):
        keys[row["table"]].setdefault(row["id"], []).append(row)
    full = yield from filled(names)
    return {
        thing.name.lower(): FoundTable(
            thing.name,
            thing.sql,
            columns[thing.name],
            tuple(_foreign_key(rows) for rows in keys[thing.name].values()),
            thing.name in full,
        )
        for thing in there
    }


def _foreign_key(rows: Sequence[Any]) -> FoundForeignKey:
    return FoundForeignKey(
        tuple(row["child"].lower() for row in rows),
        rows[0]["parent"].lower(),
        tuple(row["target"].lower() for row in rows if row["target"] is not None),
    )


def filled(names: Iterable[str]) -> Script[list[str]]:
    """Those of the tables that have a row."""
    found: list[str] = []
    listed = list(names)
    for at in range(0, len(listed), 100):  # a compound SELECT has at most 500 terms
        some = enumerate(listed[at : at + 100], at)
        selects = (f"SELECT {n} AS n WHERE EXISTS (SELECT 1 FROM {quoted(name)})" for n, name in some)
        found += [listed[row["n"]] for row in (yield Built(" UNION ALL ".join(selects)))]
    return found


def _copy_state(copy: CopyRows, found: Found) -> Script[FoundCopy]:
    source, target = found.tables[copy.source], found.tables.get(copy.target)
    old = quoted(source.name)
    names = [name for name, column in source.columns.items() if not column.hidden]
    if target is None:
        rows = (yield Built(f"SELECT count(*) AS n FROM {old}"))[0]["n"]
        return FoundCopy(rows, rows, 0, tuple(names))
    names = [name for name in names if name in target.columns and not target.columns[name].hidden]
    if copy.key not in names:
        rows = (yield Built(f"SELECT count(*) AS n FROM {old}"))[0]["n"]
        return FoundCopy(rows, rows, 0, ())
    unlike = " OR ".join(f"new.{quoted(name)} IS NOT old.{quoted(name)}" for name in names)
    key = quoted(copy.key)
    row = (
        yield Built(
            f"SELECT count(*) AS n, total(new.{key} IS NULL) AS missing, "
            f"total(new.{key} IS NOT NULL AND ({unlike})) AS different "
            f"FROM {old} AS old LEFT JOIN {quoted(target.name)} AS new ON new.{key} = old.{key}"
        )
    )[0]
    return FoundCopy(row["n"], int(row["missing"]), int(row["different"]), tuple(names))


def violations(tables: Sequence[str]) -> Script[Counter[tuple[str, str]]]:
    """How many rows of each table point to a missing row, by the table that they point to.

    Real files have some. They are not ours to repair; only a new one is an error.
    """
    found: Counter[tuple[str, str]] = Counter()
    for table in tables:
        for row in (yield Built(f"PRAGMA foreign_key_check({quoted(table)})")):
            found[row["table"], row["parent"]] += 1
    return found
