"""Verify: go over every seal and every row, and name the first that is not as it was written."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from abathur import payload
from abathur.audit.chain import GENESIS, KEPT, KEPT_BEFORE, Span, join, seal_hash
from abathur.audit.cutting import CUT
from abathur.audit.entries import stored_digest
from abathur.audit.head import AuditHead
from abathur.audit.pruning import PRUNED, TombstoneDigest
from abathur.audit.reading import Bounds, Cut, Page
from abathur.models import AuditReport


class _Bad(Exception):  # noqa: N818  # what ends the check, inside of this module
    """What is wrong, and the first row that it concerns, if it is known."""

    def __init__(self, row_id: int | None, problem: str) -> None:
        super().__init__(problem)
        self.row_id = row_id
        self.problem = problem


@define
class Check:
    """What has been seen so far. `take` goes on with the next page until `done`."""

    bounds: Bounds
    pinned: AuditHead | None = None
    rows: int = 0
    pruned: int = 0
    seals: int = 0
    checkpoints: int = 0
    first_bad: int | None = None
    problem: str | None = None
    joined: str = GENESIS
    next_row: int = field(init=False)
    last_seal: int = 0
    _heads: dict[str, tuple[int, str]] = field(factory=dict)
    """The last sequence and hash of each writer."""
    _stones: dict[int, tuple[Any, TombstoneDigest]] = field(factory=dict)
    _vouched: dict[int, str] = field(factory=dict)
    """Tombstones that a sealed row vouches for -> the digest that it gives."""
    _cuts: set[tuple[object, object, object]] = field(factory=set)
    """The cuts that a sealed row vouches for."""
    _checkpoint: int = 0

    def __attrs_post_init__(self) -> None:
        self.next_row = self.bounds.starts_after + 1
        cut = self.bounds.cut
        if cut is not None:
            self.next_row, self.joined = cut.last_row + 1, cut.hash
            self.last_seal = self._checkpoint = cut.last_seal

    @property
    def done(self) -> bool:
        """Whether nothing is left to look at."""
        return self.problem is not None or self.last_seal >= self.bounds.last_seal

    def start(self) -> None:
        """What can be said before the first page."""
        self._guard(self._start)

    def take(self, page: Page) -> None:
        """Check one page."""
        self._guard(self._take, page)

    def end(self) -> None:
        """What can be said after the last page: nothing may stand after it, and nothing may be missing."""
        if self.problem is None:
            self._guard(self._end)

    def report(self) -> AuditReport:
        """What was found."""
        return AuditReport(
            ok=self.problem is None,
            rows=self.rows,
            seals=self.seals,
            writers=len(self._heads),
            checkpoints=self.checkpoints,
            pruned=self.pruned,
            cut_after=0 if self.bounds.cut is None else self.bounds.cut.last_row,
            adopted=self.bounds.adopted,
            starts_after=self.bounds.starts_after,
            first_bad=self.first_bad,
            problem=self.problem,
        )

    def _guard(self, step: Any, *args: Any) -> None:
        try:
            step(*args)
        except _Bad as found:
            self.first_bad, self.problem = found.row_id, found.problem

    # -- the parts -----------------------------------------------------------------------------

    def _start(self) -> None:
        bounds, pinned = self.bounds, self.pinned
        if not bounds.start_is_known:
            raise _Bad(None, "Where the trail starts cannot be read from abathur_meta.")
        if bounds.first_row < 1:
            raise _Bad(bounds.first_row, f"Row {bounds.first_row} was inserted: ids begin at 1.")
        if bounds.lowest < 1:
            what = f"A seal, checkpoint or tombstone has the number {bounds.lowest}"
            raise _Bad(None, f"{what}: it was inserted, as they begin at 1.")
        if pinned is not None and pinned.database_id != bounds.database_id:
            those = f"{pinned.database_id}; this one is {bounds.database_id}"
            raise _Bad(None, f"The pinned head is of database {those}.")
        if bounds.cut is not None:
            self._start_at(bounds.cut)

    def _start_at(self, cut: Cut) -> None:
        first, pinned = self.bounds.first_sealed, self.pinned
        if 0 < first <= cut.last_row:
            raise _Bad(first, f"Row {first} was inserted: the rows up to {cut.last_row} had been cut off.")
        if pinned is not None and 0 < pinned.last_seal < cut.last_seal:
            cut_off = f"the history up to seal {cut.last_seal} was cut off after its tasks were pruned"
            raise _Bad(
                None, f"The pinned head, of seal {pinned.last_seal}, is too old to be proved: {cut_off}."
            )
        if pinned is not None and pinned.last_seal == cut.last_seal and pinned.hash != cut.hash:
            raise _Bad(None, f"The pinned head, of seal {pinned.last_seal}, is not in the history.")

    def _take(self, page: Page) -> None:
        if not page.seals:
            raise _Bad(None, "The last seals were removed.")
        for number, stone in page.tombstones.items():
            self._stones.setdefault(number, (stone, TombstoneDigest(stone["ids"])))
        checkpoints = dict(page.checkpoints)
        for seal in page.seals:
            self._seal(seal, page)
            if self.pinned is not None and self.last_seal < self.pinned.last_seal <= seal["id"]:
                self._pin(self.pinned, seal)
            self.last_seal = seal["id"]
            if (checkpoint := checkpoints.pop(seal["id"], None)) is not None:
                self._agree(checkpoint)
        for seal_id in sorted(checkpoints):
            raise _Bad(None, f"Seal {seal_id}, which a checkpoint has seen, was removed.")
        for row in page.orphans:
            what = f"Task {row['task_id']}, of which row {row['id']} tells, was removed without being pruned."
            raise _Bad(row["id"], what)

    def _seal(self, seal: Any, page: Page) -> None:
        """Check one seal against its writer's previous one and against its rows."""
        span = Span.of(seal)
        self.seals += 1
        if not span.first:
            raise _Bad(self.next_row, f"The seal that row {self.next_row} should have cannot be read.")
        if span.first > self.next_row:
            # Ids are given without gaps, so what lies between two seals is not ours or is gone.
            found = sorted(one for one in page.rows if self.next_row <= one < span.first)
            if found:
                raise _Bad(found[0], f"Row {found[0]} is covered by no seal: it was inserted.")
            gone = f"Rows {self.next_row} to {span.first - 1} and their seals were removed."
            raise _Bad(self.next_row, gone)
        if span.first < self.next_row:
            raise _Bad(span.first, f"Row {span.first} is covered by two seals.")
        hashed = self._rows(seal, span, page)
        if seal["id"] != self.last_seal + 1:
            raise _Bad(span.first, f"Seals {self.last_seal + 1} to {seal['id'] - 1} were removed.")
        sequence, head = self._heads.get(seal["writer"]) or self._before(seal)
        follows = seal["sequence"] == sequence + 1 and seal["previous"] == head
        if hashed is not None:
            made = seal_hash(head, seal["writer"], sequence + 1, seal["sealed_at"], seal["ids"], hashed)
            follows = follows and seal["hash"] == made
        if not follows:
            which = f"The seal of rows {span.first} to {span.last}"
            raise _Bad(span.first, f"{which} does not follow from the one before it.")
        self._heads[seal["writer"]] = (sequence + 1, seal["hash"])
        self.joined = join(self.joined, seal["hash"])
        self.next_row = span.last + 1

    def _before(self, seal: Any) -> tuple[int, str]:
        """Where a writer was before the first of its seals that is there."""
        if self.bounds.cut is None or not isinstance(seal["sequence"], int):
            return 0, GENESIS
        return seal["sequence"] - 1, seal["previous"]

    def _rows(self, seal: Any, span: Span, page: Page) -> str | None:
        """Check the rows of a seal against the digests that it keeps; return what it hashes.

        That is None for a seal of the first form with pruned rows: it hashed more of their digests than
        it kept. The next seal and the checkpoints vouch for its hash.
        """
        kept = seal["digests"] if isinstance(seal["digests"], str) else ""
        width = KEPT_BEFORE if len(kept) == KEPT_BEFORE * (span.last - span.first + 1) else KEPT
        whole: list[str] = []
        gone = 0
        for place, row_id in enumerate(range(span.first, span.last + 1)):
            digest = kept[place * width : (place + 1) * width]
            number = page.pruned.get(row_id)
            row = page.rows.get(row_id)
            if row is None:
                if number is None:
                    raise _Bad(row_id, f"Row {row_id} was removed.")
                self._stones[number][1].add(row_id, digest)
                gone += 1
                continue
            if number is not None:
                raise _Bad(row_id, f"Row {row_id} was inserted: the row with this id had been pruned.")
            full = stored_digest(row)
            if full[:width] != digest:
                raise _Bad(row_id, f"Row {row_id} was altered.")
            whole.append(full)
            if row["action_type"] in (PRUNED, CUT):
                self._hear(row)
        self.rows += len(whole)
        self.pruned += gone
        if width == KEPT:
            return kept
        return None if gone else "".join(whole)

    def _hear(self, row: Any) -> None:
        """A row that vouches for a tombstone or for a cut."""
        said = payload.decode_stored(row["action_data"])
        if not isinstance(said, dict):
            return
        if row["action_type"] == CUT:
            self._cuts.add((said.get("last_seal"), said.get("last_row"), said.get("hash")))
        elif isinstance(said.get("tombstone"), int):
            self._vouched[said["tombstone"]] = str(said.get("digest"))

    def _pin(self, pinned: AuditHead, seal: Any) -> None:
        """The first seal that is not before the pinned one must be that one, with the same history."""
        if seal["id"] != pinned.last_seal or self.joined != pinned.hash:
            which = f"of seal {pinned.last_seal} and row {pinned.last_row}"
            raise _Bad(None, f"The pinned head, {which}, is not in the history: what it saw was replaced.")

    def _agree(self, checkpoint: Any) -> None:
        seal = checkpoint["last_seal"]
        self.checkpoints += 1
        if checkpoint["previous"] != self._checkpoint:
            raise _Bad(None, f"A checkpoint between seals {self._checkpoint} and {seal} was removed.")
        if checkpoint["hash"] != self.joined or checkpoint["last_row"] != self.next_row - 1:
            raise _Bad(
                None,
                f"The checkpoint after seal {seal} does not agree with the seals before it: "
                f"one of those after seal {self._checkpoint} was replaced, or the checkpoint was.",
            )
        self._checkpoint = seal

    def _end(self) -> None:
        bounds, pinned = self.bounds, self.pinned
        if bounds.unsealed:
            raise _Bad(bounds.unsealed, f"Row {bounds.unsealed} is covered by no seal: it was inserted.")
        if bounds.issued >= self.next_row:
            gone = f"Rows {self.next_row} to {bounds.issued} and their seals were removed."
            raise _Bad(self.next_row, gone)
        if bounds.last_checkpoint > self.last_seal:
            gone = f"The seals up to {bounds.last_checkpoint}, which a checkpoint has seen, were removed."
            raise _Bad(self.next_row, gone)
        if pinned is not None and pinned.last_seal > self.last_seal:
            gone = f"The rows up to {pinned.last_row}, which the pinned head has seen, were removed."
            raise _Bad(self.next_row, gone)
        cut = bounds.cut
        if cut is not None and (cut.last_seal, cut.last_row, cut.hash) not in self._cuts:
            gone = f"Rows {bounds.starts_after + 1} to {cut.last_row} and their seals were removed"
            raise _Bad(bounds.starts_after + 1, f"{gone}: no row vouches for a cut there.")
        # A newer tombstone may be vouched for by a row that was not read.
        stones = [number for number in sorted(self._stones) if number <= bounds.last_tombstone]
        if len(stones) != bounds.tombstones:
            raise _Bad(None, "A tombstone stands where no rows were pruned: it was inserted, or altered.")
        for number in stones:
            self._tombstone(number)

    def _tombstone(self, number: int) -> None:
        stone, found = self._stones[number]
        if not found.n:
            raise _Bad(None, f"Tombstone {number} has no rows that were pruned: it was inserted, or altered.")
        says = {"first_row": found.first, "last_row": found.last, "n": found.n, "digest": found.text}
        rows = f"Rows {found.first} to {found.last}"
        # Of one whose first rows were cut off, not all is there to be compared.
        is_whole = self.bounds.cut is None or stone["first_row"] > self.bounds.cut.last_row
        if is_whole and any(stone[name] != value for name, value in says.items()):
            raise _Bad(found.first, f"{rows} are not those that tombstone {number} has the place of.")
        if self._vouched.get(number) != stone["digest"]:
            raise _Bad(found.first, f"{rows} were removed: no row vouches for tombstone {number}.")
