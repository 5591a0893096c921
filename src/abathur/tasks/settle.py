"""Settle: how a claim ends. Every statement carries the fence, and a late result is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from attrs import frozen

from abathur import payload, times
from abathur.errors import LeaseLostError
from abathur.models import Claim
from abathur.script import Script, Statement
from abathur.states import COMPLETED, FAILED, READY, RUNNING, SCHEDULED
from abathur.tasks import dependencies, moves, reading
from abathur.tasks.moves import Move, about

Key = tuple[str, int]
"""A claim: the task's id and the fence."""

LEASE: Final = "lease"
"""Who acts when a lease ends: not the worker, which may be dead."""
EXPIRED: Final = "The lease ended before the worker did: it died, lost its database, or was stopped."


class Completion(NamedTuple):
    """A claim that went well. `result` is JSON text or None."""

    task_id: str
    fence: int
    worker: str
    result: str | None
    agent_type: str
    attempt: int


@frozen
class Failure:
    """A claim that did not go well, or that is given back."""

    task_id: str
    fence: int
    worker: str
    outcome: str
    """``failed``, ``timed_out``, ``expired`` or ``released``."""
    message: str | None
    error: str | None
    """JSON text of the error's detail."""
    retry_in: float | None
    """Seconds until the next attempt; None for none."""


def held(claims: Sequence[Key]) -> Script[dict[Key, Any]]:
    """The rows of those claims whose fence still holds."""
    rows = yield Statement("batches.held", claims=payload.batch(claims))
    return {(row["id"], row["fence"]): row for row in rows}


def lost(claims: Sequence[Key]) -> Script[dict[Key, LeaseLostError]]:
    """The errors for claims that no longer hold, each saying what the task is now."""
    if not claims:
        return {}
    rows = yield Statement("batches.brief", ids=reading.ids_json(sorted({task_id for task_id, _ in claims})))
    found = moves.by_id(rows)
    errors: dict[Key, LeaseLostError] = {}
    for task_id, fence in claims:
        row = found.get(task_id)
        if row is None:
            now = "the task does not exist"
        elif row["status"] == RUNNING and row["fence"] != fence:
            now = f"worker {row['worker']!r} runs it under fence {row['fence']}"
        else:
            now = f"it is {row['status']}"
        errors[task_id, fence] = LeaseLostError(task_id, fence, now)
    return errors


def complete_calls(completions: Sequence[Completion], now: int) -> Script[list[None]]:
    """Complete tasks whose fence still holds, all of them or none.

    Raises LeaseLostError when the fence of one does not hold; the engine then runs each call by itself,
    so that only the one that is late gets the error. So the many that are not late cost no look-up.
    """
    at = times.iso(now)
    (told,) = yield Statement(
        "tasks.complete",
        rows=[(at, at, one.task_id, one.fence) for one in completions],
        columns=("completed_at", "at", "id", "fence"),
    )
    if told["changed"] != len(completions):
        keys = [(one.task_id, one.fence) for one in completions]
        errors = yield from lost(keys)
        raise errors[keys[0]]
    results = [(one.task_id, one.result) for one in completions if one.result is not None]
    if results:
        yield Statement("tasks.add_result", rows=results, columns=("id", "result"))
    yield from moves.record(
        [
            Move(
                one.task_id,
                one.agent_type,
                RUNNING,
                COMPLETED,
                one.worker,
                about(RUNNING, one.fence, one.attempt),
            )
            for one in completions
        ],
        now,
    )
    yield from dependencies.unblock([(one.task_id, COMPLETED) for one in completions], now)
    return [None] * len(completions)


def completion(claim: Claim, result: Any) -> Completion:
    """Check a result. Raises InvalidPayloadError."""
    text = None if result is None else payload.encode(result, "result")
    task = claim.task
    return Completion(task.id, claim.fence, claim.worker, text, task.agent_type, task.attempt)


def complete(claim: Claim, result: Any = None, *, now: int) -> Script[None]:
    """Complete a claim, for scripts: the result and an application's own rows in one transaction.

    claim: what is to be ended. result: JSON, 256 KiB at most. now: the script's own `now`.

    Raises LeaseLostError, which undoes the whole transaction, or InvalidPayloadError.
    """
    yield from complete_calls([completion(claim, result)], now)


def fail_calls(failures: Sequence[Failure], now: int) -> Script[list[str | LeaseLostError]]:
    """End attempts that did not complete their tasks; answer with each task's new status."""
    rows = yield from held([(one.task_id, one.fence) for one in failures])
    good: dict[str, Failure] = {}
    refused: list[Key] = []
    for one in failures:
        key = (one.task_id, one.fence)
        if key in rows and one.task_id not in good:
            good[one.task_id] = one
        else:
            refused.append(key)
    statuses = yield from _end([(one, rows[one.task_id, one.fence]) for one in good.values()], now)
    errors = yield from lost(refused)
    return [
        statuses[one.task_id] if good.get(one.task_id) is one else errors[one.task_id, one.fence]
        for one in failures
    ]


def expire(rows: Sequence[Any], now: int) -> Script[None]:
    """Take running tasks away from workers whose leases are over."""
    error = payload.encode({"type": "LeaseExpired", "message": EXPIRED}, "the error")
    yield from _end(
        [(Failure(row["id"], row["fence"], LEASE, "expired", EXPIRED, error, 0), row) for row in rows],
        now,
    )


def _end(endings: Sequence[tuple[Failure, Any]], now: int) -> Script[dict[str, str]]:
    at = times.iso(now)
    changes: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    made: list[Move] = []
    for one, row in endings:
        released = one.outcome == "released"
        again = released or (one.retry_in is not None and row["attempt"] < row["max_attempts"])
        run_at = now + int(one.retry_in * times.SECOND) if again and one.retry_in else None
        status = FAILED if not again else READY if run_at is None else SCHEDULED
        changes.append(
            {
                "id": one.task_id,
                "fence": one.fence,
                "status": status,
                # A release gives the attempt back; a failure and a lost lease use it up.
                "attempt": row["attempt"] - released,
                "run_at": run_at,
                "error": one.message,
                "completed_at": None if again else at,
                "at": at,
            }
        )
        if not released:
            kept.append(
                {
                    "id": one.task_id,
                    "fence": one.fence,
                    "attempt": row["attempt"],
                    "worker": row["worker"],
                    "started_at": row["started_at"],
                    "ended_at": at,
                    "outcome": one.outcome,
                    "error": one.error,
                }
            )
        # The worker's name is in the data where somebody else acts in its place.
        worker = row["worker"] if one.worker == LEASE else None
        made.append(_move(row, status, one.worker, outcome=one.outcome, worker=worker))
    if changes:
        yield Statement("tasks.end_attempt", rows=changes)
    if kept:
        yield Statement("tasks.add_attempts", rows=kept)
    yield from moves.record(made, now)
    statuses = {row["id"]: row["status"] for row in changes}
    ended = [(task_id, status) for task_id, status in statuses.items() if status == FAILED]
    yield from dependencies.unblock(ended, now)
    return statuses


def _move(row: Any, status: str, actor: str | None, **more: Any) -> Move:
    data = about(RUNNING, fence=row["fence"], attempt=row["attempt"], **more)
    return Move(row["id"], row["agent_type"], RUNNING, status, actor, data)
