"""Enqueue: make tasks with their dependencies, all of a call or none of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
from abathur.script import Script, Statement, Together
from abathur.states import BLOCKED, CANCELLED, FAILED, NEW, READY, SCHEDULED
from abathur.tasks import dependencies, moves, reading
from abathur.tasks.moves import Move
from abathur.tasks.new import GIVEN, Edge, NewTask
from abathur.tasks.rank import rank


@define
class _Known:
    """What the database already has of what the calls refer to."""

    tasks: dict[str, Any]
    """By id; grows with the calls of this transaction, as the keys do."""
    keys: dict[str, tuple[str, str]]
    """Idempotency key -> (task id, digest); grows with the calls of this transaction."""


_INSERT: Final = (
    *GIVEN,
    *("id", "parent", "status", "submitted_at", "last_updated_at", "rank", "unmet", "dependents"),
)
_EDGE: Final = ("id", "dependent", "prerequisite", "created_at", "resolved_at", "on_failure")


@define
class _Rows:
    """What is to be written for one call, or for all of them; tuples for the statements of `_write`."""

    tasks: list[tuple[Any, ...]] = field(factory=list)
    inputs: list[tuple[str, str]] = field(factory=list)
    edges: list[tuple[Any, ...]] = field(factory=list)
    keys: list[tuple[str, str, str]] = field(factory=list)
    moves: list[Move] = field(factory=list)
    waited_for: Counter[str] = field(factory=Counter)
    """Existing prerequisites -> tasks that newly wait for them."""
    doomed: set[str] = field(factory=set)
    """Prerequisites that have failed already and take their dependents with them."""

    def add(self, other: _Rows) -> None:
        self.tasks += other.tasks
        self.inputs += other.inputs
        self.edges += other.edges
        self.keys += other.keys
        self.moves += other.moves
        self.waited_for += other.waited_for
        self.doomed |= other.doomed


def enqueue(tasks: Sequence[NewTask], now: int) -> Script[list[Task]]:
    """Make tasks inside of a transaction of your own, with `yield from`; returns them as Tasks.

    tasks: what `new_task` made. now: the script's own `now`.

    Raises UnknownTaskError, DependencyCycleError or IdempotencyConflictError; nothing is made then.
    """
    (answer,) = yield from enqueue_calls([tasks], now)
    if isinstance(answer, AbathurError):
        raise answer
    return answer  # type: ignore[no-any-return]


def enqueue_calls(calls: Sequence[Sequence[NewTask]], now: int) -> Script[list[Any]]:
    """Make the tasks of many calls; answer each with its tasks, or with the error that it alone gets."""
    rows = _Rows()
    if all(len(call) == 1 and call[0].alone for call in calls):  # the way of most tasks, and a short one
        made = [[_make(call[0], None, 0, 0, now, rows)] for call in calls]
        yield from _write(rows, now)
        return made
    known = yield from _look_up(calls)
    answers: list[Any] = []
    for call in calls:
        try:
            answer, planned = _plan(call, known, now)
        except AbathurError as error:
            answers.append(error)
            continue
        rows.add(planned)
        known.tasks.update((move.task_id, {"status": move.status}) for move in planned.moves)
        known.keys.update((key, (task_id, digest)) for key, task_id, digest in planned.keys)
        answers.append(answer)
    yield from _write(rows, now)
    if rows.doomed:
        ended = [(task_id, known.tasks[task_id]["status"]) for task_id in sorted(rows.doomed)]
        yield from dependencies.unblock(ended, now, only={move.task_id for move in rows.moves})
    return (yield from _answered(answers, rows))


def _answered(answers: list[Any], rows: _Rows) -> Script[list[Any]]:
    """Read again what is not as it was made: tasks of repeated keys, and those that ended at once."""
    again = {
        task for answer in answers if isinstance(answer, list) for task in answer if isinstance(task, str)
    }
    if rows.doomed:
        again.update(move.task_id for move in rows.moves)
    if not again:
        return answers
    found = {task.id: task for task in (yield from reading.read(sorted(again)))}
    return [
        [found.get(task if isinstance(task, str) else task.id, task) for task in answer]
        if isinstance(answer, list)
        else answer
        for answer in answers
    ]


def _look_up(calls: Sequence[Sequence[NewTask]]) -> Script[_Known]:
    wanted = {edge.prerequisite for call in calls for task in call for edge in task.edges}
    wanted.update(task.parent for call in calls for task in call if task.parent)
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
            rows.keys.append((task.key, task.id, task.digest))
        new.append(task)
        answers.append(task)
    inside = {task.id for task in new}
    waits: dict[str, list[Edge]] = {}
    for task in new:
        targets = (_target(edge.prerequisite, refs, renamed, known) for edge in task.edges)
        edges = [evolve(edge, prerequisite=to) for edge, to in zip(task.edges, targets, strict=True)]
        # Two refs may mean one task, when its key is repeated.
        waits[task.id] = list({edge.prerequisite: edge for edge in edges}.values())
    if refs:
        _refuse_cycles(
            {task_id: [edge.prerequisite for edge in edges] for task_id, edges in waits.items()}, refs
        )
    dependents = Counter(edge.prerequisite for edges in waits.values() for edge in edges)
    made: dict[str, Task] = {}
    at = times.iso(now)
    for task in new:
        unmet = 0
        for edge in waits[task.id]:
            status = BLOCKED if edge.prerequisite in inside else known.tasks[edge.prerequisite]["status"]
            over = dependencies.is_met(status, edge.on_failure)
            unmet += not over
            if status in (FAILED, CANCELLED) and edge.on_failure in ("fail", "cancel"):
                rows.doomed.add(edge.prerequisite)
            if edge.prerequisite not in inside and not over:
                rows.waited_for[edge.prerequisite] += 1
            rows.edges.append(
                (edge.id, task.id, edge.prerequisite, at, at if over else None, edge.on_failure)
            )
        parent = _target(task.parent, refs, renamed, known, "parent task") if task.parent else None
        made[task.id] = _make(task, parent, unmet, dependents.get(task.id, 0), now, rows)
    return [answer if isinstance(answer, str) else made[answer.id] for answer in answers], rows


def _make(new: NewTask, parent: str | None, unmet: int, dependents: int, now: int, rows: _Rows) -> Task:
    """Add one task's rows; return it as it will be."""
    (
        prompt,
        agent_type,
        priority,
        timeout,
        created_by,
        session,
        source,
        deadline,
        estimated_duration,
        summary,
        max_attempts,
        run_at,
        _,
        project,
    ) = new.given
    at = times.iso(now)
    moment = times.moment(now)
    status = BLOCKED if unmet else SCHEDULED if run_at is not None and run_at > now else READY
    order = rank(now, priority, dependents)
    rows.tasks.append((*new.given, new.id, parent, status, at, at, order, unmet, dependents))
    if new.input is not None:
        rows.inputs.append((new.id, new.input))
    rows.moves.append(Move(new.id, agent_type, NEW, status, created_by, _ABOUT_NEW))
    # By position, in the order of the class: by name it takes longer, and there is one per task.
    return Task(
        new.id,
        prompt,
        agent_type,
        priority,
        status,
        summary,
        new.value,
        None,
        None,
        0,
        max_attempts,
        0,
        None,
        timeout,
        order,
        unmet,
        times.moment(run_at),
        None,
        times.parse(deadline),
        moment,
        None,
        None,
        moment,
        created_by,
        parent,
        project,
        session,
        source,
        estimated_duration,
    )


def _write(rows: _Rows, now: int) -> Script[None]:
    if not rows.tasks:
        return
    made = [Statement("tasks.insert", rows=rows.tasks, columns=_INSERT)]
    if rows.inputs:
        made.append(Statement("tasks.add_input", rows=rows.inputs, columns=("id", "input")))
    if rows.keys:
        made.append(Statement("tasks.add_keys", rows=rows.keys, columns=("key", "id", "digest")))
    if rows.edges:
        made.append(Statement("dependencies.add", rows=rows.edges, columns=_EDGE))
    yield Together(*made)
    if rows.waited_for:
        yield from dependencies.weigh(rows.waited_for)
    yield from moves.record(rows.moves, now)


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
