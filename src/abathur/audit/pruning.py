"""Pruning: the one way in which rows leave the trail, and the tombstone that they leave."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from abathur import payload, times
from abathur.audit import ranges
from abathur.audit.chain import KEPT_BEFORE, is_first_form, start_of
from abathur.audit.entries import append, stored_digest
from abathur.script import Script, Statement

PRUNED: Final = "audit.pruned"
"""The action of the row that vouches for a tombstone. It is sealed as every row is."""


def prune(task_ids: Sequence[str], actor: str | None, now: int, **about: Any) -> Script[int]:
    """Remove the rows of tasks from the trail; returns how many.

    What is left is a tombstone, which says which rows are gone and digests them, and a row of the
    trail that digests the tombstone. `about` goes into that row. The append-only triggers let rows go
    only while the guard is up, which is taken down in the same transaction.

    Seals of the first form hash more of a row's digest than they keep; they are the oldest. While there
    are any, the row of the trail keeps the whole digests of those that are removed: without them nothing
    would vouch for the other rows of such a seal.
    """
    rows = yield Statement("batches.trail_of", damaged=True, ids=payload.batch(sorted(task_ids)))
    if not rows:
        return 0
    ids = payload.batch([row["id"] for row in rows])
    yield from guard_up(now)
    yield Statement("batches.remove_trail", ids=ids)
    yield from guard_down()
    (start,) = yield Statement("audit.start")
    sealed = sorted((row for row in rows if row["id"] > (start_of(start["starts_after"]) or 0)), key=_id)
    if sealed:
        listed = ranges.to_text(row["id"] for row in sealed)
        digest = TombstoneDigest(listed)
        for row in sealed:
            digest.add(row["id"], stored_digest(row))
        (last,) = yield Statement("audit.last_tombstone")
        number = (last["id"] or 0) + 1
        yield Statement(
            "audit.add_tombstone",
            id=number,
            first_row=digest.first,
            last_row=digest.last,
            n=digest.n,
            made_at=now,
            ids=listed,
            digest=digest.text,
        )
        about = {"tombstone": number, "digest": digest.text, "ids": payload.digest(listed), **about}
        oldest = yield Statement("audit.oldest_seal")
        if any(is_first_form(seal, seal["kept"]) for seal in oldest):
            about["whole"] = "".join([stored_digest(row) for row in sealed])
    said = payload.batch({"rows": len(rows), "tasks": len(task_ids), **about})
    yield from append([(times.iso(now), None, PRUNED, said, actor)])
    return len(rows)


def guard_up(now: int) -> Script[None]:
    """Let this transaction, and no other, remove rows of the trail."""
    yield Statement("audit.raise_guard", now=times.iso(now))


def guard_down() -> Script[None]:
    """Let nobody remove any more. The guard never outlives its transaction."""
    yield Statement("audit.take_guard_down")


class TombstoneDigest:
    """What vouches for removed rows: SHA-256 of their ids as text, then of the start of each one's digest."""

    def __init__(self, ids: object) -> None:
        self.first = self.last = self.n = 0
        self._sha = hashlib.sha256(f"{ids};".encode("utf-8", "surrogatepass"))

    def add(self, row_id: int, digest: str) -> None:
        """The next row, in the order of the ids; of its digest what every form of seal keeps."""
        self.first, self.last, self.n = self.first or row_id, row_id, self.n + 1
        self._sha.update(digest[:KEPT_BEFORE].encode("utf-8", "surrogatepass"))

    @property
    def text(self) -> str:
        """The digest of what was added."""
        return self._sha.hexdigest()


def _id(row: Any) -> int:
    return int(row["id"])
