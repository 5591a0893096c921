"""Deciding whose a directory is, from what the registry knows and what was seen; it only reads.

A script reads no files. Where the answer hangs on what is in another directory (is a project's earlier
root still there, or was it moved here?), it asks: it answers with the `unsure` ones, and is called again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from abathur import times
from abathur.errors import CopiedProjectError, ProjectConfigError, StoreTakenError
from abathur.projects import names, reading
from abathur.projects.decision import Decision, Earlier, Event, Wish
from abathur.script import Script, Statement

SEEN_EVERY: Final = 86_400 * times.SECOND
"""A look at a directory is noted once a day, so that looking does not write."""


def decide(wish: Wish, now: int) -> Script[Decision]:
    """What a claim would come to; it only reads. Raises ProjectErrors."""
    rooted, unsure = yield from _rooted(wish)
    if unsure:
        return Decision(unsure=unsure)
    known = wish.id or (rooted["project_id"] if rooted else None)
    rows = (yield Statement("projects.get", id=known)) if known else []
    if not rows:
        return (yield from _new(wish, rooted, now))
    row = dict(rows[0])
    steps = yield from _check_store(wish, row, now)
    if wish.root is None:
        return _decision(row, steps=steps)
    if rooted is not None and rooted["project_id"] == row["id"]:
        return _seen_again(wish, row, rooted, steps, now)
    return (yield from _further_root(wish, row, rooted, steps, now))


def _rooted(wish: Wish) -> Script[tuple[Any, tuple[Earlier, ...]]]:
    """What the registry knows of the directory, also by another path of it."""
    if wish.root is None:
        return None, ()
    rows = yield Statement("projects.root", root=wish.root)
    if rows:
        return rows[0], ()
    others = yield Statement("projects.same_directory", directory=wish.directory, root=wish.root)
    unsure = tuple(Earlier.of(row) for row in others if row["root"] not in wish.facts)
    if unsure:
        return None, unsure
    # The number of a directory that was removed is given to another one, so only a look can tell.
    same = [row for row in others if wish.facts[row["root"]] == "same"]
    return (same[0] if same else None), ()


def _new(wish: Wish, rooted: Any, now: int) -> Script[Decision]:
    if not wish.may_create:
        return Decision()
    project_id = wish.id or wish.candidate
    database_name = yield from _store(wish, project_id)
    steps = [
        Statement(
            "projects.insert",
            id=project_id,
            name=wish.name,
            description=wish.description,
            database_name=database_name,
            metadata=wish.metadata,
            now=now,
        )
    ]
    persisted = True if wish.id else None
    kind = "adopted" if wish.id else "created"
    events = [Event(project_id=project_id, kind=kind, detail=_detail(wish, database_name=database_name))]
    if wish.root is not None:
        steps.append(_put(wish, project_id, persisted, now))
        if rooted is not None:
            events.append(_superseded(rooted, project_id))
    return Decision(
        project_id=project_id,
        name=wish.name,
        database_name=database_name,
        state="provisioning",
        root=wish.root,
        persisted=persisted,
        steps=tuple(steps),
        events=tuple(events),
    )


def _store(wish: Wish, project_id: str) -> Script[str]:
    """A name for the store that nobody has."""
    if wish.database_name is not None:
        owner = yield Statement("projects.owner", database_name=wish.database_name)
        if owner:
            raise StoreTakenError(wish.database_name, _owner(owner[0]), wish.path or repr(wish.name))
        return wish.database_name
    for drawn in names.stores(wish.name, project_id):
        if not (yield Statement("projects.owner", database_name=drawn)):
            return drawn
    raise StoreTakenError(drawn, "other projects, and so do all others that were tried", repr(wish.name))


def _owner(row: Any) -> str:
    return f"the project {row['name']!r} ({row['id']})"


def _check_store(wish: Wish, row: dict[str, Any], now: int) -> Script[list[Statement]]:
    """A configuration may repeat what the store is called; to name another one would mean other data."""
    before = row["database_name"]
    if wish.database_name in (None, before):
        return []
    owner = yield Statement("projects.owner", database_name=wish.database_name)
    if owner:
        raise StoreTakenError(wish.database_name or "", _owner(owner[0]), wish.path or repr(wish.name))
    if row["state"] == "provisioning":  # there is none yet
        row["database_name"] = wish.database_name
        given = {"id": row["id"], "database_name": wish.database_name, "before": before}
        return [Statement("projects.draw", **given, now=now)]
    raise ProjectConfigError(
        wish.path,
        "project.database_name",
        f"it is {wish.database_name!r}, and the store of project {row['id']} is {before!r}",
        "Expected the name of the store that the project has.",
        "Write that name, or leave it out.",
    )


def _seen_again(wish: Wish, row: Any, rooted: Any, steps: list[Statement], now: int) -> Decision:
    """The usual way: the directory is known to be the project's."""
    renamed = wish.name not in (rooted["name"], row["name"])
    persisted = True if wish.id else _truth(rooted["persisted"])
    changed = (
        wish.name != rooted["name"]
        or persisted != _truth(rooted["persisted"])
        or (wish.root == rooted["root"] and wish.directory != rooted["directory"])
        or now - rooted["seen_at"] > SEEN_EVERY
    )
    if changed:
        steps.append(
            Statement(
                "projects.see_root",
                root=rooted["root"],
                project_id=row["id"],
                name=wish.name,
                persisted=persisted if persisted is None else int(persisted),
                reason=None if persisted else rooted["reason"],
                directory=wish.directory,
                now=now,
            )
        )
    return _decision(row, wish, rooted["root"], persisted, rooted["reason"], steps, [], renamed, now)


