"""Errors about moving a database to another place. The source is as it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abathur.errors.base import AbathurError


class MoveError(AbathurError):
    """A database could not be moved. Nothing was changed in it, and what was copied so far is not lost."""


class TargetNotEmptyError(MoveError):
    """The target holds rows, the same database, or the unfinished move of another. It was left as it was.

    `tables` are those with rows; `unfinished` is the id of the other database, or None.
    """

    def __init__(self, target: str, tables: Sequence[str], unfinished: str | None = None) -> None:
        self.tables = list(tables)
        self.unfinished = unfinished
        found = f"rows in {', '.join(self.tables)}" if self.tables else "the same database"
        if unfinished is not None:
            found = f"a part of the database {unfinished}, whose move was not finished"
        super().__init__(
            f"{target} is not empty: it holds {found}.",
            "Expected a new place, or a database without a single row: nothing is mixed or overwritten.",
            "Give another target; on PostgreSQL another `schema=` of the same database will do.",
        )


class SourceInUseError(MoveError):
    """Runners were seen at work on the source within the last minute. `workers` are their names."""

    def __init__(self, source: str, workers: Sequence[str]) -> None:
        self.workers = list(workers)
        super().__init__(
            f"Workers have been at work on {source} within the last minute: {', '.join(self.workers)}.",
            "Expected that nothing writes to a database while it is moved.",
            "Stop them, and whatever else uses it. If they were killed, wait a minute or pass "
            "`while_running=True` (`--while-running`).",
        )


class LeftBehindError(MoveError):
    """The source holds what would not be copied. `left` names the tables and columns, with their rows."""

    def __init__(self, source: str, left: Sequence[str]) -> None:
        self.left = list(left)
        super().__init__(
            f"{source} holds what would be left behind: {', '.join(self.left)}.",
            "Expected only tables and columns that abathur, or the program that moves, declares.",
            "Move it from a program that gives both Databases the `schema=` of these tables, "
            "or leave them behind with `only_declared=True` (`--only-abathur`).",
        )


class UnmovableValueError(MoveError):
    """A value of the source is none that the target can hold. `table`, `key` and `column` say where it is."""

    def __init__(self, table: str, key: Sequence[Any], column: str, found: str) -> None:
        self.table = table
        self.key = tuple(key)
        self.column = column
        row = f" of the row {', '.join(map(repr, self.key))}" if self.key else ""
        super().__init__(
            f"The column {column}{row} of {table} holds {found}.",
            "Expected a value that the target's column can hold.",
            "Correct it in the source, and start the move again; it goes on where it was.",
        )


class MoveDiffersError(MoveError):
    """What is in the target is not what is in the source. `differing` says where."""

    def __init__(self, source: str, target: str, differing: Sequence[str]) -> None:
        self.differing = list(differing)
        super().__init__(
            f"{target} is not equal to {source}: {'; '.join(self.differing)}.",
            "Expected that nothing writes to a database while it is moved.",
            "Stop what writes, and start the move again: it empties the target and copies everything anew.",
        )


class MoveConflictError(MoveError):
    """Somebody else has gone on with the move, or has begun one to the same target."""

    def __init__(self, target: str) -> None:
        super().__init__(
            f"Somebody else is moving a database to {target}.",
            "Expected one move to a target at a time.",
            "Let the other one end. If there is none, start the move again.",
        )
