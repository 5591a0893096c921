"""A task that is to be made: its arguments, checked, before any transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, get_args

from attrs import define, frozen

from abathur import ids, payload, times
from abathur.errors import InvalidInputError
from abathur.models import OnFailure, Prerequisite, Task
from abathur.tasks import rank

SUMMARY: Final = 140
LONGEST_PROMPT: Final = 256 * 1024
LONGEST_TIMEOUT: Final = 10 * 365 * 86_400
_NOT_CONTENT: Final = {"run_at", "deadline", "lift_at", "created_by"}
_POLICIES: Final = get_args(OnFailure)


@frozen
class Edge:
    """A prerequisite of a new task; `id` is the edge's own."""

    id: str
    prerequisite: str
    on_failure: str


GIVEN: Final = (
    "prompt",
    "agent_type",
    "priority",
    "timeout",
    "created_by",
    "session",
    "source",
    "deadline",
    "estimated_duration",
    "summary",
    "max_attempts",
    "run_at",
    "lift_at",
    "project",
)
"""The parameters of `tasks.insert` that a caller decides."""


@define(eq=False)
class NewTask:
    """A checked task. `given` has the values for GIVEN; the rest only the transaction knows."""

    id: str
    """The id that the task will have, or would have if its `key` is not taken."""
    given: tuple[Any, ...]
    input: str | None
    value: Any
    parent: str | None = None
    edges: tuple[Edge, ...] = ()
    key: str | None = None
    digest: str | None = None
    ref: str | None = None

    @property
    def alone(self) -> bool:
        """Whether it refers to nothing else, as most tasks do."""
        return not (self.edges or self.key or self.parent or self.ref)


def new_task(  # the public parameters of enqueue
    prompt: str,
    *,
    agent_type: str = "general",
    priority: int = 5,
    input: Any = None,  # the field's word
    depends_on: Iterable[str | Task | Prerequisite] = (),
    key: str | None = None,
    run_at: datetime | None = None,
    max_attempts: int = 3,
    timeout: float = 3600,
    parent: str | Task | None = None,
    project: str | None = None,
    summary: str | None = None,
    deadline: datetime | None = None,
    estimated_duration: float | None = None,
    created_by: str | None = None,
    session: str | None = None,
    source: str = "human",
    ref: str | None = None,
) -> NewTask:
    """Check the arguments of `db.tasks.enqueue`, which says what they mean; also for scripts.

    It makes the task's id and reads no database, so call it before the script that enqueues the task.

    Raises InvalidInputError or InvalidPayloadError.
    """
    payload.plain(prompt, "prompt", longest=LONGEST_PROMPT)
    payload.plain(agent_type, "agent_type", longest=200)
    payload.plain(source, "source", longest=200)
    for name, text in (
        ("key", key),
        ("project", project),
        ("created_by", created_by),
        ("session", session),
        ("ref", ref),
    ):
        if text is not None:
            payload.plain(text, name, longest=512)
    if summary is None:
        summary = _summary(prompt)
    else:
        payload.plain(summary, "summary", longest=500)
    integer("priority", priority, 0, 10)
    integer("max_attempts", max_attempts, 1, 1000)
    seconds("timeout", timeout, LONGEST_TIMEOUT)
    if estimated_duration is not None:
        seconds("estimated_duration", estimated_duration, LONGEST_TIMEOUT)
    text = None if input is None else payload.encode(input, "input")
    edges = make_edges(depends_on) if depends_on else ()
    due = None if deadline is None else times.micros(deadline, "deadline")
    start = None if run_at is None else times.micros(run_at, "run_at")
    parent_id = parent.id if isinstance(parent, Task) else parent
    if parent_id is not None:
        payload.plain(parent_id, "parent")
    given = (
        prompt,
        agent_type,
        priority,
        timeout,
        created_by,
        session,
        source,
        None if due is None else times.iso(due),
        estimated_duration,
        summary,
        max_attempts,
        start,
        rank.lift_at(due, estimated_duration),
        project,
    )
    digest = None
    if key is not None:
        waits = sorted(f"{edge.prerequisite}:{edge.on_failure}" for edge in edges)
        # Times are often computed from now, and a repeated call may come from another process.
        content = (value for name, value in zip(GIVEN, given, strict=True) if name not in _NOT_CONTENT)
        digest = payload.digest(text, parent_id, *waits, *content)
    # Decoded again: the caller's own object may change, and its tuples are stored as lists.
    value = {} if text is None else payload.decode(text)
    return NewTask(ids.new_id(), given, text, value, parent_id, edges, key, digest, ref)


def make_edges(depends_on: Iterable[Any]) -> tuple[Edge, ...]:
    """Check `depends_on`; a prerequisite that is named twice is one. Raises InvalidInputError."""
    if isinstance(depends_on, (str, Task, Prerequisite)):
        depends_on = [depends_on]
    found: dict[str, Edge] = {}
    for entry in depends_on:
        if isinstance(entry, Task):
            edge = Edge(ids.new_id(), entry.id, "block")
        elif isinstance(entry, Prerequisite):
            edge = Edge(ids.new_id(), payload.plain(entry.task, "a prerequisite"), entry.on_failure)
        else:
            edge = Edge(ids.new_id(), payload.plain(entry, "a prerequisite"), "block")
        if edge.on_failure not in _POLICIES:
            raise InvalidInputError(
                f"on_failure={edge.on_failure!r} is unknown.",
                f"Expected one of {', '.join(_POLICIES)}.",
                "Choose one.",
            )
        found[edge.prerequisite] = edge
    return tuple(found.values())


def _summary(prompt: str) -> str:
    """The first line of a prompt that says something, cut at a word."""
    line = prompt.lstrip().split("\n", 1)[0].rstrip()
    if len(line) <= SUMMARY:
        return line
    cut = line[: SUMMARY - 1]
    return (cut.rsplit(None, 1)[0] if " " in cut else cut) + "…"


def integer(name: str, value: Any, low: int, high: int) -> None:
    """Check a whole number. Raises InvalidInputError."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise InvalidInputError(
            f"{name}={value!r} is {'out of range' if is_integer else 'no integer'}.",
            f"Expected an integer from {low} to {high}.",
            f"Give another {name}.",
        )


def seconds(name: str, value: Any, most: float, *, zero: bool = False) -> float:
    """Check a duration in seconds. Raises InvalidInputError."""
    good = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (0 < value <= most or (zero and value == 0))
    )
    if not good:
        raise InvalidInputError(
            f"{name}={value!r} is no duration.",
            f"Expected a number of seconds {'from 0' if zero else 'above 0'} to {most:,.0f}.",
            f"Give another {name}.",
        )
    return float(value)
