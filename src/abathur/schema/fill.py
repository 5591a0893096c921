"""The steps of a plan that write rows: values for new columns, an older table's rows, first rows.

Stored values are never rewritten. Only a column that the same plan adds, a row that is not there yet
and a table that the same plan creates are filled.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from abathur.schema import declare, steps
from abathur.schema.changes import Changes
from abathur.schema.compare import Conflict
from abathur.schema.found import META, Found, FoundTable
from abathur.schema.render import expression, quoted
from abathur.script import Built


def backfill(
    there: FoundTable,
    schema: declare.Schema,
    added: Collection[str],
    found: Found,
    dialect: str,
    changes: Changes,
) -> Iterator[steps.Backfill]:
    """One UPDATE that gives all rows of a table their values in the columns that are added."""
    texts: dict[str, str] = {}
    for fill in schema.backfills:
        fits = fill.table == there.name.lower() and fill.column in added
        text = expression(fill.expression, dialect)
        if fits and text is not None and all(name in there.columns for name in fill.requires):
            texts.setdefault(fill.column, text)
    if texts and there.filled:
        values = ", ".join(f"{quoted(name)} = ({text})" for name, text in texts.items())
        update = f"UPDATE {quoted(there.name)} SET {values}"
        yield steps.Backfill(
            table=there.name,
            action=f"fill {there.name}: {', '.join(texts)}",
            statements=changes.silently(found, there.name, update),
        )


def copy(
    declared: declare.CopyRows,
    schema: declare.Schema,
    found: Found,
    changes: Changes,
) -> Iterator[steps.Step | Conflict]:
    """The step that copies an older table's rows, or the conflict that forbids it."""
    state = found.copies.get(declared.source)
    if state is None or not state.rows:
        return
    if state.different or declared.key not in state.columns:
        yield Conflict(
            declared.target,
            declared.key,
            f"filled with rows unlike those of {declared.source} ({state.different} of {state.rows})",
            f"the place for the rows of {declared.source}",
            f"Decide which rows are right, then drop or rename {declared.source}.",
        )
        return
    there = found.tables.get(declared.target)
    table = next(table for table in schema.tables if table.name == declared.target)
    known = {column.name for column in table.columns}
    known |= there.columns.keys() if there is not None else set()
    old = found.tables[declared.source].columns.items()
    columns = ", ".join(quoted(name) for name, column in old if name in known and not column.hidden)
    key, target = quoted(declared.key), quoted(declared.target)
    insert = (
        f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {quoted(declared.source)} AS old "
        f"WHERE NOT EXISTS (SELECT 1 FROM {target} AS new WHERE new.{key} = old.{key})"
    )
    # Once: what is pruned from the target later must not come back.
    done = Built(f"INSERT INTO {META} (key, value) VALUES (?, ?)", (f"adopted:{declared.source}", "copied"))
    yield steps.Backfill(
        table=declared.target,
        action=f"copy {state.missing} rows from {declared.source} to {declared.target}",
        statements=(*changes.silently(found, declared.target, insert), *changes.renumbered(table), done),
        rows=state.missing,
    )


def inserts(
    schema: declare.Schema, created: Collection[str], found: Found, dialect: str
) -> Iterator[steps.Backfill]:
    """The first rows of tables that are created, where what they come from was there."""
    for insert in schema.inserts:
        sql = expression(insert.sql, dialect)
        if sql is not None and insert.table in created and _has(found, insert.requires):
            action = f"fill {insert.table}: {insert.name}"
            yield steps.Backfill(table=insert.table, action=action, statements=(sql,))


def _has(found: Found, requires: Collection[tuple[str, str]]) -> bool:
    tables = found.tables
    return all(table in tables and column in tables[table].columns for table, column in requires)
