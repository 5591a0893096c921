"""The head of the trail: one hash over all seals, to keep somewhere else, and checkpoints of it."""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from abathur.audit.chain import GENESIS, Span, join
from abathur.errors import InvalidInputError
from abathur.script import Script, Statement

FORM: Final = "abathur-trail-1"
PAGE: Final = 2_000
"""Seals that one checkpoint joins at most, so that no transaction is long."""

_TEXT: Final = re.compile(rf"{FORM}:([0-9a-f-]{{1,64}}):(\d{{1,18}}):(\d{{1,18}}):([0-9a-f]{{64}})", re.ASCII)


@frozen
class AuditHead:
    """Where the trail stood at one moment. ``str(head)`` is the text to keep, and `parse` reads it.

    Whoever keeps it can later prove, with ``db.audit.verify(head=...)``, that everything up to that
    moment is still in the trail, unaltered: nobody can make another history with the same hash.
    """

    database_id: str
    last_seal: int
    """The id of the last seal, 0 when there was none."""
    last_row: int
    """The id of the last row that it covers."""
    hash: str
    """SHA-256 over all seals, in hexadecimal."""

    def __str__(self) -> str:
        return f"{FORM}:{self.database_id}:{self.last_seal}:{self.last_row}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        """The head that a text says. Raises InvalidInputError."""
        match = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise InvalidInputError(
                f"{text!r} is no head of a trail.",
                f"Expected what `abathur audit head` printed: {FORM}:<database>:<seal>:<row>:<hash>.",
                "Copy the whole line.",
            )
        return cls(match[1], int(match[2]), int(match[3]), match[4])


def head() -> Script[AuditHead]:
    """Where the trail stands now: the last checkpoint, joined with the seals since."""
    at = yield from _last_checkpoint()
    while True:
        found = yield from _joined(at)
        if found.last_seal == at.last_seal:
            return found
        at = found


def checkpoint(now: int) -> Script[bool]:
    """Join the seals since the last checkpoint into the next one. Returns whether there may be more."""
    yield Statement("audit.lock_checkpoints")
    before = yield from _last_checkpoint()
    at = yield from _joined(before)
    if at.last_seal == before.last_seal:
        return False
    yield Statement(
        "audit.add_checkpoint",
        last_seal=at.last_seal,
        last_row=at.last_row,
        previous=before.last_seal,
        made_at=now,
        hash=at.hash,
    )
    return True


def _last_checkpoint() -> Script[AuditHead]:
    (known,) = yield Statement("audit.database_id", damaged=True)
    rows = yield Statement("audit.last_checkpoint", damaged=True)
    database_id = str(known["database_id"] or "")
    if not rows:
        return AuditHead(database_id, 0, 0, GENESIS)
    last_row = rows[0]["last_row"]
    # Somebody's SQL may have put anything there; `verify` says so.
    return AuditHead(
        database_id, rows[0]["last_seal"], last_row if isinstance(last_row, int) else 0, str(rows[0]["hash"])
    )


def _joined(at: AuditHead) -> Script[AuditHead]:
    """The head after the next seals, `PAGE` of them at most."""
    seals = yield Statement("audit.seals_since", damaged=True, after=at.last_seal, limit=PAGE)
    joined, last_row = at.hash, at.last_row
    for seal in seals:
        joined = join(joined, seal["hash"])
        last_row = max(last_row, Span.of(seal).last)
    return AuditHead(at.database_id, seals[-1]["id"] if seals else at.last_seal, last_row, joined)
