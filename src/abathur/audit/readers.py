"""Readers: who goes through the trail from row to row, at least once, and how far they are.

The trail is the outbox of the library: each change of a status has one row, written in the same
transaction, and ids are contiguous in the order of the commits. So a reader that remembers an id
misses nothing. One holder at a time reads on, under a fence that rises with each new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import frozen

from abathur import payload, times
from abathur.script import Script, Statement

PATIENCE: Final = 7 * 86_400
"""Seconds for which rows are kept from pruning for a reader that is away."""


@frozen
class Held:
    """The right to read on, until somebody else takes it."""

    name: str
    last_id: int
    """The last row that was read, and dealt with."""
    fence: int


@frozen
class Told:
    """A row of the trail, with what is known of its task."""

    id: int
    at: str
    actor: str | None
    action: str
    task_id: str | None
    data: Any
    agent_type: str | None
    """None for a task that was pruned meanwhile; so are the next three."""
    project: str | None
    parent: str | None
    summary: str | None


def begin(name: str, now: int) -> Script[None]:
    """Note a reader that is new: it begins where the trail ends now."""
    yield Statement("readers.add", name=name, now=now)


def hold(name: str, holder: str, seconds: float, now: int) -> Script[Held | None]:
    """Become the one who reads on, for so many seconds; None while somebody else is."""
    yield from begin(name, now)
    until = now + round(seconds * times.SECOND)
    rows = yield Statement("readers.hold", name=name, holder=holder, until=until, now=now)
    return Held(name, int(rows[0]["last_id"]), int(rows[0]["fence"])) if rows else None


def is_free(name: str, holder: str, now: int) -> Script[bool]:
    """Whether `hold` would succeed. It only reads, so those who stand by ask this."""
    rows = yield Statement("readers.free", name=name, holder=holder, now=now)
    return bool(rows)


def advance(held: Held, last_id: int, seconds: float, now: int) -> Script[bool]:
    """Say how far it was read, and hold on; False when somebody else reads on by now."""
    rows = yield Statement(
        "readers.advance",
        name=held.name,
        fence=held.fence,
        last_id=last_id,
        until=now + round(seconds * times.SECOND),
        now=now,
    )
    return bool(rows)


def let_go(held: Held) -> Script[None]:
    """Let somebody else read on at once."""
    yield Statement("readers.let_go", name=held.name, fence=held.fence)


def page(after: int, limit: int) -> Script[list[Told]]:
    """What follows in the trail."""
    rows = yield Statement("readers.page", after=after, limit=limit)
    return [
        Told(
            id=row["id"],
            at=str(row["timestamp"]),
            actor=row["actor"],
            action=row["action_type"],
            task_id=row["task_id"],
            data=payload.decode_stored(row["action_data"]),
            agent_type=row["agent_type"],
            project=row["project_id"],
            parent=row["parent_task_id"],
            summary=row["summary"],
        )
        for row in rows
    ]


def unread(task_ids: Sequence[str], now: int) -> Script[set[str]]:
    """Those tasks of which a reader that was seen lately has not read everything yet."""
    (slowest,) = yield Statement("readers.slowest", since=now - PATIENCE * times.SECOND)
    if slowest["id"] is None:
        return set()
    ids = payload.batch(sorted(task_ids))
    rows = yield Statement("batches.told_after", ids=ids, after=slowest["id"])
    return {row["task_id"] for row in rows}


def behind() -> Script[dict[str, int]]:
    """How many rows each reader has before it."""
    rows = yield Statement("readers.behind")
    return {row["name"]: max(row["newest"] - row["last_id"], 0) for row in rows}
