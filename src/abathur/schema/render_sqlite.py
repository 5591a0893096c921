"""The CREATE statements of a declaration, in SQLite's SQL."""

from __future__ import annotations

import re
from functools import lru_cache

from abathur.schema.declare import Column, Table, Trigger, VirtualTable, in_dialect
from abathur.schema.render import bracketed, foreign_key_text, is_constant, listed, quoted, reference_text

_CREATE = re.compile(
    r"\s*CREATE\s+(?:(?:UNIQUE|VIRTUAL)\s+)?(?:TABLE|INDEX|TRIGGER)\b(\s+IF\s+NOT\s+EXISTS\b)?", re.IGNORECASE
)


def guarded(sql: str) -> str:
    """A CREATE statement with IF NOT EXISTS, which it may have already."""
    match = _CREATE.match(sql)
    if match is None or match[1]:
        return sql
    return f"{sql[: match.end()]} IF NOT EXISTS{sql[match.end() :]}"


@lru_cache(maxsize=512)
def create_table(table: Table) -> str:
    """CREATE TABLE with everything that is declared for the table."""
    parts = [column_text(column) for column in table.columns]
    if table.primary_key:
        parts.append(f"PRIMARY KEY ({listed(table.primary_key)})")
    parts += [f"UNIQUE ({listed(columns)})" for columns in table.unique]
    parts += [f"CHECK ({check})" for check in table.checks]
    parts += [foreign_key_text(key) for key in table.foreign_keys]
    tail = " WITHOUT ROWID" if table.without_rowid else ""
    body = ",\n    ".join(parts)
    return f"CREATE TABLE IF NOT EXISTS {quoted(table.name)} (\n    {body}\n){tail}"


def column_text(column: Column, *, added: bool = False) -> str:
    """One column's definition; `added` for ALTER TABLE, with what SQLite can add to existing rows."""
    words = [quoted(column.name), column.type]
    constant = column.default is not None and is_constant(column.default)
    if column.primary_key:
        words.append("PRIMARY KEY AUTOINCREMENT" if column.autoincrement else "PRIMARY KEY")
    if column.not_null and (not added or constant or column.generated):
        words.append("NOT NULL")
    if column.default is not None and (not added or constant):
        words.append(f"DEFAULT {column.default if constant else bracketed(column.default)}")
    if column.check:
        words.append(f"CHECK ({column.check})")
    if column.collate:
        words.append(f"COLLATE {column.collate}")
    if column.references:
        words.append(reference_text(column.references))
    if column.generated:
        words.append(f"GENERATED ALWAYS AS ({in_dialect(column.generated, 'sqlite')}) VIRTUAL")
    return " ".join(words)


def add_column(table: str, column: Column) -> str:
    """ALTER TABLE that adds a declared column to a table with or without rows."""
    return f"ALTER TABLE {quoted(table)} ADD COLUMN {column_text(column, added=True)}"


@lru_cache(maxsize=512)
def create_trigger(trigger: Trigger) -> str | None:
    """CREATE TRIGGER, or None when the trigger is not for SQLite."""
    text = in_dialect(trigger.sql, "sqlite")
    return None if text is None else guarded(text.strip().rstrip(";"))


@lru_cache(maxsize=512)
def create_virtual_table(table: VirtualTable) -> str:
    """CREATE VIRTUAL TABLE."""
    arguments = ", ".join(table.arguments)
    return f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(table.name)} USING {table.module}({arguments})"