def _further_root(wish: Wish, row: Any, rooted: Any, steps: list[Statement], now: int) -> Script[Decision]:
    """The id is known, and the directory is not, or as another project's: it was moved, or copied."""
    others = yield from reading.roots_of(row["id"])
    unsure = tuple(Earlier.of(one) for one in others if one["root"] not in wish.facts)
    if unsure:
        return Decision(unsure=unsure)
    copies = [one for one in others if wish.facts[one["root"]] == "copy"]
    gone = [one for one in others if wish.facts[one["root"]] == "gone"]
    if copies and wish.strict:
        raise CopiedProjectError(row["id"], str(wish.root), [one["root"] for one in copies])
    events = []
    if gone:
        events.append(Event(project_id=row["id"], kind="moved", detail=_detail(wish, before=gone[0]["root"])))
        bases = {gone[0]["name"]}
    elif copies:
        of = [one["root"] for one in copies]
        events.append(Event(project_id=row["id"], kind="copied", detail=_detail(wish, of=of)))
        bases = {row["name"], *(one["name"] for one in copies)}
    else:
        events.append(Event(project_id=row["id"], kind="root_added", detail=_detail(wish)))
        bases = {row["name"], *(one["name"] for one in others)}
    if rooted is not None:
        events.append(_superseded(rooted, row["id"]))
        steps.append(Statement("projects.forget_root", root=rooted["root"], project_id=rooted["project_id"]))
    if gone:
        steps.append(Statement("projects.forget_root", root=gone[0]["root"], project_id=row["id"]))
    steps.append(_put(wish, row["id"], True, now))
    renamed = wish.name not in {row["name"], *bases}
    return _decision(row, wish, wish.root, True, None, steps, events, renamed, now)


def _decision(
    row: Any,
    wish: Wish | None = None,
    root: str | None = None,
    persisted: bool | None = None,
    reason: str | None = None,
    steps: Sequence[Statement] = (),
    events: Sequence[Event] = (),
    renamed: bool = False,
    now: int = 0,
) -> Decision:
    name = row["name"]
    steps, events = list(steps), list(events)
    if renamed and wish is not None:
        detail = _detail(wish, before=name, name=wish.name)
        events.append(Event(project_id=row["id"], kind="renamed", detail=detail))
        steps.append(Statement("projects.rename", id=row["id"], name=wish.name, now=now))
        name = wish.name
    return Decision(
        project_id=row["id"],
        name=name,
        database_name=row["database_name"],
        state=row["state"],
        root=root,
        persisted=persisted,
        reason=None if persisted else reason,
        steps=tuple(steps),
        events=tuple(events),
    )


def _put(wish: Wish, project_id: str, persisted: bool | None, now: int) -> Statement:
    return Statement(
        "projects.put_root",
        root=wish.root,
        project_id=project_id,
        name=wish.name,
        persisted=persisted if persisted is None else int(persisted),
        directory=wish.directory,
        now=now,
    )


def _superseded(rooted: Any, project_id: str) -> Event:
    detail = {"root": rooted["root"], "by": project_id}
    return Event(project_id=rooted["project_id"], kind="superseded", detail=detail)


def _detail(wish: Wish, **more: Any) -> dict[str, Any]:
    return {"root": wish.root, **more}


def _truth(value: Any) -> bool | None:
    return None if value is None else bool(value)
