"""Reasons that lie in other tasks: each unmet prerequisite, and what it waits for itself in the end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from attrs import frozen

from abathur.script import Script
from abathur.states import BLOCKED, CANCELLED, FAILED, PENDING, READY, RUNNING, SCHEDULED
from abathur.tasks import roots, waits, workers
from abathur.tasks.roots import Causes
from abathur.tasks.sentences import after_colon, clock, named
from abathur.tasks.views import Reason
from abathur.tasks.waits import Edge, LastMove, Node, Waits
from abathur.tasks.workers import Crew

MOST_REASONS: Final = 20
LONGEST_CHAIN: Final = 20
"""Tasks of a chain that a reason holds: those at its two ends."""


def blocked(task: Node, now: int) -> Script[tuple[list[Reason], int]]:
    """A reason for each unmet prerequisite, the worst first; and how many there are beyond the limit."""
    graph = yield from waits.above(task)
    edges = graph.edges.get(task.id, ())
    if not edges:
        return [], 0
    causes = yield from roots.find(graph)
    crew, _ = yield from workers.read(now)
    say = _Speech(graph, causes, crew, now)

    def badness(edge: Edge) -> tuple[int, str]:
        return roots.WORST_FIRST.index(causes.of[edge.prerequisite].kind), edge.prerequisite

    shown = sorted(edges, key=badness)[:MOST_REASONS]
    return [say.waits_for(edge) for edge in shown], len(edges) - len(shown)


def doomed(task: Node, move: LastMove) -> Script[Reason]:
    """Why a task was failed or cancelled because of a prerequisite of its."""
    graph = yield from waits.above(task)
    causes = yield from roots.find(graph)
    return _Speech(graph, causes, Crew((), ()), 0).ended_with(move)


@frozen
class _Speech:
    """What there is to say about the tasks of one graph."""

    graph: Waits
    causes: Causes
    crew: Crew
    now: int

    def waits_for(self, edge: Edge) -> Reason:
        """That the task waits for a prerequisite, for what that waits, and so on to the root."""
        path = self.causes.path(edge.prerequisite)
        cause = self.causes.of[edge.prerequisite]
        never = cause.kind in roots.NEVER
        text = f"It waits for {self._name(path[0])}{self._way(path)}{self._end(cause.kind, path[-1])}."
        if cause.kind == roots.ENDED:
            which, policy = (
                ("that one", f" (its edge says `{edge.on_failure}`)") if len(path) == 1 else (path[-1], "")
            )
            text += (
                f" It stays blocked{policy} until {which} is retried and completes (`abathur retry`),"
                " or this one is cancelled (`abathur cancel`)."
            )
        elif never:
            text += " None of these can ever start; cancel one of them (`abathur cancel`)."
        return Reason(
            code="blocked",
            text=text,
            data={**self._data(path), "on_failure": edge.on_failure, "never": never},
        )

    def ended_with(self, move: LastMove) -> Reason:
        """That the task was ended because of a prerequisite, that because of another, and so on."""
        task, prerequisite = self.graph.task, move.data["because"]
        how = "failed" if task.status == FAILED else "was cancelled"
        data: dict[str, Any] = {"at": move.at, "because": None}
        found = self.graph.nodes.get(prerequisite)
        if found is not None and found.has_ended_badly:
            path = self.causes.path(prerequisite)
            end = self._end(roots.ENDED, path[-1])
            text = f"It {how} because of {self._name(path[0])}{self._way(path)}{end}. When that is mended,"
            data |= self._data(path)
        else:
            text = (
                f"It {how} because its prerequisite {prerequisite} did not complete. That has changed since:"
            )
        data["because"] = prerequisite
        return Reason(code=task.status, text=f"{text} `abathur retry` lets this one wait again.", data=data)

    # -- parts of sentences --------------------------------------------------------------------

    def _name(self, task_id: str) -> str:
        return named(self.graph.nodes[task_id].state)

    def _way(self, path: Sequence[str]) -> str:
        """From the first task of a path to the last, which are named if they are few."""
        if len(path) <= 5:
            return "".join(self._link(*pair) for pair in pairwise(path))
        between = len(path) - 3
        return (
            f"{self._link(path[0], path[1])}, which waits, through {between:,} others,"
            f" for {self._name(path[-1])}"
        )

    def _link(self, dependent: str, prerequisite: str) -> str:
        status = self.graph.nodes[dependent].status
        how = {FAILED: "failed because of", CANCELLED: "was cancelled because of"}.get(status, "waits for")
        return f", which {how} {self._name(prerequisite)}"

    def _end(self, kind: str, root: str) -> str:
        """How it stands with the root."""
        node = self.graph.nodes[root]
        if kind == roots.CIRCLE:
            return ", which waits, in the end, in a circle of tasks that wait for each other"
        if kind == roots.UNREAD:
            return ", which waits for more tasks than are looked at here"
        if kind == RUNNING and node.lease_expires_at is not None:
            over = " under a lease that is over" if node.lease_expires_at <= self.now else ""
            return f", which worker {node.worker!r} is running{over}"
        if kind == READY:
            idle = (
                ""
                if self.crew.able(node.agent_type, node.project_id)
                else ", and no live worker handles that"
            )
            return f", which is ready for agent type {node.agent_type!r}{idle}"
        if kind == SCHEDULED:
            return f", which is scheduled for {clock(node.run_at or 0)}"
        if kind == roots.ENDED:
            how = "failed" if node.status == FAILED else "was cancelled"
            return f", which {how}{after_colon(node.error)}"
        adrift = node.status in (PENDING, BLOCKED, RUNNING)
        return f", which is {node.status}" + (", as an older version left it" if adrift else "")

    def _data(self, path: Sequence[str]) -> dict[str, Any]:
        half = LONGEST_CHAIN // 2
        ends = path if len(path) <= LONGEST_CHAIN else [*path[:half], *path[-half:]]
        return {
            "prerequisite": self.graph.nodes[path[0]].state,
            "root": self.graph.nodes[path[-1]].state,
            "chain": tuple(self.graph.nodes[task_id].state for task_id in ends),
            "length": len(path),
        }
