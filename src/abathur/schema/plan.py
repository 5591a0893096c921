"""The difference between declared schemas and a database, as ordered steps and conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import evolve, field, frozen

from abathur.errors import InvalidInputError
from abathur.schema import changes_postgres, changes_sqlite, fill
from abathur.schema.changes import Changes
from abathur.schema.compare import Conflict
from abathur.schema.declare import Index, Schema, Table, Trigger, VirtualTable, in_dialect
from abathur.schema.found import Found, FoundObject
from abathur.schema.stamp import Options, is_needed, make_stamp
from abathur.schema.steps import (
    AddColumn,
    AddConstraint,
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
from abathur.schema.tokens import tokens_equal

__all__ = ["Conflict", "Options", "Plan", "make_plan"]

_ORDER = (
    SetPragma, CreateTable, Relax, AddColumn, CreateVirtualTable,
    ReplaceIndex, CreateIndex, Backfill, AddConstraint, ReplaceTrigger, CreateTrigger,
    Stamp,
)  # fmt: skip


_CHANGES: Final[Mapping[str, Changes]] = {"sqlite": changes_sqlite, "postgres": changes_postgres}


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
    if options.dialect not in _CHANGES:
        raise InvalidInputError(
            f"There is no SQL for the dialect {options.dialect!r}.",
            f"Expected one of {', '.join(_CHANGES)}.",
            "Use another engine.",
        )
    return _Planner(schemas, found, options, _CHANGES[options.dialect]).plan()


@frozen
class _Planner:
    schemas: Sequence[Schema]
    found: Found
    options: Options
    changes: Changes
    steps: list[Step] = field(factory=list)
    conflicts: list[Conflict] = field(factory=list)
    notes: list[str] = field(factory=list)

    def plan(self) -> Plan:
        changes = self.changes
        for schema in self.schemas:
            created = {table.name for table in schema.tables if table.name not in self.found.names}
            created |= {table.name for table in schema.virtual_tables if table.name not in self.found.names}
            # Before the tables: a backfill may count the rows that these bring.
            for copy in schema.copies:
                self._add(*fill.copy(copy, schema, self.found, changes))
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
            self.steps.extend(self.changes.settings(self.found, self.options.page_size))
        ordered = tuple(sorted(map(self.changes.locked, self.steps), key=_rank))
        return Plan(ordered, tuple(self.conflicts), tuple(self.notes))

    def _add(self, *results: Step | Conflict) -> None:
        for result in results:
            if isinstance(result, Conflict):
                self.conflicts.append(result)
            else:
                self.steps.append(result)

    def _table(self, table: Table, schema: Schema) -> None:
        taken = self.found.names.get(table.name)
        if taken is None:
            self.steps.extend(self.changes.create(table))
            return
        if taken.kind != "table":
            self.conflicts.append(_taken(table.name, taken, "a table"))
            return
        there = self.found.tables[table.name]
        difference = self.changes.compare(table, there, self.found)
        self.conflicts.extend(difference.conflicts)
        self.notes.extend(difference.notes)
        self._add(*self.changes.change(there, difference, self.found))
        added = [column.name for column in difference.added]
        self.steps.extend(fill.backfill(there, schema, added, self.found, self.options.dialect, self.changes))

    def _virtual_table(self, table: VirtualTable) -> None:
        sql = self.changes.virtual_table(table)
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
        statements = self.changes.index(index)
        taken = self.found.names.get(index.name)
        if not statements or (taken is not None and self.changes.is_index(index, taken)):
            return
        columns = tuple(in_dialect(column, self.options.dialect) or "" for column in index.columns)
        unique = columns if index.unique else ()
        if taken is None:
            self.steps.append(
                CreateIndex(table=index.table, name=index.name, unique=unique, statements=statements)
            )
        elif self.changes.may_drop(taken) and self._is_ours(taken.table):
            statements = (self.changes.drop_index(taken), *statements)
            self.steps.append(
                ReplaceIndex(table=index.table, name=index.name, unique=unique, statements=statements)
            )
        else:
            self.conflicts.append(_taken(index.name, taken, f"an index of {index.table}"))

    def _trigger(self, trigger: Trigger) -> None:
        statements = self.changes.trigger(trigger)
        taken = self.changes.trigger_there(trigger, self.found)
        if not statements or (taken is not None and self.changes.is_trigger(trigger, taken)):
            return
        if taken is None:
            self.steps.append(CreateTrigger(table=trigger.table, name=trigger.name, statements=statements))
        elif self._is_ours(taken.table):
            statements = (self.changes.drop_trigger(taken), *statements)
            self.steps.append(ReplaceTrigger(table=trigger.table, name=trigger.name, statements=statements))
        else:
            self.conflicts.append(_taken(trigger.name, taken, f"a trigger of {trigger.table}"))

    def _is_ours(self, table: str) -> bool:
        """Whether a table is declared, or an older one whose rows are taken over."""
        name = table.lower()
        return any(
            name in (*(t.name for t in schema.tables), *(copy.source for copy in schema.copies))
            for schema in self.schemas
        )


def _rank(step: Step) -> int:
    if isinstance(step, SetPragma) and step.after:
        return len(_ORDER)
    return _ORDER.index(type(step))


def _taken(name: str, taken: FoundObject, wanted: str) -> Conflict:
    kinds = {"virtual": "a virtual table", "index": f"an index of {taken.table}"}
    what = kinds.get(taken.kind, f"a {taken.kind}")
    return Conflict(name, None, what, wanted, f"Rename or drop the {taken.kind} {taken.name}.")
