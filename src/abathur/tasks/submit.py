"""Enqueue: make tasks with their dependencies, all of a call or none of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from abathur import times
from abathur.errors import (
    AbathurError,
    DependencyCycleError,
    IdempotencyConflictError,
    InvalidInputError,
    UnknownTaskError,
)
from abathur.models import Task
from abathur.script import Script, Statement
from abathur.states import BLOCKED, CANCELLED, COMPLETED, FAILED, NEW, READY, SCHEDULED
from abathur.tasks import dependencies, moves, reading
from abathur.tasks.moves import Move
from abathur.tasks.new import NewTask
from abathur.tasks.rank import rank


@define
class _Known:
    """What the database already has of what the calls refer to."""

    tasks: dict[str, Any]
    """By id; grows with the calls of this transaction, as the keys do."""
    keys: dict[str, tuple[str, str]]
    """Idempotency key -> (task id, digest); grows with the calls of this transaction."""


@define
class _Rows:
    """What is to be written for one call, or for all of them."""

    tasks: list[dict[str, Any]] = field(factory=list)
    inputs: list[dict[str, Any]] = field(factory=list)
    edges: list[dict[str, Any]] = field(factory=list)
    keys: list[dict[str, Any]] = field(factory=list)
    waited_for: Counter[str] = field(factory=Counter)
    """Existing prerequisites -> tasks that newly wait for them."""
    doomed: set[str] = field(factory=set)
    """Prerequisites that have failed already and take their dependents with them."""

    def add(self, other: _Rows) -> None:
        self.tasks += other.tasks
        self.inputs += other.inputs
        self.edges += other.edges
        self.keys += other.keys
        self.waited_for += other.waited_for
        self.doomed |= other.doomed


def enqueue(tasks: Sequence[NewTask], now: int) -> Script[list[Task]]:
    """Make tasks inside of a transaction of your own, with `yield from`.

    Raises UnknownTaskError, DependencyCycleError or IdempotencyConflictError; nothing is made then.
    """
    (answer,) = yield from enqueue_calls([tasks], now)
    if isinstance(answer, AbathurError):
        raise answer
    return answer  # type: ignore[no-any-return]


def enqueue_calls(calls: Sequence[Sequence[NewTask]], now: int) -> Script[list[Any]]:
    """Make the tasks of many calls; answer each with its tasks, or with the error that it alone gets."""
    known = yield from _look_up(calls)
    rows = _Rows()
    answers: list[Any] = []
    for call in calls:
        try:
            answer, made = _plan(call, known, now)
        except AbathurError as error:
            answers.append(error)
            continue
        rows.add(made)
        known.tasks.update((row["id"], row) for row in made.tasks)
        known.keys.update((row["key"], (row["id"], row["digest"])) for row in made.keys)
        answers.append(answer)
    yield from _write(rows, now)
    if rows.doomed:
        ended = [(task_id, known.tasks[task_id]["status"]) for task_id in sorted(rows.doomed)]
        yield from dependencies.unblock(ended, now)
    again = sorted(
        {task for answer in answers if isinstance(answer, list) for task in answer if isinstance(task, str)}
    )
    if again or rows.doomed:
        # Tasks of repeated keys, and new ones that a failed prerequisite ended at once.
        wanted = [*again, *(row["id"] for row in rows.tasks if rows.doomed)]
        found = {task.id: task for task in (yield from reading.read(wanted))}
        return [
            answer
            if not isinstance(answer, list)
            else [found.get(task if isinstance(task, str) else task.id, task) for task in answer]
            for answer in answers
        ]
    return answers


def _look_up(calls: Sequence[Sequence[NewTask]]) -> Script[_Known]:
    wanted = {edge.prerequisite for call in calls for task in call for edge in task.edges}
    wanted.update(task.row["parent"] for call in calls for task in call if task.row["parent"])
    keys = sorted({task.key for call in calls for task in call if task.key is not None})
    found: Sequence[Any] = ()
    if keys:
        found = yield Statement("batches.keys", keys=reading.ids_json(keys))
        wanted.update(row["task_id"] for row in found)  # a ref may mean one of these
    tasks: Sequence[Any] = ()
    if wanted:
        tasks = yield Statement("batches.brief", ids=reading.ids_json(sorted(wanted)))
    return _Known(dict(moves.by_id(tasks)), {row["key"]: (row["task_id"], row["digest"]) for row in found})


def _plan(call: Sequence[NewTask], known: _Known, now: int) -> tuple[list[Any], _Rows]:
    """Decide what one call writes. A repeated key answers with the existing task's id."""
    refs = _refs(call)
    rows = _Rows()
    answers: list[Any] = []
    keys = dict(known.keys)
    renamed: dict[str, str] = {}  # a task of the call that exists already -> its id there
    new: list[NewTask] = []
    for task in call:
        if task.key is not None and task.key in keys:
            existing, digest = keys[task.key]
            if digest != task.digest:
                raise IdempotencyConflictError(task.key, existing)
            renamed[task.id] = existing
            answers.append(existing)
            continue
        if task.key is not None and task.digest is not None:
            keys[task.key] = (task.id, task.digest)
            rows.keys.append({"key": task.key, "id": task.id, "digest": task.digest})
        new.append(task)
        answers.append(task)
    inside = {task.id for task in new}
    waits = {
        task.id: [
            evolve(edge, prerequisite=_target(edge.prerequisite, refs, renamed, known)) for edge in task.edges
        ]
        for task in new
    }
    if refs:
        _refuse_cycles(
            {task_id: [edge.prerequisite for edge in edges] for task_id, edges in waits.items()}, refs
        )
    dependents = Counter(edge.prerequisite for edges in waits.values() for edge in edges)
    made: dict[str, Task] = {}
    for task in new:
        unmet = 0
        for edge in waits[task.id]:
            status = BLOCKED if edge.prerequisite in inside else known.tasks[edge.prerequisite]["status"]
            over = status == COMPLETED or (status in (FAILED, CANCELLED) and edge.on_failure == "ignore")
            unmet += not over
            if status in (FAILED, CANCELLED) and edge.on_failure in ("fail", "cancel"):
                rows.doomed.add(edge.prerequisite)
            if edge.prerequisite not in inside and not over:
                rows.waited_for[edge.prerequisite] += 1
            rows.edges.append(
                {
                    "id": edge.id,
                    "dependent": task.id,
                    "prerequisite": edge.prerequisite,
                    "created_at": times.iso(now),
                    "resolved_at": times.iso(now) if over else None,
                    "on_failure": edge.on_failure,
                }
            )
        parent = (
            _target(task.row["parent"], refs, renamed, known, "parent task") if task.row["parent"] else None
        )
        made[task.id] = _make(task, parent, unmet, dependents.get(task.id, 0), now, rows)
    return [answer if isinstance(answer, str) else made[answer.id] for answer in answers], rows


