"""Outbound messages: what the bot shall say, kept until it is said or has failed for good."""

from __future__ import annotations

from typing import Any, Final

from abathur import payload, times
from abathur.chat import channel
from abathur.chat.events import LONGEST_MESSAGE
from abathur.errors import InvalidInputError
from abathur.script import Script, Statement, Together

UNSENT: Final = "unsent"
SENT: Final = "sent"
FAILED: Final = "failed"

BACKOFF: Final = 60 * times.SECOND
"""The pause after a failure is this, doubled for each failure there was: 2 minutes, 4, 8, ..."""
LONGEST_BACKOFF: Final = 24 * 3_600 * times.SECOND
MOST_RETRIES: Final = 100


def unknown(message_id: int) -> InvalidInputError:
    """The error that there is no such message."""
    return InvalidInputError(
        f"There is no outbound message {message_id}.",
        "Expected the id of one that is kept.",
        "Pass the `id` that `enqueue` or `unsent` gave; old ones that were sent are forgotten.",
    )


def backoff(retries: int) -> int:
    """Microseconds to wait after a message has failed so often."""
    return min(BACKOFF << min(retries, 40), LONGEST_BACKOFF)


def enqueue_message(message: str, now: int, *, max_retries: int = 3) -> Script[int]:
    """Keep a message that the bot shall send, in a transaction of your own, with `yield from`.

    So a task is completed and its result told, or neither. Returns the message's id. now: the script's
    own `now`. max_retries: how often it may fail before it is given up, 1 to 100.
    """
    check(message, max_retries)
    return (yield from enqueue(message, max_retries, now))


def check(message: str, max_retries: int) -> None:
    """What can be sent. Raises InvalidInputError."""
    payload.plain(message, "message", longest=LONGEST_MESSAGE)
    is_number = isinstance(max_retries, int) and not isinstance(max_retries, bool)
    if not is_number or not 1 <= max_retries <= MOST_RETRIES:
        raise InvalidInputError(
            f"max_retries={max_retries!r} is out of range.",
            f"Expected an integer from 1 to {MOST_RETRIES}.",
            "Give another max_retries.",
        )


def enqueue(message: str, max_retries: int, now: int) -> Script[int]:
    """Keep a message that was checked; returns its id."""
    here = yield from channel.lock()
    here.outbound += 1
    yield Together(
        here.write,
        Statement("chat.add_outbound", id=here.outbound, message=message, max_retries=max_retries, now=now),
        Statement("chat.forget_outbound", last=here.outbound - here.keep_outbound),
    )
    return here.outbound


def unsent(limit: int, max_retries: int | None, now: int) -> Script[list[dict[str, Any]]]:
    """The oldest messages that are to be sent now."""
    rows = yield Statement("chat.unsent", limit=limit, max_retries=max_retries, now=now)
    return [
        {
            "id": row["id"],
            "timestamp": row["created_at"] // times.SECOND,
            "message": row["message"],
            "retry_count": row["retries"],
            "last_error": row["error"],
        }
        for row in rows
    ]


def mark_sent(message_id: int, now: int) -> Script[bool]:
    """Note that a message was sent, also one that was given up; False if that was known."""
    rows = yield Statement("chat.outbound", id=message_id)
    if not rows:
        raise unknown(message_id)
    if rows[0]["status"] == SENT:
        return False
    yield Statement("chat.end_outbound", id=message_id, status=SENT, sent_at=now)
    return True


def mark_failed(message_id: int, error: str, permanent: bool, now: int) -> Script[dict[str, Any]]:
    """Note that a message could not be sent, and when it may be tried again; a sent one stays sent."""
    rows = yield Statement("chat.outbound", id=message_id)
    if not rows:
        raise unknown(message_id)
    status, retries, due_at = rows[0]["status"], rows[0]["retries"], rows[0]["due_at"]
    if status == UNSENT:
        retries += 1
        status = FAILED if permanent or retries >= rows[0]["max_retries"] else UNSENT
        due_at = now + backoff(retries)
        yield Statement(
            "chat.fail_outbound",
            id=message_id,
            status=status,
            retries=retries,
            due_at=due_at,
            now=now,
            error=error,
        )
    return {
        "message_id": message_id,
        "status": status,
        "retry_count": retries,
        "retry_at": -(-due_at // times.SECOND) if status == UNSENT else None,
    }
