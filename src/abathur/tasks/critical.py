"""The critical path: the chain of tasks that decides when a task can be done.

Each task ends, at the earliest, when the last of its prerequisites has ended and its `run_at` has come,
plus the time that its work takes; the chain of those that come last is the path. Linear in the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from attrs import frozen

from abathur import times
from abathur.errors import DependencyCycleError
from abathur.script import Script, Statement
from abathur.states import RUNNING, TERMINAL
from abathur.tasks import waits
from abathur.tasks.views import CriticalPath, PathTask
from abathur.tasks.waits import Node, Waits

RECENT: Final = 2_000
"""Rows of the trail in which completed tasks are looked for, to see what their agent types take."""
UNKNOWN: Final = 1.0
"""Seconds of a task of which nothing is known: so the longest chain by number wins where nothing is."""


@frozen
class _Work:
    """What is left to do for one task: seconds."""

    wait: float
    """Until its `run_at`, from now."""
    left: float
    estimate: float
    basis: Literal["estimate", "recent", "unknown"]


@frozen
class _End:
    """When a task can be done, in seconds from now, and the prerequisite that decides it, if one does."""

    at: float
    after: str | None


def critical_path(task_id: str, now: int) -> Script[CriticalPath]:
    """The chain that decides when a task can be done.

    Raises UnknownTaskError, or DependencyCycleError for a circle, which only an older database can hold.
    """
    task = yield from waits.node(task_id)
    if task.status in TERMINAL:
        return CriticalPath(tasks=(), seconds=0.0, never=False, more=False)
    graph = yield from waits.above(task)
    usual = yield from _usual()
    works = {one.id: _work(one, usual, now) for one in graph.nodes.values()}
    ends = _ends(graph, works)
    path = [task_id]
    while (after := ends[path[-1]].after) is not None:
        path.append(after)
    before = 0.0
    tasks = []
    for one in reversed(path):
        node, work, end = graph.nodes[one], works[one], ends[one]
        tasks.append(
            PathTask(
                id=one,
                status=node.status,
                agent_type=node.agent_type,
                summary=node.summary,
                seconds=end.at - before,
                estimate=work.estimate,
                basis=work.basis,
            )
        )
        before = end.at
    never = any(one.has_ended_badly for one in graph.nodes.values())
    return CriticalPath(tasks=tuple(tasks), seconds=before, never=never, more=graph.more)


def _usual() -> Script[Mapping[str, float]]:
    """Seconds that tasks of each agent type took lately, on average, from claim to completion."""
    (last,) = yield Statement("audit.last_id")
    rows = yield Statement("looking.durations", after=(last["id"] or 0) - RECENT)
    took: dict[str, list[float]] = {}
    for row in rows:
        began, ended = times.parse(row["started_at"]), times.parse(row["completed_at"])
        if began is not None and ended is not None:
            took.setdefault(row["agent_type"], []).append(max((ended - began).total_seconds(), 0))
    return {agent_type: sum(some) / len(some) for agent_type, some in took.items()}


def _work(node: Node, usual: Mapping[str, float], now: int) -> _Work:
    basis: Literal["estimate", "recent", "unknown"]
    if node.estimated_duration_seconds is not None:
        estimate, basis = float(node.estimated_duration_seconds), "estimate"
    elif node.agent_type in usual:
        estimate, basis = usual[node.agent_type], "recent"
    else:
        estimate, basis = UNKNOWN, "unknown"
    left = estimate
    if node.status == RUNNING:
        began = times.parse(node.started_at)
        passed = 0.0 if began is None else (now - times.micros(began, "started_at")) / times.SECOND
        left = max(estimate - max(passed, 0.0), 0.0)
    waits_until = node.run_at if node.run_at is not None and node.status != RUNNING else now
    return _Work(max(waits_until - now, 0) / times.SECOND, left, estimate, basis)


def _ends(graph: Waits, works: Mapping[str, _Work]) -> dict[str, _End]:
    """When each task can be done, from those that wait for nothing downwards. Raises DependencyCycleError."""
    dependents: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    for dependent, edges in graph.edges.items():
        missing[dependent] = len(edges)
        for edge in edges:
            dependents.setdefault(edge.prerequisite, []).append(dependent)
    todo = [task_id for task_id in graph.nodes if task_id not in missing]
    ends: dict[str, _End] = {}
    while todo:
        task_id = todo.pop()
        work = works[task_id]
        last = max(
            (edge.prerequisite for edge in graph.edges.get(task_id, ())),
            key=lambda one: (ends[one].at, one),
            default=None,
        )
        if last is None or ends[last].at < work.wait:
            ends[task_id] = _End(work.wait + work.left, None)
        else:
            ends[task_id] = _End(ends[last].at + work.left, last)
        for dependent in dependents.get(task_id, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                todo.append(dependent)
    if graph.task.id not in ends:
        raise DependencyCycleError(_circle(graph, ends))
    return ends


def _circle(graph: Waits, ends: Mapping[str, _End]) -> list[str]:
    """A circle above the task: each step goes to a prerequisite that cannot be done either."""
    path = [graph.task.id]
    seen: set[str] = set()
    while path[-1] not in seen:
        seen.add(path[-1])
        path.append(
            next(edge.prerequisite for edge in graph.edges[path[-1]] if edge.prerequisite not in ends)
        )
    return path[path.index(path[-1]) :]
