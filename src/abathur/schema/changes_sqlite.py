"""How a difference is closed on SQLite: the steps, and the statements of each."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from abathur.schema import compare_sqlite, render_sqlite
from abathur.schema.compare import Conflict, Difference
from abathur.schema.declare import Index, Table, Trigger, VirtualTable
from abathur.schema.found import Found, FoundObject, FoundTable
from abathur.schema.rebuild import rebuild, relaxed_text
from abathur.schema.render import create_index, quoted
from abathur.schema.render_sqlite import guarded
from abathur.schema.steps import AddColumn, CreateTable, Relax, ReplaceIndex, SetPragma, Step
from abathur.schema.tokens import keys, tokens_equal


def settings(found: Found, page_size: int) -> Iterator[SetPragma]:
    """The settings of the file that are not as they should be."""
    if found.is_new:  # both have no effect once there is a table
        if found.auto_vacuum != 2:
            yield _setting("auto_vacuum", "2")
        if found.page_size != page_size:
            yield _setting("page_size", str(page_size))
    if found.fingerprint.journal_mode != "wal":
        yield _setting("journal_mode", "wal", after=True)


def _setting(name: str, value: str, *, after: bool = False) -> SetPragma:
    return SetPragma(table="", name=name, value=value, after=after, statements=(f"PRAGMA {name} = {value}",))


def create(table: Table) -> Iterator[Step]:
    """The steps that make a table."""
    yield CreateTable(table=table.name, statements=(render_sqlite.create_table(table),))


def compare(table: Table, there: FoundTable, found: Found) -> Difference:
    """The difference between a declaration and the table of that name."""
    if there.sql == render_sqlite.create_table(table).replace(" IF NOT EXISTS", "", 1):
        return Difference()  # word for word ours: it cannot differ
    return compare_sqlite.compare_table(table, there, found)


def change(there: FoundTable, difference: Difference, found: Found) -> Iterator[Step | Conflict]:
    """The steps that change a table."""
    if difference.nullable or difference.unbound:
        yield _relax(there, difference, found)
    for column in difference.added:
        sql = render_sqlite.add_column(there.name.lower(), column)
        yield AddColumn(table=there.name.lower(), name=column.name, statements=(sql,))
    yield from _make_anew(there, {column.name for column in difference.added}, found)


def _relax(there: FoundTable, difference: Difference, found: Found) -> Step | Conflict:
    sql = relaxed_text(there.sql, difference.nullable, difference.unbound)
    if sql == there.sql:  # the rebuild would be tried for ever
        remedy = "Its text could not be understood: lift the constraint by hand."
        names = ", ".join((*difference.nullable, *difference.unbound))
        return Conflict(there.name, names, "constrained", "free", remedy)
    return Relax(
        table=there.name,
        nullable=difference.nullable,
        unbound=difference.unbound,
        statements=rebuild(there, sql, found),
        rows=None if there.filled else 0,
    )


def _make_anew(there: FoundTable, added: Collection[str], found: Found) -> Iterator[ReplaceIndex]:
    """Make the indexes anew that name a column which their table did not have.

    SQLite took the quoted name for a string and indexed that. With the column there, the same
    text means the column, and the entries do not fit: the next UPDATE finds the file damaged.
    """
    for index in found.indexes_of(there.name):
        if set(added).intersection(keys(index.sql)):
            statements = (drop_index(index), guarded(index.sql))
            yield ReplaceIndex(table=there.name, name=index.name, statements=statements)


def virtual_table(table: VirtualTable) -> str | None:
    """The statement that makes a virtual table."""
    return render_sqlite.create_virtual_table(table)


def index(declared: Index) -> tuple[str, ...]:
    """The statements that make an index; empty when it is not for SQLite."""
    sql = create_index(declared, "sqlite")
    return () if sql is None else (sql,)


def is_index(declared: Index, taken: FoundObject) -> bool:
    """Whether an index of that name is the declared one."""
    sql = create_index(declared, "sqlite")
    return taken.table.lower() == declared.table and sql is not None and tokens_equal(taken.sql, sql)


def drop_index(taken: FoundObject) -> str:
    """The statement that drops an index."""
    return f"DROP INDEX IF EXISTS {quoted(taken.name)}"


def may_drop(taken: FoundObject) -> bool:
    """Whether an index can be dropped by itself: ours never have the name of a constraint's."""
    return taken.kind == "index"


def trigger(declared: Trigger) -> tuple[str, ...]:
    """The statements that make a trigger; empty when it is not for SQLite."""
    sql = render_sqlite.create_trigger(declared)
    return () if sql is None else (sql,)


def trigger_there(declared: Trigger, found: Found) -> FoundObject | None:
    """The trigger that has the name, whichever table it is on."""
    return found.triggers.get(declared.name)


def is_trigger(declared: Trigger, taken: FoundObject) -> bool:
    """Whether a trigger of that name is the declared one."""
    sql = render_sqlite.create_trigger(declared)
    return sql is not None and tokens_equal(taken.sql, sql)


def drop_trigger(taken: FoundObject) -> str:
    """The statement that drops a trigger."""
    return f"DROP TRIGGER IF EXISTS {quoted(taken.name)}"


def silently(found: Found, table: str, statement: str) -> tuple[str, ...]:
    """The statement while the table has no triggers: a user's must not fire for what we fill in."""
    triggers = found.triggers_of(table)
    return (*(drop_trigger(trigger) for trigger in triggers), statement, *(guarded(t.sql) for t in triggers))


def renumbered(table: Table) -> tuple[str, ...]:
    """Nothing: SQLite gives numbers that follow those which are there."""
    del table
    return ()


def locked(step: Step) -> Step:
    """The step with the lock that it takes."""
    return step
