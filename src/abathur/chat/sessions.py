"""Sessions: what a user's joining, leaving and talking does to what is known of them.

A session begins when a user joins who has none, and ends when the last of their connections leaves.
Events of several consumers may come in a slightly other order than they happened in, so each is
judged by its time: a join from before a leave that is known opens no session that nobody would end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import define, field

from abathur import payload

UNNAMED: Final = ""
"""The name of a connection that has none."""
MOST_CONNECTIONS: Final = 100
"""Connections that are told apart in one session."""


@define
class User:
    """What is known of a user. Times are microseconds since the epoch, `connected` is a duration."""

    id: int
    username: str
    first_seen: int
    last_seen: int
    chat_lines: int = 0
    connected: int = 0
    session_start: int | None = None
    connections: set[str] = field(factory=set)
    """The names of those that are open; a session has at least one."""
    left_at: int | None = None
    left_unmatched: bool = False
    """Whether `left_at` is of somebody who had no session: their join may be still to come."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> User:
        """The user of a stored row."""
        known = {name: row[name] for name in COLUMNS}
        known["connections"] = set(payload.decode(known["connections"]) or ())
        known["left_unmatched"] = bool(known["left_unmatched"])
        return cls(**known)

    @property
    def row(self) -> tuple[Any, ...]:
        """What is stored, in the order of COLUMNS."""
        return (
            self.id,
            self.username,
            self.first_seen,
            self.last_seen,
            self.chat_lines,
            self.connected,
            self.session_start,
            payload.batch(sorted(self.connections)) if self.connections else None,
            self.left_at,
            int(self.left_unmatched),
        )

    def seen(self, at: int) -> None:
        """They gave a sign of themselves."""
        self.first_seen = min(self.first_seen, at)
        self.last_seen = max(self.last_seen, at)

    def talks(self, at: int) -> None:
        """They said something, whether they are known to be here or not."""
        self.seen(at)
        self.chat_lines += 1

    def joins(self, at: int, connection: str | None) -> None:
        """A connection opened. A second one, or the same again, goes on with the session."""
        self.seen(at)
        if self.session_start is None:
            if self.left_at is not None and at < self.left_at:
                if self.left_unmatched:
                    self.connected += self.left_at - at
                    self.left_unmatched = False
                return
            self.session_start = at
        if len(self.connections) < MOST_CONNECTIONS:
            self.connections.add(connection or UNNAMED)

    def leaves(self, at: int, connection: str | None) -> None:
        """A connection closed; one without a name stands for all of them."""
        self.seen(at)
        if self.session_start is None:
            if self.left_at is None or at > self.left_at:
                self.left_at, self.left_unmatched = at, True
            return
        if at < self.session_start:  # the end of an earlier session
            return
        if connection:
            # One that joined without saying its name may leave with it.
            self.connections.discard(connection if connection in self.connections else UNNAMED)
        else:
            self.connections.clear()
        if not self.connections:
            self.end(at)

    def end(self, at: int) -> None:
        """Their session is over, whatever connections there were."""
        if self.session_start is not None:
            self.left_at = max(at, self.session_start)
            self.connected += self.left_at - self.session_start
            self.session_start, self.left_unmatched = None, False
            self.seen(self.left_at)
        self.connections.clear()


COLUMNS: Final = (
    "id",
    "username",
    "first_seen",
    "last_seen",
    "chat_lines",
    "connected",
    "session_start",
    "connections",
    "left_at",
    "left_unmatched",
)
"""The columns of a user's row."""
