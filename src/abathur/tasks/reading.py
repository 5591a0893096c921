"""Tasks as values: from rows, by id, page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeAlias

from abathur import payload, times
from abathur.errors import UnknownTaskError
from abathur.models import Attempt, Progress, Task
from abathur.script import Row, Script, Statement
from abathur.tasks import of_projects


def ids_json(ids: Sequence[str]) -> str:
    """Ids as the JSON batch that set-based statements take."""
    return payload.batch(ids)


STEADY: Final = (
    *("id", "prompt", "agent_type", "priority", "summary", "input", "input_data", "result", "result_data"),
    *(
        "error_message",
        "max_attempts",
        "max_execution_timeout_seconds",
        "rank",
        "unmet",
        "run_at",
        "deadline",
    ),
    *("submitted_at", "completed_at", "created_by", "parent_task_id", "project_id", "session_id", "source"),
    "estimated_duration_seconds",
)
"""The columns of a whole task that a claim leaves as they are."""
CLAIMED: Final = ("status", "fence", "attempt", "worker", "lease_expires_at", "started_at", "last_updated_at")
"""Those that it changes."""

Values: TypeAlias = tuple[Any, ...]
Stored: TypeAlias = dict[str, tuple[Values, Values]]
"""The values of STEADY and CLAIMED of whole tasks, by id."""


def task(steady: Values, claimed: Values) -> Task:
    """A task from the values of STEADY and CLAIMED. Older rows keep their input and result inline."""
    (
        task_id,
        prompt,
        agent_type,
        priority,
        summary,
        given,
        given_before,
        result,
        result_before,
        error,
        max_attempts,
        timeout,
        rank,
        unmet,
        run_at,
        deadline,
        submitted_at,
        completed_at,
        created_by,
        parent,
        project,
        session,
        source,
        estimated_duration,
    ) = steady
    status, fence, attempt, worker, lease_expires_at, started_at, updated_at = claimed
    # By position, in the order of the class: by name it takes longer, and there is one per claim.
    return Task(
        task_id,
        prompt,
        agent_type,
        priority,
        status,
        summary,
        payload.decode_stored(given) if given is not None else _older(given_before),
        payload.decode_stored(result_before if result is None else result),
        error,
        attempt,
        max_attempts,
        fence,
        worker,
        _seconds(timeout) or 3600,
        rank,
        unmet,
        times.moment(run_at),
        times.moment(lease_expires_at),
        times.parse(deadline),
        times.parse(submitted_at),
        times.parse(started_at),
        times.parse(completed_at),
        times.parse(updated_at),
        created_by,
        parent,
        project,
        session,
        source,
        _seconds(estimated_duration),
    )


def _seconds(value: float | None) -> float | None:
    """A whole number as an int, as it was given: a column of PostgreSQL that holds fractions has floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _older(text: str | None) -> Any:
    return {} if text == "{}" else payload.decode_stored(text)


def stored(rows: Sequence[Row]) -> Stored:
    """Whole rows by id, in their order."""
    if not rows:
        return {}
    steady, claimed = _getters(tuple(rows[0].keys()))
    return {row["id"]: (steady(row), claimed(row)) for row in rows}


@lru_cache(maxsize=16)
def _getters(names: tuple[str, ...]) -> tuple[Callable[[Row], Values], Callable[[Row], Values]]:
    """Each takes values by place, looked up by name here, once for all rows: a driver is slow at it."""
    places = {name: place for place, name in enumerate(names)}
    return itemgetter(*map(places.__getitem__, STEADY)), itemgetter(*map(places.__getitem__, CLAIMED))


def whole(ids: Sequence[str]) -> Script[Stored]:
    """The tasks with these ids, in this order, as they are stored; an id that does not exist is left out."""
    found = stored((yield Statement("batches.read", ids=ids_json(ids)))) if ids else {}
    return {task_id: found[task_id] for task_id in ids if task_id in found}


def read(ids: Sequence[str]) -> Script[list[Task]]:
    """The same as Tasks."""
    found = yield from whole(ids)
    return [task(*found[task_id]) for task_id in ids if task_id in found]


def get(task_id: str) -> Script[Task]:
    """One task. Raises UnknownTaskError."""
    tasks = yield from read([task_id])
    if not tasks:
        raise UnknownTaskError(task_id)
    return tasks[0]


def brief(task_id: str) -> Script[Any]:
    """What the moves of one task are decided on. Raises UnknownTaskError."""
    rows = yield Statement("batches.brief", ids=ids_json([task_id]))
    if not rows:
        raise UnknownTaskError(task_id)
    return rows[0]


def page(filters: dict[str, Any], after: str, limit: int, newest_first: bool) -> Script[list[Task]]:
    """A page of tasks in the order of their ids."""
    name = "tasks.page_back" if newest_first else "tasks.page"
    found = yield Statement(name, after=after, limit=limit, **filters)
    return (yield from read([row["id"] for row in found]))


def resolve(prefix: str) -> Script[list[str]]:
    """The ids that begin with `prefix`: two of them at most, enough to say that it is ambiguous."""
    rows = yield Statement("tasks.by_prefix", prefix=prefix, beyond=prefix + "\U0010ffff")
    return [row["id"] for row in rows]


def attempts(task_id: str) -> Script[list[Attempt]]:
    """The attempts of a task that did not complete it, oldest first."""
    rows = yield Statement("tasks.attempts", id=task_id)
    return [
        Attempt(
            task_id=row["task_id"],
            fence=row["fence"],
            attempt=row["attempt"],
            worker=row["worker"],
            started_at=times.parse(row["started_at"]),
            ended_at=times.parse(row["ended_at"]) or times.EPOCH,
            outcome=row["outcome"],
            error=payload.decode_stored(row["error"]),
        )
        for row in rows
    ]


def progress(task_id: str) -> Script[Progress | None]:
    """What the task's handler last said, if anything."""
    rows = yield Statement("tasks.progress", id=task_id)
    for row in rows:
        return Progress(
            task_id=task_id,
            fraction=row["fraction"],
            message=row["message"],
            at=times.moment(row["updated_at"]) or times.EPOCH,
        )
    return None


def counts() -> Script[list[tuple[str, str, int]]]:
    """(agent type, status, number of tasks): kept, so their cost does not grow with the table."""
    rows = yield Statement("tasks.counts")
    return [(row["agent_type"], row["status"], row["n"]) for row in rows]


def outlook(
    agent_types: Sequence[str], projects: Sequence[str] | None, now: int
) -> Script[tuple[bool, float | None]]:
    """Whether a claim would find or move something now, and else in how many seconds it may."""
    (due,) = yield Statement("tasks.next_due")
    (expiry,) = yield Statement("tasks.next_expiry")
    moments = [row["at"] for row in (due, expiry) if row["at"] is not None]
    if moments and min(moments) <= now:
        return True, 0.0
    if projects is not None:
        if (yield from of_projects.is_any_ready(projects, agent_types)):
            return True, 0.0
        agent_types = ()
    for agent_type in agent_types:
        if (yield Statement("tasks.ready", agent_type=agent_type, limit=1)):
            return True, 0.0
    return False, (min(moments) - now) / times.SECOND if moments else None


def still_held(claims: Sequence[tuple[str, int]]) -> Script[set[tuple[str, int]]]:
    """Those of these claims, given as (id, fence), that still hold."""
    rows = yield Statement("batches.held", claims=payload.batch(claims))
    return {(row["id"], row["fence"]) for row in rows}
