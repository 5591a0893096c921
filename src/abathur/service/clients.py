"""Clients: a bot's commands `stats` and `user`, which ask the service, in words for a chat."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from abathur.service.subjects import Tree

TIMEOUT: Final = 1.0
"""Seconds that a chat is kept waiting."""
UNAVAILABLE: Final = "Stats unavailable (DatabaseService timeout)"
"""The answer when no service answers, be it that it hangs or that there is none."""
NOT_CONNECTED: Final = "Stats unavailable (not connected to NATS)"


async def stats(connection: Client, *, prefix: str = "rosey", timeout: float = TIMEOUT) -> str:
    """What is known of the channel, as lines of text.

    connection: a client of nats-py. prefix: the service's. timeout: seconds. What keeps it from an answer
    is said in the text. Raises InvalidInputError for a prefix that is none.
    """
    found = await _ask(connection, Tree(prefix), "channel_stats", {}, timeout)
    return found if isinstance(found, str) else _readable(_channel, found)


async def user(connection: Client, username: str, *, prefix: str = "rosey", timeout: float = TIMEOUT) -> str:
    """What is known of a user, as lines of text; else as `stats`."""
    found = await _ask(connection, Tree(prefix), "user_stats", {"username": username}, timeout)
    return found if isinstance(found, str) else _readable(_user, found)


async def _ask(
    connection: Client, tree: Tree, query: str, body: dict[str, Any], timeout: float
) -> dict[str, Any] | str:
    """The answer to a query, or in words why there is none."""
    try:
        message = await connection.request(
            f"{tree.prefix}.db.query.{query}", json.dumps(body).encode(), timeout=timeout
        )
    except (TimeoutError, nats.errors.NoRespondersError):
        return UNAVAILABLE
    except (
        nats.errors.ConnectionClosedError,
        nats.errors.ConnectionDrainingError,
        nats.errors.OutboundBufferLimitError,  # it has been away for so long that no more can wait
    ):
        return NOT_CONNECTED
    except nats.errors.Error as sending:  # the server takes no message of this size, for example
        return f"Stats error: {plain(sending)}"
    try:
        answer = json.loads(message.data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return _STRANGE
    if answer.get("success"):
        return answer
    error = answer.get("error")
    said = error.get("message") if isinstance(error, dict) else error
    return f"Stats error: {plain(said or 'unknown')}"


_STRANGE: Final = "Stats error: an answer that cannot be read"


def _readable(form: Any, found: dict[str, Any]) -> str:
    try:
        return str(form(found))
    except (LookupError, TypeError, ValueError, OverflowError, OSError):  # somebody else's service
        return _STRANGE


def _channel(found: dict[str, Any]) -> str:
    lines = [
        f"Most users in chat: {_mark(found['high_water_mark'])}",
        f"Most connected: {_mark(found['high_water_connected'])}",
        f"Users seen: {int(found['total_users_seen']):,}",
    ]
    top = [f"{plain(one['username'])} ({int(one['chat_lines']):,})" for one in found["top_chatters"][:10]]
    if top:
        lines.append(f"Top chatters: {', '.join(top)}")
    return "\n".join(lines)


def _mark(mark: dict[str, Any]) -> str:
    users = f"{int(mark['users']):,}"
    return users if mark["timestamp"] is None else f"{users} ({_moment(mark['timestamp'])})"


def _user(found: dict[str, Any]) -> str:
    if not found["found"]:
        return plain(found["message"])
    lines_said, minutes = int(found["total_chat_lines"]), int(found["total_time_connected"]) // 60
    said = f"{lines_said:,} message{'' if lines_said == 1 else 's'}"
    lines = [
        f"{plain(found['username'])}: {said}, connected for {minutes // 60:,} h {minutes % 60} min",
        f"First seen {_moment(found['first_seen'])}, last seen {_moment(found['last_seen'])}",
    ]
    if found["current_session_start"] is not None:
        lines.append(f"Here since {_moment(found['current_session_start'])}")
    return "\n".join(lines)


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


_TURNING: Final = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Classes of characters that turn the direction of the text after them."""


def plain(text: object) -> str:
    """A text in one line that moves no cursor and forges no other line: names are whatever users choose."""
    return "".join("\ufffd" if _moves(one) else one for one in str(text))


def _moves(character: str) -> bool:
    is_control = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    return is_control or unicodedata.bidirectional(character) in _TURNING
