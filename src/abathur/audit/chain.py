"""Seals: the rows of a transaction, with one hash that is chained to the same writer's previous seal."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from attrs import define, frozen

from abathur import payload
from abathur.audit.entries import COLUMNS, Entry, row_digest
from abathur.script import Script, Statement, Together

GENESIS: Final = "0" * 64
"""What the first seal of a writer has for its previous one, and the head of a trail without seals."""
KEPT: Final = 32
"""Hexadecimal digits of each row's digest that its seal keeps, and hashes. They name the row that is
wrong, and go on vouching for the others when some are pruned."""
KEPT_BEFORE: Final = 16
"""The same in seals of the first form, which kept so many digits, and hashed all of them."""


@define
class Chain:
    """The seals of one writer: where its next one goes on."""

    writer: str
    sequence: int = 0
    head: str = GENESIS

    def seal(self, entries: Sequence[Entry], now: int, *beside: Statement) -> Script[Chain]:
        """Write and seal what this transaction appended; return where the chain goes on after it.

        beside: what else is to be written when nobody else ends a transaction.

        From the first statement to the commit no other transaction gets here, on any engine. So ids have
        no gaps, and they and the seals are in the order of the commits.
        """
        (last,) = yield Statement("trail.reserve", n=len(entries))
        first_id = last["id"] - len(entries) + 1
        numbered = list(enumerate(entries, first_id))
        digests = "".join([row_digest(row_id, entry)[:KEPT] for row_id, entry in numbered])
        ids = f"{first_id}-{last['id']}"
        head = seal_hash(self.head, self.writer, self.sequence + 1, now, ids, digests)
        yield Together(
            Statement(
                "audit.append",
                rows=[(row_id, *entry) for row_id, entry in numbered],
                columns=("id", *COLUMNS),
            ),
            Statement(
                "audit.seal",
                writer=self.writer,
                sequence=self.sequence + 1,
                sealed_at=now,
                ids=ids,
                digests=digests,
                previous=self.head,
                hash=head,
            ),
            *beside,
        )
        return Chain(self.writer, self.sequence + 1, head)

    def is_there(self) -> Script[bool]:
        """Whether the chain's last seal is in the trail. It is among the newest, or nowhere."""
        rows = yield Statement("audit.newest_seal_of", writer=self.writer)
        return bool(rows) and rows[0]["hash"] == self.head


def seal_hash(previous: str, writer: str, sequence: int, sealed_at: int, ids: str, digests: str) -> str:
    """SHA-256 that chains one transaction's rows to the writer's previous seal."""
    return payload.digest(previous, writer, sequence, sealed_at, ids, digests)


def join(head: str, seal: str) -> str:
    """The trail's head after one more seal, whoever wrote it: this is what joins the writers' chains."""
    return hashlib.sha256(f"{head}{seal}".encode("utf-8", "surrogatepass")).hexdigest()


@frozen
class Span:
    """The rows that a seal covers; both ids are 0 for a seal that cannot be read."""

    first: int
    last: int

    @classmethod
    def of(cls, seal: Any) -> Span:
        """The span of a stored seal."""
        match = re.fullmatch(r"([1-9]\d{0,17})-([1-9]\d{0,17})", str(seal["ids"]), re.ASCII)
        return cls(int(match[1]), int(match[2])) if match else cls(0, 0)


def is_first_form(seal: Any, kept: int) -> bool:
    """Whether a seal that keeps so many digits of digests is of the first form."""
    span = Span.of(seal)
    return kept == KEPT_BEFORE * (span.last - span.first + 1)


def start_of(text: object) -> int | None:
    """The id of the last row from before the trail, as `abathur_meta` has it; None if it cannot be read."""
    match = re.fullmatch(r"\d{1,18}", str(text or 0), re.ASCII)
    return int(match[0]) if match else None
