"""A task with its parts, and their parts: read level by level, so the depth does not matter."""

from __future__ import annotations

from typing import Any, Final

from abathur import times
from abathur.errors import UnknownTaskError
from abathur.models import Progress
from abathur.script import Script, Statement
from abathur.tasks import graph, reading, waits
from abathur.tasks.graph import PrerequisiteState
from abathur.tasks.views import Tree, TreeTask

MOST_EDGES: Final = 20_000
"""Prerequisites that are read for all tasks of a tree."""


def tree(task_id: str, limit: int) -> Script[Tree]:
    """A task with all below it, `limit` tasks at most: of a level that is too long, the oldest.

    Raises UnknownTaskError.
    """
    depth = {task_id: 0}
    parts: dict[str, list[str]] = {}
    level = [task_id]
    more = False
    while level and not more:
        room = limit - len(depth)
        rows = yield Statement("batches.parts", ids=reading.ids_json(level), limit=room + 1)
        more = len(rows) > room
        below = depth[level[0]] + 1
        level = []
        for row in rows[:room]:
            if row["id"] not in depth:  # tasks may be parts of each other
                depth[row["id"]] = below
                parts.setdefault(row["parent_task_id"], []).append(row["id"])
                level.append(row["id"])
    ids = sorted(depth)
    found = {row["id"]: row for row in (yield from waits.states(ids))}
    if task_id not in found:
        raise UnknownTaskError(task_id)
    edges = yield Statement("batches.edges_of", ids=reading.ids_json(ids), limit=MOST_EDGES + 1)
    prerequisites: dict[str, list[PrerequisiteState]] = {}
    for edge in edges[:MOST_EDGES]:
        prerequisites.setdefault(edge["dependent_task_id"], []).append(graph.state(edge))
    tasks = [_task(found[one], depth[one], prerequisites.get(one, ())) for one in _in_order(task_id, parts)]
    return Tree(tasks=tuple(tasks), more=more or len(edges) > MOST_EDGES)


def _in_order(root: str, parts: dict[str, list[str]]) -> list[str]:
    """Each task, followed by all below it."""
    order: list[str] = []
    todo = [root]
    while todo:
        order.append(todo.pop())
        todo += reversed(parts.get(order[-1], ()))
    return order


def _task(row: Any, depth: int, prerequisites: Any) -> TreeTask:
    said = row["updated_at"]
    return TreeTask(
        id=row["id"],
        parent=row["parent_task_id"],
        depth=depth,
        status=row["status"],
        agent_type=row["agent_type"],
        summary=row["summary"],
        attempt=row["attempt"],
        max_attempts=row["max_attempts"],
        worker=row["worker"],
        progress=None
        if said is None
        else Progress(
            task_id=row["id"],
            fraction=row["fraction"],
            message=row["message"],
            at=times.moment(said) or times.EPOCH,
        ),
        prerequisites=tuple(sorted(prerequisites, key=lambda one: str(one.task_id))),
    )
