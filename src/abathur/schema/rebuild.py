"""Lifting an old constraint from a table with rows: SQLite's documented rebuild.

The new table is made from the table's own text, from which only the constraint is cut: written anew
from what the pragmas tell, it would lose CHECK, COLLATE, UNIQUE and generated columns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from abathur.schema.ddl import Clause, Definition, TableText, parse
from abathur.schema.found import Found, FoundTable
from abathur.schema.render import literal, quoted
from abathur.schema.render_sqlite import guarded
from abathur.schema.tokens import tokenize


def relaxed_text(sql: str, nullable: Collection[str], unbound: Collection[str]) -> str:
    """The text without NOT NULL on the columns `nullable` and without foreign keys on `unbound`."""
    table = parse(sql)
    cuts: list[tuple[int, int]] = []
    for at, part in enumerate(table.definitions):
        doomed = [clause for clause in part.clauses if _is_doomed(part, clause, nullable, unbound)]
        if part.name is None and doomed and len(doomed) == len(part.clauses):
            # The comma before it goes too. There is one: a table begins with its columns.
            cuts.append((_comma_after(sql, table.definitions[at - 1].end), part.end))
        else:
            cuts += [(clause.start, clause.end) for clause in doomed]
    for start, end in sorted(cuts, reverse=True):
        sql = sql[:start].rstrip(" \t") + sql[end:]
    return sql


def _is_doomed(part: Definition, clause: Clause, nullable: Collection[str], unbound: Collection[str]) -> bool:
    if clause.kind == "not":
        return part.name in nullable
    if clause.kind == "references":
        return part.name in unbound
    return clause.kind == "foreign" and any(column in unbound for column in clause.columns)


def _comma_after(sql: str, at: int) -> int:
    return next(token.start for token in tokenize(sql) if token.start >= at and token.key == ",")


def rebuild(table: FoundTable, sql: str, found: Found) -> list[str]:
    """The statements that put every row of `table` into a new one made by `sql`, under its name.

    They need foreign keys that are not enforced, or DROP TABLE would delete rows of other tables,
    and `legacy_alter_table`, or the rename would fail on a view of the table.
    """
    text = parse(sql)
    name, other = table.name, _unused(f"abathur_rebuild_{table.name}", found)
    created = f"{sql[: text.name_start]}{quoted(other)}{sql[text.name_end :]}"
    stored = [quoted(column.name) for column in table.columns.values() if not column.hidden]
    rowid = _rowid_name(table, text)
    columns = ", ".join([rowid, *stored] if rowid else stored)
    statements = [
        guarded(created),
        f"INSERT INTO {quoted(other)} ({columns}) SELECT {columns} FROM {quoted(name)}",
    ]
    if text.autoincrement:
        statements += _keep_sequence(name, other)
    statements += [f"DROP TABLE {quoted(name)}", f"ALTER TABLE {quoted(other)} RENAME TO {quoted(name)}"]
    # Dropped with the table. An index that a UNIQUE constraint made has no text and is there already.
    statements += [guarded(thing.sql) for thing in found.indexes_of(name) if thing.sql]
    statements += [guarded(thing.sql) for thing in found.triggers_of(name)]
    return statements


def _keep_sequence(name: str, other: str) -> Sequence[str]:
    """An id that was given away once is not given again, so the highest one comes along."""
    old, new = literal(name), literal(other)
    return (
        f"DELETE FROM sqlite_sequence WHERE name = {new}",
        f"INSERT INTO sqlite_sequence (name, seq) SELECT {new}, seq FROM sqlite_sequence WHERE name = {old}",
    )


def _unused(name: str, found: Found) -> str:
    while name in found.names:
        name += "_"
    return name


def _rowid_name(table: FoundTable, text: TableText) -> str | None:
    """How to name the hidden rowid, or None where there is none or a column stands for it."""
    key = [column for column in table.columns.values() if column.pk]
    is_alias = (
        len(key) == 1
        and key[0].type.upper() == "INTEGER"
        and not any("desc" in clause.body for clause in text.clauses("primary"))
    )
    if text.without_rowid or is_alias:
        return None
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in table.columns), None)