def _make(task: NewTask, parent: str | None, unmet: int, dependents: int, now: int, rows: _Rows) -> Task:
    given = task.row
    at = times.iso(now)
    status = BLOCKED if unmet else SCHEDULED if task.run_at is not None and task.run_at > now else READY
    row = {
        **given,
        "id": task.id,
        "parent": parent,
        "status": status,
        "submitted_at": at,
        "rank": rank(now, given["priority"], dependents),
        "unmet": unmet,
        "dependents": dependents,
    }
    rows.tasks.append(row)
    if task.input is not None:
        rows.inputs.append({"id": task.id, "input": task.input})
    moment = times.moment(now)
    return Task(
        id=task.id,
        prompt=given["prompt"],
        agent_type=given["agent_type"],
        priority=given["priority"],
        status=status,
        summary=given["summary"],
        input=task.value,
        result=None,
        error=None,
        attempt=0,
        max_attempts=given["max_attempts"],
        fence=0,
        worker=None,
        timeout=given["timeout"],
        rank=row["rank"],
        unmet=unmet,
        run_at=times.moment(task.run_at),
        lease_expires_at=None,
        deadline=times.parse(given["deadline"]),
        submitted_at=moment,
        started_at=None,
        completed_at=None,
        updated_at=moment,
        created_by=given["created_by"],
        parent=parent,
        project=given["project"],
        session=given["session"],
        source=given["source"],
        estimated_duration=given["estimated_duration"],
    )


def _write(rows: _Rows, now: int) -> Script[None]:
    if not rows.tasks:
        return
    yield Statement("tasks.insert", rows=rows.tasks)
    if rows.inputs:
        yield Statement("tasks.add_input", rows=rows.inputs)
    if rows.keys:
        yield Statement("tasks.add_keys", rows=rows.keys)
    if rows.edges:
        yield Statement("dependencies.add", rows=rows.edges)
    if rows.waited_for:
        yield from dependencies.weigh(rows.waited_for)
    yield from moves.record(
        [
            Move(row["id"], row["agent_type"], NEW, row["status"], row["created_by"], _ABOUT_NEW)
            for row in rows.tasks
        ],
        now,
    )


_ABOUT_NEW = moves.about(NEW)


def _refs(call: Sequence[NewTask]) -> dict[str, str]:
    refs: dict[str, str] = {}
    for task in call:
        if task.ref is None:
            continue
        if task.ref in refs:
            raise InvalidInputError(
                f"Two tasks of one call have the ref {task.ref!r}.",
                "Expected each ref once.",
                "Rename one of them.",
            )
        refs[task.ref] = task.id
    return refs


def _target(
    name: str, refs: Mapping[str, str], renamed: Mapping[str, str], known: _Known, role: str = "prerequisite"
) -> str:
    """The id that a `depends_on` or `parent` means: a ref of the same call, or a task that exists."""
    if name in refs:
        return renamed.get(refs[name], refs[name])
    if name in known.tasks:
        return name
    raise UnknownTaskError(name, role)


def _refuse_cycles(waits: Mapping[str, Sequence[str]], refs: Mapping[str, str]) -> None:
    """Take away what waits for nothing, again and again; what is left goes in circles."""
    left = {task_id: {one for one in those if one in waits} for task_id, those in waits.items()}
    dependents: dict[str, list[str]] = {}
    for task_id, those in left.items():
        for one in those:
            dependents.setdefault(one, []).append(task_id)
    free = [task_id for task_id, those in left.items() if not those]
    while free:
        done = free.pop()
        del left[done]
        for task_id in dependents.get(done, ()):
            left[task_id].discard(done)
            if not left[task_id]:
                free.append(task_id)
    if left:
        names = {task_id: ref for ref, task_id in refs.items()}
        path = [next(iter(left))]
        while (following := min(left[path[-1]])) not in path:
            path.append(following)
        cycle = [*path[path.index(following) :], following]
        raise DependencyCycleError([names.get(task_id, task_id) for task_id in cycle])
