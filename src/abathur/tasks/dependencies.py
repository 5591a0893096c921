"""Dependencies between tasks: what the end of one means for those that wait for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from attrs import define

from abathur import times
from abathur.errors import DependencyCycleError, IllegalMoveError, LeaseLostError, UnknownTaskError
from abathur.script import Script, Statement
from abathur.states import BLOCKED, CANCELLED, COMPLETED, FAILED, READY, RUNNING, SCHEDULED, check_move
from abathur.tasks import moves, reading
from abathur.tasks.moves import Move, about
from abathur.tasks.new import Edge
from abathur.tasks.rank import weight

_ENDS = {"fail": FAILED, "cancel": CANCELLED}


@define
class _Dependent:
    """A task that waits, as the edges of one round change it."""

    row: Any
    unmet: int
    doom: tuple[str, str] | None = None
    """The status that a failed prerequisite gives it, and that prerequisite."""


def unblock(
    ended: Sequence[tuple[str, str]],
    now: int,
    actor: str | None = None,
    only: Collection[str] | None = None,
) -> Script[None]:
    """Tell the dependents of tasks that have ended, given as (id, status), and so on downwards.

    Works in rounds, so a chain of any length is fine. Dependents are written in the order of their ids.
    With `only`, the tasks ended long ago, and of their dependents these alone hear of it.
    """
    while ended:
        status_of = dict(ended)
        edges = yield Statement("batches.waiting_for", ids=reading.ids_json(sorted(status_of)))
        # The order of rows means nothing; of several bad prerequisites the last by id decides.
        edges = sorted(edges, key=lambda edge: str(edge["prerequisite_task_id"]))
        if only is not None:
            edges = [edge for edge in edges if edge["dependent_task_id"] in only]
            only = None
        if not edges:
            return
        met: list[dict[str, Any]] = []
        dependents: dict[str, _Dependent] = {}
        for edge in edges:
            task_id = edge["dependent_task_id"]
            prerequisite = edge["prerequisite_task_id"]
            dependent = dependents.setdefault(task_id, _Dependent(edge, edge["unmet"]))
            if is_met(status_of[prerequisite], edge["on_failure"]):
                met.append({"id": edge["id"], "at": times.iso(now)})
                dependent.unmet -= 1
            elif edge["on_failure"] in _ENDS and edge["status"] == BLOCKED:
                dependent.doom = (_ENDS[edge["on_failure"]], prerequisite)
        if met:
            yield Statement("dependencies.resolve", rows=met)
        ended = yield from _change(dependents, now, actor)


def _change(
    dependents: Mapping[str, _Dependent], now: int, actor: str | None
) -> Script[list[tuple[str, str]]]:
    """Write one round's changes; return the tasks that ended by it."""
    at = times.iso(now)
    counted: list[dict[str, Any]] = []
    ending: list[dict[str, Any]] = []
    made: list[Move] = []
    for task_id, dependent in sorted(dependents.items()):
        row = dependent.row
        status = row["status"]
        if dependent.doom is not None:
            status, prerequisite = dependent.doom
            reason = f"its prerequisite {prerequisite} did not complete"
            ending.append({"id": task_id, "status": status, "error": reason, "at": at})
            made.append(
                Move(task_id, row["agent_type"], BLOCKED, status, actor, about(BLOCKED, because=prerequisite))
            )
        elif status == BLOCKED and dependent.unmet <= 0:
            status = free_status(row["run_at"], now)
            made.append(Move(task_id, row["agent_type"], BLOCKED, status, actor, _ABOUT_FREED))
        if dependent.unmet != row["unmet"] and dependent.doom is None:
            counted.append({"id": task_id, "unmet": max(dependent.unmet, 0), "status": status, "at": at})
    if counted:
        yield Statement("tasks.meet", rows=counted)
    if ending:
        yield Statement("tasks.end", rows=ending)
    yield from moves.record(made, now)
    return [(row["id"], row["status"]) for row in ending]


_ABOUT_FREED = about(BLOCKED)


def is_met(status: str, on_failure: str) -> bool:
    """Whether a prerequisite with this status no longer holds its dependent back."""
    return status == COMPLETED or (on_failure == "ignore" and status in (FAILED, CANCELLED))


def free_status(run_at: int | None, now: int) -> str:
    """Where a task without unmet prerequisites goes."""
    return SCHEDULED if run_at is not None and run_at > now else READY


