"""Events: what may happen in a chat, and what of an event is data that can be stored.

A body is JSON: as the bus delivers it, or already decoded. It is either flat, such as
``{"username": "alice"}``, or the normalised envelope ``{"event_type", "platform", "data": {...},
"timestamp"}`` with the same fields inside of `data`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from attrs import frozen

from abathur import payload, times
from abathur.errors import InvalidInputError, InvalidPayloadError

LONGEST_NAME: Final = 200
"""Characters of a username, and of the name of a connection."""
LONGEST_MESSAGE: Final = 20_000
LONGEST_COMMAND: Final = 20_000
LARGEST_COUNT: Final = 10**12
RESULTS: Final = ("success", "error", "pending")
"""What may have become of a command."""


class Key(NamedTuple):
    """Where an event comes from, so that it is stored once, however often it is delivered."""

    stream: str
    """What tells the stream from every other, also from one of the same name that was made anew: the
    time of its creation."""
    sequence: int
    """The event's number in the stream, from 1."""


@frozen
class Event:
    """Something that happened in the chat.

    kind: one of `KINDS`. data: the body, as a mapping or as JSON text or bytes. key: its place in a
    stream, as a `Key` or a pair, if it may be delivered more than once. arrived: when it was received,
    if that is not now.

    Nothing is checked here: `db.chat.record` answers for each event.
    """

    kind: str
    data: Mapping[str, Any] | str | bytes
    key: Key | tuple[str, int] | None = None
    arrived: datetime | None = None


@frozen
class Taken:
    """An event that was found to be right."""

    kind: str
    fields: Mapping[str, Any]
    """Its values, checked; which there are depends on the kind."""
    own: int | None
    """The event's own time, in microseconds since the epoch, if it has one."""
    arrived: int | None
    """When it was received; None for now."""

    def at(self, now: int) -> int:
        """When it happened: its own time, but nothing happened after it had arrived."""
        arrived = now if self.arrived is None else min(self.arrived, now)
        return arrived if self.own is None else min(self.own, arrived)


def take(event: Event) -> Taken:
    """Check an event. Raises InvalidInputError or InvalidPayloadError."""
    check = _CHECKS.get(event.kind) if isinstance(event.kind, str) else None
    if check is None:
        raise InvalidInputError(
            f"There is no event {event.kind!r}.", f"Expected one of {', '.join(KINDS)}.", "Correct its kind."
        )
    arrived = None if event.arrived is None else times.micros(event.arrived, "arrived")
    body = _object(event.data, "The body of an event")
    fields, own = _unwrapped(body)
    return Taken(
        "action.pm_command" if "pm_command" in event.kind else event.kind, check(fields), own, arrived
    )


def key_of(event: Event) -> Key | None:
    """An event's place in its stream. Raises InvalidInputError."""
    if event.key is None:
        return None
    try:
        stream, sequence = event.key
    except (TypeError, ValueError):
        raise _wrong("key", event.key, "a pair (stream, sequence)") from None
    return Key(payload.plain(stream, "the stream of a key"), sequence_of(sequence))


def sequence_of(number: Any) -> int:
    """A number in a stream. Raises InvalidInputError."""
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number < 10**18:
        raise _wrong("sequence", number, "an integer from 1")
    return number


# -- bodies ----------------------------------------------------------------------------------------


def _object(data: Any, name: str) -> Mapping[str, Any]:
    if isinstance(data, (str, bytes, bytearray)):
        if len(data) > 2 * payload.LARGEST:
            raise InvalidPayloadError(
                f"{name} has {len(data):,} bytes.", f"Expected {payload.LARGEST:,} at most.", "Send less."
            )
        try:
            data = payload.decode(data if isinstance(data, str) else bytes(data))
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise InvalidPayloadError(
                f"{name} is not JSON: {error}.", "Expected a JSON object.", "Send one."
            ) from None
    if not isinstance(data, Mapping):
        raise InvalidInputError(
            f"{name} is a {type(data).__name__}.",
            "Expected an object.",
            'Send one, such as {"username": "alice"}.',
        )
    return data


