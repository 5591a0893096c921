"""What is in a database: its tables, and the texts of everything else.

Only ordinary tables are looked into. A virtual table whose extension is missing, or a view of a
column that is gone, answers every question with an error; their texts never do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from abathur.errors import InvalidInputError
from abathur.schema.declare import CopyRows, Schema
from abathur.schema.render import quoted
from abathur.script import Built, Script

Kind: TypeAlias = Literal["table", "index", "trigger", "view", "virtual"]

META = "abathur_meta"


@frozen
class FoundColumn:
    """A column as the database describes it; `hidden` is 0, or 2 and 3 for a generated one."""

    name: str
    type: str
    not_null: bool
    default: str | None
    pk: int
    hidden: int


@frozen
class FoundForeignKey:
    """A foreign key; names in lower case, `references` empty for the other table's primary key."""

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]


@frozen
class FoundObject:
    """Anything with a name; `table` is the table it belongs to. An index of a constraint has no text."""

    kind: Kind
    name: str
    table: str
    sql: str


@frozen
class FoundTable:
    """An ordinary table that the declarations name, with its columns by lower-case name."""

    name: str
    sql: str
    columns: Mapping[str, FoundColumn]
    foreign_keys: tuple[FoundForeignKey, ...] = ()
    filled: bool = False


@frozen
class FoundCopy:
    """How far the rows of an older table are in the one that replaced it."""

    rows: int
    missing: int
    different: int
    columns: tuple[str, ...]


@frozen
class Fingerprint:
    """What tells, without an inspection, that nothing can have changed."""

    application_id: int
    schema_version: int
    journal_mode: str
    meta: Mapping[str, str] = field(factory=dict)


@frozen
class Found:
    """The answer of an inspection. Names are keys in lower case, as SQLite compares them."""

    fingerprint: Fingerprint
    objects: tuple[FoundObject, ...]
    tables: Mapping[str, FoundTable]
    copies: Mapping[str, FoundCopy]
    auto_vacuum: int
    page_size: int

    @property
    def meta(self) -> Mapping[str, str]:
        """The rows of `abathur_meta`."""
        return self.fingerprint.meta

    @property
    def is_new(self) -> bool:
        """Whether there is nothing at all."""
        return not self.objects

    @cached_property
    def names(self) -> Mapping[str, FoundObject]:
        """Tables, views and indexes, which share their names."""
        return {thing.name.lower(): thing for thing in self.objects if thing.kind != "trigger"}

    @cached_property
    def triggers(self) -> Mapping[str, FoundObject]:
        """Triggers have names of their own."""
        return {thing.name.lower(): thing for thing in self.objects if thing.kind == "trigger"}

    def indexes_of(self, table: str) -> tuple[FoundObject, ...]:
        """The indexes of a table, those of its constraints included."""
        return self._of("index", table)

    def triggers_of(self, table: str) -> tuple[FoundObject, ...]:
        """The triggers of a table, the user's included."""
        return self._of("trigger", table)

    def _of(self, kind: Kind, table: str) -> tuple[FoundObject, ...]:
        wanted = table.lower()
        return tuple(thing for thing in self.objects if thing.kind == kind and thing.table.lower() == wanted)


def fingerprint(dialect: str) -> Script[Fingerprint]:
    """A script that reads the stamp and what has to be as it was when the stamp was written."""
    return _for(dialect, _FINGERPRINTS)()


def inspect(dialect: str, schemas: Sequence[Schema]) -> Script[Found]:
    """A script that reads everything the schemas have to be compared with."""
    return _for(dialect, _INSPECTIONS)(schemas)


def filled_tables(found: Found) -> Script[list[str]]:
    """A script that names the ordinary tables with at least one row."""
    names = [thing.name for thing in found.objects if thing.kind == "table"]
    return (yield from _filled(names))


def _for(dialect: str, by_dialect: Mapping[str, Callable[..., Script[Any]]]) -> Callable[..., Script[Any]]:
    if dialect not in by_dialect:
        raise InvalidInputError(
            f"Databases of the dialect {dialect!r} cannot be inspected.",
            f"Expected one of {', '.join(by_dialect)}.",
            "Use another engine.",
        )
    return by_dialect[dialect]


# -- SQLite ------------------------------------------------------------------------------------

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


def _fingerprint() -> Script[Fingerprint]:
    header = (yield Built(_HEADER))[0]
    mode = (yield Built("PRAGMA journal_mode"))[0]["journal_mode"]
    meta = {}
    if header["has_meta"]:
        meta = {row["key"]: row["value"] for row in (yield Built(f"SELECT key, value FROM {META}"))}
    return Fingerprint(header["application_id"], header["schema_version"], mode, meta)


def _inspect(schemas: Sequence[Schema]) -> Script[Found]:
    seen = yield from _fingerprint()
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
    filled = yield from _filled(names)
    return {
        thing.name.lower(): FoundTable(
            thing.name,
            thing.sql,
            columns[thing.name],
            tuple(_foreign_key(rows) for rows in keys[thing.name].values()),
            thing.name in filled,
        )
        for thing in there
    }


def _foreign_key(rows: Sequence[Any]) -> FoundForeignKey:
    return FoundForeignKey(
        tuple(row["child"].lower() for row in rows),
        rows[0]["parent"].lower(),
        tuple(row["target"].lower() for row in rows if row["target"] is not None),
    )


def _filled(names: Iterable[str]) -> Script[list[str]]:
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


_FINGERPRINTS: dict[str, Callable[..., Script[Any]]] = {"sqlite": _fingerprint}
_INSPECTIONS: dict[str, Callable[..., Script[Any]]] = {"sqlite": _inspect}
