"""The CREATE statements of a declaration, in the SQL of one dialect."""

from __future__ import annotations

import re
from functools import lru_cache

from abathur.errors import InvalidInputError
from abathur.schema.declare import (
    Column,
    ForeignKey,
    Index,
    Reference,
    Sql,
    Table,
    Trigger,
    VirtualTable,
    in_dialect,
)

# What a declared type is called in a dialect; SQLite takes every name as it is.
_TYPES: dict[str, dict[str, str]] = {"sqlite": {}}

_CREATE = re.compile(
    r"\s*CREATE\s+(?:(?:UNIQUE|VIRTUAL)\s+)?(?:TABLE|INDEX|TRIGGER)\b(\s+IF\s+NOT\s+EXISTS\b)?", re.IGNORECASE
)
_CONSTANT = re.compile(
    r"[+-]?\d+(\.\d*)?(e[+-]?\d+)? | '([^']|'')*' | x'[0-9a-f]*' | null | true | false",
    re.IGNORECASE | re.VERBOSE,
)
_INDEX_COLUMN = re.compile(r"([a-z_]\w*)((?:\s+COLLATE\s+\w+)?(?:\s+(?:ASC|DESC))?)", re.IGNORECASE)


def quoted(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def guarded(sql: str) -> str:
    """A CREATE statement with IF NOT EXISTS, which it may have already."""
    match = _CREATE.match(sql)
    if match is None or match[1]:
        return sql
    return f"{sql[: match.end()]} IF NOT EXISTS{sql[match.end() :]}"


@lru_cache(maxsize=512)
def create_table(table: Table, dialect: str) -> str:
    """CREATE TABLE with everything that is declared for the table."""
    parts = [column_text(column, dialect) for column in table.columns]
    if table.primary_key:
        parts.append(f"PRIMARY KEY ({_names(table.primary_key)})")
    parts += [f"UNIQUE ({_names(columns)})" for columns in table.unique]
    parts += [f"CHECK ({check})" for check in table.checks]
    parts += [_foreign_key(key) for key in table.foreign_keys]
    tail = " WITHOUT ROWID" if table.without_rowid and dialect == "sqlite" else ""
    body = ",\n    ".join(parts)
    return f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} (\n    {body}\n){tail}"


def column_text(column: Column, dialect: str, *, added: bool = False) -> str:
    """One column's definition; `added` for ALTER TABLE, with what SQLite can add to existing rows."""
    words = [quoted(column.name), _type(column.type, dialect)]
    constant = column.default is not None and is_constant(column.default)
    if column.primary_key:
        words.append("PRIMARY KEY AUTOINCREMENT" if column.autoincrement else "PRIMARY KEY")
    if column.not_null and (not added or constant or column.generated):
        words.append("NOT NULL")
    if column.default is not None and (not added or constant):
        words.append(f"DEFAULT {column.default if constant else _bracketed(column.default)}")
    if column.check:
        words.append(f"CHECK ({column.check})")
    if column.collate:
        words.append(f"COLLATE {column.collate}")
    if column.references:
        words.append(_reference(column.references))
    if column.generated:
        words.append(f"GENERATED ALWAYS AS ({column.generated}) VIRTUAL")
    return " ".join(words)


def add_column(table: str, column: Column, dialect: str) -> str:
    """ALTER TABLE that adds a declared column to a table with or without rows."""
    return f"ALTER TABLE {quoted(table)} ADD COLUMN {column_text(column, dialect, added=True)}"


@lru_cache(maxsize=512)
def create_index(index: Index, dialect: str) -> str | None:
    """CREATE INDEX, or None when the index is not for this dialect."""
    columns = [in_dialect(column, dialect) for column in index.columns]
    if None in columns:
        return None
    unique = "UNIQUE " if index.unique else ""
    listed = ", ".join(_index_column(column) for column in columns if column is not None)
    where = in_dialect(index.where, dialect)
    tail = f" WHERE {where}" if where else ""
    name, table = quoted(index.name), quoted(index.table)
    return f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {table} ({listed}){tail}"


@lru_cache(maxsize=512)
def create_trigger(trigger: Trigger, dialect: str) -> str | None:
    """CREATE TRIGGER, or None when the trigger is not for this dialect."""
    text = in_dialect(trigger.sql, dialect)
    return None if text is None else guarded(text.strip().rstrip(";"))


@lru_cache(maxsize=512)
def create_virtual_table(table: VirtualTable, dialect: str) -> str | None:
    """CREATE VIRTUAL TABLE; only SQLite has them."""
    if dialect != "sqlite":
        return None
    arguments = ", ".join(table.arguments)
    return f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(table.name)} USING {table.module}({arguments})"


def expression(text: Sql, dialect: str) -> str | None:
    """A declared expression in one dialect, stripped."""
    found = in_dialect(text, dialect)
    return None if found is None else found.strip().rstrip(";")


def is_constant(default: str) -> bool:
    """Whether a default is a number, a string, NULL, TRUE or FALSE: what SQLite can add to rows."""
    return _CONSTANT.fullmatch(default) is not None


def _bracketed(text: str) -> str:
    plain = text.upper() in ("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME")
    return text if plain or (text.startswith("(") and text.endswith(")")) else f"({text})"


def _type(name: str, dialect: str) -> str:
    if dialect not in _TYPES:
        raise InvalidInputError(
            f"There is no SQL for the dialect {dialect!r}.",
            f"Expected one of {', '.join(_TYPES)}.",
            "Use another engine.",
        )
    return _TYPES[dialect].get(name.upper(), name)


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(quoted(name) for name in names)


def _index_column(text: str) -> str:
    # A plain name is quoted, because it may be a keyword; an expression stays as it was written.
    match = _INDEX_COLUMN.fullmatch(text.strip())
    return f"{quoted(match[1])}{match[2]}" if match else text


def _reference(reference: Reference) -> str:
    tail = f" ON DELETE {reference.on_delete}" if reference.on_delete else ""
    return f"REFERENCES {quoted(reference.table)} ({quoted(reference.column)}){tail}"


def _foreign_key(key: ForeignKey) -> str:
    tail = f" ON DELETE {key.on_delete}" if key.on_delete else ""
    there = f"{quoted(key.table)} ({_names(key.references)})"
    return f"FOREIGN KEY ({_names(key.columns)}) REFERENCES {there}{tail}"
