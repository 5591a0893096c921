"""What is in a PostgreSQL schema, read from pg_catalog: only the schema that the search path names.

Only ordinary and partitioned tables are looked into. A name with capital letters can meet none of the
declared names, which are in lower case, so such things are left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
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
from abathur.schema.inspect_sqlite import filled
from abathur.schema.render import quoted
from abathur.script import Built, Script

_HERE = "(SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())"
_HAS_META = f"""
SELECT EXISTS (
    SELECT 1 FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'value'
    WHERE c.relnamespace = {_HERE} AND c.relname = '{META}' AND c.relkind IN ('r', 'p')
) AS has_meta
"""
# The comment of an index that is not valid (its building was broken off), or of a trigger that is switched
# off, is left out: then it has not our mark, and is made anew.
_OBJECTS = f"""
SELECT CAST(c.relname AS text) AS name, CAST(c.relname AS text) AS "table",
       '' AS sql, '' AS body, 'O' AS fires,
       CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
                      WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      WHEN 'S' THEN 'sequence' ELSE 'type' END AS kind, CAST(NULL AS text) AS comment
FROM pg_class AS c WHERE c.relnamespace = {_HERE} AND c.relkind NOT IN ('i', 'I', 't')
UNION ALL
SELECT CAST(x.relname AS text), CAST(c.relname AS text),
       CASE WHEN k.oid IS NULL THEN pg_get_indexdef(x.oid) ELSE '' END, '', 'O',
       'index', CASE WHEN i.indisvalid THEN obj_description(x.oid, 'pg_class') END
FROM pg_index AS i
JOIN pg_class AS x ON x.oid = i.indexrelid
JOIN pg_class AS c ON c.oid = i.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = x.oid AND k.contype IN ('p', 'u', 'x')
WHERE x.relnamespace = {_HERE}
UNION ALL
SELECT CAST(t.tgname AS text), CAST(c.relname AS text), pg_get_triggerdef(t.oid), p.prosrc,
       CAST(t.tgenabled AS text), 'trigger',
       CASE WHEN t.tgenabled IN ('O', 'A') THEN obj_description(t.oid, 'pg_trigger') END
FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid
WHERE c.relnamespace = {_HERE} AND NOT t.tgisinternal
"""
_WANTED = f"""
c.relnamespace = {_HERE} AND c.relkind IN ('r', 'p')
AND c.relname IN (SELECT jsonb_array_elements_text(CAST(CAST(? AS text) AS jsonb)))
"""
_COLUMNS = f"""
SELECT CAST(c.relname AS text) AS "table", CAST(a.attname AS text) AS name,
       format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS "default",
       coalesce(array_position(k.conkey, a.attnum), 0) AS pk,
       CASE WHEN a.attgenerated = '' THEN 0 ELSE 3 END AS hidden, CAST(l.collname AS text) AS collation,
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END AS identity
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
LEFT JOIN pg_collation AS l ON l.oid = a.attcollation
LEFT JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE {_WANTED}
ORDER BY c.relname, a.attnum
"""
_CONSTRAINTS = f"""
SELECT CAST(c.relname AS text) AS "table", CAST(k.conname AS text) AS name, CAST(k.contype AS text) AS kind,
       CAST(f.relname AS text) AS parent,
       ARRAY(SELECT CAST(a.attname AS text) FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, n)
             JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
             ORDER BY u.n) AS columns,
       ARRAY(SELECT CAST(a.attname AS text) FROM unnest(k.confkey) WITH ORDINALITY AS u (attnum, n)
             JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
             ORDER BY u.n) AS targets
FROM pg_class AS c
JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype IN ('c', 'f')
LEFT JOIN pg_class AS f ON f.oid = k.confrelid
WHERE {_WANTED}
ORDER BY c.relname, k.conname
"""
# Those of UNIQUE constraints and primary keys are among them. A deferrable one serves no ON CONFLICT.
_UNIQUE = f"""
SELECT CAST(c.relname AS text) AS "table",
       ARRAY(SELECT CAST(a.attname AS text)
             FROM unnest(CAST(i.indkey AS smallint[])) WITH ORDINALITY AS u (attnum, n)
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = u.attnum
             WHERE u.n <= i.indnkeyatts) AS columns
FROM pg_class AS c
JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
     AND i.indpred IS NULL AND i.indexprs IS NULL
