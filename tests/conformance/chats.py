"""What the tests of the chat share: events at chosen times."""

from __future__ import annotations

from typing import Any

from abathur.chat import Event

T = 1_700_000_000
"""A moment, in seconds since the epoch, from which the tests count."""


def event(kind: str, at: float | None = None, *, key: Any = None, **data: Any) -> Event:
    """An event that says of itself that it happened so many seconds after T."""
    return Event(kind, data if at is None else {**data, "timestamp": T + at}, key)


def joined(username: str, at: float, **data: Any) -> Event:
    return event("user.joined", at, username=username, **data)


def left(username: str, at: float, **data: Any) -> Event:
    return event("user.left", at, username=username, **data)


def said(username: str, message: str = "hello", at: float | None = None, **data: Any) -> Event:
    return event("message.log", at, username=username, message=message, **data)
