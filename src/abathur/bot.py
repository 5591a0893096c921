"""BotDatabase: the database of one bot that does everything itself, without a bus."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from abathur import times
from abathur.chat.api import Chat
from abathur.database import Database
from abathur.errors import DatabaseClosedError, NotInitializedError


class BotDatabase:
    """Statistics, outbound messages and commands of one bot, in a database of its own.

    Its methods are those that chat bots know; each is one of `db.chat`, which `chat` gives whole. It takes
    open sessions for its own: whoever only looks at the database, or shares it with a bot that is at work,
    uses `Database(path).chat`.

    path: a path or URL, as for `Database`. options: what else `Database` takes, such as ``durability``.

    Open it with ``async with BotDatabase(path) as db:``, or with ``await db.connect()`` and
    ``await db.close()``.
    """

    def __init__(self, path: str | Path, **options: Any) -> None:
        self._path = path
        self._options = options
        self._opening = asyncio.Lock()
        self._db: Database | None = None
        self._was_open = False

    # -- opening and closing -------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the database and bring it to today's schema; does nothing if it is open.

        Sessions that an earlier run left open, because it died, end with the last event that it recorded.
        Raises what `Database.initialize` raises, and then nothing is left open.
        """
        async with self._opening:
            if self._db is not None:
                return
            db = Database(self._path, **self._options)
            try:
                await db.initialize()
                await db.chat.end_left_over()
            except BaseException:
                await db.close()
                raise
            self._db, self._was_open = db, True

    async def close(self) -> None:
        """End open sessions and close the database. May be called twice, and `connect` opens it again."""
        async with self._opening:
            db, self._db = self._db, None
            if db is None:
                return
            try:
                await db.chat.end_sessions()
            finally:
                await db.close()

    @property
    def is_connected(self) -> bool:
        """Whether it is open."""
        return self._db is not None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def database(self) -> Database:
        """The Database behind it. Raises a LifecycleError while that is not open."""
        if self._db is None:
            raise DatabaseClosedError if self._was_open else NotInitializedError
        return self._db

    @property
    def chat(self) -> Chat:
        """Everything that can be done with a chat."""
        return self.database.chat

    def __repr__(self) -> str:
        return f"BotDatabase({self._db!r})" if self._db else "BotDatabase(not open)"

    # -- what happens --------------------------------------------------------------------------

    async def user_joined(self, username: str) -> None:
        """Note that a user has joined."""
        await self.chat.user_joined(username)

    async def user_left(self, username: str) -> None:
        """Note that a user has left, and add the time of their session."""
        await self.chat.user_left(username)

    async def user_chat_message(self, username: str, message: str) -> None:
        """Note what a user said, and count it."""
        await self.chat.log_message(username, message)

    async def log_user_count(self, chat_users: int, connected_users: int | None = None) -> None:
        """Note how many users there are."""
        await self.chat.log_user_count(chat_users, connected_users)

    async def update_high_water_mark(
        self, current_user_count: int, current_connected_count: int | None = None
    ) -> None:
        """Raise the high-water marks, where these counts are higher."""
        await self.chat.high_water(current_user_count, current_connected_count)

    async def update_current_status(self, **fields: Any) -> None:
        """Set fields of the bot's status; the others stay."""
        await self.chat.update_status(fields)

    async def log_pm_command(
        self,
        username: str,
        command: str,
        *,
        result: str = "success",
        args: Any = None,
        error: Any = None,
        timestamp: float | str | None = None,
    ) -> None:
        """Append a command to the audit trail. timestamp: seconds since the epoch, else now."""
        at = time.time() if timestamp is None else timestamp
        await self.chat.log_command(username, command, result=result, timestamp=at, args=args, error=error)

    # -- what is known -------------------------------------------------------------------------

    async def channel_stats(self) -> dict[str, Any]:
        """High-water marks, the top chatters, and how many users were ever seen."""
        return await self.chat.channel_stats()

    async def user_stats(self, username: str) -> dict[str, Any]:
        """What is known of a user, with `found`."""
        return await self.chat.user_stats(username)

    async def get_user_stats(self, username: str) -> dict[str, Any] | None:
        """What is known of a user, None for one who was never seen."""
        found = await self.chat.user_stats(username)
        return found if found.pop("found") else None

    async def get_high_water_mark(self) -> tuple[int, int | None]:
        """The most users that were in the chat, and when, in seconds since the epoch."""
        return _mark(await self.chat.channel_stats(), "high_water_mark")

    async def get_high_water_mark_connected(self) -> tuple[int, int | None]:
        """The most that were connected, and when."""
        return _mark(await self.chat.channel_stats(), "high_water_connected")

    async def get_top_chatters(self, limit: int = 10) -> list[tuple[str, int]]:
        """Those who have said most, each with the number of lines."""
        return [(one["username"], one["chat_lines"]) for one in await self.chat.top_chatters(limit)]

    async def get_total_users_seen(self) -> int:
        """How many users were ever seen."""
        return int((await self.chat.channel_stats())["total_users_seen"])

    async def get_user_count_history(self, hours: float = 24) -> list[dict[str, Any]]:
        """The counts of the last hours, each with `timestamp`, `chat_users` and `connected_users`."""
        counts = await self.chat.user_counts(10_000, since=await self._ago(hours * 3_600))
        return [
            {
                "timestamp": one["timestamp"],
                "chat_users": one["chat_count"],
                "connected_users": one["connected_count"],
            }
            for one in counts
        ]

    async def get_recent_chat(self, limit: int = 20) -> list[dict[str, Any]]:
        """The last messages, the newest last: each ``{"timestamp", "username", "message"}``."""
        return await self.chat.recent(limit)

    async def get_recent_chat_since(self, minutes: float = 20, limit: int = 1_000) -> list[dict[str, Any]]:
        """The messages of the last minutes, the newest last."""
        return await self.chat.recent(limit, since=await self._ago(minutes * 60))

    async def get_current_status(self) -> dict[str, Any] | None:
        """The fields of the bot's status, with `last_updated`; None before any was set."""
        found = await self.chat.status()
        if found["last_updated"] is None:
            return None
        return {**found["status_data"], "last_updated": found["last_updated"]}

    async def _ago(self, seconds: float) -> Any:
        now = times.moment(await self.database.engine.clock()) or times.EPOCH
        return now - timedelta(seconds=seconds)

    # -- what it shall say ---------------------------------------------------------------------

    async def enqueue_outbound_message(self, message: str) -> int:
        """Keep a message that is to be sent; returns its id."""
        return await self.chat.enqueue(message)

    async def get_unsent_outbound_messages(
        self, limit: int = 50, max_retries: int | None = None
    ) -> list[dict[str, Any]]:
        """The messages that are to be sent now, the oldest first."""
        return await self.chat.unsent(limit, max_retries=max_retries)

    async def mark_outbound_sent(self, outbound_id: int) -> None:
        """Note that a message was sent."""
        await self.chat.mark_sent(outbound_id)

    async def mark_outbound_failed(
        self, outbound_id: int, error_msg: str, is_permanent: bool = False
    ) -> None:
        """Note that a message could not be sent; unless that is permanent, it is tried again later."""
        await self.chat.mark_failed(outbound_id, error_msg, permanent=is_permanent)


def _mark(stats: dict[str, Any], name: str) -> tuple[int, int | None]:
    return stats[name]["users"], stats[name]["timestamp"]
