"""`db.chat`: everything that can be recorded of a chat and asked about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, cast

from abathur import payload, times
from abathur.chat import outbound, record, stats
from abathur.chat.events import Event, message_id_of, sequence_of, username_of
from abathur.chat.record import Recorded
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError

MOST: Final = 10_000
"""Rows that one question answers with at most."""
MOST_KEPT: Final = 10**9
LONGEST_ERROR: Final = 2_000


class Chat:
    """The chat of a Database. Every method that changes something is one transaction.

    A username is data: text of 1 to 200 characters without NUL. Names are the same if every character
    is: `Alice` and `alice` are two users. Moments in answers are whole seconds since the epoch.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- recording -----------------------------------------------------------------------------

    async def record(self, events: Iterable[Event]) -> Recorded:
        """Store a batch of events in one transaction, in their order, each once.

        An event with a key that was stored before is left out. One that is wrong is refused, and counts
        as done: it keeps no other one from being stored. So everything in the batch may be acknowledged
        when this returns; if it raises, nothing of it was stored.
        """
        items = record.items_of(events)
        if not items:
            return Recorded(0, 0, ())
        return cast("Recorded", await self._engine.merge(record.record_calls, items))

    async def acknowledged(self, stream: str, sequence: int) -> None:
        """Say that no event of a stream up to this number will be delivered again.

        For JetStream it is the ack floor of the consumer. It need not be said; but where numbers of a
        stream are missing, what is remembered of it becomes smaller.
        """
        payload.plain(stream, "stream")
        await self._engine.write(record.acknowledge, stream, sequence_of(sequence))

    async def user_joined(self, username: str, *, connection: str | None = None) -> None:
        """Note that a user is here; their session begins, or goes on.

        connection: a name for it, if a user may have several, on two platforms for example: then the
        session ends when the last one has left.
        """
        await self._record("user.joined", {"username": username, "connection": connection})

    async def user_left(self, username: str, *, connection: str | None = None) -> None:
        """Note that a user has left; without a `connection`, all of theirs have."""
        await self._record("user.left", {"username": username, "connection": connection})

    async def log_message(self, username: str, message: str) -> None:
        """Note what a user said, 20,000 characters at most, and count it."""
        await self._record("message.log", {"username": username, "message": message})

    async def log_user_count(self, chat_count: int, connected_count: int | None = None) -> None:
        """Note how many users there are in the chat, and how many are connected to it in all."""
        await self._record("stats.user_count", {"chat_count": chat_count, "connected_count": connected_count})

    async def high_water(self, chat_count: int, connected_count: int | None = None) -> None:
        """Raise the high-water marks, where these counts are higher."""
        await self._record("stats.high_water", {"chat_count": chat_count, "connected_count": connected_count})

    async def update_status(self, status_data: Mapping[str, Any]) -> None:
        """Set some fields of the bot's status; the others stay. 256 KiB of JSON in all."""
        await self._record("status.update", {"status_data": status_data})

    async def log_command(
        self,
        username: str,
        command: str,
        *,
        result: str,
        timestamp: float | str,
        args: Any = None,
        error: Any = None,
    ) -> None:
        """Append a command to the audit trail, where nobody can change it: action ``chat.pm_command``.

        result: ``success``, ``error`` or ``pending``. timestamp: the command's own time, as seconds since
        the epoch or ISO 8601 text. args, error: JSON.
        """
        said = {"username": username, "command": command, "timestamp": timestamp}
        await self._record("action.pm_command", {**said, "args": args, "result": result, "error": error})

    async def _record(self, kind: str, data: Mapping[str, Any]) -> None:
        recorded = await self.record([Event(kind, data)])
        for refused in recorded.refused:
            raise refused.error

    async def end_sessions(self, at: datetime | None = None) -> int:
        """End every session that is open, at a moment or else now; returns how many that were."""
        moment = None if at is None else times.micros(at, "at")
        return await self._engine.write(stats.end_sessions, moment)

    async def end_left_over(self) -> int:
        """End the sessions that a bot left open when it died; returns how many that were.

        They end with the last event that was recorded, because nothing is known of the time after it.
        """
        return await self._engine.write(stats.end_left_over)

    # -- asking --------------------------------------------------------------------------------

    async def channel_stats(self) -> dict[str, Any]:
        """`high_water_mark` and `high_water_connected`, `top_chatters` and `total_users_seen`.

        The first two are ``{"users", "timestamp"}``; of `top_chatters` there are 10 at most, each
        ``{"username", "chat_lines"}``. It takes as long for 100,000 users as for 10.
        """
        return await self._engine.read(stats.channel_stats)

    async def user_stats(self, username: str) -> dict[str, Any]:
        """What is known of a user, with ``"found": True``; else `found`, `username` and `message`.

        `first_seen`, `last_seen`, `total_chat_lines`, `total_time_connected` (seconds, of the sessions that
        have ended) and `current_session_start` (None for a user who is not here).
        """
        return await self._engine.read(stats.user_stats, username_of(username))

    async def top_chatters(self, limit: int = stats.TOP) -> list[dict[str, Any]]:
        """Those who have said most, each ``{"username", "chat_lines"}``; of equals, who came first."""
        return await self._engine.read(stats.top_chatters, _number("limit", limit, 1, MOST))

    async def recent(self, limit: int = 50, *, since: datetime | None = None) -> list[dict[str, Any]]:
        """The last messages, the newest one last: each ``{"timestamp", "username", "message"}``.

        As many as `keep` says are there; with `since`, those from then on. A larger limit than 10,000 is
        taken for that.
        """
        return await self._engine.read(stats.recent, _limit(limit), _since(since))

    async def user_counts(self, limit: int = 1_000, *, since: datetime | None = None) -> list[dict[str, Any]]:
        """The counts that were logged, the newest last: `timestamp`, `chat_count` and `connected_count`."""
        return await self._engine.read(stats.user_counts, _limit(limit), _since(since))

    async def status(self) -> dict[str, Any]:
        """The bot's status: `status_data`, with the newest value of each field, and `last_updated`."""
        return await self._engine.read(stats.status)

    # -- outbound messages ---------------------------------------------------------------------

    async def enqueue(self, message: str, *, max_retries: int = 3) -> int:
        """Keep a message that the bot shall send; returns its id.

        max_retries: how often it may fail before it is given up, 1 to 100.
        """
        outbound.check(message, max_retries)
        return await self._engine.write(outbound.enqueue, message, max_retries)

    async def unsent(self, limit: int = 50, *, max_retries: int | None = None) -> list[dict[str, Any]]:
        """The messages that are to be sent now, the oldest first.

        Each has `id`, `timestamp` (when it was enqueued), `message`, `retry_count` and `last_error`. One
        that has failed is left out until its pause is over: 2 minutes from its last try, then 4, 8 and so
        on. max_retries: leave out those that have failed so often.
        """
        most = None if max_retries is None else _number("max_retries", max_retries, 0, outbound.MOST_RETRIES)
        return await self._engine.read(outbound.unsent, _limit(limit), most)

    async def mark_sent(self, message_id: int) -> bool:
        """Note that a message was sent; False if that had been noted before.

        Raises InvalidInputError for a message that is not there.
        """
        return await self._engine.write(outbound.mark_sent, message_id_of(message_id))

    async def mark_failed(self, message_id: int, error: str, *, permanent: bool = False) -> dict[str, Any]:
        """Note that a message could not be sent, and why; a `permanent` failure is never tried again.

        Returns `message_id`, `status` (``unsent``, ``failed``, or ``sent`` for one that had been sent),
        `retry_count`, and `retry_at`, from when on `unsent` has it again. Raises InvalidInputError for a
        message that is not there.
        """
        payload.plain(error, "error", longest=LONGEST_ERROR)
        if not isinstance(permanent, bool):
            raise InvalidInputError(
                f"permanent={permanent!r} is wrong.", "Expected True or False.", "Leave it out."
            )
        return await self._engine.write(outbound.mark_failed, message_id_of(message_id), error, permanent)

    # -- keeping -------------------------------------------------------------------------------

    async def keep(
        self, *, messages: int | None = None, counts: int | None = None, outbound: int | None = None
    ) -> None:
        """Say how much is kept, for all who use this database; what is too much goes with the next rows.

        messages: of the last messages, else 10,000; 0 keeps none, and they are only counted. counts: of
        the last user counts, else 50,000. outbound: of the last outbound messages, else 10,000; those that
        are still to be sent are always kept.
        """
        given = {"messages": messages, "counts": counts, "outbound": outbound}
        changes = {
            name: _number(name, value, 0, MOST_KEPT) for name, value in given.items() if value is not None
        }
        if changes:
            await self._engine.write(stats.keep, changes)


def _number(name: str, value: Any, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InvalidInputError(
            f"{name}={value!r} is out of range.",
            f"Expected an integer from {least} to {most:,}.",
            f"Give another {name}.",
        )
    return value


def _limit(value: Any) -> int:
    """A number of rows; a large one is capped."""
    return min(_number("limit", value, 1, 10**18), MOST)


def _since(moment: datetime | None) -> int | None:
    return None if moment is None else times.micros(moment, "since")
