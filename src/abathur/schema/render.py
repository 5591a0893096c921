"""The parts of CREATE statements that both dialects write alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from abathur.schema.declare import ForeignKey, Index, Reference, Sql, in_dialect

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


@lru_cache(maxsize=512)
def create_index(index: Index, dialect: str) -> str | None:
    """CREATE INDEX, or None when the index is not for this dialect."""
    columns = [in_dialect(column, dialect) for column in index.columns]
    if None in columns:
        return None
    unique = "UNIQUE " if index.unique else ""
    parts = ", ".join(_index_column(column) for column in columns if column is not None)
    where = in_dialect(index.where, dialect)
    tail = f" WHERE {where}" if where else ""
    name, table = quoted(index.name), quoted(index.table)
    method = f" USING {index.using}" if index.using and dialect == "postgres" else ""
    return f"CREATE {unique}INDEX IF NOT EXISTS {name} ON {table}{method} ({parts}){tail}"


def expression(text: Sql, dialect: str) -> str | None:
    """A declared expression in one dialect, stripped."""
    found = in_dialect(text, dialect)
    return None if found is None else found.strip().rstrip(";")


def is_constant(default: str) -> bool:
    """Whether a default is a number, a string, NULL, TRUE or FALSE: what SQLite can add to rows."""
    return _CONSTANT.fullmatch(default) is not None


def bracketed(text: str) -> str:
    """A default that is no constant, in the brackets that it needs."""
    plain = text.upper() in ("CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME")
    return text if plain or (text.startswith("(") and text.endswith(")")) else f"({text})"


def listed(names: Iterable[str]) -> str:
    """Names between commas, quoted."""
    return ", ".join(quoted(name) for name in names)


def _index_column(text: str) -> str:
    # A plain name is quoted, because it may be a keyword; an expression stays as it was written.
    match = _INDEX_COLUMN.fullmatch(text.strip())
    return f"{quoted(match[1])}{match[2]}" if match else text


def reference_text(reference: Reference) -> str:
    """The foreign key of one column, as it stands behind the column."""
    tail = f" ON DELETE {reference.on_delete}" if reference.on_delete else ""
    return f"REFERENCES {quoted(reference.table)} ({quoted(reference.column)}){tail}"


def foreign_key_text(key: ForeignKey) -> str:
    """A foreign key of several columns."""
    tail = f" ON DELETE {key.on_delete}" if key.on_delete else ""
    there = f"{quoted(key.table)} ({listed(key.references)})"
    return f"FOREIGN KEY ({listed(key.columns)}) REFERENCES {there}{tail}"
