"""The graph of what a task waits for, all the way up: read once, then walked in memory.

It may be a chain of ten thousand, so nothing here is recursive. In a database of an older version it
may even have a circle in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from attrs import frozen

from abathur import payload, times
from abathur.errors import UnknownTaskError
from abathur.script import Script, Statement
from abathur.states import CANCELLED, FAILED
from abathur.tasks import reading
from abathur.tasks.dependencies import is_met
from abathur.tasks.views import TaskState

MOST_EDGES: Final = 100_000
"""Edges that are read of one graph; the tasks behind them are left out."""


class Node(NamedTuple):
    """A task of the graph. Its fields are the columns of `batches.states`."""

    id: str
    agent_type: str
    status: str
    summary: str
    rank: int
    attempt: int
    max_attempts: int
    worker: str | None
    started_at: str | None
    lease_expires_at: int | None
    run_at: int | None
    estimated_duration_seconds: float | None
    error: str | None
    project_id: str | None

    @property
    def state(self) -> TaskState:
        return TaskState(self.id, self.status, self.agent_type, self.summary)

    @property
    def has_ended_badly(self) -> bool:
        return self.status in (FAILED, CANCELLED)


class Edge(NamedTuple):
    """That a task waits for another one; not met."""

    prerequisite: str
    on_failure: str


@frozen
class Waits:
    """What a task waits for, and what that waits for, without what is met."""

    task: Node
    nodes: Mapping[str, Node]
    """By id; the task itself is one of them."""
    edges: Mapping[str, Sequence[Edge]]
    """By dependent, each list by prerequisite; tasks that wait for nothing are left out."""
    more: bool
    """Whether a part of it was left out, because it is too large."""


def states(ids: Sequence[str]) -> Script[list[Any]]:
    """How tasks stand, as rows of `batches.states`."""
    return (yield Statement("batches.states", ids=reading.ids_json(ids)))


def node(task_id: str) -> Script[Node]:
    """One task. Raises UnknownTaskError."""
    for row in (yield from states([task_id])):
        return _node(row)
    raise UnknownTaskError(task_id)


def _node(row: Any) -> Node:
    return Node(*[row[column] for column in Node._fields])


def above(task: Node) -> Script[Waits]:
    """The graph above a task: two statements, whatever its shape."""
    rows = yield Statement("batches.above", id=task.id, limit=MOST_EDGES + 1)
    more = len(rows) > MOST_EDGES
    found = [(row["dependent"], row["prerequisite"], row["on_failure"]) for row in rows[:MOST_EDGES]]
    ids = sorted({prerequisite for _, prerequisite, _ in found})
    nodes = {row["id"]: _node(row) for row in (yield from states(ids))} if ids else {}
    nodes[task.id] = task
    edges: dict[str, list[Edge]] = {}
    for dependent, prerequisite, on_failure in sorted(found):
        if not is_met(nodes[prerequisite].status, on_failure):
            edges.setdefault(dependent, []).append(Edge(prerequisite, on_failure))
    return Waits(task, nodes, edges, more)


@frozen
class LastMove:
    """What the trail says about a task's last change of status."""

    at: datetime | None
    actor: str | None
    data: Mapping[str, Any]


def last_moves(nodes: Iterable[Node]) -> Script[dict[str, LastMove]]:
    """What led tasks to their status, by id. What came from before the trail has nothing."""
    status_of = {node.id: node.status for node in nodes}
    if not status_of:
        return {}
    rows = yield Statement("batches.last_moves", ids=reading.ids_json(sorted(status_of)))
    moves = {}
    for row in rows:
        if row["action_type"] == f"task.{status_of[row['task_id']]}":
            data = payload.decode_stored(row["action_data"])
            moves[row["task_id"]] = LastMove(
                times.parse(row["timestamp"]), row["actor"], data if isinstance(data, dict) else {}
            )
    return moves


def last_move(task: Node) -> Script[LastMove]:
    """What led one task to its status; empty if the trail does not know."""
    moves = yield from last_moves([task])
    return moves.get(task.id) or LastMove(None, None, {})
