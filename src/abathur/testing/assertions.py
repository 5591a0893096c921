"""Assertions about the tasks of a database; one that fails says what came near."""

from __future__ import annotations

import re
from typing import Any, Final, overload

from attrs import frozen

from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.models import Task
from abathur.states import STATUSES
from abathur.tasks import checks
from abathur.testing.matching import Difference, described, differences, shown

PAGE: Final = 1_000
NEAREST: Final = 3
"""Tasks that a message shows."""
FIELDS: Final = Task.__struct_fields__


@overload
async def assert_enqueued(db: Database, *, count: None = None, **wanted: Any) -> Task: ...
@overload
async def assert_enqueued(db: Database, *, count: int, **wanted: Any) -> list[Task]: ...
async def assert_enqueued(db: Database, *, count: int | None = None, **wanted: Any) -> Task | list[Task]:
    """Assert that a task was enqueued with these fields; returns it, or with `count` all of that number.

    db: an open Database. count: exactly so many; else one or more, of which the first is returned. wanted:
    fields of a Task, whatever its status is by now, and `depends_on`, tasks or ids that it waits for or
    waited for.

    A mapping is met by one that has its keys, and perhaps others; ``...`` by anything; a compiled pattern by
    a text that it is found in; a type by its instances; a function by what it answers True to.

    Raises AssertionError that shows the tasks that came nearest, or InvalidInputError for an unknown field.
    """
    __tracebackhide__ = True
    found = await _look(db, wanted)
    if count is None:
        if not found.tasks:
            raise AssertionError(found.told(f"No task was enqueued with {_words(wanted)}."))
        return found.tasks[0]
    if len(found.tasks) != count:
        there = len(found.tasks)
        were = "task was" if there == 1 else "tasks were"
        raise AssertionError(found.told(f"{there} {were} enqueued with {_words(wanted)}, not {count}."))
    return found.tasks


async def refute_enqueued(db: Database, **wanted: Any) -> None:
    """Assert that no task was enqueued with these fields, which are those of `assert_enqueued`.

    db: an open Database. wanted: fields of a Task; without any, there must be no task at all.
    """
    __tracebackhide__ = True
    found = await _look(db, wanted)
    if found.tasks:
        there = "\n".join(f"  {_line(task)}" for task in found.tasks[:NEAREST])
        raise AssertionError(f"{_number(found.tasks)} enqueued with {_words(wanted)}:\n{there}")


async def assert_completed(db: Database, task: str | Task | None = None, **wanted: Any) -> Task:
    """Assert that a task is completed; returns it as it is now.

    db: an open Database. task: this one, else any. wanted: fields that it must have, such as `result`, as
    for `assert_enqueued`.
    """
    __tracebackhide__ = True
    return await _assert_status(db, "completed", task, wanted)


async def assert_failed(db: Database, task: str | Task | None = None, **wanted: Any) -> Task:
    """Assert that a task has failed for good; returns it as it is now.

    db: an open Database. task: this one, else any. wanted: fields that it must have, as for
    `assert_enqueued`; an `error` that is a text need only be a part of the task's.
    """
    __tracebackhide__ = True
    return await _assert_status(db, "failed", task, wanted)


async def assert_cancelled(db: Database, task: str | Task | None = None, **wanted: Any) -> Task:
    """Assert that a task is cancelled; returns it as it is now.

    db: an open Database. task: this one, else any. wanted: fields that it must have, as for
    `assert_enqueued`.
    """
    __tracebackhide__ = True
    return await _assert_status(db, "cancelled", task, wanted)


async def assert_status(db: Database, status: str, task: str | Task | None = None, **wanted: Any) -> Task:
    """Assert that a task has this status; returns it as it is now.

    db: an open Database. status: one of `abathur.states.STATUSES`. task: this one, else any. wanted: fields
    that it must have, as for `assert_enqueued`.
    """
    __tracebackhide__ = True
    if status not in STATUSES:
        raise InvalidInputError(
            f"status={status!r} is unknown.", f"Expected one of {', '.join(STATUSES)}.", "Choose one."
        )
    return await _assert_status(db, status, task, wanted)


