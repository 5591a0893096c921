"""Writes: scripts that insert, update and delete rows, if the schema is still the one they were made for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import frozen

from abathur import payload, times
from abathur.audit import append
from abathur.rows.incoming import Stored
from abathur.rows.names import invalid
from abathur.rows.operations import Changes
from abathur.rows.registry import Known
from abathur.rows.requests import Request, recall, remember, repeat, repeats
from abathur.rows.values import TEXTS
from abathur.schema.render import quoted
from abathur.script import Built, Script, Statement

STALE: Final = "stale"
"""The answer to a write by a schema that was changed meanwhile; nothing was done."""

VALUES: Final = 2_000
"""Values that one INSERT of SQLite takes."""
IDS: Final = 10_000
"""Ids that one statement takes."""
NAMED: Final = 100
"""Ids that the trail names of rows which were deleted."""


@frozen
class Insert:
    """Rows to be inserted, all or none."""

    known: Known
    rows: Sequence[Stored]
    is_list: bool
    request: Request | None
    dialect: str


@frozen
class Which:
    """Which rows a write is about: that of an id, or those that pass a filter."""

    id: int | None
    condition: str = ""
    values: Sequence[Any] = ()


@frozen
class Write:
    """An update, or a delete if there are no changes."""

    known: Known
    which: Which
    changes: Changes | None
    request: Request | None
    dialect: str
    plugin: str
    actor: str

    @property
    def order(self) -> tuple[int, int]:
        """Its place among others of one transaction; those about one row stay in their order."""
        return self.known.number, self.which.id or 0


# -- insert ----------------------------------------------------------------------------------------


def insert_calls(calls: Sequence[Insert], now: int) -> Script[list[Any]]:
    """Insert the rows of many calls, those for one table together; answer each, or say STALE."""
    requests = [call.request for call in calls]
    answers, again = (yield from recall(requests, now)), repeats(requests)
    groups: dict[tuple[int, int], list[int]] = {}
    for place, call in enumerate(calls):
        if answers[place] is None and place not in again:
            groups.setdefault((call.known.number, call.known.revision), []).append(place)
    made = []
    for (number, revision), places in sorted(groups.items()):
        n = sum(len(calls[place].rows) for place in places)
        taken = yield Statement("rows.take_ids", id=number, revision=revision, n=n)
        if not taken:
            for place in places:
                answers[place] = STALE
            continue
        following = taken[0]["last_id"] - n + 1
        rows: list[Stored] = []
        for place in places:
            call = calls[place]
            ids = range(following, following + len(call.rows))
            following += len(call.rows)
            rows += [(one, now, now, *row) for one, row in zip(ids, call.rows, strict=True)]
            answers[place] = (
                {"ids": list(ids), "created": len(ids)} if call.is_list else {"id": ids[0], "created": True}
            )
            made.append((call.request, answers[place]))
        yield from _put(calls[places[0]].known, rows, calls[places[0]].dialect)
    yield from remember(made, now)
    repeat(answers, requests, again)
    return answers


def _put(known: Known, rows: Sequence[Stored], dialect: str) -> Script[None]:
    columns = [quoted(name) for name in ("id", "created_at", "updated_at")]
    columns += [known.identifiers[field.name] for field in known.declared.fields]
    into = f"INSERT INTO {known.table} ({', '.join(columns)})"
    if dialect == "postgres":
        arrays = ", ".join(f"CAST(? AS {_ARRAYS[name]})" for name in _types(known))
        names = ", ".join(f"given.p{at}" for at in range(len(columns)))
        aliases = ", ".join(f"p{at}" for at in range(len(columns)))
        sql = f"{into} SELECT {names} FROM unnest({arrays}) AS given ({aliases})"
        yield Built(sql, [list(values) for values in zip(*rows, strict=True)])
        return
    one = f"({', '.join('?' * len(columns))})"
    for some in _portions(rows, max(VALUES // len(columns), 1)):
        yield Built(f"{into} VALUES {', '.join([one] * len(some))}", [value for row in some for value in row])


def _portions(rows: Sequence[Stored], most: int) -> Iterator[Sequence[Stored]]:
    """The rows in portions whose sizes are powers of two: of so few texts each is prepared only once."""
    at = 0
    while at < len(rows):
        size = 1 << (min(len(rows) - at, most).bit_length() - 1)
        yield rows[at : at + size]
        at += size


def _types(known: Known) -> list[str]:
    return ["integer", "integer", "integer", *(field.type for field in known.declared.fields)]


_ARRAYS: Final = {
    "integer": "bigint[]",
    "boolean": "bigint[]",
    "datetime": "bigint[]",
    "float": "double precision[]",
    **dict.fromkeys(TEXTS, "text[]"),
}


# -- update and delete -----------------------------------------------------------------------------


def write_calls(calls: Sequence[Write], now: int) -> Script[list[Any]]:
    """Update and delete what many calls ask for, one after the other; answer each, or say STALE.

    Rows are locked in the order of their ids, so that two writers of a server do not wait for each other.
    """
    requests = [call.request for call in calls]
    answers, again = (yield from recall(requests, now)), repeats(requests)
    revisions = {}
    for number in sorted({call.known.number for call in calls}):
        rows = yield Statement("rows.revision", id=number)
        revisions[number] = rows[0]["revision"] if rows else None
    made = []
    for place in sorted(range(len(calls)), key=lambda place: calls[place].order):
        call = calls[place]
        if answers[place] is not None or place in again:
            continue
        if revisions[call.known.number] != call.known.revision:
            answers[place] = STALE
            continue
        answers[place] = yield from _write(call, now)
        made.append((call.request, answers[place]))
    yield from remember(made, now)
    repeat(answers, requests, again)
    return answers


def _write(call: Write, now: int) -> Script[dict[str, Any]]:
    ids = [call.which.id] if call.which.id is not None else (yield from _ids(call))
    if call.changes is None:
        ids = yield from _delete(call, ids, now)
        answer: dict[str, Any] = {"deleted": bool(ids)}
    else:
        ids = yield from _update(call, call.changes, ids, now)
        answer = {"updated": bool(ids)}
    if call.which.id is None:
        answer["deleted_count" if call.changes is None else "updated_count"] = len(ids)
    elif call.changes is not None:
        answer |= {"id": ids[0]} if ids else {"exists": False}
    return answer


def _ids(call: Write) -> Script[list[int]]:
    locking = " FOR UPDATE" if call.dialect == "postgres" else ""
    sql = f'SELECT "id" FROM {call.known.table} WHERE {call.which.condition} ORDER BY "id"{locking}'
    return [row["id"] for row in (yield Built(sql, call.which.values))]


def _update(call: Write, changes: Changes, ids: Sequence[int], now: int) -> Script[list[int]]:
    done: list[int] = []
    given = "CAST(? AS bigint)" if call.dialect == "postgres" else "?"
    assigned = ", ".join([*changes.assignments, f'"updated_at" = {given}'])
    for some, values in _chunks(ids, call.dialect):
        among = _among(some, call.dialect)
        yield from _refuse_out_of_range(call, changes, among, values)
        sql = f'UPDATE {call.known.table} SET {assigned} WHERE {among} RETURNING "id"'
        done += [row["id"] for row in (yield Built(sql, [*changes.values, now, values]))]
    return done


def _refuse_out_of_range(call: Write, changes: Changes, among: str, values: Any) -> Script[None]:
    """Refuse what would be too large for its field: one engine makes a float of it, the other an error."""
    if not changes.bounds:
        return
    if call.dialect == "postgres":  # nobody may change them between the look and the change
        yield Built(f'SELECT "id" FROM {call.known.table} WHERE {among} ORDER BY "id" FOR UPDATE', [values])
    for bound in changes.bounds:
        bad = f"{among} AND NOT ({bound.condition})"
        sql = f'SELECT "id" FROM {call.known.table} WHERE {bad} ORDER BY "id" LIMIT 1'
        found = yield Built(sql, [values, *bound.values])
        if found:
            raise invalid(
                f"Field '{bound.name}': The result is out of range for row {found[0]['id']}",
                f"Expected a result that fits into {call.known.types[bound.name]}.",
            )


def _delete(call: Write, ids: Sequence[int], now: int) -> Script[list[int]]:
    done: list[int] = []
    for some, values in _chunks(ids, call.dialect):
        sql = f'DELETE FROM {call.known.table} WHERE {_among(some, call.dialect)} RETURNING "id"'
        done += [row["id"] for row in (yield Built(sql, [values]))]
    if done:
        about = {
            "plugin": call.plugin,
            "table": call.known.declared.table,
            "rows": len(done),
            "ids": sorted(done)[:NAMED],
        }
        yield from append([(times.iso(now), None, "rows.deleted", payload.batch(about), call.actor)])
    return done


def _chunks(ids: Sequence[int], dialect: str) -> Iterator[tuple[Sequence[int], Any]]:
    """Ids in portions, each with what is bound to the place of `_among`."""
    for at in range(0, len(ids), IDS):
        some = ids[at : at + IDS]
        if len(some) == 1:
            yield some, some[0]
        else:
            yield some, list(some) if dialect == "postgres" else json.dumps(list(some))


def _among(ids: Sequence[int], dialect: str) -> str:
    if len(ids) == 1:
        return f'"id" = {"CAST(? AS bigint)" if dialect == "postgres" else "?"}'
    if dialect == "postgres":
        return '"id" = ANY(CAST(? AS bigint[]))'
    return '"id" IN (SELECT value FROM json_each(?))'
