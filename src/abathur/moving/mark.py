"""How far a move is: a row in the target's `abathur_meta`, changed by the transactions that copy.

While it is there, nobody opens the target but another call of `move`, which goes on from it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias, cast

from attrs import evolve, field, frozen

from abathur.errors import MoveConflictError, TargetNotEmptyError
from abathur.migrate import MOVE
from abathur.moving.pages import Key, write
from abathur.moving.tables import Moving
from abathur.moving.values import Values
from abathur.schema.declare import Schema
from abathur.schema.found import META
from abathur.schema.inspect import filled_tables, inspect
from abathur.schema.render import quoted
from abathur.schema.stamp import AUDIT_ISSUED
from abathur.schema.tables import HISTORY
from abathur.script import Built, Script

Phase: TypeAlias = Literal["copying", "comparing", "again"]
"""``again``: what was copied is not what the source has, so the next call empties the target and begins."""

OWN: Final = frozenset(
    {MOVE, AUDIT_ISSUED, "moved", "audit_guard", "schema_version", "version", "min_reader_version"}
)
"""Rows of the stamp that are about their own database; so is each ``declaration:``."""
MOVED: Final = "moved"
"""The row that a finished move leaves: from where, when, and by which version."""


@frozen
class Mark:
    """What the row says."""

    source: str
    """The id of the database that is copied."""
    phase: Phase = "copying"
    table: str | None = None
    """The table that was copied last, None before the first."""
    after: Key = field(default=())
    """The key of its last row that is there."""

    @classmethod
    def parse(cls, text: str) -> Mark:
        """The mark that a stored text says."""
        told = json.loads(text)
        return cls(told["source"], told["phase"], told["table"], tuple(map(_unpacked, told["after"])))

    def __str__(self) -> str:
        after = list(map(_packed, self.after))
        return json.dumps({"source": self.source, "phase": self.phase, "table": self.table, "after": after})

    def at(self, table: str, after: Key) -> Mark:
        """The same after another page."""
        return evolve(self, table=table, after=after)

    def then(self, phase: Phase) -> Mark:
        """The same in another phase."""
        return evolve(self, phase=phase)


def _packed(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _unpacked(value: Any) -> Any:
    return base64.b64decode(value["bytes"]) if isinstance(value, dict) else value


def admitted(name: str, dialect: str, schemas: Sequence[Schema], source: str) -> Script[Mark | None]:
    """The mark of a move from this source that was not finished, or None for a target without rows.

    Raises TargetNotEmptyError for every other target.
    """
    found = yield from inspect(dialect, schemas)
    stored = found.meta.get(MOVE)
    if stored is not None:
        try:
            mark = Mark.parse(stored)
        except (ValueError, KeyError, TypeError) as error:  # not ours: nobody knows what is there
            raise TargetNotEmptyError(name, (META,)) from error
        if mark.source == source:
            return mark
        raise TargetNotEmptyError(name, (), mark.source)
    own = {META, HISTORY.name, *_filled_from_the_start(schemas)}
    filled = sorted({*(yield from filled_tables(found))} - own)
    if filled or found.meta.get("database_id") == source:  # the source itself, or where it was moved before
        raise TargetNotEmptyError(name, filled)
    return None


def begin(
    name: str, dialect: str, schemas: Sequence[Schema], tables: Sequence[Moving], stamp: Sequence[Values]
) -> Script[Mark]:
    """Mark an empty target and put the source's stamp there; or read the mark of an unfinished move."""
    source = str(cast("dict[str, str]", dict(stamp))["database_id"])
    mark = yield from admitted(name, dialect, schemas, source)
    if mark is not None and mark.phase != "again":
        return mark
    new = Mark(source)
    if mark is None:
        yield from _put(name, None, new)
        yield Built(f"DELETE FROM {quoted(HISTORY.name)}")
    else:
        yield from _put(name, mark, new)
        yield from _empty(tables)
    kept = yield from stamped()
    for key, _ in kept:
        yield Built(f"DELETE FROM {META} WHERE key = ?", [key])
    for row in stamp:
        yield Built(f"INSERT INTO {META} (key, value) VALUES (?, ?)", row)
    return new


def put(name: str, moving: Moving, rows: Sequence[Values], before: Mark, after: Mark) -> Script[None]:
    """Insert a page, unless it is there already: the answer to a commit may have been lost."""
    if (yield from _put(name, before, after)):
        yield from write(moving, rows)


def note(name: str, before: Mark, after: Mark) -> Script[None]:
    """Write down that the move is in another phase."""
    yield from _put(name, before, after)


def finish(name: str, mark: Mark, told: str) -> Script[None]:
    """Take the mark away, so that everybody may open the target."""
    gone = yield Built(f"DELETE FROM {META} WHERE key = ? AND value = ? RETURNING key", [MOVE, str(mark)])
    found = yield Built(f"SELECT value FROM {META} WHERE key = ?", [MOVED])
    if gone:
        yield Built(f"DELETE FROM {META} WHERE key = ?", [MOVED])
        yield Built(f"INSERT INTO {META} (key, value) VALUES (?, ?)", [MOVED, told])
    elif not found or found[0]["value"] != told:
        raise MoveConflictError(name)


def stamped() -> Script[list[Values]]:
    """The rows of the stamp that go along with the tables."""
    rows = yield Built(f"SELECT key, value FROM {META} ORDER BY key")
    found = [(row["key"], row["value"]) for row in rows]
    return [row for row in found if row[0] not in OWN and not row[0].startswith("declaration:")]


def _put(name: str, before: Mark | None, after: Mark) -> Script[bool]:
    """Change the mark; returns False if it had been changed already.

    The change locks the row, so that of two moves to one target the later one finds that it is too late.
    """
    if before is None:
        sql = f"INSERT INTO {META} (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING RETURNING key"
        changed = yield Built(sql, [MOVE, str(after)])
    else:
        sql = f"UPDATE {META} SET value = ? WHERE key = ? AND value = ? RETURNING key"
        changed = yield Built(sql, [str(after), MOVE, str(before)])
    if changed:
        return True
    found = yield Built(f"SELECT value FROM {META} WHERE key = ?", [MOVE])
    if not found or found[0]["value"] != str(after):
        raise MoveConflictError(name)
    return False


def _empty(tables: Sequence[Moving]) -> Script[None]:
    """Remove what a move has copied that is to begin again, the trail included."""
    guard = f"INSERT INTO {META} (key, value) VALUES ('audit_guard', 'move')"
    yield Built(f"{guard} ON CONFLICT (key) DO UPDATE SET value = excluded.value")
    for moving in reversed(tables):
        yield Built(f"DELETE FROM {quoted(moving.name)}")
    yield Built(f"DELETE FROM {META} WHERE key = 'audit_guard'")


def _filled_from_the_start(schemas: Sequence[Schema]) -> Iterator[str]:
    """The tables in which an empty full-text table keeps something."""
    for schema in schemas:
        for table in schema.virtual_tables:
            if table.module == "fts5":
                yield from (f"{table.name}_config", f"{table.name}_data")
