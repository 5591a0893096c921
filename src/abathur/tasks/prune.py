"""Prune: remove tasks that ended long ago, with everything that belongs to them.

A task stays as long as something that is left needs it: a task that waits for it and has not ended,
or that would wait for it if it were tried again, its parent while that has not ended, its parts. So
what a handler may still want to read is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from attrs import frozen

from abathur import audit, times
from abathur.script import Script, Statement
from abathur.tasks import moves, reading
from abathur.tasks.retention import day

BATCH: Final = 25
"""Tasks that one transaction removes at most, so that nobody waits long behind it."""
PAGE: Final = 2_000
"""Tasks that one read looks at."""

BELONGINGS: Final = (
    "batches.remove_content",
    "batches.remove_attempts",
    "batches.remove_progress",
    "batches.remove_keys",
    "batches.remove_edges",
    "batches.remove_edges_to",
    "batches.remove_tasks",
)
"""What goes with a task. Whoever gives tasks rows in another table adds the statement that removes them."""


@frozen
class Candidates:
    """The tasks of a page that ended long enough ago, newest first."""

    ids: tuple[str, ...]
    before: str | None
    """Where the next page goes on; None after the last."""
    seen: int


@frozen
class Removal:
    """What became of a batch."""

    ids: tuple[str, ...]
    by_status: Counter[str]
    audit_rows: int
    needed: int


def candidates(cutoffs: Mapping[str, int], before: str) -> Script[Candidates]:
    """Look for tasks to remove, a page from an id back. Parts are made after their parents, and go first."""
    (page,) = yield Statement("tasks.page_start", before=before, limit=PAGE)
    latest = day(max(cutoffs.values()))
    rows = yield Statement("tasks.ended", before=before, limit=PAGE, day=latest)
    ids = sorted((row["id"] for row in rows if _is_old(row, cutoffs)), reverse=True)
    return Candidates(tuple(ids), page["id"] if page["n"] == PAGE else None, page["n"])


def preview(
    ids: Sequence[str], cutoffs: Mapping[str, int], gone: AbstractSet[str], now: int
) -> Script[Removal]:
    """What `remove` would do, when it had removed those in `gone`."""
    those = yield Statement("batches.that_need", ids=reading.ids_json(ids))
    those_gone = [row["id"] for row in those if row["id"] in gone]
    free, needed = yield from _removable(ids, cutoffs, now, those_gone)
    rows = yield Statement(
        "batches.trail_of", damaged=True, ids=reading.ids_json(sorted(row["id"] for row in free))
    )
    return _removal(free, len(rows), needed)


def remove(ids: Sequence[str], cutoffs: Mapping[str, int], actor: str | None, now: int) -> Script[Removal]:
    """Remove those tasks that are still old enough and that nothing needs."""
    yield Statement("batches.lock", ids=reading.ids_json(sorted(ids)))
    free, needed = yield from _removable(ids, cutoffs, now)
    if not free:
        return _removal((), 0, needed)
    gone = sorted(row["id"] for row in free)
    by_status = _removal(free, 0, needed).by_status
    rows = yield from audit.prune(gone, actor, now, by_status=dict(sorted(by_status.items())))
    for name in BELONGINGS:
        yield Statement(name, ids=reading.ids_json(gone))
    yield from moves.forget((row["id"], row["agent_type"], row["status"]) for row in free)
    return _removal(free, rows, needed)


def _removal(free: Sequence[Any], audit_rows: int, needed: int) -> Removal:
    return Removal(
        tuple(row["id"] for row in free), Counter(row["status"] for row in free), audit_rows, needed
    )


def _removable(
    ids: Sequence[str], cutoffs: Mapping[str, int], now: int, gone: Sequence[str] = ()
) -> Script[tuple[list[Any], int]]:
    """The rows of those that can go, when those in `gone` have gone, and how many others are needed."""
    found = yield Statement(
        "batches.removable", ids=reading.ids_json(sorted(ids)), going=reading.ids_json([*ids, *gone])
    )
    rows = {row["id"]: row for row in found}
    old = {task_id for task_id, row in rows.items() if _is_old(row, cutoffs)}
    # Who publishes what the trail tells, a service, has not told everything of these.
    unread = yield from audit.unread(sorted(old), now)
    needs = {task_id: [row["parent_task_id"]] for task_id, row in rows.items()}
    for edge in (yield Statement("batches.unmet_within", ids=reading.ids_json(sorted(rows)))):
        needs[edge["dependent_task_id"]].append(edge["prerequisite_task_id"])
    # One that stays keeps its parent and what it still waits for, and so on upwards.
    stay = [
        task_id
        for task_id, row in rows.items()
        if row["is_needed"] or task_id not in old or task_id in unread
    ]
    kept = set(stay)
    while stay:
        above = {one for one in needs[stay.pop()] if one in rows} - kept
        kept |= above
        stay += above
    free = [rows[task_id] for task_id in sorted(old - kept)]
    return free, len(old) - len(free)


def _is_old(row: Any, cutoffs: Mapping[str, int]) -> bool:
    """Whether a task ended before the cutoff of its status. What cannot be read as a time is kept."""
    cutoff = cutoffs.get(row["status"])
    ended = times.parse(row["completed_at"])
    return cutoff is not None and ended is not None and times.micros(ended, "completed_at") < cutoff