def _unwrapped(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    """The fields of a body, out of the envelope if it has one, and the event's own time."""
    fields = body
    if "event_type" in body and "data" in body:
        inner = _object(body["data"], "data")
        fields = {"connection": body.get("platform"), **inner}
        if fields.get("timestamp") is None:
            fields = {**fields, "timestamp": body.get("timestamp")}
    stamp = fields.get("timestamp")
    return fields, None if stamp is None else own_time(stamp)


def own_time(stamp: Any) -> int:
    """An event's own time, as seconds since the epoch or ISO 8601 text, in microseconds."""
    if isinstance(stamp, str):
        try:
            found = datetime.fromisoformat(stamp)
        except ValueError:
            raise _wrong("timestamp", stamp, "seconds since the epoch, or ISO 8601 text") from None
        return times.micros(found if found.tzinfo else found.replace(tzinfo=UTC), "timestamp")
    is_number = isinstance(stamp, (int, float)) and not isinstance(stamp, bool)
    if not is_number or not 0 <= stamp < 10**13:  # so no infinity, no NaN, and no integer without a float
        raise _wrong("timestamp", stamp, "seconds since the epoch, or ISO 8601 text")
    found_at: int = round(stamp * times.SECOND)
    return found_at


def _wrong(name: str, value: Any, expected: str) -> InvalidInputError:
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        shown = f"a {type(value).__name__}"
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return InvalidInputError(f"{name}={shown} is wrong.", f"Expected {expected}.", f"Correct {name}.")


# -- fields ----------------------------------------------------------------------------------------


def username_of(name: Any) -> str:
    """A username: data, of any characters but NUL. Raises InvalidInputError."""
    return payload.plain(name, "username", longest=LONGEST_NAME)


def _required(fields: Mapping[str, Any], *names: str) -> Any:
    """The first of these fields that is there."""
    for name in names:
        if fields.get(name) is not None:
            return fields[name]
    raise InvalidInputError(
        f"Missing required field: {names[0]}", f"Expected a value for {names[0]}.", "Add it to the event."
    )


def _user(fields: Mapping[str, Any]) -> dict[str, Any]:
    detail = fields.get("user_data")
    found = fields if not isinstance(detail, Mapping) else {**detail, **fields}
    connection = found.get("connection")
    return {
        "username": username_of(_required(found, "username", "user")),
        "connection": None
        if connection is None
        else payload.plain(connection, "connection", longest=LONGEST_NAME),
    }


def _message(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "username": username_of(_required(fields, "username", "user")),
        "message": payload.plain(_required(fields, "message", "content"), "message", longest=LONGEST_MESSAGE),
    }


def _counts(fields: Mapping[str, Any]) -> dict[str, Any]:
    connected = fields.get("connected_count")
    return {
        "chat": _count(_required(fields, "chat_count"), "chat_count"),
        "connected": None if connected is None else _count(connected, "connected_count"),
    }


def _count(value: Any, name: str) -> int:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool) or not 0 <= value <= LARGEST_COUNT:
        raise _wrong(name, value, f"a whole number from 0 to {LARGEST_COUNT:,}")
    return int(value)


def _status(fields: Mapping[str, Any]) -> dict[str, Any]:
    given = _object(_required(fields, "status_data"), "status_data")
    payload.encode(dict(given), "status_data")
    return {"status": dict(given)}


def message_id_of(value: Any) -> int:
    """The number of an outbound message. Raises InvalidInputError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**63:
        raise _wrong("message_id", value, "an integer from 1")
    return value


def _sent(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"message_id": message_id_of(_required(fields, "message_id"))}


def _command(fields: Mapping[str, Any]) -> dict[str, Any]:
    result = _required(fields, "result")
    if result not in RESULTS:
        raise _wrong("result", result, f"one of {', '.join(RESULTS)}")
    said = {
        "username": username_of(_required(fields, "username")),
        "command": payload.plain(_required(fields, "command"), "command", longest=LONGEST_COMMAND),
        "timestamp": _required(fields, "timestamp"),
        "args": fields.get("args"),
        "result": result,
        "error": fields.get("error"),
    }
    payload.encode(said, "The command")
    return said


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "user.joined": _user,
    "user.left": _user,
    "message.log": _message,
    "stats.user_count": _counts,
    "stats.high_water": _counts,
    "status.update": _status,
    "messages.outbound.mark_sent": _sent,
    "action.pm_command": _command,
    "events.pm_command": _command,
}
KINDS: Final = tuple(_CHECKS)
"""The kinds of events. Over NATS they are what follows ``{prefix}.db.`` in the subject; a command may also
come as ``{prefix}.events.pm_command``."""
