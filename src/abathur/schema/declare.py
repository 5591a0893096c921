"""The words in which a schema is declared: tables, columns, indexes, triggers, and what fills them.

A declaration is a value. It says what must be there, never how to get there::

    notes = Schema(
        owner="notes",
        tables=(Table("notes", (Column("id", "TEXT", primary_key=True), Column("body", "TEXT"))),),
        indexes=(Index("notes_by_body", "notes", ("body",)),),
    )
    db = Database("agents.db", schema=notes)

What it leaves out (a user's column, an older index) stays in the database untouched.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

import attrs
from attrs import field, frozen

from abathur.errors import InvalidInputError

OnDelete: TypeAlias = Literal["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_LATER: Mapping[str, bool] = {"later": True}
"""Marks a field that came later: databases have hashes in them that were made without it."""


@frozen
class PerDialect:
    """A piece of SQL that is written differently per dialect; None where it has no place.

    sqlite: the text for SQLite. postgres: the text for PostgreSQL.
    """

    sqlite: str | None = None
    postgres: str | None = None


Sql: TypeAlias = str | PerDialect


def _per_dialect(text: Sql | Mapping[str, str]) -> Sql:
    """Accept ``{"sqlite": ..., "postgres": ...}`` where a `PerDialect` is meant."""
    return PerDialect(**text) if isinstance(text, Mapping) else text


def _texts(parts: Iterable[Sql | Mapping[str, str]]) -> tuple[Sql, ...]:
    return tuple(_per_dialect(part) for part in parts)


def _optional(text: Sql | Mapping[str, str] | None) -> Sql | None:
    return None if text is None else _per_dialect(text)


def _pairs(settings: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(dict(settings).items()))


def in_dialect(text: Sql | None, dialect: str) -> str | None:
    """The text for one dialect, or None when there is none for it."""
    return getattr(text, dialect) if isinstance(text, PerDialect) else text


@frozen
class Reference:
    """The column of another table that a column points to.

    table: the other table. column: its column. on_delete: what becomes of the row that points when the
    other one is deleted, as in CREATE TABLE.
    """

    table: str
    column: str = "id"
    on_delete: OnDelete | None = None


@frozen(cache_hash=True)
class Column:
    """One column. `default`, `check` and `generated` are SQL expressions, written as in CREATE TABLE.

    name: lower-case letters, digits and underscores, 63 at most. type: as in CREATE TABLE, such as
    ``TEXT``. not_null: whether it refuses NULL. default: the value of a row that gives none.
    primary_key: whether it alone is the table's key. autoincrement: never give an id twice, for an
    INTEGER primary key. references: the column that it points to. check: what must be true of a value.
    collate: how text is compared. generated: what computes the value, if need be for each dialect by an
    expression of its own. postgres: its type on PostgreSQL, where that has to be another one than `type`
    becomes there (INTEGER becomes ``bigint``, which holds no fractions; SQLite's does), in the words in
    which PostgreSQL shows it.

    A NOT NULL column without a default can only be added as a nullable one to a table that exists.
    """

    name: str
    type: str
    not_null: bool = field(default=False, kw_only=True)
    default: str | None = field(default=None, kw_only=True)
    primary_key: bool = field(default=False, kw_only=True)
    autoincrement: bool = field(default=False, kw_only=True)
    references: Reference | None = field(default=None, kw_only=True)
    check: str | None = field(default=None, kw_only=True)
    collate: str | None = field(default=None, kw_only=True)
    generated: Sql | None = field(default=None, converter=_optional, kw_only=True)
    postgres: str | None = field(default=None, kw_only=True, metadata=_LATER)


@frozen
class ForeignKey:
    """A foreign key of several columns.

    columns: the columns that point. table: the other table. references: its columns, in the same order.
    on_delete: as in CREATE TABLE.
    """

    columns: tuple[str, ...]
    table: str
    references: tuple[str, ...]
    on_delete: OnDelete | None = None


@frozen(cache_hash=True)
class Table:
    """An ordinary table.

    name: lower-case; begin it with your own owner's name, so that it meets nobody else's. columns: in
    their order. primary_key: the columns of a key of several. unique: each a group of columns whose
    values together are unique. checks: expressions that must be true of a row. foreign_keys: those of
    several columns. without_rowid: as in CREATE TABLE. free_foreign_keys: columns on which an older
    foreign key must not exist, because it would block an insert or a prune; one that is found is lifted.
    storage: PostgreSQL's storage parameters, such as ``{"fillfactor": "80"}``, which the table is created
    with. Whoever runs the server may change them: then they stay as they are.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = field(default=(), kw_only=True)
    unique: tuple[tuple[str, ...], ...] = field(default=(), kw_only=True)
    checks: tuple[str, ...] = field(default=(), kw_only=True)
    foreign_keys: tuple[ForeignKey, ...] = field(default=(), kw_only=True)
    without_rowid: bool = field(default=False, kw_only=True)
    free_foreign_keys: tuple[str, ...] = field(default=(), kw_only=True)
    storage: tuple[tuple[str, str], ...] = field(default=(), converter=_pairs, kw_only=True, metadata=_LATER)

    @property
    def key(self) -> tuple[str, ...]:
        """The columns of the primary key, however it was declared."""
        return self.primary_key or tuple(column.name for column in self.columns if column.primary_key)


@frozen(cache_hash=True)
class Index:
    """An index over columns or expressions.

    name: unique among all indexes and tables. table: the table that it is on. columns: columns or
    expressions such as ``"rank"`` or ``"timestamp DESC"``. unique: whether two rows may not be equal in
    it. where: for a partial index, which rows are in it. using: its method on PostgreSQL, such as ``gin``;
    on SQLite there is only one.

    A new definition gets a new name: two versions of a program that define one name differently
    would replace each other's for ever.
    """

    name: str
    table: str
    columns: tuple[Sql, ...] = field(converter=_texts)
    unique: bool = field(default=False, kw_only=True)
    where: Sql | None = field(default=None, converter=_optional, kw_only=True)
    using: str | None = field(default=None, kw_only=True, metadata=_LATER)


@frozen
class Trigger:
    """A trigger.

    name: unique among all triggers. table: the table that it is on. sql: its whole CREATE TRIGGER
    statement. function: for PostgreSQL, the whole CREATE OR REPLACE FUNCTION statement of the function
    that it executes. Several triggers may share one, if they all give the same text.
    """

    name: str
    table: str
    sql: Sql = field(converter=_per_dialect)
    function: str | None = field(default=None, kw_only=True, metadata=_LATER)


@frozen
class VirtualTable:
    """A virtual table, such as a full-text index. It is created when missing, and never altered.

    name: lower-case. module: such as ``fts5``. arguments: what stands in the parentheses after it.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()


@frozen
class Backfill:
    """The value for a column that a plan adds to a table with rows.

    table: the table. column: its new column. expression: SQL over the row's other columns. requires:
    columns that the table must have had before, else it is not applied; of several for one column the
    first that fits is taken.
    """

    table: str
    column: str
    expression: Sql = field(converter=_per_dialect)
    requires: tuple[str, ...] = field(default=(), kw_only=True)


@frozen
class CopyRows:
    """Copies, once, the rows that an older table still holds into the table that replaced it.

    source: the older table. target: the declared one. key: rows whose key is in the target already
    must be equal there; if one is not, that is a conflict.

    The older table stays.
    """

    source: str
    target: str
    key: str = "id"


@frozen
class InsertRows:
    """Fills a table that the same plan creates.

    table: the new table. name: for messages. sql: the whole INSERT statement. requires: each a ``(table,
    column)`` that must have been there before, else it is not executed.
    """

    table: str
    name: str
    sql: Sql = field(converter=_per_dialect)
    requires: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)


@frozen
class Schema:
    """Everything that one owner (the library, an application, a plugin) declares.

    owner: a name, lower-case. tables: ordinary tables. indexes: on these tables. triggers: on them.
    virtual_tables: full-text indexes and the like. backfills: values for columns that are new. copies:
    rows of older tables. inserts: rows of new tables.

    Raises InvalidInputError for a declaration that does not agree with itself.
    """

    owner: str
    tables: tuple[Table, ...] = ()
    indexes: tuple[Index, ...] = field(default=(), kw_only=True)
    triggers: tuple[Trigger, ...] = field(default=(), kw_only=True)
    virtual_tables: tuple[VirtualTable, ...] = field(default=(), kw_only=True)
    backfills: tuple[Backfill, ...] = field(default=(), kw_only=True)
    copies: tuple[CopyRows, ...] = field(default=(), kw_only=True)
    inserts: tuple[InsertRows, ...] = field(default=(), kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_name("owner", self.owner)
        try:
            hash(self)
        except TypeError:
            raise _wrong(f"The schema {self.owner} holds a list where a tuple is expected.") from None
        _check_names("table", [*self.tables, *self.virtual_tables, *self.indexes])
        _check_names("trigger", self.triggers)
        for table in self.tables:
            _check_table(table)
        columns = {table.name: {column.name for column in table.columns} for table in self.tables}
        fillable = columns.keys() | {table.name for table in self.virtual_tables}
        for index in self.indexes:
            _check_index(index, columns)
        for fill in self.backfills:
            if fill.column not in columns.get(fill.table, ()):
                raise _wrong(f"A backfill names {fill.table}.{fill.column}, which is not declared.")
        for copy in self.copies:
            check_name("table", copy.source)
            if copy.key not in columns.get(copy.target, ()):
                raise _wrong(f"Rows are to be copied to {copy.target} by {copy.key}, which is not declared.")
        for insert in self.inserts:
            if insert.table not in fillable:
                raise _wrong(f"{insert.name!r} fills {insert.table}, which is not declared.")

    @cached_property
    def sha256(self) -> str:
        """A hash of the whole declaration: equal hashes mean equal declarations."""
        values = attrs.asdict(self, filter=lambda at, value: "later" not in at.metadata or bool(value))
        text = json.dumps(values, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def check_name(what: str, name: str) -> None:
    """Refuse a name that is not short, plain and lower-case."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("sqlite_"):
        raise InvalidInputError(
            f"{name!r} cannot be the name of a schema's {what}.",
            "Expected at most 63 lower-case letters, digits and underscores, starting with a letter.",
            "Choose another name; one that begins with `sqlite_` is SQLite's own.",
        )


def _wrong(problem: str) -> InvalidInputError:
    return InvalidInputError(
        problem,
        "Expected a declaration that agrees with itself.",
        "Correct the names, or declare what is missing.",
    )


def _check_names(what: str, things: Sequence[Any]) -> None:
    seen: set[str] = set()
    for thing in things:
        check_name(what, thing.name)
        if thing.name in seen:
            raise _wrong(f"The name {thing.name} is declared twice.")
        seen.add(thing.name)


def _check_table(table: Table) -> None:
    if not table.columns:
        raise _wrong(f"The table {table.name} has no columns.")
    _check_names("column", table.columns)
    known = {column.name for column in table.columns}
    keys = (key.columns for key in table.foreign_keys)
    for names in (table.primary_key, table.free_foreign_keys, *table.unique, *keys):
        for name in names:
            if name not in known:
                raise _wrong(f"The table {table.name} names a column {name}, which is not declared.")
    marked = [column for column in table.columns if column.primary_key]
    if len(marked) > 1 or (marked and table.primary_key):
        raise _wrong(f"The table {table.name} has two primary keys; for several columns it is primary_key=.")
    bound = {column.name for column in table.columns if column.references}
    bound |= {name for foreign in table.foreign_keys for name in foreign.columns}
    for name in bound & set(table.free_foreign_keys):
        raise _wrong(f"{table.name}.{name} is declared both with a foreign key and free of one.")
    for column in table.columns:
        if column.autoincrement and not (column.primary_key and column.type == "INTEGER"):
            raise _wrong(f"{table.name}.{column.name} is autoincrement and no INTEGER primary key.")
        if column.generated and (column.primary_key or column.default is not None):
            raise _wrong(f"{table.name}.{column.name} is generated, so it has neither a default nor a key.")
        if isinstance(column.generated, PerDialect) and None in attrs.astuple(column.generated):
            raise _wrong(f"{table.name}.{column.name} is generated in one dialect only.")


def _check_index(index: Index, columns: Mapping[str, set[str]]) -> None:
    if index.using is not None:
        check_name("index method", index.using)
    if index.table not in columns:
        raise _wrong(f"The index {index.name} is on {index.table}, which is not declared.")
    for text in index.columns:
        for part in (text,) if isinstance(text, str) else (text.sqlite, text.postgres):
            # Only what starts with a plain name can be looked up; expressions are the database's to check.
            word = re.match(r'"?([A-Za-z_]\w*)"?(?![\w(.])', part or "")
            if word and "(" not in (part or "") and word[1].lower() not in columns[index.table]:
                raise _wrong(f"The index {index.name} names {index.table}.{word[1]}, which is not declared.")
