"""The numbers that a database gives out: up to which it has, so that the target never gives one twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from abathur.moving.tables import Moving
from abathur.schema.found import META
from abathur.schema.render import quoted
from abathur.schema.stamp import AUDIT_ISSUED
from abathur.schema.trail import AUDIT
from abathur.script import Built, Script


def issued(tables: Sequence[Moving], dialect: str) -> Script[dict[str, int]]:
    """The last number given out of each table that never gives one again, 0 if none was."""
    wanted = [moving for moving in tables if moving.never_again]
    if dialect == "sqlite":
        rows = yield Built("SELECT name, seq FROM sqlite_sequence")
        last = {row["name"].lower(): int(row["seq"]) for row in rows}
        return {moving.name: last.get(moving.name, 0) for moving in wanted}
    found = {}
    for moving in wanted:
        if moving.name == AUDIT.name:
            sql, params = f"SELECT value AS n FROM {META} WHERE key = ?", [AUDIT_ISSUED]
        else:
            sql, params = f"SELECT pg_sequence_last_value({_SEQUENCE}) AS n", _sequence(moving)
        rows = yield Built(sql, params)
        found[moving.name] = int((rows[0]["n"] if rows else 0) or 0)
    return found


def go_on(tables: Sequence[Moving], dialect: str, last: Mapping[str, int]) -> Script[None]:
    """Make the next number of each table the one after the last that was given out."""
    for moving in tables:
        if dialect == "sqlite":
            if moving.never_again:  # the others go on after their highest row by themselves
                yield Built("DELETE FROM sqlite_sequence WHERE name = ?", [moving.name])
                if last[moving.name]:
                    values = [moving.name, last[moving.name]]
                    yield Built("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", values)
            continue
        if moving.name == AUDIT.name:
            values = [AUDIT_ISSUED, str(last[moving.name])]
            yield Built(
                f"INSERT INTO {META} (key, value) VALUES (?, ?)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                values,
            )
        if moving.numbered:
            sql = f"SELECT max({quoted(moving.numbered)}) AS n FROM {quoted(moving.name)}"
            highest = (yield Built(sql))[0]["n"]
            number = max(highest or 0, last.get(moving.name, 0))
            if number > 0:
                yield Built(f"SELECT setval({_SEQUENCE}, ?) AS n", [*_sequence(moving), number])


_SEQUENCE: Final = "CAST(pg_get_serial_sequence(?, ?) AS regclass)"


def _sequence(moving: Moving) -> list[str]:
    return [quoted(moving.name), str(moving.numbered)]
