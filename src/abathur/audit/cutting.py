"""Cutting: when all of the oldest part of the trail was pruned, its seals go too.

Seals outlive the rows that were pruned, so without this the file would grow for ever. The trail is
cut at a checkpoint, which keeps the hash of everything before it; a row of the trail vouches for that
checkpoint. So what comes after the cut is as provable as before, and what came before is gone.
"""

from __future__ import annotations

from typing import Any, Final

from abathur import payload, times
from abathur.audit.chain import start_of
from abathur.audit.entries import Entry, append
from abathur.audit.head import checkpoint as make_checkpoint
from abathur.audit.pruning import PRUNED, guard_down, guard_up
from abathur.script import Script, Statement

CUT: Final = "audit.cut"
"""The action of the row that vouches for a cut."""
FEWEST: Final = 500
"""Seals that a cut removes at least: it adds one itself."""
MOST: Final = 4_000
"""Seals that one transaction removes at most; checkpoints are closer to each other."""
ALL: Final = 2**62
"""More than any id."""


def cut(actor: str | None, now: int) -> Script[int]:
    """Cut off the oldest part of the trail in which no row of a task is left; returns how many seals."""
    if (yield from _place()) is None:
        return 0
    yield from guard_up(now)
    place = yield from _place()  # looked for again: who had the guard up before may have cut there
    if place is None:
        yield from guard_down()
        return 0
    starts_after, first_seal, checkpoint = place
    seals = int(checkpoint["last_seal"]) - first_seal + 1
    yield Statement("audit.cut_rows", after=starts_after, last=checkpoint["last_row"])
    yield Statement("audit.cut_tombstones", last=checkpoint["last_row"])
    yield Statement("audit.cut_seals", last=checkpoint["last_seal"])
    yield Statement("audit.cut_checkpoints", before=checkpoint["last_seal"])
    yield from guard_down()
    yield from append([_entry(checkpoint, starts_after, seals, actor, now)])
    return seals


def cut_all(actor: str | None, now: int) -> Script[list[Entry]]:
    """Remove the whole trail, rows from before it included; returns the entry to begin the next one with.

    For who empties the database. It must be the only one that writes, and seal the entry itself.
    """
    while (yield from make_checkpoint(now)):
        pass
    (at,) = yield Statement("audit.start")
    last = yield Statement("audit.cut_at", before=None, fewest=0, most=ALL)
    yield from guard_up(now)
    yield Statement("audit.cut_rows", after=-ALL, last=ALL)
    yield Statement("audit.cut_tombstones", last=ALL)
    yield Statement("audit.cut_seals", last=ALL)
    if last:
        yield Statement("audit.cut_checkpoints", before=last[0]["last_seal"])
    yield from guard_down()
    if at["first_seal"] is None or not last:
        return []
    seals = int(last[0]["last_seal"]) - int(at["first_seal"]) + 1
    return [_entry(last[0], start_of(at["starts_after"]) or 0, seals, actor, now)]


def _entry(checkpoint: Any, starts_after: int, seals: int, actor: str | None, now: int) -> Entry:
    """The row that vouches for a cut."""
    about = {name: checkpoint[name] for name in ("last_seal", "last_row", "previous", "hash")}
    about["starts_after"] = starts_after  # the seal that would show another one is gone
    said = payload.encode({**about, "seals": seals}, "the audit data")
    return (times.iso(now), None, CUT, said, actor)


def _place() -> Script[tuple[int, int, Any] | None]:
    """The last row from before the trail, its first seal, and the checkpoint at which it can be cut."""
    (at,) = yield Statement("audit.start")
    starts_after = start_of(at["starts_after"])
    if at["first_seal"] is None or starts_after is None:
        return None
    kept = yield Statement("audit.first_kept", after=starts_after, pruned=PRUNED, cut=CUT)
    found = yield Statement(
        "audit.cut_at",
        before=kept[0]["id"] if kept else None,
        fewest=at["first_seal"] + FEWEST - 1,
        most=at["first_seal"] + MOST - 1,
    )
    return (starts_after, int(at["first_seal"]), found[0]) if found else None
