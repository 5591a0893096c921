"""Statistics, outbound messages and the commands of agents that are driven by a chat: `db.chat`.

What happens in the chat is recorded as events, many at a time and each once, however often it is
delivered::

    await db.chat.record([
        Event("user.joined", {"username": "alice"}),
        Event("message.log", {"username": "alice", "message": "hello"}),
    ])
    await db.chat.user_stats("alice")

A bot that owns its database may use `BotDatabase` instead, which stands above `Database`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from abathur.chat.api import Chat
from abathur.chat.events import KINDS, Event, Key
from abathur.chat.outbound import enqueue_message
from abathur.chat.record import Recorded, Refused, record_events

if TYPE_CHECKING:
    from abathur.bot import BotDatabase

__all__ = [
    "KINDS",
    "BotDatabase",
    "Chat",
    "Event",
    "Key",
    "Recorded",
    "Refused",
    "enqueue_message",
    "record_events",
]


def __getattr__(name: str) -> Any:
    # It stands above `database`, which stands above this package: so it is not imported with it.
    if name == "BotDatabase":
        return getattr(import_module("abathur.bot"), name)
    raise AttributeError(f"module 'abathur.chat' has no attribute {name!r}")
