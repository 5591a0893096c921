"""Errors about what a caller passed; nothing was changed."""

from __future__ import annotations

from collections.abc import Sequence

from abathur.errors.base import AbathurError


class InvalidInputError(AbathurError, ValueError):
    """An argument has a wrong type, range or form."""


class InvalidPayloadError(InvalidInputError):
    """A payload is not JSON, is too large or too deep, or holds a NUL character."""


class UnknownTaskError(InvalidInputError, LookupError):
    """No task has this id."""

    def __init__(self, task_id: str, role: str = "task") -> None:
        self.task_id = task_id
        super().__init__(
            f"There is no {role} with the id {task_id!r}.",
            "Expected the id of a task in this database"
            + (", or the `ref` of another task of the same call." if role != "task" else "."),
            "List the tasks with `db.tasks.list()` or `abathur list`, and check which database is open.",
        )


class DependencyCycleError(InvalidInputError):
    """The tasks of a cycle would wait for each other for ever. `cycle` lists their ids in order."""

    def __init__(self, cycle: Sequence[str]) -> None:
        self.cycle = list(cycle)
        super().__init__(
            f"These tasks would wait for each other: {' -> '.join(self.cycle)}.",
            "Expected dependencies without a cycle.",
            "Leave out one of these dependencies.",
        )


class IdempotencyConflictError(InvalidInputError):
    """The idempotency key belongs to a task with different content."""

    def __init__(self, key: str, task_id: str) -> None:
        self.key = key
        self.task_id = task_id
        super().__init__(
            f"The idempotency key {key!r} already belongs to task {task_id}, which has different content.",
            "Expected the same prompt, agent type, input and options for a repeated key.",
            "Use a new key for new work, or repeat the call with the content of the first one.",
        )


class TargetExistsError(InvalidInputError, FileExistsError):
    """There is something where a new file was to be written; it was left as it is."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} exists already.",
            "Expected a name that is free: nothing is overwritten.",
            "Give another name, or move what is there out of the way.",
        )


class ConfigError(InvalidInputError):
    """A configuration file is wrong: at `key` of its table `table`, either None where it is the whole."""

    def __init__(
        self, path: str, table: str | None, key: str | None, problem: str, expected: str, remedy: str
    ) -> None:
        self.path = path
        self.table = table
        self.key = key
        places = [f"[{table}]" if table else "", key or ""]
        where = ", ".join([path, " ".join(part for part in places if part)]).removesuffix(", ")
        super().__init__(f"{where}: {problem}", expected, remedy)


class UnknownStatementError(InvalidInputError):
    """A script named a statement that neither the library nor `queries=` defines."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        near = ", ".join(known[:8]) or "none"
        super().__init__(
            f"There is no SQL statement named {name!r}.",
            f"Statements of that topic: {near}.",
            "Define it in the directory or mapping given as `Database(queries=...)`.",
        )
