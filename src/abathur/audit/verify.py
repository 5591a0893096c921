"""Verify: go over every seal and every row, and name the first that is not as it was written."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from abathur import payload
from abathur.audit.chain import GENESIS, KEPT, KEPT_BEFORE, Span, is_first_form, join, seal_hash
from abathur.audit.cutting import CUT
from abathur.audit.entries import stored_digest
from abathur.audit.head import AuditHead
from abathur.audit.pruning import PRUNED
from abathur.audit.reading import Bounds, Cut, Page
from abathur.audit.tombstones import Bad, Gone, Stones
from abathur.models import AuditReport


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
    _stones: Stones = field(factory=Stones)
    _cuts: set[tuple[str, ...]] = field(factory=set)
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
        except Bad as found:
            self.first_bad, self.problem = found.row_id, found.problem

    # -- the parts -----------------------------------------------------------------------------

    def _start(self) -> None:
        bounds, pinned = self.bounds, self.pinned
        if not bounds.start_is_known:
            raise Bad(None, "Where the trail starts cannot be read from abathur_meta.")
        if bounds.first_row < 1:
            raise Bad(bounds.first_row, f"Row {bounds.first_row} was inserted: ids begin at 1.")
        if bounds.lowest < 1:
            what = f"A seal, checkpoint or tombstone has the number {bounds.lowest}"
            raise Bad(None, f"{what}: it was inserted, as they begin at 1.")
        if pinned is not None and pinned.database_id != bounds.database_id:
            those = f"{pinned.database_id}; this one is {bounds.database_id}"
            raise Bad(None, f"The pinned head is of database {those}.")
        if bounds.cut is not None:
            self._start_at(bounds.cut)

    def _start_at(self, cut: Cut) -> None:
        first, pinned = self.bounds.first_sealed, self.pinned
        if 0 < first <= cut.last_row:
            raise Bad(first, f"Row {first} was inserted: the rows up to {cut.last_row} had been cut off.")
        first_checkpoint = self.bounds.first_checkpoint
        if first_checkpoint is not None and first_checkpoint < cut.last_seal:
            those = f"those before seal {cut.last_seal} had been cut off"
            raise Bad(None, f"The checkpoint after seal {first_checkpoint} was inserted: {those}.")
        if pinned is not None and 0 < pinned.last_seal < cut.last_seal:
            cut_off = f"the history up to seal {cut.last_seal} was cut off after its tasks were pruned"
            raise Bad(
                None, f"The pinned head, of seal {pinned.last_seal}, is too old to be proved: {cut_off}."
            )
        if pinned is not None and pinned.last_seal == cut.last_seal and pinned.hash != cut.hash:
            raise Bad(None, f"The pinned head, of seal {pinned.last_seal}, is not in the history.")

    def _take(self, page: Page) -> None:
        if not page.seals:
            raise Bad(None, "The last seals were removed.")
        self._stones.meet(page.tombstones)
        # One that was made meanwhile may follow another that was made behind our back.
        last = self.bounds.last_checkpoint
        checkpoints = {seal: one for seal, one in page.checkpoints.items() if seal <= last}
        for seal in page.seals:
            self._seal(seal, page)
            if self.pinned is not None and self.last_seal < self.pinned.last_seal <= seal["id"]:
                self._pin(self.pinned, seal)
            self.last_seal = seal["id"]
            if (checkpoint := checkpoints.pop(seal["id"], None)) is not None:
                self._agree(checkpoint)
        for seal_id in sorted(checkpoints):
            raise Bad(None, f"Seal {seal_id}, which a checkpoint has seen, was removed.")
        for row in page.orphans:
            what = f"Task {row['task_id']}, of which row {row['id']} tells, was removed without being pruned."
            raise Bad(row["id"], what)

    def _seal(self, seal: Any, page: Page) -> None:
        """Check one seal against its writer's previous one and against its rows."""
        span = Span.of(seal)
        self.seals += 1
        if not span.first:
            raise Bad(self.next_row, f"The seal that row {self.next_row} should have cannot be read.")
        if span.first > self.next_row:
            # Ids are given without gaps, so what lies between two seals is not ours or is gone.
            found = sorted(one for one in page.rows if self.next_row <= one < span.first)
            if found:
                raise Bad(found[0], f"Row {found[0]} is covered by no seal: it was inserted.")
            gone = f"Rows {self.next_row} to {span.first - 1} and their seals were removed."
            raise Bad(self.next_row, gone)
        if span.first < self.next_row:
            raise Bad(span.first, f"Row {span.first} is covered by two seals.")
        digests = self._rows(seal, span, page)
        if seal["id"] != self.last_seal + 1:
            raise Bad(span.first, f"Seals {self.last_seal + 1} to {seal['id'] - 1} were removed.")
        sequence, head = self._heads.get(seal["writer"]) or self._before(seal)
        follows = seal["sequence"] == sequence + 1 and seal["previous"] == head
        if any(isinstance(one, Gone) for one in digests):
            self._stones.prove_later(seal, head, sequence + 1, digests)
        else:
            hashed = "".join(map(str, digests))
            made = seal_hash(head, seal["writer"], sequence + 1, seal["sealed_at"], seal["ids"], hashed)
            follows = follows and seal["hash"] == made
        if not follows:
            which = f"The seal of rows {span.first} to {span.last}"
            raise Bad(span.first, f"{which} does not follow from the one before it.")
        self._heads[seal["writer"]] = (sequence + 1, seal["hash"])
        self.joined = join(self.joined, seal["hash"])
        self.next_row = span.last + 1

    def _before(self, seal: Any) -> tuple[int, str]:
        """Where a writer was before the first of its seals that is there."""
        if self.bounds.cut is None or not isinstance(seal["sequence"], int):
            return 0, GENESIS
        return seal["sequence"] - 1, seal["previous"]

    def _rows(self, seal: Any, span: Span, page: Page) -> list[str | Gone]:
        """Check the rows of a seal against the digests that it keeps; return what it hashes.

        A seal of the first form hashed more of each digest than it kept, so of its pruned rows that is
        not known here.
        """
        kept = seal["digests"] if isinstance(seal["digests"], str) else ""
        width = KEPT_BEFORE if is_first_form(seal, len(kept)) else KEPT
        whole: list[str | Gone] = []
        gone = 0
        for place, row_id in enumerate(range(span.first, span.last + 1)):
            digest = kept[place * width : (place + 1) * width]
            number = page.pruned.get(row_id)
            row = page.rows.get(row_id)
            if row is None:
                if number is None:
                    raise Bad(row_id, f"Row {row_id} was removed.")
                whole.append(missed := Gone(row_id, number))
                self._stones.miss(missed, digest)
                gone += 1
                continue
            if number is not None:
                raise Bad(row_id, f"Row {row_id} was inserted: the row with this id had been pruned.")
            full = stored_digest(row)
            if full[:width] != digest:
                raise Bad(row_id, f"Row {row_id} was altered.")
            whole.append(full)
            if row["action_type"] in (PRUNED, CUT):
                self._hear(row)
        self.rows += len(whole) - gone
        self.pruned += gone
        return [kept] if width == KEPT else whole

    def _hear(self, row: Any) -> None:
        """A row that vouches for a tombstone or for a cut."""
        said = payload.decode_stored(row["action_data"])
        if not isinstance(said, dict):
            return
        if row["action_type"] == CUT:
            names = ("starts_after", "last_seal", "last_row", "previous", "hash")
            self._cuts.add(tuple(str(said.get(name)) for name in names))
        else:
            self._stones.hear(said)

    def _pin(self, pinned: AuditHead, seal: Any) -> None:
        """The first seal that is not before the pinned one must be that one, with the same history."""
        if seal["id"] != pinned.last_seal or self.joined != pinned.hash:
            which = f"of seal {pinned.last_seal} and row {pinned.last_row}"
            raise Bad(None, f"The pinned head, {which}, is not in the history: what it saw was replaced.")

    def _agree(self, checkpoint: Any) -> None:
        seal = checkpoint["last_seal"]
        self.checkpoints += 1
        if checkpoint["previous"] != self._checkpoint:
            raise Bad(None, f"A checkpoint between seals {self._checkpoint} and {seal} was removed.")
        if checkpoint["hash"] != self.joined or checkpoint["last_row"] != self.next_row - 1:
            raise Bad(
                None,
                f"The checkpoint after seal {seal} does not agree with the seals before it: "
                f"one of those after seal {self._checkpoint} was replaced, or the checkpoint was.",
            )
        self._checkpoint = seal

    def _end(self) -> None:
        bounds, pinned = self.bounds, self.pinned
        if bounds.unsealed:
            raise Bad(bounds.unsealed, f"Row {bounds.unsealed} is covered by no seal: it was inserted.")
        if bounds.issued is None:
            where = "sqlite_sequence (on PostgreSQL the key audit_issued of abathur_meta)"
            raise Bad(None, f"The last id that was given to a row cannot be read from {where}.")
        if bounds.issued >= self.next_row:
            gone = f"Rows {self.next_row} to {bounds.issued} and their seals were removed."
            raise Bad(self.next_row, gone)
        if bounds.last_checkpoint > self.last_seal:
            gone = f"The seals up to {bounds.last_checkpoint}, which a checkpoint has seen, were removed."
            raise Bad(self.next_row, gone)
        if pinned is not None and pinned.last_seal > self.last_seal:
            gone = f"The rows up to {pinned.last_row}, which the pinned head has seen, were removed."
            raise Bad(self.next_row, gone)
        cut = bounds.cut
        if cut is not None:
            first = bounds.starts_after + 1
            those = (first - 1, cut.last_seal, cut.last_row, cut.previous, cut.hash)
            if tuple(map(str, those)) not in self._cuts:
                gone = f"Rows {first} to {cut.last_row} and their seals were removed"
                raise Bad(first, f"{gone}: no row vouches for a cut there.")
        cut_after = 0 if cut is None else cut.last_row
        self._stones.check(bounds.last_tombstone, bounds.tombstones, cut_after)
