"""Statistics: what is known of the channel and of a user, in the shapes that deployed clients expect.

Moments are whole seconds since the epoch, and durations whole seconds.
"""

from __future__ import annotations

from typing import Any, Final

from abathur import payload, times
from abathur.chat import channel
from abathur.chat.channel import Channel
from abathur.script import Script, Statement

TOP: Final = 10
"""Users that `channel_stats` names."""


def seconds(moment: int | None) -> int | None:
    """Microseconds since the epoch as whole seconds."""
    return None if moment is None else moment // times.SECOND


def channel_stats() -> Script[dict[str, Any]]:
    """High-water marks, those who have said most, and how many users were ever seen."""
    here = (yield from channel.read()) or Channel()
    return {
        "high_water_mark": {"users": here.most_users, "timestamp": seconds(here.most_users_at)},
        "high_water_connected": {"users": here.most_connected, "timestamp": seconds(here.most_connected_at)},
        "top_chatters": (yield from top_chatters(TOP)),
        "total_users_seen": here.users,
    }


def top_chatters(limit: int) -> Script[list[dict[str, Any]]]:
    """Those who have said most; of equals, who was heard of first."""
    rows = yield Statement("chat.top", limit=limit)
    return [{"username": row["username"], "chat_lines": row["chat_lines"]} for row in rows]


def user_stats(username: str) -> Script[dict[str, Any]]:
    """What is known of a user; `total_time_connected` is that of sessions that have ended."""
    rows = yield Statement("chat.user", username=username)
    if not rows:
        return {
            "found": False,
            "username": username,
            "message": f"No statistics found for user '{username}'",
        }
    row = rows[0]
    return {
        "found": True,
        "username": row["username"],
        "first_seen": seconds(row["first_seen"]),
        "last_seen": seconds(row["last_seen"]),
        "total_chat_lines": row["chat_lines"],
        "total_time_connected": row["connected"] // times.SECOND,
        "current_session_start": seconds(row["session_start"]),
    }


def recent(limit: int, since: int | None) -> Script[list[dict[str, Any]]]:
    """The last messages, oldest first; with `since`, those from then on."""
    rows = yield Statement("chat.recent", limit=limit, since=since)
    said = [
        {"timestamp": seconds(row["at"]), "username": row["username"], "message": row["message"]}
        for row in rows
    ]
    return said[::-1]


def user_counts(limit: int, since: int | None) -> Script[list[dict[str, Any]]]:
    """The last counts of users that were reported, oldest first; with `since`, those from then on."""
    rows = yield Statement("chat.counts", limit=limit, since=since)
    counts = [
        {
            "timestamp": seconds(row["at"]),
            "chat_count": row["users"],
            "connected_count": row["connected"],
        }
        for row in rows
    ]
    return counts[::-1]


def status() -> Script[dict[str, Any]]:
    """The newest value of each field of the status, and when one was set last."""
    rows = yield Statement("chat.status")
    if not rows:
        return {"status_data": {}, "last_updated": None}
    fields = payload.decode(rows[0]["fields"])
    return {
        "status_data": {name: value for name, (value, _) in fields.items()},
        "last_updated": seconds(rows[0]["at"]),
    }


def end_sessions(at: int | None, now: int) -> Script[int]:
    """End every session that is open, at a moment or else now; returns how many that were."""
    yield from channel.lock()
    here = yield Statement("chat.here")
    yield Statement("chat.end_sessions", at=now if at is None else min(at, now))
    return int(here[0]["n"])


def end_left_over(now: int) -> Script[int]:
    """End the sessions that a process left open when it died, at the last event that it recorded."""
    here = yield from channel.read()
    return (yield from end_sessions(here.last_at, now)) if here else 0


def keep(changes: dict[str, int]) -> Script[None]:
    """Change how much is kept. What is too much goes with the next rows."""
    here = yield from channel.lock()
    for name, value in changes.items():
        setattr(here, f"keep_{name}", value)
    yield here.write
