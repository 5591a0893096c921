"""The values that reading the queue answers with: why, tree, critical path, workers, stats."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

from abathur.models import Progress
from abathur.tasks.graph import PrerequisiteState


@frozen
class TaskState:
    """How a task stands, in short."""

    id: str
    status: str
    agent_type: str
    summary: str


@frozen(kw_only=True)
class WorkerInfo:
    """A runner at work, as it announced itself."""

    name: str
    agent_types: tuple[str, ...]
    limits: Mapping[str, int]
    """The agent types of which it runs fewer tasks at a time than its concurrency."""
    concurrency: int
    """Tasks that it runs at a time."""
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    """When it last said that it is there; it does so every 15 s or so."""
    running: int
    """Tasks of its agent types that are held under its name."""
    projects: tuple[str, ...] | None = None
    """The projects whose tasks it takes; None means any task."""

    def takes(self, project: str | None) -> bool:
        """Whether it takes tasks of a project; of None: tasks that belong to none."""
        return self.projects is None or project in self.projects


@frozen(kw_only=True)
class Reason:
    """One reason why a task is not running, or what it does instead."""

    code: str
    """``blocked``, ``no_worker`` and so on; docs/reading-the-queue.md lists them with their data."""
    text: str
    """The reason in a sentence or two, for people."""
    data: Mapping[str, Any] = field(factory=dict)
    """The same as values. What is there depends on the code."""


@frozen(kw_only=True)
class Why:
    """Why a task is not running. `str(why)` says it in words."""

    task: TaskState
    at: datetime
    """When this was so."""
    reasons: tuple[Reason, ...]
    """What can never pass by itself comes first."""
    more: int = 0
    """Unmet prerequisites for which there is no reason in the list, because it would be too long."""

    def __str__(self) -> str:
        lines = [f"Task {self.task.id} is {self.task.status}."]
        lines += [f"- {reason.text}" for reason in self.reasons]
        if self.more:
            lines.append(f"- {self.more:,} more of its prerequisites are not met.")
        return "\n".join(lines)


@frozen(kw_only=True)
class TreeTask:
    """A task in its tree."""

    id: str
    parent: str | None
    """The id of the task that this one is a part of."""
    depth: int
    """0 for the task that was asked about."""
    status: str
    agent_type: str
    summary: str
    attempt: int
    max_attempts: int
    worker: str | None
    progress: Progress | None
    prerequisites: tuple[PrerequisiteState, ...]
    """What it waits for or has waited for, by id."""


@frozen(kw_only=True)
class Tree:
    """A task with its parts, and their parts."""

    tasks: tuple[TreeTask, ...]
    """Each task is followed by its parts; the first is the one that was asked about."""
    more: bool
    """Whether something was left out: parts beyond the limit, or prerequisites of tasks with thousands."""


@frozen(kw_only=True)
class PathTask:
    """A task on a critical path."""

    id: str
    status: str
    agent_type: str
    summary: str
    seconds: float
    """Its part of the total: the time it adds after the task before it, waiting for its `run_at` included."""
    estimate: float
    """Seconds that its work takes as a whole."""
    basis: Literal["estimate", "recent", "unknown"]
    """Where the estimate comes from: its `estimated_duration`; what tasks of its agent type took lately,
    on average; or nothing, and then it counts as one second."""


@frozen(kw_only=True)
class CriticalPath:
    """The chain of tasks that decides when a task can be done."""

    tasks: tuple[PathTask, ...]
    """First what has to be done first; the task that was asked about is the last. None if it has ended."""
    seconds: float
    """How long that takes from now, at least: as if there were a free worker for each task at once."""
    never: bool
    """Whether it waits for a task that has failed or was cancelled, and so will not be done as it is."""
    more: bool
    """Whether the graph is so large that only a part of it was read."""


@frozen(kw_only=True)
class Throughput:
    """How many tasks ended."""

    completed: int
    failed: int
    seconds: float
    """In so many seconds: the time asked about, or less where the trail was too busy to read all of it."""


@frozen(kw_only=True)
class QueueStats:
    """The tasks of one agent type."""

    agent_type: str
    counts: Mapping[str, int]
    """The number of tasks per status; a status that no task has is left out."""
    ready_for: float | None
    """Seconds that the next task of the queue has been ready; None when none is."""
    workers: int
    """Live workers that handle it."""
    slots: int
    """Tasks of this agent type that these could run at a time, if they ran nothing else."""


@frozen(kw_only=True)
class Stats:
    """How the whole queue stands."""

    at: datetime
    counts: Mapping[str, int]
    """The number of tasks per status; a status that no task has is left out."""
    queues: tuple[QueueStats, ...]
    """By agent type."""
    workers: tuple[WorkerInfo, ...]
    """The live ones, by name."""
    expired: int
    """Running tasks whose lease is over; the next claim of any worker takes them away."""
    last_minute: Throughput
    last_hour: Throughput
