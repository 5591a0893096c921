"""One declared table beside the one that SQLite has: what is missing, in the way, or impossible."""

from __future__ import annotations

from collections.abc import Iterator

from abathur.schema.compare import Conflict, Difference, blocks
from abathur.schema.ddl import TableText, parse
from abathur.schema.declare import Column, Table, in_dialect
from abathur.schema.found import Found, FoundTable
from abathur.schema.tokens import keys, tokens_equal
from abathur.schema.types import affinity


def can_hold(found: str, declared: str) -> bool:
    """Whether a column of the found type gives back every value of the declared one unchanged.

    An INTEGER column does not hold TEXT: it turns '007' into 7.
    """
    if found.upper() == declared.upper():
        return True
    there, wanted = affinity(found), affinity(declared)
    if there in (wanted, "BLOB"):
        return True
    return there == "NUMERIC" and wanted in ("INTEGER", "REAL")


def compare_table(table: Table, there: FoundTable, found: Found) -> Difference:
    """The difference between a declaration and the table of that name."""
    key = set(table.key) | {name for columns in table.unique for name in columns}
    added = tuple(column for column in table.columns if column.name not in there.columns)
    declared = {column.name: column for column in table.columns}
    difference = Difference(
        tuple(column for column in added if column.name not in key),
        tuple(name for name, column in there.columns.items() if blocks(column, declared.get(name))),
        tuple(
            name
            for name in table.free_foreign_keys
            if any(name in foreign.columns for foreign in there.foreign_keys)
        ),
    )
    conflicts = difference.conflicts
    conflicts += [_missing_key(table, column) for column in added if column.name in key]
    for column in table.columns:
        if column.name in there.columns:
            conflicts += _compare_column(table, column, there)
            difference.notes.extend(_notes(table, column, there))
    if not any(column.name in table.key for column in added):
        conflicts += _compare_key(table, there)
    conflicts += _compare_texts(table, there, found)
    return difference


def _missing_key(table: Table, column: Column) -> Conflict:
    return Conflict(
        table.name,
        column.name,
        "missing",
        "a part of the primary key or of a UNIQUE constraint",
        "SQLite cannot add it to a table: move this table away under another name, "
        "or declare a unique Index in place of the constraint.",
    )


def _compare_column(table: Table, column: Column, there: FoundTable) -> Iterator[Conflict]:
    found = there.columns[column.name]
    if not can_hold(found.type, column.type):
        yield Conflict(
            table.name,
            column.name,
            found.type or "untyped",
            column.type,
            f"A column of type {found.type} would change such values: rename it, and ours will be added.",
        )
    if (column.generated is not None) != (found.hidden in (2, 3)):
        yield Conflict(
            table.name,
            column.name,
            "a generated column" if found.hidden else "a stored column",
            "a stored column" if found.hidden else f"generated from {in_dialect(column.generated, 'sqlite')}",
            "Rename the column, and ours will be added.",
        )


def _notes(table: Table, column: Column, there: FoundTable) -> Iterator[str]:
    found = there.columns[column.name]
    there_is, declared = found.default or "NULL", column.default or "NULL"
    if column.generated is None and not tokens_equal(there_is, declared):
        yield f"{table.name}.{column.name} has the default {there_is}, not {declared}"
    keyed = any(foreign.columns == (column.name,) for foreign in there.foreign_keys)
    if column.references and not keyed:
        yield f"{table.name}.{column.name} has no foreign key to {column.references.table}"


def _compare_key(table: Table, there: FoundTable) -> Iterator[Conflict]:
    found = sorted((column.pk, name) for name, column in there.columns.items() if column.pk)
    names = tuple(name for _, name in found)
    if names != table.key:
        yield Conflict(
            table.name,
            None,
            f"keyed by ({', '.join(names)})",
            f"keyed by ({', '.join(table.key)})",
            "SQLite cannot change a primary key: move this table away under another name.",
        )


def _compare_texts(table: Table, there: FoundTable, found: Found) -> Iterator[Conflict]:
    """What SQLite shows as text only. The text is taken apart when the declaration has such a thing."""
    for column in table.columns:
        if column.name not in there.columns:
            continue
        of_text = {
            "check": ("CHECK", column.check),
            "collate": ("COLLATE", column.collate),
            "generated": ("GENERATED AS", in_dialect(column.generated, "sqlite")),
            "primary": ("PRIMARY KEY", "AUTOINCREMENT" if column.autoincrement else None),
        }
        for kind, (word, wanted) in of_text.items():
            if wanted is not None and not _says(parse(there.sql), kind, column.name, wanted):
                yield _text_conflict(table, column.name, f"{word} {wanted}")
    for check in table.checks:
        if not any(clause.body == keys(check) for clause in parse(there.sql).clauses("check")):
            yield _text_conflict(table, None, f"CHECK ({check})")
    for columns in table.unique:
        is_there = all(name in there.columns for name in columns)
        if is_there and not _is_unique(parse(there.sql), set(columns), there, found):
            yield Conflict(
                table.name,
                ", ".join(columns),
                "not UNIQUE",
                "UNIQUE",
                f"Create one: CREATE UNIQUE INDEX ... ON {table.name} ({', '.join(columns)}).",
            )


def _says(text: TableText, kind: str, column: str, wanted: str) -> bool:
    if kind == "check":  # the same CHECK may stand in the column or in the table
        return any(clause.body == keys(wanted) for clause in text.clauses("check"))
    part = text.column(column)
    if part is None:
        return False
    if kind == "primary":
        return text.autoincrement
    return any(clause.body == keys(wanted) for clause in part.of(kind))


def _text_conflict(table: Table, column: str | None, wanted: str) -> Conflict:
    return Conflict(
        table.name,
        column,
        f"without {wanted}",
        f"with {wanted}",
        "SQLite cannot add this to a column that exists: move the table away under another name.",
    )


def _is_unique(text: TableText, columns: set[str], there: FoundTable, found: Found) -> bool:
    if {name for name, column in there.columns.items() if column.pk} == columns:
        return True
    for part in text.definitions:
        for clause in part.of("unique"):
            if set(clause.columns or (part.name,)) == columns:
                return True
    for index in found.indexes_of(there.name):
        words = keys(index.sql)
        if words[:2] == ("create", "unique") and "where" not in words:
            inside = words[words.index("(") + 1 : len(words) - words[::-1].index(")") - 1]
            if {word for word in inside if word not in (",", "asc", "desc")} == columns:
                return True
    return False
