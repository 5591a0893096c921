"""The audit trail: append, seal, list, verify.

Each change of status appends a row in its own transaction. The rows of a transaction are sealed
with one hash, chained to the same writer's previous seal, so a row that is altered, removed or
inserted later is found. A seal also keeps a short digest of each row, to name the one.

This finds accidents and careless edits. The hashes have no key: whoever can write the file can also
compute new seals.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from attrs import define

from abathur import payload, times
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError
from abathur.models import AuditEntry, AuditReport
from abathur.script import Emit, Emitted, Script, Statement

COLUMNS: Final = ("timestamp", "task_id", "action_type", "action_data", "actor")
"""What is written and sealed, in the order in which it is hashed."""
UNUSED: Final = ("agent_id", "result")
"""Columns of older databases; a sealed row has none of them."""
GENESIS: Final = "0" * 64
"""What the first seal of a writer has for its previous one."""
TOPIC: Final = "audit"
_SHORT: Final = 16  # hexadecimal digits of a row's digest
_PAGE: Final = 500  # seals that verify reads at a time


Entry: TypeAlias = tuple[str, str | None, str, str | None, str | None]
"""A row to append, in the order of COLUMNS: the time as text, the task, the action, JSON text, who did it."""


def append(entries: Sequence[Entry]) -> Script[None]:
    """Append entries, in this order, to be sealed at the end of the transaction."""
    if entries:
        yield Statement("audit.append", rows=entries, columns=COLUMNS)
        yield Emit(TOPIC, entries)


@define
class Chain:
    """The seals of one writer: where its next one goes on."""

    writer: str
    sequence: int = 0
    head: str = GENESIS

    def seal(self, entries: Sequence[Entry], now: int) -> Script[Chain]:
        """Seal what this transaction appended; return where the chain goes on after it."""
        # Ids have no gaps: the write lock is held, and `audit` is AUTOINCREMENT.
        (last,) = yield Statement("audit.last_id")
        first_id = last["id"] - len(entries) + 1
        digests = [row_digest(row_id, entry) for row_id, entry in enumerate(entries, first_id)]
        ids = f"{first_id}-{last['id']}"
        head = seal_hash(self.head, self.writer, self.sequence + 1, now, ids, digests)
        yield Statement(
            "audit.seal",
            writer=self.writer,
            sequence=self.sequence + 1,
            sealed_at=now,
            ids=ids,
            digests="".join(digest[:_SHORT] for digest in digests),
            previous=self.head,
            hash=head,
        )
        return Chain(self.writer, self.sequence + 1, head)


def row_digest(row_id: int, entry: Sequence[str | None]) -> str:
    """SHA-256 of a row: its id and its columns, each with its length in characters before it."""
    text = "".join(["-" if value is None else f"{len(value)}:{value}" for value in entry])
    return hashlib.sha256(f"{row_id};{text}".encode("utf-8", "surrogatepass")).hexdigest()


def stored_digest(row: Any) -> str:
    """The same of a stored row. Ours holds text or NULL; what somebody else put there is marked."""
    values = [row[column] for column in (*COLUMNS, *UNUSED)]
    marked = [value if value is None or isinstance(value, str) else f"~{value!r}" for value in values]
    if marked[-2:] == [None, None]:
        del marked[-2:]
    return row_digest(row["id"], marked)


def seal_hash(
    previous: str, writer: str, sequence: int, sealed_at: int, ids: str, digests: Iterable[str]
) -> str:
    """SHA-256 that chains one transaction's rows to the writer's previous seal."""
    return payload.digest(previous, writer, sequence, sealed_at, ids, "".join(digests))


class Audit:
    """`db.audit`: read the trail and check it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, *, task_id: str | None = None, action: str | None = None, after: int = 0, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries in the order in which they were written, those with an id above `after`.

        Ask for the next page with `after=entries[-1].id`. `action` is an exact `action_type` such
        as ``task.completed``.
        """
        for name, value in (("after", after), ("limit", limit)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidInputError(
                    f"{name}={value!r} is no id or number of rows.",
                    "Expected an integer from 0.",
                    f"Give another {name}.",
                )
        return await self._engine.read(_list, task_id, action, after, limit)

    async def verify(self) -> AuditReport:
        """Check every seal and every sealed row. Never raises for a bad trail: see `.ok`, `.first_bad`.

        Rows that are written meanwhile are left to the next call.
        """
        bounds = await self._engine.read(_bounds)
        check = _Check(bounds["starts_after"], bounds["last_row"], bounds["issued"])
        if not bounds["is_known"]:
            check.bad(None, "Where the trail starts cannot be read from abathur_meta.")
        elif bounds["first_row"] < 1:
            check.bad(bounds["first_row"], f"Row {bounds['first_row']} was inserted: ids begin at 1.")
        seal = 0
        while seal < bounds["last_seal"] and check.problem is None:
            seal = await self._engine.read(_verify_page, seal, bounds["last_seal"], check)
        if check.problem is None:
            check.rest()
        return AuditReport(
            ok=check.problem is None,
            rows=check.rows,
            seals=check.seals,
            writers=len(check.heads),
            adopted=bounds["adopted"],
            starts_after=bounds["starts_after"],
            first_bad=check.first_bad,
            problem=check.problem,
        )


def _list(task_id: str | None, action: str | None, after: int, limit: int) -> Script[list[AuditEntry]]:
    if task_id is None:
        rows = yield Statement("audit.list", action=action, after=after, limit=limit)
    else:
        rows = yield Statement("audit.of_task", task_id=task_id, action=action, after=after, limit=limit)
    return [
        AuditEntry(
            id=row["id"],
            at=times.parse(row["timestamp"]),
            actor=row["actor"] or row["agent_id"],
            action=row["action_type"],
            task_id=row["task_id"],
            data=payload.decode_stored(row["action_data"]),
            result=row["result"],
        )
        for row in rows
    ]


def _bounds() -> Script[dict[str, int]]:
    (row,) = yield Statement("audit.bounds")
    start = re.fullmatch(r"\d{1,18}", str(row["starts_after"] or 0), re.ASCII)
    starts_after = int(start[0]) if start else 0
    (older,) = yield Statement("audit.adopted", starts_after=starts_after)
    issued = yield Statement("trail.issued")
    return {
        "issued": issued[0]["id"] if issued else 0,
        "starts_after": starts_after,
        "is_known": start is not None,
        "first_row": 1 if row["first_row"] is None else row["first_row"],
        "adopted": older["n"],
        "last_row": row["last_row"] or 0,
        "last_seal": row["last_seal"] or 0,
    }


class _Check:
    """What `verify` has seen so far."""

    def __init__(self, starts_after: int, last_row: int, issued: int) -> None:
        self.rows = 0
        self.seals = 0
        self.heads: dict[str, tuple[int, str]] = {}
        self.first_bad: int | None = None
        self.problem: str | None = None
        self.next_id = starts_after + 1
        self._last_row = last_row
        self._issued = issued

    def bad(self, row_id: int | None, problem: str) -> None:
        if self.problem is None:
            self.first_bad, self.problem = row_id, problem

    def seal(self, seal: Any, rows: Mapping[int, Any]) -> None:
        """Check one seal against its writer's previous one and against its rows."""
        first, last = _span(seal)
        self.seals += 1
        if not first:
            return self.bad(self.next_id, f"The seal that row {self.next_id} should have cannot be read.")
        if first > self.next_id:
            # Ids are given without gaps, so what lies between two seals is not ours or is gone.
            found = sorted(row_id for row_id in rows if self.next_id <= row_id < first)
            if found:
                return self.bad(found[0], f"Row {found[0]} is covered by no seal: it was inserted.")
            return self.bad(self.next_id, f"Rows {self.next_id} to {first - 1} and their seals were removed.")
        if first < self.next_id:
            return self.bad(first, f"Row {first} is covered by two seals.")
        sequence, head = self.heads.get(seal["writer"], (0, GENESIS))
        digests = []
        for place, row_id in enumerate(range(first, last + 1)):
            if row_id not in rows:
                return self.bad(row_id, f"Row {row_id} was removed.")
            digest = stored_digest(rows[row_id])
            if digest[:_SHORT] != seal["digests"][place * _SHORT : (place + 1) * _SHORT]:
                return self.bad(row_id, f"Row {row_id} was altered.")
            digests.append(digest)
        expected = seal_hash(head, seal["writer"], sequence + 1, seal["sealed_at"], seal["ids"], digests)
        if seal["sequence"] != sequence + 1 or seal["previous"] != head or seal["hash"] != expected:
            return self.bad(
                first, f"The seal of rows {first} to {last} does not follow from the one before it."
            )
        self.heads[seal["writer"]] = (sequence + 1, seal["hash"])
        self.rows += len(digests)
        self.next_id = last + 1
        return None

    def rest(self) -> None:
        """Nothing may stand after the last seal, and nothing may be missing there."""
        if self._last_row >= self.next_id:
            self.bad(self.next_id, f"Row {self.next_id} is covered by no seal: it was inserted.")
        elif self._issued >= self.next_id:
            self.bad(self.next_id, f"Rows {self.next_id} to {self._issued} and their seals were removed.")


def _span(seal: Any) -> tuple[int, int]:
    """The first and last id that a seal covers; zeros for what is no pair of ids."""
    match = re.fullmatch(r"([1-9]\d{0,17})-([1-9]\d{0,17})", str(seal["ids"]), re.ASCII)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _verify_page(after: int, last: int, check: _Check) -> Script[int]:
    seals = yield Statement("audit.seals", after=after, last=last, limit=_PAGE)
    if not seals:
        check.bad(None, "The last seals were removed.")
        return last
    rows = yield Statement("audit.rows", first=check.next_id, last=max(_span(seal)[1] for seal in seals))
    found = {row["id"]: row for row in rows}
    for seal in seals:
        check.seal(seal, found)
        if check.problem is not None:
            break
    return int(seals[-1]["id"])


def observed(emitted: Emitted) -> list[Entry]:
    """The entries that a transaction's scripts appended."""
    return emitted.get(TOPIC, [])
