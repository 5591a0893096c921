"""The intake of events: from JetStream in batches, each stored once; without it as they come."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from datetime import UTC, datetime
from typing import Final

import nats.errors
import nats.js.errors
from attrs import define, field
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from abathur.chat import Event
from abathur.database import Database
from abathur.errors import AbathurError, EngineError, OpenError
from abathur.service import stream
from abathur.service.ending import is_cancelled, let_go
from abathur.service.limits import Limits
from abathur.service.stream import Stream
from abathur.service.subjects import Tree

log = logging.getLogger("abathur.service")

EXPIRES: Final = 10.0
"""Seconds that the server keeps a request for events open."""
LOOK_EVERY: Final = 0.25
"""Seconds between two looks whether the connection was lost meanwhile, and the request with it."""
MOST_WAITING: Final = 10_000
MOST_BYTES: Final = 64 * 1024 * 1024
"""Events, and their bytes, that wait for the database where there is no stream to wait in; more are lost."""
FLOOR_EVERY: Final = 60.0
"""Seconds after which the database is told again what will not be delivered any more."""
TROUBLE: Final = (nats.errors.Error, OSError, TimeoutError)


@define
class Intake:
    """What was taken in so far."""

    stored: int = 0
    repeated: int = 0
    refused: int = 0
    batches: int = 0
    lost: int = 0
    """Without a stream: those that came when too many were waiting, or that could not be stored at last."""
    down: bool = False
    """Whether events cannot be taken at the moment."""
    mode: str = "none"
    """``exactly-once`` or ``at-most-once``."""
    waiting: deque[Msg] = field(factory=deque, repr=False)


def kind_of(tree: Tree, subject: str) -> str:
    """The kind of an event, as the chat calls it, from its subject."""
    return subject.removeprefix(f"{tree.prefix}.").removeprefix("db.")


class Events:
    """Takes events from a server and has the chat record them, a batch in one transaction."""

    def __init__(self, connection: Client, db: Database, tree: Tree, limits: Limits) -> None:
        self._connection = connection
        self._db = db
        self._tree = tree
        self._limits = limits
        self._arrived = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._stream: Stream | None = None
        self._open = 0
        self._again = False
        self._bytes = 0
        self._stopping = False
        self.told = Intake()

    # -- from JetStream ------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Make the stream, or find it; raises StreamConflictError or nats-py's errors."""
        self._stream = await stream.ensure_events(self._connection, self._tree)
        self.told.mode = "exactly-once"

    async def pull(self) -> None:
        """Take events from the stream until it is cancelled, or `stop` is called."""
        pause = 0.1
        while not self._ending():
            try:
                if self._stream is None:
                    await self.prepare()
                assert self._stream is not None  # noqa: S101  # prepare has found it
                await self._pull(self._stream)
            except Exception as error:  # whatever it is, it must not be the end of the intake
                is_known = isinstance(error, (*TROUBLE, AbathurError))
                log.log(
                    logging.WARNING if is_known else logging.ERROR,
                    "events cannot be taken at the moment: %s",
                    error,
                    exc_info=not is_known,
                )
                self.told.down = True
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                self._stream = None  # it may be another one by now
            else:
                pause = 0.1

    async def _pull(self, source: Stream) -> None:
        """Take events from one stream, until it is gone."""
        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, cb=self._delivered)
        try:
            reconnects = self._connection.stats["reconnects"]
            self._open, self._again = 0, False
            asked_at = floor_at = 0.0
            while not self._ending():
                now = asyncio.get_running_loop().time()
                if self._connection.stats["reconnects"] != reconnects:
                    reconnects, self._open = self._connection.stats["reconnects"], 0
                if self._open and now - asked_at > EXPIRES + 2:
                    self._open = 0  # neither events nor the end of the request: it was lost
                few = (
                    self._open <= self._limits.batch // 2 and len(self.told.waiting) < 2 * self._limits.batch
                )
                if few:
                    await self._ask(source, inbox)
                    asked_at = now
                if self._again:
                    self._stream = None  # it is gone, or its consumer is
                    await asyncio.sleep(0.1)
                    return
                if self.told.waiting:
                    await self._store(source)
                    self.told.down = False
                    continue
                if now - floor_at > FLOOR_EVERY:
                    floor_at = now
                    await self._forget(source)
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._arrived.wait()
                self.told.down = False
        finally:
            await self._finish(source, subscription)

    async def _finish(self, source: Stream, subscription: Subscription) -> None:
        """Take nothing more, and store what is on its way: else nobody gets it before its time-out."""
        try:
            await let_go(subscription, 5)
            while self._stopping and self.told.waiting:
                await self._store(source)
            for msg in self.told.waiting:
                await msg.nak()  # somebody else may have it at once
        except (*TROUBLE, AbathurError) as error:
            log.warning("%d events were not stored, and will come again: %s", len(self.told.waiting), error)
        self.told.waiting.clear()

    async def _ask(self, source: Stream, inbox: str) -> None:
        wanted = self._limits.batch
        request = {"batch": wanted, "expires": int(EXPIRES * 1e9)}
        self._open += wanted
        await self._connection.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{source.name}.{source.consumer}", json.dumps(request).encode(), inbox
        )

    async def _delivered(self, msg: Msg) -> None:
        """An event, or the server's word that a request for events has ended."""
        status = (msg.headers or {}).get("Status")
        if status is None:
            self._open = max(self._open - 1, 0)
            self.told.waiting.append(msg)
        elif status == "408":
            left = (msg.headers or {}).get("Nats-Pending-Messages", str(self._limits.batch))
            self._open = max(self._open - int(left), 0) if left.isdigit() else 0
        elif status in ("404", "409", "503"):
            self._open = 0
            self._again = status != "404"
        self._arrived.set()

    async def _store(self, source: Stream) -> None:
        """Record what has arrived, then acknowledge it. What is not acknowledged comes again."""
        waiting = self.told.waiting
        batch = [waiting.popleft() for _ in range(min(len(waiting), self._limits.batch))]
        arrived = datetime.now(UTC)
        events = [
            Event(
                kind_of(self._tree, msg.subject),
                msg.data,
                key=(source.made, msg.metadata.sequence.stream),
                arrived=min(msg.metadata.timestamp, arrived),
            )
            for msg in batch
        ]
        await self._insist(events)
        for msg in batch:
            await msg.ack()

    async def _insist(self, events: list[Event]) -> None:
        """Record events, again and again while the database cannot."""
        pause = 0.1
        while True:
            try:
                return await self._record(events)
            except (EngineError, OpenError) as error:
                if self._ending():
                    raise
                log.warning("%d events wait for the database: %s", len(events), error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _forget(self, source: Stream) -> None:
        """Tell the database which events will not be delivered again, so that it remembers little."""
        told = await self._connection.jsm().consumer_info(source.name, source.consumer)
        floor = told.ack_floor.stream_seq if told.ack_floor is not None else 0
        if floor:
            await self._db.chat.acknowledged(source.made, floor)

    # -- as they come --------------------------------------------------------------------------

    async def subscribe(self) -> None:
        """Listen to the events themselves: what comes while nobody listens is lost."""
        self.told.mode = "at-most-once"
        for subject in self._tree.events:
            self._subscriptions.append(
                await self._connection.subscribe(subject, queue=self._tree.queue, cb=self._came)
            )

    async def take(self) -> None:
        """Store what comes, until it is cancelled or `stop` is called."""
        while not (self._stopping and not self.told.waiting) and not is_cancelled():
            if not self.told.waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            waiting = self.told.waiting
            batch = [waiting.popleft() for _ in range(min(len(waiting), self._limits.batch))]
            self._bytes -= sum(len(msg.data) for msg in batch)
            events = [Event(kind_of(self._tree, msg.subject), msg.data) for msg in batch]
            try:
                await self._insist(events)
                self.told.down = False
            except Exception as error:
                self.told.lost += len(events)
                log.exception("%d events were lost", len(events), exc_info=error)
                self.told.down = True

    async def _came(self, msg: Msg) -> None:
        if len(self.told.waiting) >= MOST_WAITING or self._bytes + len(msg.data) > MOST_BYTES:
            self.told.lost += 1
            if self.told.lost % 1_000 == 1:
                log.error("too many events wait for the database; %d were lost so far", self.told.lost)
            return
        self._bytes += len(msg.data)
        self.told.waiting.append(msg)
        self._arrived.set()

    # -- both ----------------------------------------------------------------------------------

    async def _record(self, events: list[Event]) -> None:
        done = await self._db.chat.record(events)
        self.told.batches += 1
        self.told.stored += done.stored
        self.told.repeated += done.repeated
        self.told.refused += len(done.refused)
        for one in done.refused[:5]:
            # What is wrong with it is a problem of its form; its values stay out of the log.
            log.warning("an event %s was refused: %s", events[one.place].kind, type(one.error).__name__)

    def _ending(self) -> bool:
        return self._stopping or is_cancelled()

    async def stop(self, patience: float) -> None:
        """Take no more, within so many seconds; what has come without a stream is still stored."""
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(let_go(one, patience) for one in subscriptions))
        self._stopping = True
        self._arrived.set()
