"""What `verify` reads: where the trail starts and ends, and its seals page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from abathur.audit import ranges
from abathur.audit.chain import KEPT_BEFORE, Span, start_of
from abathur.script import Script, Statement

PAGE: Final = 500
"""Seals that are read at a time."""
HIGHEST: Final = 10**18
"""No row has such a number: it would not fit into a seal."""


@frozen
class Cut:
    """The checkpoint that has the place of everything before it."""

    last_seal: int
    last_row: int
    previous: object
    """The checkpoint before it, which was cut off; only compared."""
    hash: str


@frozen(kw_only=True)
class Bounds:
    """Where the trail started and ended when the check began. What comes later is left to the next one."""

    database_id: str
    starts_after: int
    """The last row from before the trail began."""
    cut: Cut | None
    """Where the history was cut off after pruning."""
    start_is_known: bool
    adopted: int
    first_row: int
    first_sealed: int
    """The first row after those from before the trail, 0 if there is none."""
    unsealed: int
    """The first row after those that the last seal covers, 0 if there is none."""
    issued: int | None
    """The last id that was given to a row, whether that is still there or not; None if it cannot be read."""
    lowest: int
    """The lowest id of a seal or a tombstone, and of a seal that a checkpoint has seen."""
    last_seal: int
    first_checkpoint: int | None
    last_checkpoint: int
    """The last seal that a checkpoint has seen."""
    last_tombstone: int
    tombstones: int
    """How many there are."""


_FIRST: Final = ("first_seal", "first_checkpoint", "first_tombstone")


def bounds() -> Script[Bounds]:
    """Look where the trail starts and ends."""
    (row,) = yield Statement("audit.bounds", damaged=True)
    start = start_of(row["starts_after"])
    starts_after = start or 0
    (older,) = yield Statement("audit.adopted", damaged=True, starts_after=starts_after)
    issued = yield Statement("trail.issued", damaged=True)
    last_seal = max(row["last_seal"] or 0, 0)  # lower ones are reported as such
    last = yield Statement("audit.seals", damaged=True, after=last_seal - 1, last=last_seal, limit=1)
    covered = max([starts_after, *(Span.of(seal).last for seal in last)])
    (beyond,) = yield Statement("audit.beyond", damaged=True, after=covered)
    (first,) = yield Statement("audit.beyond", damaged=True, after=starts_after)
    cut = yield from _cut(max(row["first_seal"] or 1, 1) - 1)
    return Bounds(
        database_id=str(row["database_id"] or ""),
        starts_after=starts_after,
        start_is_known=start is not None,
        adopted=older["n"],
        cut=cut,
        first_row=1 if row["first_row"] is None else row["first_row"],
        first_sealed=first["id"] or 0,
        unsealed=beyond["id"] or 0,
        issued=_whole_number(issued[0]["id"]) if issued else 0,
        lowest=min(1 if row[name] is None else row[name] for name in _FIRST),
        last_seal=last_seal,
        first_checkpoint=row["first_checkpoint"],
        last_checkpoint=row["last_checkpoint"] or 0,
        last_tombstone=row["last_tombstone"] or 0,
        tombstones=row["tombstones"],
    )


def _whole_number(value: object) -> int | None:
    """What is kept as text on PostgreSQL, and on SQLite in a table that takes any value."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value if isinstance(value, int) else None


def _cut(seal: int) -> Script[Cut | None]:
    """The checkpoint before the first seal. Without one, whatever was there was not cut off by us."""
    rows = yield Statement("audit.checkpoint_at", damaged=True, seal=seal)
    for row in rows:
        if isinstance(row["last_row"], int) and 0 <= row["last_row"] < HIGHEST:
            return Cut(seal, row["last_row"], row["previous"], str(row["hash"]))
    return None


@frozen
class Page:
    """Some seals in the order of writing, and everything that has to do with them, from one snapshot."""

    seals: Sequence[Any]
    rows: Mapping[int, Any]
    pruned: Mapping[int, int]
    """Ids of rows that were pruned -> their tombstone."""
    tombstones: Mapping[int, Any]
    checkpoints: Mapping[int, Any]
    """By the seal that each was made after."""
    orphans: Sequence[Any]
    """The first row about a task that is not there."""


def _last_row(seal: Any) -> int:
    """The last row of a seal, which has no more rows than it keeps digests, whatever it says."""
    span = Span.of(seal)
    kept = len(seal["digests"]) if isinstance(seal["digests"], str) else 0
    return min(span.last, span.first + kept // KEPT_BEFORE)


def page(after: int, first_row: int, last: int) -> Script[Page]:
    """The next seals after one, up to `last`; `first_row` is the row that should come next."""
    seals = yield Statement("audit.seals", damaged=True, after=after, last=last, limit=PAGE)
    last_row = max(map(_last_row, seals), default=0)
    rows = yield Statement("audit.rows", damaged=True, first=first_row, last=last_row)
    stones = yield Statement("audit.tombstones", damaged=True, first=first_row, last=last_row)
    checkpoints = yield Statement(
        "audit.checkpoints", damaged=True, after=after, last=seals[-1]["id"] if seals else last
    )
    orphans = yield Statement("audit.orphans", damaged=True, first=first_row, last=last_row)
    pruned = {one: row["id"] for row in stones for one in ranges.between(row["ids"], first_row, last_row)}
    return Page(
        seals=seals,
        rows={row["id"]: row for row in rows},
        pruned=pruned,
        tombstones={row["id"]: row for row in stones},
        checkpoints={row["last_seal"]: row for row in checkpoints},
        orphans=orphans,
    )
