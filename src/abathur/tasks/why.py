"""Why a task is not running, in words and as data, from one snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from abathur import times
from abathur.script import Script, Statement
from abathur.states import (
    BLOCKED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PENDING,
    READY,
    RUNNING,
    SCHEDULED,
    WAITING,
)
from abathur.tasks import because, waits, workers
from abathur.tasks.sentences import after_colon, ago, clock, length, listed
from abathur.tasks.views import Reason, Why
from abathur.tasks.waits import LastMove, Node

MOST_AHEAD: Final = 1_000
"""Tasks that are counted in a queue; more are "more than 1,000"."""
ADRIFT: Final = (
    "An older version left it behind like this. A runner moves it on when it starts, and so does"
    " `await db.tasks.reconcile()`."
)


def why(task_id: str, now: int) -> Script[Why]:
    """Why a task is not running. Raises UnknownTaskError."""
    task = yield from waits.node(task_id)
    more = 0
    if task.status == BLOCKED:
        reasons, more = yield from because.blocked(task, now)
        if not reasons:
            reasons = [Reason(code="adrift", text=ADRIFT)]
    elif task.status in (FAILED, CANCELLED):
        reasons = [(yield from _ended_badly(task))]
    elif task.status == COMPLETED:
        reasons = [(yield from _completed(task))]
    elif task.status == SCHEDULED:
        reasons = yield from _scheduled(task, now)
    elif task.status == READY:
        reasons = yield from _ready(task, now)
    elif task.status == RUNNING:
        reasons = yield from _running(task, now)
    else:
        reasons = [_other(task)]
    return Why(task=task.state, at=times.moment(now) or times.EPOCH, reasons=tuple(reasons), more=more)


def _other(task: Node) -> Reason:
    if task.status == WAITING:
        return Reason(code="waiting", text="It waits for an event, an answer, or its parts.")
    if task.status == PENDING:
        return Reason(code="pending", text=ADRIFT)
    return Reason(
        code="unknown",
        text=f"This version does not know its status {task.status!r}; another program has written it.",
    )


# -- running -----------------------------------------------------------------------------------


def _running(task: Node, now: int) -> Script[list[Reason]]:
    since = times.parse(task.started_at)
    data = {
        "worker": task.worker,
        "since": since,
        "until": times.moment(task.lease_expires_at),
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
    }
    if task.lease_expires_at is None:
        return [Reason(code="adrift", text=ADRIFT, data=data)]
    if task.lease_expires_at > now:
        text = (
            f"Worker {task.worker!r} has been running it for {_passed(since, now)}"
            f" (attempt {task.attempt} of {task.max_attempts}). Its lease lasts until"
            f" {clock(task.lease_expires_at)}, {length(task.lease_expires_at - now)} from now,"
            " and is renewed while it works."
        )
        return [Reason(code="running", text=text, data=data)]
    again = "runs it again" if task.attempt < task.max_attempts else "fails it: its attempts are used up"
    text = (
        f"The lease of worker {task.worker!r} ended {ago(now - task.lease_expires_at)}: it died, or was"
        f" cut off. The next claim of any worker takes it away and {again}."
    )
    crew, _ = yield from workers.read(now)
    return [Reason(code="expired", text=text, data=data), *_missing(task, crew, now)]


def _passed(since: datetime | None, now: int) -> str:
    return "some time" if since is None else length(max(now - times.micros(since, "since"), 0))


# -- scheduled and ready -----------------------------------------------------------------------


def _scheduled(task: Node, now: int) -> Script[list[Reason]]:
    move = yield from waits.last_move(task)
    outcome = move.data.get("outcome")
    until = task.run_at or 0
    cause = "run_at" if outcome is None else "released" if outcome == "released" else "retry"
    error = task.error if cause == "retry" else None
    data = {
        "until": times.moment(until),
        "cause": cause,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "error": error,
    }
    after = {
        "run_at": "it is not to run before that",
        "released": "the worker that had it gave it back until then",
        "retry": f"that is the pause after attempt {task.attempt} of {task.max_attempts}, which {outcome}"
        f"{after_colon(error)}",
    }[cause].replace("which timed_out", "which took too long")
    if until > now:
        text = f"It is scheduled for {clock(until)}, {length(until - now)} from now: {after}."
        return [Reason(code="scheduled", text=text, data=data)]
    text = f"Its time came {ago(now - until)} ({clock(until)}). The next claim of any worker makes it ready."
    crew, _ = yield from workers.read(now)
    return [Reason(code="due", text=text, data=data), *_missing(task, crew, now)]


def _ready(task: Node, now: int) -> Script[list[Reason]]:
    crew, held = yield from workers.read(now)
    reasons = _missing(task, crew, now)
    able = crew.able(task.agent_type, task.project_id)
    if able and workers.are_busy(able, task.agent_type, held):
        slots = workers.slots(able, task.agent_type)
        names = tuple(sorted({worker.name for worker in able}))
        text = (
            f"All {slots} slots for agent type {task.agent_type!r} are busy ({slots} of {slots}), those of"
            f" {listed([repr(name) for name in names])}."
        )
        data = {"agent_type": task.agent_type, "busy": slots, "slots": slots, "workers": names}
        reasons.append(Reason(code="busy", text=text, data=data))
    (place,) = yield Statement(
        "looking.ahead", agent_type=task.agent_type, rank=task.rank, id=task.id, limit=MOST_AHEAD + 1
    )
    return [*reasons, _queued(task, int(place["n"]), free=bool(able) and not reasons)]


def _queued(task: Node, n: int, *, free: bool) -> Reason:
    more = n > MOST_AHEAD
    n = min(n, MOST_AHEAD)
    queue = f"the queue for agent type {task.agent_type!r}"
    if more:
        text = f"More than {n:,} tasks are ahead of it in {queue}."
    elif n:
        text = f"{n:,} {'task is' if n == 1 else 'tasks are'} ahead of it in {queue}."
    else:
        text = f"It is the next one in {queue}."
        if free:
            text += " A worker has a free slot, so it should be claimed within a second or two."
    return Reason(code="queued", text=text, data={"agent_type": task.agent_type, "ahead": n, "more": more})


def _missing(task: Node, crew: workers.Crew, now: int) -> list[Reason]:
    """That no live worker would take a task, and which ones there are; nothing if one would."""
    agent_type, project = task.agent_type, task.project_id
    if crew.able(agent_type, project):
        return []
    gone = [worker for worker in crew.gone if agent_type in worker.agent_types and worker.takes(project)]
    text = f"No live worker handles agent type {agent_type!r}"
    if crew.of(agent_type):  # those that do take the tasks of other projects
        text += " for tasks without a project" if project is None else f" for project {project!r}"
    text += ". "
    if gone:
        seen = max(worker.seen_at for worker in gone)
        last = next(worker for worker in gone if worker.seen_at == seen)
        text += f"{last.name!r} did, and was last seen {ago(now - times.micros(seen, 'seen_at'))}. "
    there = [f"{worker.name!r} ({', '.join(worker.agent_types)})" for worker in crew.live]
    text += f"Live: {listed(there)}." if there else "No worker at all is live."
    text += " Programs that claim without a Runner are not counted."
    data = {"agent_type": agent_type, "project": project, "live": crew.live, "gone": tuple(gone)}
    return [Reason(code="no_worker", text=text, data=data)]


# -- ended -------------------------------------------------------------------------------------


def _completed(task: Node) -> Script[Reason]:
    at = (yield from waits.last_move(task)).at
    when = f", at {clock(at)}" if at else ""
    by = f" by worker {task.worker!r}" if task.worker else ""
    return Reason(
        code="completed", text=f"It was completed{by}{when}.", data={"at": at, "worker": task.worker}
    )


def _ended_badly(task: Node) -> Script[Reason]:
    move = yield from waits.last_move(task)
    if "because" in move.data:
        return (yield from because.doomed(task, move))
    return _failed(task, move) if task.status == FAILED else _cancelled(task, move)


def _failed(task: Node, move: LastMove) -> Reason:
    used_up = task.attempt >= task.max_attempts
    tries = f"attempt {task.attempt} of {task.max_attempts}"
    how = "all its attempts are used up" if used_up else "no other attempt was to be made"
    outcome = move.data.get("outcome")
    last = {"timed_out": "took too long", "expired": "ended with its lease"}.get(outcome or "", "failed")
    data: dict[str, Any] = {
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "outcome": outcome,
        "error": task.error,
        "worker": task.worker,
        "at": move.at,
    }
    text = (
        f"It failed after {tries}: {how}. The last one {last}{after_colon(task.error)}."
        " `await db.tasks.retry(id)` or `abathur retry` gives it new attempts."
    )
    return Reason(code="failed", text=text, data=data)


def _cancelled(task: Node, move: LastMove) -> Reason:
    reason = move.data.get("reason") if move.at else task.error
    when = f" at {clock(move.at)}" if move.at else ""
    text = f"{move.actor or 'Somebody'} cancelled it{when}{after_colon(reason)}."
    return Reason(code="cancelled", text=text, data={"by": move.actor, "reason": reason, "at": move.at})
