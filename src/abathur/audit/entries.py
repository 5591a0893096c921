"""The rows of the trail: how a script appends them, and the digest that vouches for one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from abathur.script import Emit, Emitted, Script

COLUMNS: Final = ("timestamp", "task_id", "action_type", "action_data", "actor")
"""What is written and sealed, in the order in which it is hashed."""
UNUSED: Final = ("agent_id", "result")
"""Columns of older databases; a sealed row has none of them."""
TOPIC: Final = "audit"
TABLES: Final = frozenset({"audit", "audit_seals", "audit_checkpoints", "audit_tombstones"})
"""Those of the trail."""

Entry: TypeAlias = tuple[str, str | None, str, str | None, str | None]
"""A row to append, in the order of COLUMNS: the time as text, the task, the action, JSON text, who did it."""


def append(entries: Sequence[Entry]) -> Script[None]:
    """Append entries, in this order. They are written, and sealed, at the end of the transaction.

    There, because from the first id that is given until the commit nobody else may be given one.
    """
    if entries:
        yield Emit(TOPIC, entries)


def observed(emitted: Emitted) -> list[Entry]:
    """The entries that a transaction's scripts appended."""
    return emitted.get(TOPIC, [])


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
