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
    connections: dict[str, int] = field(factory=dict)
    """Those that are open, each with the last time that it joined; a session has at least one."""
    left_at: int | None = None
    """When they left last. If that ended no session, their join may be still to come."""
    ended_at: int | None = None
    """The end of the last session: what came before it is counted."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> User:
        """The user of a stored row."""
        known = {name: row[name] for name in COLUMNS}
        known["connections"] = payload.decode(known["connections"]) or {}
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
            payload.batch(self.connections) if self.connections else None,
            self.left_at,
            self.ended_at,
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
                if self.ended_at is None or self.ended_at <= at:
                    self._count(at, self.left_at)
                return
            self.session_start = at
        name = connection or UNNAMED
        if name in self.connections or len(self.connections) < MOST_CONNECTIONS:
            self.connections[name] = max(at, self.connections.get(name, at))

    def leaves(self, at: int, connection: str | None) -> None:
        """A connection closed; one without a name stands for all of them."""
        self.seen(at)
        if self.session_start is None:
            self.left_at = max(at, self.left_at or 0)
            return
        # One that joined without saying its name may leave with it.
        name = connection if connection in self.connections else UNNAMED
        gone = set(self.connections) if connection is None else {name} & self.connections.keys()
        if at < self.session_start or not gone:  # the end of an earlier session, or of something else
            return
        later = {one: since for one, since in self.connections.items() if since > at}
        still = {one: since for one, since in self.connections.items() if one not in gone or one in later}
        if not still:
            self.end(at)
        elif still.keys() <= later.keys():  # it was overtaken by those that joined after it
            self._count(self.session_start, at)
            self.session_start = min(still.values())
            self.connections = still
        else:
            self.connections = still

    def end(self, at: int) -> None:
        """Their session is over, whatever connections there were."""
        if self.session_start is not None:
            ended_at = max(at, self.session_start)
            self._count(self.session_start, ended_at)
            self.left_at, self.session_start = ended_at, None
            self.seen(ended_at)
        self.connections.clear()

    def _count(self, start: int, end: int) -> None:
        self.connected += end - start
        self.ended_at = end


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
    "ended_at",
)
"""The columns of a user's row."""
