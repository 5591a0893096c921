"""`db.chat`: everything that can be recorded of a chat and asked about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from abathur.chat.events import Event
from abathur.chat.record import Recorded
from abathur.engines.base import Engine


class Chat:
    """The chat of a Database. Every method that changes something is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- events --------------------------------------------------------------------------------

    async def record(self, events: Iterable[Event]) -> Recorded:
        """Store a batch of events in one transaction; those with a key that was stored are skipped.

        An event that is wrong is refused and counts as done: it keeps no other one from being stored.
        """
        raise NotImplementedError

    async def acknowledged(self, stream: str, sequence: int) -> None:
        """Say that no event of a stream up to this one will be delivered again.

        For JetStream that is the consumer's ack floor. Call it now and then, if numbers of the stream
        may be missing, so that what is remembered of it stays small.
        """
        raise NotImplementedError

    # -- questions -----------------------------------------------------------------------------

    async def channel_stats(self) -> dict[str, Any]:
        """`high_water_mark`, `high_water_connected`, `top_chatters` and `total_users_seen`."""
        raise NotImplementedError

    async def user_stats(self, username: str) -> dict[str, Any]:
        """What is known of a user, with `found`."""
        raise NotImplementedError

    async def recent(self, limit: int = 50) -> list[dict[str, Any]]:
        """The last messages, oldest first: each with `timestamp`, `username` and `message`."""
        raise NotImplementedError

    async def status(self) -> dict[str, Any]:
        """The fields of all status updates, the newest value of each, with `last_updated`."""
        raise NotImplementedError

    # -- outbound messages ---------------------------------------------------------------------

    async def enqueue(self, message: str, *, max_retries: int = 3) -> int:
        """Put a message into the queue of what the bot shall say; returns its id."""
        raise NotImplementedError

    async def unsent(self, limit: int = 50, *, max_retries: int | None = None) -> list[dict[str, Any]]:
        """The oldest messages that are to be sent now.

        Each has `id`, `timestamp`, `message`, `retry_count` and `last_error`.
        """
        raise NotImplementedError

    async def mark_sent(self, message_id: int) -> bool:
        """Note that a message was sent; False if that had been noted before."""
        raise NotImplementedError

    async def mark_failed(self, message_id: int, error: str, *, permanent: bool = False) -> dict[str, Any]:
        """Note that a message could not be sent: `{"message_id", "status", "retry_count", "retry_at"}`."""
        raise NotImplementedError
