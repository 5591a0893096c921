"""The ready tasks of some projects: one short index read for each project and agent type, merged by rank."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from abathur.script import Script, Statement


def next_ready(
    projects: Sequence[str], agent_types: Sequence[str] | None, limit: int, caps: Mapping[str, int]
) -> Script[list[str]]:
    """The ids of the best ranked ready tasks of these projects, of each agent type up to its cap."""
    candidates: dict[str, list[tuple[int, str]]] = {}
    for project in projects:
        for agent_type in agent_types if agent_types is not None else (yield from _types(project)):
            most = min(limit, caps.get(agent_type, limit))
            ready = Statement("tasks.ready_of", project=project, agent_type=agent_type, limit=most)
            rows = (yield ready) if most else []
            candidates.setdefault(agent_type, []).extend((row["rank"], row["id"]) for row in rows)
    capped = (heapq.nsmallest(caps.get(one, limit), found) for one, found in candidates.items())
    return [task_id for _, task_id in heapq.nsmallest(limit, (pair for some in capped for pair in some))]


def _types(project: str) -> Script[list[str]]:
    """The agent types of which a project has ready tasks."""
    found: list[str] = []
    while True:
        after = found[-1] if found else ""
        (row,) = yield Statement("tasks.next_ready_type_of", project=project, after=after)
        if row["agent_type"] is None:
            return found
        found.append(row["agent_type"])


def is_any_ready(projects: Sequence[str], agent_types: Sequence[str]) -> Script[bool]:
    """Whether a claim for these projects would find something now."""
    return bool((yield from next_ready(projects, agent_types, 1, {})))


def is_any_left(projects: Sequence[str], agent_types: Sequence[str]) -> Script[bool]:
    """Whether these projects have tasks of these agent types that are ready, scheduled or running."""
    for project in projects:
        for agent_type in agent_types:
            (row,) = yield Statement("tasks.left_of", project=project, agent_type=agent_type)
            if row["is_left"]:
                return True
    return False
