"""What a task waits for in the end: the root cause behind each prerequisite, and the way to it.

Causes are spread from the roots downwards, the worst kind first, so each task of the graph is looked
at once, and gets the worst cause that there is above it, the nearest of those.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from abathur.script import Script
from abathur.states import BLOCKED, PENDING, READY, RUNNING, SCHEDULED, WAITING
from abathur.tasks import waits
from abathur.tasks.waits import Node, Waits

ENDED: Final = "ended"
CIRCLE: Final = "circle"
UNREAD: Final = "unread"
WORST_FIRST: Final = (ENDED, CIRCLE, PENDING, BLOCKED, WAITING, SCHEDULED, READY, RUNNING, UNREAD)
"""Kinds of roots. `blocked` without an unmet edge is what an older version left behind, and only such
databases can hold a circle. `unread` is what waits for tasks beyond the part of the graph that was read."""
NEVER: Final = frozenset({ENDED, CIRCLE})
"""What does not pass by itself."""


@frozen
class Cause:
    """The root behind a task of the graph."""

    kind: str
    """One of WORST_FIRST."""
    root: str
    """The id of the task that has to move first; it may be the task itself."""
    via: str | None
    """The next task on the way to the root; None at the root."""


@frozen
class Causes:
    """The cause of every task in a graph."""

    of: Mapping[str, Cause]
    because: Mapping[str, str]
    """For tasks that failed or were cancelled because of a prerequisite that still is: that one."""

    def path(self, task_id: str) -> list[str]:
        """The ids from a task to its root."""
        path = [task_id]
        while (via := self.of[path[-1]].via) is not None:
            path.append(via)
        return path


def find(graph: Waits) -> Script[Causes]:
    """The root cause behind each task that the graph holds."""
    ended = {node.id: node for node in graph.nodes.values() if node.has_ended_badly}
    moves = yield from waits.last_moves(ended.values())
    because = {
        task_id: move.data["because"]
        for task_id, move in moves.items()
        if move.data.get("because") in ended  # else that has been retried since
    }
    links: dict[str, list[str]] = {}
    roots: dict[str, list[str]] = {kind: [] for kind in WORST_FIRST}
    waits_for: dict[str, int] = {}
    for task_id, node in sorted(graph.nodes.items()):
        above = _above(graph, node, because)
        for prerequisite in above:
            links.setdefault(prerequisite, []).append(task_id)
        if above:
            waits_for[task_id] = len(above)
        else:
            roots[_kind(graph, node)].append(task_id)
    roots[CIRCLE] = _never_free([one for those in roots.values() for one in those], links, waits_for)
    found: dict[str, Cause] = {}
    for kind in WORST_FIRST:
        _spread(kind, roots[kind], links, found)
    return Causes(found, because)


def _never_free(
    roots: Sequence[str], links: Mapping[str, list[str]], waits_for: Mapping[str, int]
) -> list[str]:
    """The tasks that would not become free if every root were completed: in a circle, or behind one."""
    left = dict(waits_for)
    todo = list(roots)
    while todo:
        for dependent in links.get(todo.pop(), ()):
            left[dependent] -= 1
            if not left[dependent]:
                del left[dependent]
                todo.append(dependent)
    return sorted(left)


def _above(graph: Waits, node: Node, because: Mapping[str, str]) -> list[str]:
    """The tasks for which one waits; for one that has ended badly, the task because of which it has."""
    if node.has_ended_badly:
        return [because[node.id]] if node.id in because else []
    if node.status in (BLOCKED, PENDING):
        return [edge.prerequisite for edge in graph.edges.get(node.id, ())]
    return []


def _kind(graph: Waits, node: Node) -> str:
    if node.has_ended_badly:
        return ENDED
    if graph.more and node.status == BLOCKED:
        return UNREAD
    return node.status if node.status in WORST_FIRST else WAITING


def _spread(kind: str, roots: Sequence[str], links: Mapping[str, list[str]], found: dict[str, Cause]) -> None:
    todo: deque[str] = deque()
    for root in roots:
        if root not in found:  # one in a circle may have a worse cause as well
            found[root] = Cause(kind, root, None)
            todo.append(root)
    while todo:
        task_id = todo.popleft()
        for dependent in links.get(task_id, ()):
            if dependent not in found:
                found[dependent] = Cause(kind, found[task_id].root, task_id)
                todo.append(dependent)
