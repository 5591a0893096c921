"""What became of the demo's tasks: every figure is read from the database."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from abathur.cli.demo.agents import COUNT, REPORT
from abathur.database import Database
from abathur.models import AuditEntry, Task


@frozen(kw_only=True)
class Held:
    """A task that a killed worker was in the middle of: running under this fence before and after."""

    task: str
    fence: int
    summary: str


@frozen(kw_only=True)
class Killed:
    """A worker that was killed, and the tasks that it was in the middle of."""

    worker: str
    pid: int
    held: tuple[Held, ...]


@frozen(kw_only=True)
class Figures:
    """The demo in numbers."""

    tasks: int
    by_type: dict[str, int]
    by_status: dict[str, int]
    attempts: int
    """Claims: how often a task was given to a worker."""
    workers: int
    """Workers that were given a task."""
    killed: tuple[Killed, ...]
    killed_in: int
    """Tasks that a killed worker was in the middle of."""
    rescued: int
    """Attempts that ended because their worker's lease did."""
    rescued_after: float | None
    """Seconds from a killed worker's claim of a task to the next claim of it; the longest of them."""
    lost: int
    """Tasks that are not completed, failed or cancelled."""
    failed: int
    twice: int
    """Tasks with more than one completion in the audit trail."""
    refused: int
    audit_ok: bool
    audit_rows: int
    audit_problem: str | None
    seconds: float
    """From the first task's submission to the last one's end."""
    database: Path
    report: Path | None
    words: int | None
    """Of the report, as a command agent has counted them."""

    @property
    def good(self) -> bool:
        """Whether the database kept its promise."""
        return not self.lost and not self.twice and self.audit_ok and self.report is not None

    def to_json(self) -> dict[str, Any]:
        """The figures as JSON values."""
        return {"good": self.good, **asdict(self, value_serializer=_plain)}


def _plain(_: Any, __: Any, value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


async def read_figures(db: Database, output: Path, killed: list[Killed], refused: int) -> Figures:
    """Ask the database what became of every task."""
    tasks = await _tasks(db)
    outcomes = Counter([attempt.outcome for task in tasks for attempt in await db.tasks.attempts(task)])
    claims = await _entries(db, "task.running")
    completions = Counter(entry.task_id for entry in await _entries(db, "task.completed"))
    trail = await db.audit.verify()
    began = [task.submitted_at for task in tasks if task.submitted_at]
    ended = [task.completed_at for task in tasks if task.completed_at]
    completed = {task.agent_type: task.result for task in tasks if task.status == "completed"}
    return Figures(
        tasks=len(tasks),
        by_type=dict(Counter(task.agent_type for task in tasks)),
        by_status=dict(Counter(task.status for task in tasks)),
        attempts=len(claims),
        workers=len({entry.actor for entry in claims}),
        killed=tuple(killed),
        killed_in=sum(len(one.held) for one in killed),
        rescued=outcomes["expired"],
        rescued_after=_longest_rescue(claims, killed),
        lost=sum(not task.ended for task in tasks),
        failed=sum(task.status == "failed" for task in tasks),
        twice=sum(count > 1 for count in completions.values()),
        refused=refused,
        audit_ok=trail.ok,
        audit_rows=trail.rows,
        audit_problem=trail.problem,
        seconds=(max(ended) - min(began)).total_seconds() if began and ended else 0.0,
        database=output / "demo.db",
        report=Path(completed[REPORT]["path"]) if REPORT in completed else None,
        words=completed[COUNT]["words"] if COUNT in completed else None,
    )


async def _tasks(db: Database) -> list[Task]:
    found: list[Task] = []
    while page := await db.tasks.list(limit=1_000, after=found[-1].id if found else None):
        found += page
    return found


async def _entries(db: Database, action: str) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    while page := await db.audit.list(action=action, limit=1_000, after=found[-1].id if found else 0):
        found += page
    return found


def _longest_rescue(claims: list[AuditEntry], killed: list[Killed]) -> float | None:
    """How long a killed worker's tasks waited for another worker, seen from their first start."""
    at = {(entry.task_id, entry.data["fence"]): entry.at for entry in claims}
    waits = []
    for held in (held for one in killed for held in one.held):
        first, second = at.get((held.task, held.fence)), at.get((held.task, held.fence + 1))
        if first is not None and second is not None:
            waits.append((second - first).total_seconds())
    return max(waits, default=None)
