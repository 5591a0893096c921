"""Claiming: whose a directory is, settled in one transaction, so that all who race get one answer."""

from __future__ import annotations

from collections.abc import Sequence

from abathur import payload
from abathur.errors import StoreTakenError
from abathur.projects import names
from abathur.projects.deciding import decide
from abathur.projects.decision import Decision, Event, Wish
from abathur.script import Script, Statement


def claim(wish: Wish, now: int) -> Script[Decision]:
    """Decide, and write it down."""
    yield Statement("registry.lock")
    found = yield from decide(wish, now)
    if not found.unsure:
        for step in found.steps:  # noqa: UP028  # a tuple cannot be sent the rows
            yield step
        if found.events:
            yield from note(found.events, wish.event_id, wish.actor, now)
    return found


def note(events: Sequence[Event], event_id: str, actor: str, now: int) -> Script[None]:
    """Keep what happened. `event_id` is new; several events of one claim are told apart by a number."""
    yield Statement(
        "projects.add_events",
        rows=[
            {
                "id": event_id if not number else f"{event_id}.{number}",
                "project_id": event.project_id,
                "at": now,
                "kind": event.kind,
                "actor": actor,
                "detail": payload.encode(dict(event.detail), "the event"),
            }
            for number, event in enumerate(events)
        ],
    )


def made_ready(project_id: str, made: str, now: int) -> Script[str]:
    """Note that the store of a project was made under this name; returns what it is to be called.

    That is another name if another process has drawn one meanwhile.
    """
    yield Statement("registry.lock")
    (row,) = yield Statement("projects.get", id=project_id)
    if row["database_name"] == made:
        yield Statement("projects.set_state", id=project_id, state="ready", now=now)
    return str(row["database_name"])


def redraw(project_id: str, taken: str, now: int) -> Script[str]:
    """Draw another name for the store of a project that has none yet; `taken` turned out to be taken.

    Returns what it is to be called: another process may have drawn before.
    """
    yield Statement("registry.lock")
    (row,) = yield Statement("projects.get", id=project_id)
    if row["state"] != "provisioning" or row["database_name"] != taken:
        return str(row["database_name"])
    drawn = list(names.stores(row["name"], project_id))
    for name in drawn[drawn.index(taken) + 1 if taken in drawn else 0 :]:
        if not (yield Statement("projects.owner", database_name=name)):
            yield Statement("projects.draw", id=project_id, database_name=name, before=taken, now=now)
            return name
    raise StoreTakenError(taken, "something else, and so do all others that were tried", repr(row["name"]))
