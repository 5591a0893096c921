"""Durable tasks for agent runners, in one SQLite file or on PostgreSQL: dependencies, leases, an audit trail.

Names are resolved when they are first used, so `import abathur` is fast and imports no extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from abathur._lazily import names_of
from abathur._version import __version__

if TYPE_CHECKING:
    from abathur import errors, schema, tasks
    from abathur.audit.head import AuditHead
    from abathur.bot import BotDatabase
    from abathur.context import Context, DoNotRetry
    from abathur.database import Database
    from abathur.destroying import Destroyed
    from abathur.errors import AbathurError, LeaseLostError
    from abathur.models import Attempt, AuditEntry, AuditReport, Claim, Finding, Prerequisite, Progress, Task
    from abathur.runner import Runner
    from abathur.script import Statement
    from abathur.space import Space
    from abathur.tasks.graph import PrerequisiteState
    from abathur.tasks.retention import Pruned, Retention
    from abathur.tasks.views import (
        CriticalPath,
        PathTask,
        QueueStats,
        Reason,
        Stats,
        TaskState,
        Throughput,
        Tree,
        TreeTask,
        Why,
        WorkerInfo,
    )

_HOMES = {
    "AbathurError": "abathur.errors",
    "Attempt": "abathur.models",
    "AuditEntry": "abathur.models",
    "AuditHead": "abathur.audit.head",
    "AuditReport": "abathur.models",
    "BotDatabase": "abathur.bot",
    "Claim": "abathur.models",
    "Context": "abathur.context",
    "CriticalPath": "abathur.tasks.views",
    "Database": "abathur.database",
    "Destroyed": "abathur.destroying",
    "DoNotRetry": "abathur.context",
    "Finding": "abathur.models",
    "LeaseLostError": "abathur.errors",
    "PathTask": "abathur.tasks.views",
    "Prerequisite": "abathur.models",
    "PrerequisiteState": "abathur.tasks.graph",
    "Progress": "abathur.models",
    "Pruned": "abathur.tasks.retention",
    "Retention": "abathur.tasks.retention",
    "QueueStats": "abathur.tasks.views",
    "Reason": "abathur.tasks.views",
    "Runner": "abathur.runner",
    "Space": "abathur.space",
    "Statement": "abathur.script",
    "Stats": "abathur.tasks.views",
    "Task": "abathur.models",
    "TaskState": "abathur.tasks.views",
    "Throughput": "abathur.tasks.views",
    "Tree": "abathur.tasks.views",
    "TreeTask": "abathur.tasks.views",
    "Why": "abathur.tasks.views",
    "WorkerInfo": "abathur.tasks.views",
    "errors": "abathur",
    "schema": "abathur",
    "tasks": "abathur",
}

__all__ = [  # noqa: RUF022  # what most people need comes first
    "Database",
    "Runner",
    "Context",
    "Task",
    "Claim",
    "Prerequisite",
    "PrerequisiteState",
    "Attempt",
    "Progress",
    "AuditEntry",
    "AuditHead",
    "AuditReport",
    "Retention",
    "Pruned",
    "Space",
    "Finding",
    "Why",
    "Reason",
    "TaskState",
    "Tree",
    "TreeTask",
    "CriticalPath",
    "PathTask",
    "Stats",
    "QueueStats",
    "Throughput",
    "WorkerInfo",
    "BotDatabase",
    "Statement",
    "AbathurError",
    "Destroyed",
    "DoNotRetry",
    "LeaseLostError",
    "errors",
    "schema",
    "tasks",
    "__version__",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
