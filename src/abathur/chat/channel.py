"""The row of the channel: counts and high-water marks, and the lock under which a chat is written."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from abathur.script import Script, Statement


@define
class Channel:
    """What is known of the chat as a whole. Times are microseconds since the epoch."""

    users: int = 0
    messages: int = 0
    counts: int = 0
    outbound: int = 0
    most_users: int = 0
    most_users_at: int | None = None
    most_connected: int = 0
    most_connected_at: int | None = None
    last_at: int = 0
    """When the last event happened."""
    keep_messages: int = 0
    keep_counts: int = 0
    keep_outbound: int = 0

    @classmethod
    def of(cls, row: Any) -> Channel:
        """The channel of its row."""
        return cls(**{name: row[name] for name in COLUMNS})

    @property
    def write(self) -> Statement:
        """What stores it."""
        return Statement("chat.set_channel", **{name: getattr(self, name) for name in COLUMNS})


COLUMNS: Final = (
    "users",
    "messages",
    "counts",
    "outbound",
    "most_users",
    "most_users_at",
    "most_connected",
    "most_connected_at",
    "last_at",
    "keep_messages",
    "keep_counts",
    "keep_outbound",
)


def lock() -> Script[Channel]:
    """The channel, for whoever is going to write: nobody else writes until the transaction has ended.

    It gives out the numbers of rows, and who came first is who writes first: so counts are exact, and no
    two transactions wait for each other's users.
    """
    rows = yield Statement("chat.channel")
    if not rows:
        yield Statement("chat.add_channel")
        rows = yield Statement("chat.channel")
    return Channel.of(rows[0])


def read() -> Script[Channel | None]:
    """The channel, for whoever asks; None when nothing has been recorded yet."""
    rows = yield Statement("chat.channel")
    return Channel.of(rows[0]) if rows else None
