"""What verify knows of pruning: the tombstones that it met, and what rows of the trail say about them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field, frozen

from abathur import payload
from abathur.audit import ranges
from abathur.audit.chain import Span, seal_hash
from abathur.audit.pruning import TombstoneDigest

DIGEST: Final = 64
"""Hexadecimal digits of a row's whole digest."""


class Bad(Exception):  # noqa: N818  # what ends a check, inside of this package
    """What is wrong, and the first row that it concerns, if it is known."""

    def __init__(self, row_id: int | None, problem: str) -> None:
        super().__init__(problem)
        self.row_id = row_id
        self.problem = problem


@frozen
class Gone:
    """A row that was pruned, and the number of its tombstone."""

    row_id: int
    tombstone: int


@frozen
class _Unproved:
    """A seal of the first form with pruned rows: it hashed whole digests, and kept their starts."""

    seal: Any
    previous: str
    sequence: int
    digests: Sequence[str | Gone]


@define
class Stones:
    """The tombstones of a trail."""

    _met: dict[int, tuple[Any, TombstoneDigest]] = field(factory=dict)
    _vouched: dict[int, Mapping[str, Any]] = field(factory=dict)
    """Tombstones that a sealed row vouches for -> what it says."""
    _unproved: list[_Unproved] = field(factory=list)
    _whole: dict[int, Mapping[int, str]] = field(factory=dict)
    """The whole digests of rows of the first form that are gone, by tombstone and row."""

    def meet(self, tombstones: Mapping[int, Any]) -> None:
        """Those of a page."""
        for number, stone in tombstones.items():
            self._met.setdefault(number, (stone, TombstoneDigest(stone["ids"])))

    def miss(self, gone: Gone, digest: str) -> None:
        """A row is not there that a tombstone has the place of; `digest` is what its seal keeps of it."""
        self._met[gone.tombstone][1].add(gone.row_id, digest)

    def hear(self, said: Mapping[str, Any]) -> None:
        """What a sealed row says about a tombstone."""
        if isinstance(said.get("tombstone"), int):
            self._vouched[said["tombstone"]] = said

    def prove_later(self, seal: Any, previous: str, sequence: int, digests: Sequence[str | Gone]) -> None:
        """A seal that can be proved when the rows have been heard that keep the digests of what is gone."""
        self._unproved.append(_Unproved(seal, previous, sequence, digests))

    def check(self, last: int, count: int, cut_after: int) -> None:
        """Whether each was vouched for, up to the `last` one that stood when the check began.

        A newer one may be vouched for by a row that was not read. Raises Bad.
        """
        numbers = [number for number in sorted(self._met) if number <= last]
        if len(numbers) != count:
            raise Bad(None, "A tombstone stands where no rows were pruned: it was inserted, or altered.")
        for number in numbers:
            self._check(number, cut_after)
        for one in self._unproved:
            if all(part.tombstone <= last for part in one.digests if isinstance(part, Gone)):
                self._prove(one)

    def _check(self, number: int, cut_after: int) -> None:
        stone, found = self._met[number]
        said = self._vouched.get(number, {})
        if not found.n:
            raise Bad(None, f"Tombstone {number} has no rows that were pruned: it was inserted, or altered.")
        rows = f"Rows {found.first} to {found.last}"
        measured = ranges.measure(stone["ids"])
        # Of one whose first rows were cut off, not all is there to be digested.
        is_whole = measured[0] > cut_after
        differs = is_whole and (found.first, found.last, found.n, found.text) != (*measured, stone["digest"])
        if differs or (stone["first_row"], stone["last_row"], stone["n"]) != measured:
            raise Bad(found.first, f"{rows} are not those that tombstone {number} has the place of.")
        if (said.get("digest"), said.get("ids")) != (stone["digest"], payload.digest(stone["ids"])):
            raise Bad(found.first, f"{rows} were removed: no row vouches for tombstone {number}.")

    def _prove(self, one: _Unproved) -> None:
        seal, span = one.seal, Span.of(one.seal)
        whole = [part if isinstance(part, str) else self._digest(part) for part in one.digests]
        made = seal_hash(
            one.previous, seal["writer"], one.sequence, seal["sealed_at"], seal["ids"], "".join(whole)
        )
        if seal["hash"] != made:
            which = f"The seal of rows {span.first} to {span.last}"
            raise Bad(span.first, f"{which} does not follow from the one before it.")

    def _digest(self, gone: Gone) -> str:
        """The whole digest of a row that was pruned, as the row that vouches for its tombstone has it."""
        number = gone.tombstone
        if number not in self._whole:
            kept = self._vouched[number].get("whole")
            digests = re.findall(f".{{{DIGEST}}}", kept) if isinstance(kept, str) else []
            stone, found = self._met[number]
            self._whole[number] = dict(
                zip(ranges.between(stone["ids"], 1, found.last), digests, strict=False)
            )
        return self._whole[number].get(gone.row_id, "")
