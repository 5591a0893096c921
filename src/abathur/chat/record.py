"""Record: write what happened in the chat, a batch in one transaction, each event once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from abathur import audit, payload
from abathur.chat import channel
from abathur.chat.events import Event, Key, Taken, key_of, take
from abathur.chat.ledger import Ledger
from abathur.chat.outbound import SENT
from abathur.chat.sessions import COLUMNS, User
from abathur.chat.streams import MOST_STREAMS, Stored
from abathur.errors import AbathurError, InvalidInputError
from abathur.script import Script, Statement, Together

log = logging.getLogger("abathur.chat")


@frozen
class Refused:
    """An event that was not stored, because it is wrong: it would be refused again."""

    place: int
    """Which one of the batch it was, from 0."""
    error: AbathurError
    """What is wrong with it."""


@frozen
class Recorded:
    """What became of the events of a batch."""

    stored: int
    """How many were stored now."""
    repeated: int
    """How many had been stored, or refused, before."""
    refused: tuple[Refused, ...]
    """Those that are wrong."""


@frozen
class Item:
    """An event of a batch, checked: what it says, or what is wrong with it."""

    key: Key | None
    taken: Taken | None
    error: AbathurError | None


def items_of(events: Iterable[Event]) -> tuple[Item, ...]:
    """Check the events of a batch, each by itself. Raises InvalidInputError for what is no batch."""
    if not isinstance(events, Iterable) or isinstance(events, (str, bytes, Mapping)):
        raise InvalidInputError(
            f"{type(events).__name__} is no batch of events.",
            "Expected a list of Event(...).",
            "Put a single event into a list.",
        )
    return tuple(map(_item, events))


def _item(event: Event) -> Item:
    key = None
    try:
        key = key_of(_event(event))
        return Item(key, take(event), None)
    except AbathurError as error:
        return Item(key, None, error)
    except Exception as error:  # noqa: BLE001  # it would come again and again, and all others with it
        return Item(key, None, _strange(error))


def _event(event: Event) -> Event:
    if not isinstance(event, Event):
        raise InvalidInputError(
            f"{type(event).__name__} is no event.", "Expected Event(kind, data).", "Make one."
        )
    return event


def _strange(error: Exception) -> InvalidInputError:
    """The refusal of an event that was not understood, though nothing says why: a bug of ours, to be seen."""
    log.error("an event could not be understood, and is refused", exc_info=error)
    return InvalidInputError(
        f"The event was not understood: {type(error).__name__}.",
        "Expected what docs/chat.md says of its kind.",
        "The log has more; please report it.",
    )


def record_events(events: Iterable[Event], now: int) -> Script[Recorded]:
    """Record events inside of a transaction of your own, with `yield from`; as `db.chat.record`.

    events: what happened. now: the script's own `now`.
    """
    (answer,) = yield from record_calls([items_of(events)], now)
    return answer  # type: ignore[no-any-return]


def record_calls(calls: Sequence[Sequence[Item]], now: int) -> Script[list[Any]]:
    """Record the batches of many calls; answer each with what became of its events."""
    here = yield from channel.lock()
    streams = yield from _streams(calls)
    fresh = [[_is_new(item, streams) for item in call] for call in calls]
    todo = [
        item.taken
        for call, new in zip(calls, fresh, strict=True)
        for item, is_new in zip(call, new, strict=True)
        if is_new and item.taken
    ]
    ledger = yield from _read(here, todo, now)
    answers = [_settle(call, new, ledger) for call, new in zip(calls, fresh, strict=True)]
    yield from _write(ledger, streams, now)
    return answers


def _streams(calls: Sequence[Sequence[Item]]) -> Script[dict[str, Stored]]:
    streams = {}
    for name in sorted({item.key.stream for call in calls for item in call if item.key}):
        rows = yield Statement("chat.stream", stream=name)
        streams[name] = Stored.of(rows[0]["stored"] if rows else None)
    return streams


def _is_new(item: Item, streams: dict[str, Stored]) -> bool:
    return item.key is None or streams[item.key.stream].add(item.key.sequence)


def _settle(call: Sequence[Item], new: Sequence[bool], ledger: Ledger) -> Recorded:
    refused: list[Refused] = []
    for place, (item, is_new) in enumerate(zip(call, new, strict=True)):
        if not is_new:
            continue
        error = item.error
        if item.taken is not None:
            try:
                ledger.apply(item.taken)
            except AbathurError as found:
                error = found
            except Exception as found:  # noqa: BLE001  # as in _item
                error = _strange(found)
        if error is not None:
            refused.append(Refused(place, error))
    return Recorded(sum(new) - len(refused), len(new) - sum(new), tuple(refused))


def _read(here: channel.Channel, todo: Sequence[Taken], now: int) -> Script[Ledger]:
    """What the events are about."""
    users: Sequence[Any] = ()
    sending: Sequence[Any] = ()
    status: Sequence[Any] = ()
    names = sorted({one.fields["username"] for one in todo if one.kind in _OF_USERS})
    if names:
        users = yield Statement("batches.chat_users", names=payload.batch(names))
    ids = sorted({one.fields["message_id"] for one in todo if one.kind == "messages.outbound.mark_sent"})
    if ids:
        sending = yield Statement("batches.chat_outbound", ids=payload.batch(ids))
    if any(one.kind == "status.update" for one in todo):
        status = yield Statement("chat.status")
    return Ledger(
        now,
        here,
        {row["username"]: User.of(row) for row in users},
        {row["id"]: row for row in sending},
        payload.decode(status[0]["fields"]) if status else {},
    )


_OF_USERS: Final = frozenset({"user.joined", "user.left", "message.log"})


def _write(ledger: Ledger, streams: dict[str, Stored], now: int) -> Script[None]:
    """Everything that has changed. None of it needs what another part does."""
    here = ledger.channel
    made = [here.write]
    if ledger.touched:
        rows = [ledger.users[name].row for name in sorted(ledger.touched)]
        made.append(Statement("chat.set_users", rows=rows, columns=COLUMNS))
    if ledger.messages:
        rows = ledger.messages[-here.keep_messages :] if here.keep_messages else []
        made.append(Statement("chat.forget_messages", last=here.messages - here.keep_messages))
        if rows:
            columns = ("id", "at", "username", "message")
            made.append(Statement("chat.add_messages", rows=rows, columns=columns))
    if ledger.counts:
        rows = ledger.counts[-here.keep_counts :] if here.keep_counts else []
        made.append(Statement("chat.forget_counts", last=here.counts - here.keep_counts))
        if rows:
            made.append(Statement("chat.add_counts", rows=rows, columns=("id", "at", "users", "connected")))
    if ledger.sent:
        sent = [(message_id, SENT, at) for message_id, at in sorted(ledger.sent.items())]
        made.append(Statement("chat.end_outbound", rows=sent, columns=("id", "status", "sent_at")))
    if ledger.status_at is not None:
        fields = payload.encode(ledger.status, "The status")
        made.append(Statement("chat.set_status", fields=fields, at=ledger.status_at))
    if streams:
        rows = [(name, stored.text, now) for name, stored in streams.items()]
        made.append(Statement("chat.set_stream", rows=rows, columns=("stream", "stored", "at")))
    yield Together(*made)
    if streams:
        yield Statement("chat.forget_streams", keep=MOST_STREAMS)
    yield from audit.append(ledger.commands)


def acknowledge(stream: str, sequence: int, now: int) -> Script[None]:
    """Take all events of a stream up to one for stored."""
    yield from channel.lock()
    rows = yield Statement("chat.stream", stream=stream)
    stored = Stored.of(rows[0]["stored"] if rows else None)
    stored.add_up_to(sequence)
    yield Statement("chat.set_stream", stream=stream, stored=stored.text, at=now)
