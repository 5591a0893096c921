"""The tables of row storage itself, and the schema of the table that a plugin's declaration gets.

The physical name is issued by `abathur_row_tables`: ``r_000123`` for its row 123. What a plugin calls its
table is data. A field's column has the field's name, unless a database keeps that name for itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from abathur.rows.declaration import Declaration
from abathur.schema.declare import Column, Index, Schema, Table

REGISTRY: Final = Table(
    "abathur_row_tables",
    (
        Column("id", "INTEGER", primary_key=True, autoincrement=True),
        Column("plugin", "TEXT", not_null=True),
        Column("name", "TEXT", not_null=True),
        Column("declaration", "TEXT", not_null=True),  # JSON, see registry.py
        Column(
            "state", "TEXT", not_null=True
        ),  # registered; unregistered: kept for its rows; replaced: empty
        Column("registered_at", "INTEGER", not_null=True),
        Column("changed_at", "INTEGER", not_null=True),
    ),
)

HEADS: Final = Table(
    # What each write looks at, apart from the long declaration: a write changes this row.
    "abathur_row_heads",
    (
        Column("id", "INTEGER", primary_key=True, postgres="bigint"),
        Column("revision", "INTEGER", not_null=True),  # rises with every change of the schema
        Column("last_id", "INTEGER", not_null=True),  # the last id that was given to a row
    ),
    storage={"fillfactor": "50"},
)

REQUESTS: Final = Table(
    # The first answers to requests, for a day.
    "abathur_row_requests",
    (
        Column("plugin", "TEXT", not_null=True),
        Column("request_id", "TEXT", not_null=True),
        Column("digest", "TEXT", not_null=True),
        Column("answer", "TEXT", not_null=True),
        Column("made_at", "INTEGER", not_null=True),
    ),
    primary_key=("plugin", "request_id"),
    without_rowid=True,
)

KEYS: Final = Table(
    "abathur_row_keys",
    (
        Column("plugin", "TEXT", not_null=True),
        Column("key", "TEXT", not_null=True),
        Column("value", "TEXT", not_null=True),  # JSON
        Column("expires_at", "INTEGER"),
        Column("changed_at", "INTEGER", not_null=True),
    ),
    primary_key=("plugin", "key"),
    without_rowid=True,
)

ROWS: Final = Schema(
    owner="rows",
    tables=(REGISTRY, HEADS, REQUESTS, KEYS),
    indexes=(
        # register, and every first use of a table: one registered or kept table of a name
        Index(
            "row_tables_of",
            "abathur_row_tables",
            ("plugin", "name"),
            unique=True,
            where="state <> 'replaced'",
        ),
        # forget what is older than a day
        Index("abathur_row_requests_made", "abathur_row_requests", ("made_at",)),
        # forget what has expired
        Index(
            "abathur_row_keys_expired", "abathur_row_keys", ("expires_at",), where="expires_at IS NOT NULL"
        ),
    ),
)

OWN: Final = ("id", "created_at", "updated_at")
"""The columns of every row table."""
_TYPES: Final = {
    "string": "TEXT",
    "text": "TEXT",
    "integer": "INTEGER",
    "float": "REAL",
    "boolean": "INTEGER",
    "datetime": "INTEGER",
}
_TAKEN: Final = frozenset(
    {*OWN, "rowid", "oid", "ctid", "tableoid", "xmin", "xmax", "cmin", "cmax"}
)  # each a column of every table, on one engine or the other


def issue(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """The columns of fields: those that are known, and one for each new field."""
    columns = dict(known)
    wanted = [name for name in names if name not in columns]
    kept = {name for name in wanted if name not in _TAKEN and not name.startswith("sqlite_")}
    taken = {*columns.values(), *kept}
    number = 0
    for name in wanted:
        column = name
        # A field of an earlier version may have got the name of one that comes now.
        if name not in kept or name in columns.values():
            while (column := f"field_{number}") in taken:
                number += 1
        columns[name] = column
        taken.add(column)
    return columns


def physical_name(number: int) -> str:
    """The name of the table that the registry has given a number."""
    return f"r_{number:06d}"


def physical(number: int, declared: Declaration, columns: Mapping[str, str]) -> Schema:
    """The schema that `migrate` brings about for a plugin's table; its owner is the table's own name.

    Only what a caller cannot change is NOT NULL: whether a field is required may change, and a column that
    exists keeps what it was created with.
    """
    name = physical_name(number)
    fields = (Column(columns[field.name], _TYPES[field.type]) for field in declared.fields)
    table = Table(
        name,
        (
            Column("id", "INTEGER", primary_key=True, postgres="bigint"),
            Column("created_at", "INTEGER", not_null=True),
            Column("updated_at", "INTEGER", not_null=True),
            *fields,
        ),
    )
    groups = [("u", group) for group in declared.unique] + [("i", group) for group in declared.indexes]
    indexes = tuple(
        Index(index_name(number, sort, group), name, _named(group, columns), unique=sort == "u")
        for sort, group in groups
    )
    return Schema(owner=name, tables=(table,), indexes=indexes)


def index_name(number: int, sort: str, group: tuple[str, ...]) -> str:
    """The name of an index: the same for the same fields, and for others another one."""
    return f"{physical_name(number)}_{sort}_{hashlib.sha256(','.join(group).encode()).hexdigest()[:12]}"


def _named(group: tuple[str, ...], columns: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name if name in OWN else columns[name] for name in group)
