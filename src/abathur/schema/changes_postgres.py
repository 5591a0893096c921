"""How a difference is closed on PostgreSQL: the steps, the statements of each, and the lock it takes."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from abathur.schema import compare_postgres, render_postgres, steps
from abathur.schema.compare import Conflict, Difference
from abathur.schema.declare import Index, Table, Trigger, VirtualTable
from abathur.schema.found import Found, FoundObject, FoundTable
from abathur.schema.render import literal, quoted


def settings(found: Found, page_size: int) -> Iterator[steps.SetPragma]:
    """None: the settings of the server are its own."""
    del found, page_size
    yield from ()


def create(table: Table) -> Iterator[steps.Step]:
    """The steps that make a table, and its foreign keys when every table is there."""
    yield steps.CreateTable(table=table.name, statements=(render_postgres.create_table(table),))
    for columns, text in render_postgres.foreign_keys(table):
        yield _constraint(table.name, columns, text, rows=0)


def compare(table: Table, there: FoundTable, found: Found) -> Difference:
    """The difference between a declaration and the table of that name."""
    del found
    return compare_postgres.compare_table(table, there)


def change(there: FoundTable, difference: Difference, found: Found) -> Iterator[steps.Step | Conflict]:
    """The steps that change a table."""
    del found
    rows = None if there.filled else 0
    alter = f"ALTER TABLE {quoted(there.name)}"
    lifted = [f"{alter} ALTER COLUMN {quoted(name)} DROP NOT NULL" for name in difference.nullable]
    lifted += [f"{alter} DROP CONSTRAINT IF EXISTS {quoted(name)}" for name in difference.unbound]
    if lifted:
        yield steps.Relax(
            table=there.name,
            nullable=difference.nullable,
            unbound=difference.unbound,
            is_rebuild=False,
            statements=lifted,
            rows=0,
        )
    for column in difference.added:
        is_read = bool(column.check or column.generated)
        yield steps.AddColumn(
            table=there.name,
            name=column.name,
            statements=render_postgres.add_column(there.name, column),
            rows=rows if is_read else 0,
        )
        if column.references:
            text = render_postgres.foreign_key(column)
            yield _constraint(there.name, (column.name,), text, rows=rows)
    for missing in difference.constraints:
        yield _constraint(there.name, missing.columns, missing.text, rows=rows)


def _constraint(table: str, columns: tuple[str, ...], text: str, rows: int | None) -> steps.AddConstraint:
    sql = f"ALTER TABLE {quoted(table)} ADD {text}"
    return steps.AddConstraint(table=table, columns=columns, text=text, statements=(sql,), rows=rows)


def virtual_table(table: VirtualTable) -> str | None:
    """None: only SQLite has virtual tables."""
    del table
    return None


def index(declared: Index) -> tuple[str, ...]:
    """The statements that make an index; empty when it is not for PostgreSQL."""
    return render_postgres.index_statements(declared)


def is_index(declared: Index, taken: FoundObject) -> bool:
    """Whether an index of that name is the declared one: it has our mark, and the mark is of this text."""
    statements = render_postgres.index_statements(declared)
    return taken.table == declared.table and taken.comment == render_postgres.mark(statements[0])


def drop_index(taken: FoundObject) -> str:
    """The statement that drops an index."""
    return f"DROP INDEX IF EXISTS {quoted(taken.name)}"


def may_drop(taken: FoundObject) -> bool:
    """Whether an index can be dropped by itself: that of a constraint (it has no text here) cannot."""
    return taken.kind == "index" and bool(taken.sql)


def trigger(declared: Trigger) -> tuple[str, ...]:
    """The statements that make a trigger; empty when it is not for PostgreSQL."""
    return render_postgres.trigger_statements(declared)


def trigger_there(declared: Trigger, found: Found) -> FoundObject | None:
    """The trigger of that name on that table: here each table has its own names."""
    there = found.triggers_of(declared.table)
    return next((trigger for trigger in there if trigger.name == declared.name), None)


def is_trigger(declared: Trigger, taken: FoundObject) -> bool:
    """Whether a trigger of that name is the declared one: its mark, and what its function says."""
    sql = render_postgres.trigger_statements(declared)[-2]
    if taken.comment != render_postgres.mark(sql):
        return False
    return declared.function is None or taken.body in declared.function


def drop_trigger(taken: FoundObject) -> str:
    """The statement that drops a trigger."""
    return f"DROP TRIGGER IF EXISTS {quoted(taken.name)} ON {quoted(taken.table)}"


def silently(found: Found, table: str, statement: str) -> tuple[str, ...]:
    """The statement while the table's triggers are off: a user's must not fire for what we fill in."""
    fire = [trigger for trigger in found.triggers_of(table) if trigger.fires in ("O", "A")]
    if not fire:
        return (statement,)
    alter = f"ALTER TABLE {quoted(table)}"
    off = (f"{alter} DISABLE TRIGGER {quoted(trigger.name)}" for trigger in fire)
    on = (
        f"{alter} ENABLE {'ALWAYS ' if trigger.fires == 'A' else ''}TRIGGER {quoted(trigger.name)}"
        for trigger in fire
    )
    # A constraint that is checked at the commit would keep the table from being altered until then.
    return ("SET CONSTRAINTS ALL IMMEDIATE", *off, statement, *on)


def renumbered(table: Table) -> tuple[str, ...]:
    """The statement after which a table gives numbers that follow those which are there."""
    name = next((c.name for c in table.columns if render_postgres.is_identity(table, c)), None)
    if name is None:
        return ()
    sequence = f"pg_get_serial_sequence({literal(quoted(table.name))}, {literal(name)})"
    rows = f"FROM {quoted(table.name)} HAVING max({quoted(name)}) > 0"
    return (f"SELECT setval({sequence}, max({quoted(name)})) {rows}",)


def locked(step: steps.Step) -> steps.Step:
    """The step with the lock that it takes. Every lock is held to the end of the one transaction."""
    return evolve(step, lock=_lock(step))


def _lock(step: steps.Step) -> str:
    table = step.table
    match step:
        case steps.CreateTable():
            return "none that anybody waits for: nobody knows the table before the commit"
        case steps.AddColumn(rows=0) | steps.Relax():
            return f"ACCESS EXCLUSIVE on {table}, for an instant and then to the commit; no row is read"
        case steps.AddColumn():
            return f"ACCESS EXCLUSIVE on {table} while its rows are gone through, and then to the commit"
        case steps.AddConstraint() if "FOREIGN KEY" in step.text:
            return (
                f"SHARE ROW EXCLUSIVE on {table} and on the table that it points to, to the commit: "
                "writers wait, readers do not"
            )
        case steps.AddConstraint():
            return f"ACCESS EXCLUSIVE on {table} while its rows are read, and then to the commit"
        case steps.ReplaceIndex():
            return f"ACCESS EXCLUSIVE on {table} while its rows are read, and then to the commit"
        case steps.CreateIndex():
            return f"SHARE on {table} while its rows are read, and then to the commit: writers wait"
        case steps.ReplaceTrigger():
            return f"ACCESS EXCLUSIVE on {table}, for an instant and then to the commit"
        case steps.CreateTrigger():
            return f"SHARE ROW EXCLUSIVE on {table}, for an instant and then to the commit: writers wait"
        case steps.Backfill() if len(step.statements) > 1:
            return (
                f"SHARE ROW EXCLUSIVE on {table} while rows are written, and then to the commit: writers wait"
            )
        case _:
            return f"ROW EXCLUSIVE on {table}, and the rows that are written, to the commit"
