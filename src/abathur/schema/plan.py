"""The difference between declared schemas and a database, as ordered steps and conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from abathur.schema import fill, render
from abathur.schema.compare import Conflict, Difference, compare_table
from abathur.schema.declare import Index, Schema, Table, Trigger, VirtualTable, in_dialect
from abathur.schema.inspect import Found, FoundObject, FoundTable
from abathur.schema.rebuild import rebuild, relaxed_text
from abathur.schema.stamp import Options, is_needed, make_stamp
from abathur.schema.steps import (
    AddColumn,
    Backfill,
    CreateIndex,
    CreateTable,
    CreateTrigger,
    CreateVirtualTable,
    Relax,
    ReplaceIndex,
    ReplaceTrigger,
    SetPragma,
    Stamp,
    Step,
)
from abathur.schema.tokens import keys, tokens_equal

__all__ = ["Conflict", "Options", "Plan", "make_plan"]

_ORDER = (
    SetPragma, CreateTable, Relax, AddColumn, CreateVirtualTable,
    ReplaceIndex, CreateIndex, Backfill, ReplaceTrigger, CreateTrigger,
    Stamp,
)  # fmt: skip


@frozen
class Plan:
    """What has to be done, in order. `notes` are differences that need nothing."""

    steps: tuple[Step, ...] = ()
    """What would be done, in this order."""
    conflicts: tuple[Conflict, ...] = ()
    """What makes it impossible; with any of them nothing is done."""
    notes: tuple[str, ...] = ()
    """Differences that need nothing, in words."""

    @property
    def empty(self) -> bool:
        """Whether the database is what is declared."""
        return not self.steps and not self.conflicts

    @property
    def before(self) -> tuple[SetPragma, ...]:
        """The settings that come before the transaction."""
        return tuple(step for step in self.steps if isinstance(step, SetPragma) and not step.after)

    @property
    def inside(self) -> tuple[Step, ...]:
        """The steps of the one transaction."""
        return tuple(step for step in self.steps if not isinstance(step, SetPragma))

    @property
    def after(self) -> tuple[SetPragma, ...]:
        """The settings that come after the commit."""
        return tuple(step for step in self.steps if isinstance(step, SetPragma) and step.after)

    def counted(self, rows: Mapping[str, int]) -> Plan:
        """The plan with the numbers of rows of the tables whose steps go over all of them."""
        return evolve(
            self,
            steps=tuple(
                evolve(step, rows=rows[step.table]) if step.rows is None and step.table in rows else step
                for step in self.steps
            ),
        )

    def to_text(self) -> str:
        """The plan for people: each step with its SQL, rows and lock."""
        if self.empty:
            return "Nothing to do: the database is what is declared."
        lines = [f"conflict: {conflict}" for conflict in self.conflicts]
        for number, step in enumerate(self.steps, 1):
            rows = "rows not counted" if step.rows is None else f"{step.rows} rows"
            lines.append(f"{number}. {step.describe()}  [{rows}; {step.lock}]")
            lines += [f"     {line}" for built in step.statements for line in built.sql.strip().splitlines()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "empty": self.empty,
            "steps": [step.to_json() for step in self.steps],
            "conflicts": [
                {
                    "table": conflict.table,
                    "column": conflict.column,
                    "found": conflict.found,
                    "declared": conflict.declared,
                    "remedy": conflict.remedy,
                }
                for conflict in self.conflicts
            ],
            "notes": list(self.notes),
        }


def make_plan(schemas: Sequence[Schema], found: Found, options: Options) -> Plan:
    """Compare what is declared with what was found. A pure function: it touches no database."""
    return _Planner(schemas, found, options).plan()


@frozen
class _Planner:
    schemas: Sequence[Schema]
    found: Found
    options: Options
    steps: list[Step] = field(factory=list)
    conflicts: list[Conflict] = field(factory=list)
    notes: list[str] = field(factory=list)

    def plan(self) -> Plan:
        for schema in self.schemas:
            created = {table.name for table in schema.tables if table.name not in self.found.names}
            created |= {table.name for table in schema.virtual_tables if table.name not in self.found.names}
            # Before the tables: a backfill may count the rows that these bring.
            for copy in schema.copies:
                self._add(*fill.copy(copy, schema, self.found))
            self.steps.extend(fill.inserts(schema, created, self.found, self.options.dialect))
            for table in schema.tables:
                self._table(table, schema)
            for virtual in schema.virtual_tables:
                self._virtual_table(virtual)
            for index in schema.indexes:
                self._index(index)
            for trigger in schema.triggers:
                self._trigger(trigger)
        if self.steps or is_needed(self.schemas, self.found, self.options):
            self.steps.append(make_stamp(self.schemas, self.found, self.options))
        if self.options.is_file:
            self._pragmas()
        ordered = tuple(sorted(self.steps, key=_rank))
        return Plan(ordered, tuple(self.conflicts), tuple(self.notes))

    def _add(self, *results: Step | Conflict) -> None:
        for result in results:
            if isinstance(result, Conflict):
                self.conflicts.append(result)
            else:
                self.steps.append(result)

    def _pragmas(self) -> None:
        found = self.found
        if found.is_new:  # both have no effect once there is a table
            if found.auto_vacuum != 2:
                self.steps.append(_setting("auto_vacuum", "2"))
            if found.page_size != self.options.page_size:
                self.steps.append(_setting("page_size", str(self.options.page_size)))
        if found.fingerprint.journal_mode != "wal":
            self.steps.append(_setting("journal_mode", "wal", after=True))

    def _table(self, table: Table, schema: Schema) -> None:
        dialect = self.options.dialect
        taken = self.found.names.get(table.name)
        if taken is None:
            sql = render.create_table(table, dialect)
            self.steps.append(CreateTable(table=table.name, statements=(sql,)))
            return
        if taken.kind != "table":
            self.conflicts.append(_taken(table.name, taken, "a table"))
            return
        there = self.found.tables[table.name]
        if there.sql == render.create_table(table, dialect).replace(" IF NOT EXISTS", "", 1):
            return  # word for word ours: it cannot differ
        difference = compare_table(table, there, self.found)
        self.conflicts.extend(difference.conflicts)
        self.notes.extend(difference.notes)
        if difference.nullable or difference.unbound:
            self._relax(there, difference)
        for column in difference.added:
            sql = render.add_column(table.name, column, dialect)
            self.steps.append(AddColumn(table=table.name, name=column.name, statements=(sql,)))
        self._make_anew(there, {column.name for column in difference.added})
        added = [column.name for column in difference.added]
        self.steps.extend(fill.backfill(there, schema, added, self.found, dialect))

    def _make_anew(self, there: FoundTable, added: set[str]) -> None:
        """Make the indexes anew that name a column which their table did not have.

        SQLite took the quoted name for a string and indexed that. With the column there, the same
        text means the column, and the entries do not fit: the next UPDATE finds the file damaged.
        """
        for index in self.found.indexes_of(there.name):
            if added.intersection(keys(index.sql)):
                drop = f"DROP INDEX IF EXISTS {render.quoted(index.name)}"
                statements = (drop, render.guarded(index.sql))
                self.steps.append(ReplaceIndex(table=there.name, name=index.name, statements=statements))

    def _relax(self, there: FoundTable, difference: Difference) -> None:
        sql = relaxed_text(there.sql, difference.nullable, difference.unbound)
        if sql == there.sql:  # the rebuild would be tried for ever
            remedy = "Its text could not be understood: lift the constraint by hand."
            names = ", ".join((*difference.nullable, *difference.unbound))
            self.conflicts.append(Conflict(there.name, names, "constrained", "free", remedy))
            return
        self.steps.append(
            Relax(
                table=there.name,
                nullable=difference.nullable,
                unbound=difference.unbound,
                statements=rebuild(there, sql, self.found),
                rows=None if there.filled else 0,
            )
        )

    def _virtual_table(self, table: VirtualTable) -> None:
        sql = render.create_virtual_table(table, self.options.dialect)
        taken = self.found.names.get(table.name)
        if sql is None:
            return
        if taken is None:
            self.steps.append(CreateVirtualTable(table=table.name, statements=(sql,)))
        elif taken.kind != "virtual":
            self.conflicts.append(_taken(table.name, taken, "a virtual table"))
        elif not tokens_equal(taken.sql, sql):
            remedy = "A virtual table is never altered: drop it, if its content can be made again."
            self.conflicts.append(Conflict(table.name, None, taken.sql, sql, remedy))

    def _index(self, index: Index) -> None:
        sql = render.create_index(index, self.options.dialect)
        taken = self.found.names.get(index.name)
        if sql is None or (
            taken is not None and taken.table.lower() == index.table and tokens_equal(taken.sql, sql)
        ):
            return
        columns = tuple(in_dialect(column, self.options.dialect) or "" for column in index.columns)
        unique = columns if index.unique else ()
        if taken is None:
            self.steps.append(
                CreateIndex(table=index.table, name=index.name, unique=unique, statements=(sql,))
            )
        elif taken.kind == "index" and self._is_ours(taken.table):
            drop = f"DROP INDEX IF EXISTS {render.quoted(taken.name)}"
            self.steps.append(
                ReplaceIndex(table=index.table, name=index.name, unique=unique, statements=(drop, sql))
            )
        else:
            self.conflicts.append(_taken(index.name, taken, f"an index of {index.table}"))

    def _trigger(self, trigger: Trigger) -> None:
        sql = render.create_trigger(trigger, self.options.dialect)
        taken = self.found.triggers.get(trigger.name)
        if sql is None or (taken is not None and tokens_equal(taken.sql, sql)):
            return
        if taken is None:
            self.steps.append(CreateTrigger(table=trigger.table, name=trigger.name, statements=(sql,)))
        elif self._is_ours(taken.table):
            drop = f"DROP TRIGGER IF EXISTS {render.quoted(taken.name)}"
            self.steps.append(ReplaceTrigger(table=trigger.table, name=trigger.name, statements=(drop, sql)))
        else:
            self.conflicts.append(_taken(trigger.name, taken, f"a trigger of {trigger.table}"))

    def _is_ours(self, table: str) -> bool:
        """Whether a table is declared, or an older one whose rows are taken over."""
        name = table.lower()
        return any(
            name in (*(t.name for t in schema.tables), *(copy.source for copy in schema.copies))
            for schema in self.schemas
        )


def _setting(name: str, value: str, *, after: bool = False) -> SetPragma:
    return SetPragma(table="", name=name, value=value, after=after, statements=(f"PRAGMA {name} = {value}",))


def _rank(step: Step) -> int:
    if isinstance(step, SetPragma) and step.after:
        return len(_ORDER)
    return _ORDER.index(type(step))


def _taken(name: str, taken: FoundObject, wanted: str) -> Conflict:
    kinds = {"virtual": "a virtual table", "index": f"an index of {taken.table}"}
    what = kinds.get(taken.kind, f"a {taken.kind}")
    return Conflict(name, None, what, wanted, f"Rename or drop the {taken.kind} {taken.name}.")
