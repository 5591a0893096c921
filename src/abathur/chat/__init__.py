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

from typing import TYPE_CHECKING

from abathur._lazily import names_of

if TYPE_CHECKING:
    from abathur.bot import BotDatabase
    from abathur.chat.api import Chat
    from abathur.chat.events import KINDS, Event, Key
    from abathur.chat.outbound import enqueue_message
    from abathur.chat.record import Recorded, Refused, record_events

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

__getattr__ = names_of(
    __name__,
    {
        "BotDatabase": "abathur.bot",  # it stands above `database`, which stands above this package
        "Chat": "abathur.chat.api",
        "Event": "abathur.chat.events",
        "KINDS": "abathur.chat.events",
        "Key": "abathur.chat.events",
        "Recorded": "abathur.chat.record",
        "Refused": "abathur.chat.record",
        "enqueue_message": "abathur.chat.outbound",
        "record_events": "abathur.chat.record",
    },
)