WHERE {_WANTED}
"""
_STORAGE = f"""
SELECT CAST(c.relname AS text) AS "table", CAST(o.option_name AS text) AS name, o.option_value AS value
FROM pg_class AS c, pg_options_to_table(c.reloptions) AS o
WHERE {_WANTED}
"""


def fingerprint() -> Script[Fingerprint]:
    """The stamp: the rows of `abathur_meta`, if there is such a table."""
    meta = {}
    if (yield Built(_HAS_META))[0]["has_meta"]:
        rows = yield Built(f"SELECT CAST(key AS text) AS key, CAST(value AS text) AS value FROM {META}")
        meta = {row["key"]: row["value"] for row in rows}
    return Fingerprint(0, 0, "", meta)


def inspect(schemas: Sequence[Schema]) -> Script[Found]:
    """Everything that the schemas have to be compared with."""
    seen = yield from fingerprint()
    objects = tuple(
        FoundObject(
            row["kind"],
            row["name"],
            row["table"],
            row["sql"] or "",
            row["comment"],
            row["body"],
            row["fires"],
        )
        for row in (yield Built(_OBJECTS))
        if row["name"] == row["name"].lower()
    )
    wanted = {table.name for schema in schemas for table in schema.tables}
    copies = [copy for schema in schemas for copy in schema.copies]
    copies = [copy for copy in copies if f"adopted:{copy.source}" not in seen.meta]
    wanted |= {name for copy in copies for name in (copy.source, copy.target)}
    there = [thing.name for thing in objects if thing.kind == "table" and thing.name in wanted]
    tables = (yield from _tables(there)) if there else {}
    found = Found(seen, objects, tables, {}, auto_vacuum=0, page_size=0)
    states = {}
    for copy in copies:
        if copy.source in tables:
            states[copy.source] = yield from _copy_state(copy, found)
    return evolve(found, copies=states)


def violations(tables: Sequence[str]) -> Script[Counter[tuple[str, str]]]:
    """None: PostgreSQL enforces foreign keys during the migration too."""
    del tables
    return Counter()
    yield


def _tables(names: Sequence[str]) -> Script[dict[str, FoundTable]]:
    listed = (json.dumps(names),)
    columns: dict[str, dict[str, FoundColumn]] = {name: {} for name in names}
    for row in (yield Built(_COLUMNS, listed)):
        columns[row["table"]][row["name"]] = FoundColumn(
            row["name"],
            row["type"],
            row["not_null"],
            row["default"],
            row["pk"],
            row["hidden"],
            row["collation"],
            row["identity"],
        )
    constraints = yield Built(_CONSTRAINTS, listed)
    unique = yield Built(_UNIQUE, listed)
    storage = yield Built(_STORAGE, listed)
    full = yield from filled(names)
    return {
        name: FoundTable(
            name,
            "",
            columns[name],
            tuple(_foreign_key(row) for row in _of(name, constraints) if row["kind"] == "f"),
            name in full,
            tuple(frozenset(row["columns"]) for row in _of(name, unique)),
            frozenset(row["name"] for row in _of(name, constraints) if row["kind"] == "c"),
            {row["name"]: row["value"] for row in _of(name, storage)},
        )
        for name in names
    }


def _of(table: str, rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row["table"] == table]


def _foreign_key(row: Any) -> FoundForeignKey:
    return FoundForeignKey(tuple(row["columns"]), row["parent"], tuple(row["targets"]), row["name"])


def _copy_state(copy: CopyRows, found: Found) -> Script[FoundCopy]:
    source, target = found.tables[copy.source], found.tables.get(copy.target)
    old = quoted(source.name)
    names = [name for name, column in source.columns.items() if not column.hidden]
    if target is not None:
        names = [name for name in names if name in target.columns and not target.columns[name].hidden]
    if target is None or copy.key not in names:
        rows = (yield Built(f"SELECT count(*) AS n FROM {old}"))[0]["n"]
        return FoundCopy(rows, rows, 0, tuple(names) if target is None else ())
    unlike = " OR ".join(f"new.{quoted(name)} IS DISTINCT FROM old.{quoted(name)}" for name in names)
    key = quoted(copy.key)
    row = (
        yield Built(
            f"SELECT count(*) AS n, count(*) FILTER (WHERE new.{key} IS NULL) AS missing, "
            f"count(*) FILTER (WHERE new.{key} IS NOT NULL AND ({unlike})) AS different "
            f"FROM {old} AS old LEFT JOIN {quoted(target.name)} AS new ON new.{key} = old.{key}"
        )
    )[0]
    return FoundCopy(row["n"], row["missing"], row["different"], tuple(names))
