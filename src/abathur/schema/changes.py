"""What closes a difference on one dialect: the functions that its module of changes has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from abathur.schema.compare import Conflict, Difference
from abathur.schema.declare import Index, Table, Trigger, VirtualTable
from abathur.schema.found import Found, FoundObject, FoundTable
from abathur.schema.steps import SetPragma, Step


class Changes(Protocol):
    """How a difference is found and closed on one dialect: the steps, and the statements of each."""

    def settings(self, found: Found, page_size: int) -> Iterator[SetPragma]:
        """The settings of the file that are not as they should be."""

    def create(self, table: Table) -> Iterator[Step]:
        """The steps that make a table."""

    def compare(self, table: Table, there: FoundTable, found: Found) -> Difference:
        """The difference between a declaration and the table of that name."""

    def change(self, there: FoundTable, difference: Difference, found: Found) -> Iterator[Step | Conflict]:
        """The steps that change a table, without those that fill it."""

    def virtual_table(self, table: VirtualTable) -> str | None:
        """The statement that makes a virtual table; None where there are none."""

    def index(self, declared: Index) -> tuple[str, ...]:
        """The statements that make an index; empty when it is not for this dialect."""

    def is_index(self, declared: Index, taken: FoundObject) -> bool:
        """Whether what has the index's name is the declared one."""

    def may_drop(self, taken: FoundObject) -> bool:
        """Whether what has an index's name is an index that can be dropped by itself."""

    def drop_index(self, taken: FoundObject) -> str:
        """The statement that drops an index."""

    def trigger(self, declared: Trigger) -> tuple[str, ...]:
        """The statements that make a trigger; empty when it is not for this dialect."""

    def trigger_there(self, declared: Trigger, found: Found) -> FoundObject | None:
        """The trigger that has the declared one's name, where that has to be unique."""

    def is_trigger(self, declared: Trigger, taken: FoundObject) -> bool:
        """Whether a trigger of that name is the declared one."""

    def drop_trigger(self, taken: FoundObject) -> str:
        """The statement that drops a trigger."""

    def silently(self, found: Found, table: str, statement: str) -> tuple[str, ...]:
        """The statements that execute one while a user's triggers on the table do not fire."""

    def renumbered(self, table: Table) -> tuple[str, ...]:
        """The statements after which a table gives numbers that follow those which are there."""

    def locked(self, step: Step) -> Step:
        """The step with the lock that it takes."""