async def _assert_status(db: Database, status: str, task: str | Task | None, wanted: dict[str, Any]) -> Task:
    __tracebackhide__ = True
    wanted = {**wanted, "status": status}
    if isinstance(wanted.get("error"), str):
        wanted["error"] = re.compile(re.escape(wanted["error"]))
    if task is None:
        found = await _look(db, wanted)
        if not found.tasks:
            raise AssertionError(found.told(f"No task has {_words(wanted)}."))
        return found.tasks[0]
    _check(wanted)
    there = await db.tasks.get(checks.id_of(task))
    wrong = await _compare(db, wanted, there)
    if wrong:
        lines = [f"The task is not as expected: {_line(there)}", *(f"    {one}" for one in wrong)]
        if there.error is not None:
            lines.append(f"  Its last error: {there.error}")
        if not there.ended:
            lines.append(f"  Why it has not ended: {await db.tasks.why(there)}")
        raise AssertionError("\n".join(lines))
    return there


# -- looking -----------------------------------------------------------------------------------


@frozen
class _Found:
    tasks: list[Task]
    """Those that match."""
    others: list[tuple[Task, list[Difference]]]
    """The rest, the nearest first."""

    def told(self, problem: str) -> str:
        """The problem, with what came near."""
        if not self.others:
            return problem if self.tasks else f"{problem} There is no task at all."
        number = len(self.others)
        if self.tasks:
            lines = [problem, *(f"  {_line(task)}" for task in self.tasks[:NEAREST]), "Others came near:"]
        else:
            lines = [
                f"{problem} {number} {'other was' if number == 1 else 'others were'}, the nearest first:"
            ]
        for task, wrong in self.others[:NEAREST]:
            lines += [f"  {_line(task)}", *(f"      {one}" for one in wrong)]
        if number > NEAREST:
            lines.append(f"  and {number - NEAREST:,} more")
        return "\n".join(lines)


async def _look(db: Database, wanted: dict[str, Any]) -> _Found:
    _check(wanted)
    found = _Found([], [])
    after = None
    while page := await db.tasks.list(limit=PAGE, after=after):
        for task in page:
            wrong = await _compare(db, wanted, task)
            if wrong:
                found.others.append((task, wrong))
            else:
                found.tasks.append(task)
        after = page[-1].id
    found.others.sort(key=lambda pair: (len({one.path.partition("[")[0] for one in pair[1]}), len(pair[1])))
    return found


async def _compare(db: Database, wanted: dict[str, Any], task: Task) -> list[Difference]:
    wrong: list[Difference] = []
    for name, value in wanted.items():
        if name == "depends_on":
            wrong += await _edges(db, value, task)
        elif name == "parent" and isinstance(value, Task):
            wrong += differences(value.id, task.parent, name)
        else:
            wrong += differences(value, getattr(task, name), name)
    return wrong


async def _edges(db: Database, value: Any, task: Task) -> list[Difference]:
    """What of `depends_on` is not a prerequisite of the task."""
    ids = [checks.id_of(one) for one in ([value] if isinstance(value, (str, Task)) else value)]
    there = {edge.task_id for edge in await db.tasks.prerequisites(task)}
    missing = [one for one in ids if one not in there]
    return [Difference("depends_on", shown(missing), shown(sorted(there)))] if missing else []


def _check(wanted: dict[str, Any]) -> None:
    if strange := [name for name in wanted if name not in (*FIELDS, "depends_on")]:
        raise InvalidInputError(
            f"A task has no field {strange[0]!r}.",
            f"Expected some of {', '.join((*FIELDS, 'depends_on'))}.",
            "Correct the name; `created_by`, for one, is the task's own word.",
        )


# -- telling -----------------------------------------------------------------------------------


def _words(wanted: dict[str, Any]) -> str:
    return ", ".join(f"{name}={described(value)}" for name, value in wanted.items()) or "any fields"


def _number(tasks: list[Task]) -> str:
    return "A task was" if len(tasks) == 1 else f"{len(tasks):,} tasks were"


def _line(task: Task) -> str:
    return f"{task.id} {task.status} {task.agent_type} {task.summary!r}"
