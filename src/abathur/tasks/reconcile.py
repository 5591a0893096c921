"""Reconcile: bring what an older version, or its crash, left behind to the statuses of today.

`initialize()` rewrites no stored value, so this is where tasks of older databases move on.
"""

from __future__ import annotations

from typing import Final

from abathur import times
from abathur.script import Script, Statement
from abathur.states import BLOCKED
from abathur.tasks import dependencies, moves, reading, settle
from abathur.tasks.moves import Move, about

BATCH: Final = 200
"""Tasks that one transaction moves."""


def reconcile(now: int) -> Script[int]:
    """Move a batch of tasks that are adrift. Returns how many; 0 when nothing is left to do.

    ``pending`` becomes blocked or ready, with edges filled from the older JSON; ``running`` without
    a lease counts as expired; ``blocked`` without an unmet prerequisite is freed.
    """
    leaseless = yield Statement("tasks.leaseless", limit=BATCH)
    yield from settle.expire(leaseless, now)
    adrift = yield Statement("tasks.adrift", limit=BATCH)
    if not adrift:
        return len(leaseless)
    ids = reading.ids_json(sorted(row["id"] for row in adrift))
    yield Statement("batches.adopt_edges", ids=ids)
    edges = yield Statement("batches.prerequisites", ids=ids)
    unmet: dict[str, int] = {}
    for edge in edges:
        over = edge["resolved_at"] is not None or dependencies.is_met(edge["status"], edge["on_failure"])
        unmet[edge["dependent_task_id"]] = unmet.get(edge["dependent_task_id"], 0) + (not over)
    at = times.iso(now)
    changes = []
    made = []
    for row in adrift:
        waits = unmet.get(row["id"], 0)
        # `pending` may not go to `scheduled`: older versions had no `run_at`.
        free = dependencies.free_status(row["run_at"], now) if row["status"] == BLOCKED else "ready"
        status = BLOCKED if waits else free
        changes.append({"id": row["id"], "status": status, "unmet": waits, "at": at})
        if status != row["status"]:
            made.append(
                Move(row["id"], row["agent_type"], row["status"], status, "reconciler", about(row["status"]))
            )
    yield Statement("tasks.reconcile", rows=changes)
    yield from moves.record(made, now)
    return len(leaseless) + len(adrift)
