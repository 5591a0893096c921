"""Cancel and retry: what a person, or another task, decides about a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abathur import times
from abathur.errors import IllegalMoveError
from abathur.models import Task
from abathur.script import Script, Statement
from abathur.states import BLOCKED, CANCELLED, FAILED, PENDING, TERMINAL, check_move
from abathur.tasks import dependencies, moves, reading
from abathur.tasks.moves import Move, about


def cancel(task_id: str, reason: str | None, tree: bool, actor: str | None, now: int) -> Script[Task]:
    """Cancel a task and, with `tree`, everything below it that has not ended.

    A running handler learns of it, and its late result is refused. Cancelling a cancelled task
    changes nothing. Raises UnknownTaskError, or IllegalMoveError for one that has ended otherwise.
    """
    task = yield from reading.brief(task_id)
    if task["status"] not in TERMINAL:
        yield from _cancel([task], reason, actor, now)
    elif not tree and task["status"] != CANCELLED:
        check_move(task_id, task["status"], CANCELLED)
    above: Sequence[str] = [task_id] if tree else ()
    seen = {task_id}
    while above:
        found = yield Statement("batches.children", ids=reading.ids_json(above))
        children = [child for child in found if child["id"] not in seen]  # tasks may be parts of each other
        seen.update(child["id"] for child in children)
        yield from _cancel(
            [child for child in children if child["status"] not in TERMINAL], reason, actor, now
        )
        above = [child["id"] for child in children]
    return (yield from reading.get(task_id))


def _cancel(tasks: Sequence[Any], reason: str | None, actor: str | None, now: int) -> Script[None]:
    if not tasks:
        return
    at = times.iso(now)
    said = reason or "cancelled"
    rows = sorted(tasks, key=lambda task: str(task["id"]))
    yield Statement(
        "tasks.end", rows=[{"id": row["id"], "status": CANCELLED, "error": said, "at": at} for row in rows]
    )
    made = []
    for row in rows:
        found = row["status"]
        if found == PENDING:  # of an older version: what the reconciler would do comes first
            made.append(Move(row["id"], row["agent_type"], PENDING, BLOCKED, actor, about(PENDING)))
            found = BLOCKED
        data = about(found, fence=row["fence"], attempt=row["attempt"], reason=reason)
        made.append(Move(row["id"], row["agent_type"], found, CANCELLED, actor, data))
    yield from moves.record(made, now)
    yield from dependencies.unblock([(row["id"], CANCELLED) for row in rows], now, actor)


def retry(task_id: str, actor: str | None, now: int) -> Script[Task]:
    """Give a failed or cancelled task another set of attempts.

    It waits for those prerequisites that are still not met. Raises UnknownTaskError or
    IllegalMoveError.
    """
    task = yield from reading.brief(task_id)
    edges = yield Statement("batches.prerequisites", ids=reading.ids_json([task_id]))
    unmet = sum(
        edge["resolved_at"] is None and not dependencies.is_met(edge["status"], edge["on_failure"])
        for edge in edges
    )
    status = BLOCKED if unmet else dependencies.free_status(task["run_at"], now)
    if task["status"] not in (FAILED, CANCELLED):
        raise IllegalMoveError(
            task_id,
            task["status"],
            status,
            (),
            "Expected a failed or cancelled task: only these are retried.",
        )
    yield Statement("tasks.revive", id=task_id, status=status, unmet=unmet, at=times.iso(now))
    data = about(task["status"], fence=task["fence"], attempt=task["attempt"], retry=True)
    yield from moves.record([Move(task_id, task["agent_type"], task["status"], status, actor, data)], now)
    return (yield from reading.get(task_id))