def weigh(more: Counter[str]) -> Script[None]:
    """Move prerequisites forward for the tasks that newly wait for them."""
    rows = yield Statement("batches.brief", ids=reading.ids_json(sorted(more)))
    yield Statement(
        "tasks.weigh",
        rows=[
            {
                "id": row["id"],
                "more": more[row["id"]],
                "by": weight(row["dependents"] + more[row["id"]]) - weight(row["dependents"]),
            }
            for row in sorted(rows, key=lambda row: str(row["id"]))
        ],
    )


def add(task_id: str, edges: Sequence[Edge], fence: int | None, actor: str | None, now: int) -> Script[None]:
    """Let an existing task wait for others.

    A running task only with its claim's `fence`: the claim ends, and the attempt is given back.
    Raises UnknownTaskError, DependencyCycleError, IllegalMoveError or LeaseLostError.
    """
    yield Statement("batches.lock_edges")
    task = yield from reading.brief(task_id)
    holds = task["status"] == RUNNING and fence == task["fence"]
    if not holds and (fence is not None or task["status"] == RUNNING):
        raise LeaseLostError(task_id, fence or 0, f"it is {task['status']} under fence {task['fence']}")
    wanted = sorted({edge.prerequisite for edge in edges})
    found = moves.by_id((yield Statement("batches.brief", ids=reading.ids_json(wanted))))
    for prerequisite in wanted:
        if prerequisite not in found:
            raise UnknownTaskError(prerequisite, "prerequisite")
        yield from _refuse_cycle(task_id, prerequisite)
    known = yield Statement("batches.prerequisites", ids=reading.ids_json([task_id]))
    there = {row["prerequisite_task_id"] for row in known}
    new = [edge for edge in edges if edge.prerequisite not in there]
    met = {edge.id: is_met(found[edge.prerequisite]["status"], edge.on_failure) for edge in new}
    at = times.iso(now)
    waits = [edge for edge in new if not met[edge.id]]
    if waits and task["status"] in (FAILED, CANCELLED):  # the table's moves from there are retry's alone
        raise IllegalMoveError(task_id, task["status"], BLOCKED, (), "Expected a task that has not ended.")
    if waits and task["status"] != BLOCKED:
        check_move(task_id, task["status"], BLOCKED)
    if new:
        yield Statement(
            "dependencies.add",
            rows=[
                {
                    "id": edge.id,
                    "dependent": task_id,
                    "prerequisite": edge.prerequisite,
                    "created_at": at,
                    "resolved_at": at if met[edge.id] else None,
                    "on_failure": edge.on_failure,
                }
                for edge in new
            ],
        )
    if not waits:
        return
    yield from weigh(Counter(edge.prerequisite for edge in waits))
    if task["status"] == RUNNING:
        yield Statement(
            "tasks.end_attempt",
            id=task_id,
            fence=fence,
            status=BLOCKED,
            attempt=task["attempt"] - 1,
            run_at=None,
            error=None,
            completed_at=None,
            at=at,
        )
    yield Statement("tasks.meet", id=task_id, unmet=task["unmet"] + len(waits), status=BLOCKED, at=at)
    if task["status"] != BLOCKED:
        data = about(task["status"], because=waits[0].prerequisite)
        yield from moves.record(
            [Move(task_id, task["agent_type"], task["status"], BLOCKED, actor, data)], now
        )
    doomed = _ended_badly(waits, found)
    yield from unblock(doomed, now, actor, only={task_id})


def _ended_badly(edges: Iterable[Edge], found: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted(
        {
            (edge.prerequisite, found[edge.prerequisite]["status"])
            for edge in edges
            if edge.on_failure in _ENDS and found[edge.prerequisite]["status"] in (FAILED, CANCELLED)
        }
    )


def _refuse_cycle(task_id: str, prerequisite: str) -> Script[None]:
    """Raise DependencyCycleError, naming the cycle, if the prerequisite already waits for the task."""
    if prerequisite == task_id:
        raise DependencyCycleError([task_id, task_id])
    rows = yield Statement("dependencies.above", id=prerequisite)
    waits_for: dict[str, list[str]] = {}
    for row in rows:
        waits_for.setdefault(row["dependent"], []).append(row["prerequisite"])
    came_from: dict[str, str] = {}
    todo = [prerequisite]
    while todo:
        one = todo.pop()
        for other in waits_for.get(one, ()):
            if other in came_from:
                continue
            came_from[other] = one
            if other == task_id:
                path = [task_id]
                while path[-1] != prerequisite:
                    path.append(came_from[path[-1]])
                raise DependencyCycleError([*reversed(path), prerequisite])
            todo.append(other)
