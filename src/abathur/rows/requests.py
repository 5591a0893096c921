"""Request ids: the same request again within a day gets the first answer, and does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from attrs import frozen

from abathur import payload, times
from abathur.errors import RowConflictError
from abathur.rows.names import invalid, kind, shown
from abathur.rows.values import plain_text
from abathur.script import Script, ScriptFunction, Statement, start

T = TypeVar("T")

KEPT: Final = 24 * 60 * 60 * times.SECOND
"""Microseconds for which an answer is remembered."""
LONGEST: Final = 200
"""Characters of a request id."""
AT_ONCE: Final = 200
"""Old answers that one transaction forgets at most."""


@frozen
class Request:
    """A request that may come again."""

    plugin: str
    id: str
    digest: str
    """Of what it asks for: the same id for something else is a mistake."""

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other requests."""
        return self.plugin, self.id


def request(plugin: str, request_id: Any, *asked: Any) -> Request | None:
    """The request of this id, None if it has none. Raises RowValidationError."""
    if request_id is None:
        return None
    if not isinstance(request_id, str) or not 1 <= len(request_id) <= LONGEST:
        found = (
            kind(request_id) if not isinstance(request_id, str) else f"text of {len(request_id):,} characters"
        )
        raise invalid(
            f"request_id must be text of 1 to {LONGEST} characters, not {found}", "Expected such a text."
        )
    plain_text(request_id, "request_id")
    return Request(plugin, request_id, payload.digest(_text(asked)))


def _text(asked: Any) -> str:
    """What is asked for, as text that is the same for the same."""
    try:
        return msgspec.json.encode(asked, order="deterministic", enc_hook=str).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    try:
        return repr(asked)  # whole numbers of more than 64 bits, which a text field takes
    except (ValueError, RecursionError):
        return ""  # nothing that takes part in this is accepted, so its digest is never looked at


def recall(requests: Sequence[Request | None], now: int) -> Script[list[Any]]:
    """The first answer to each request, an error for one that asks for something else, None for a new one."""
    wanted = {one.key for one in requests if one is not None}
    if not wanted:
        return [None] * len(requests)
    rows = yield Statement("storage.requests", pairs=payload.batch(sorted(wanted)))
    found = {(row["plugin"], row["request_id"]): row for row in rows}
    for key, row in list(found.items()):
        if row["made_at"] <= now - KEPT:
            yield Statement("rows.forget_request", plugin=key[0], request_id=key[1])
            del found[key]
    return [None if one is None else _answer(one, found.get(one.key)) for one in requests]


def _answer(request: Request, row: Any) -> Any:
    if row is None:
        return None
    return conflict(request) if row["digest"] != request.digest else msgspec.json.decode(row["answer"])


def conflict(request: Request) -> RowConflictError:
    """The error for a request id that was used for something else."""
    return RowConflictError(
        f"The request_id {shown(request.id)} was used for another request",
        "Expected the same request for the same id.",
        "Use a new id for each new request.",
    )


def remember(answered: Sequence[tuple[Request | None, Any]], now: int) -> Script[None]:
    """Keep the first answers, and forget some that are old."""
    rows = [
        {
            "plugin": one.plugin,
            "request_id": one.id,
            "digest": one.digest,
            "answer": payload.batch(answer),
            "made_at": now,
        }
        for one, answer in answered
        if one is not None
    ]
    if rows:
        yield Statement("storage.purge_requests", before=now - KEPT, limit=AT_ONCE)
        yield Statement("rows.remember", rows=rows)


def repeats(requests: Sequence[Request | None]) -> dict[int, int]:
    """The places of requests that have come twice into one transaction, each with that of the first one."""
    first: dict[tuple[str, str], int] = {}
    found = {}
    for place, one in enumerate(requests):
        if one is not None and first.setdefault(one.key, place) != place:
            found[place] = first[one.key]
    return found


def repeat(answers: list[Any], requests: Sequence[Request | None], again: Mapping[int, int]) -> None:
    """Give the second one of two such requests what the first one got."""
    for place, before in again.items():
        one = requests[place]
        if answers[place] is None and one is not None:
            answers[place] = answers[before] if one == requests[before] else conflict(one)


def once(asked: Request, fn: ScriptFunction[T], args: Sequence[Any], now: int) -> Script[T]:
    """Run another script if this request is new, and remember its answer, which must be JSON.

    What it raises is not remembered: the request may be corrected, and made again.
    """
    (before,) = yield from recall([asked], now)
    if isinstance(before, Exception):
        raise before
    if before is not None:
        return before  # type: ignore[no-any-return]
    answer = yield from start(fn, args, now)
    yield from remember([(asked, answer)], now)
    return answer
