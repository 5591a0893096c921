"""The publisher of task events: it reads the audit trail on and tells each change of a status, at least once.

The trail is the transactional outbox: a change of status and its row are one transaction, and ids are
contiguous in the order of the commits. How far it was published is a row of the database, which one
instance at a time may move on. What was published twice has the same message id both times.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any, Final

import nats.errors
import nats.js.errors
from attrs import define
from nats.aio.client import Client
from nats.js import JetStreamContext

from abathur import ids
from abathur.audit import readers
from abathur.audit.readers import Held, Told
from abathur.database import Database
from abathur.errors import EngineError, OpenError
from abathur.script import Script, Statement
from abathur.service import stream
from abathur.service.connection import settle
from abathur.service.ending import end, is_cancelled
from abathur.service.subjects import Tree
from abathur.states import STATUSES

log = logging.getLogger("abathur.service")

LEASE: Final = 15.0
"""Seconds after which another instance publishes on, when this one does not say that it is there."""
PAGE: Final = 100
"""Rows that are published before it is written down how far it is."""
PATIENCE: Final = 10.0
"""Seconds for the server to take a page: less than LEASE, so that nobody else publishes meanwhile."""
PERHAPS: Final = 0.05
"""Seconds after a commit of which it is not known whether it has moved a task."""
STAND_BY: Final = 1.0
"""Seconds between two looks of an instance that does not publish, whether it may."""
LOOK_EVERY: Final = 0.25
"""Seconds between two looks whether the connection was lost meanwhile."""
HEADER: Final = 64
"""Bytes of a message's headers beside its id, at most."""
TOO_LARGE: Final = 10054
"""JetStream's number for: the stream takes no message of that size."""
MESSAGE_ID: Final = "Nats-Msg-Id"
TROUBLE: Final = (nats.errors.Error, OSError, TimeoutError, EngineError, OpenError)


@define
class Published:
    """What was published so far by this instance."""

    events: int = 0
    down: bool = False
    """Whether nothing can be published at the moment."""
    holds: bool = False
    """Whether this instance is the one that publishes."""


class Outbox:
    """Publishes task events for one database, as long as no other instance does."""

    def __init__(self, connection: Client, db: Database, tree: Tree, *, streams: bool) -> None:
        self._connection = connection
        self._db = db
        self._tree = tree
        self._streams = streams
        self._taken: frozenset[str] = frozenset()
        """The statuses whose events a stream takes."""
        self._name = f"nats:{tree.prefix}"
        self._holder = ids.new_id()
        self._moved = asyncio.Event()
        self._sure = False
        self._stopped = asyncio.Event()
        self.told = Published()

    async def prepare(self) -> None:
        """Begin where the trail ends now, if nobody has published yet: nothing after this is missed."""
        if self._streams:
            self._taken = await stream.ensure_tasks(self._connection, self._tree, STATUSES)
        await self._db.run(readers.begin, self._name)

    async def run(self) -> None:
        """Publish until it is cancelled, or `stop` is called."""
        pause = 0.1
        with self._db.watch.for_moves(lambda _: self._tell()):
            async with self._db.engine.listen(self._moved.set):
                while not (self._stopping or is_cancelled()):
                    try:
                        await self._publish()
                    except Exception as error:  # whatever it is, it is tried again
                        is_known = isinstance(error, TROUBLE)
                        log.log(
                            logging.WARNING if is_known else logging.ERROR,
                            "task events cannot be published at the moment: %s",
                            error,
                            exc_info=not is_known,
                        )
                        self.told.down = True
                        await asyncio.sleep(pause)
                        pause = min(pause * 2, 5.0)
                    else:
                        pause = 0.1

    async def stop(self) -> None:
        """Publish what is there, then let another instance go on."""
        self._stopped.set()
        self._tell()

    @property
    def _stopping(self) -> bool:
        return self._stopped.is_set()

    async def _stand_by(self) -> None:
        """Until nobody else publishes. What is committed meanwhile is no reason to write anything."""
        while not (self._stopping or is_cancelled()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STAND_BY):
                    await self._stopped.wait()
            if await self._db.read(readers.is_free, self._name, self._holder):
                return

    async def _publish(self) -> None:
        """Hold the reader's row, and publish as long as it is held."""
        held = await self._db.run(readers.hold, self._name, self._holder, LEASE)
        if held is None:
            self.told.holds = self.told.down = False
            await self._stand_by()
            return
        self.told.holds = True
        database = await self._db.read(_database_id)
        if self._streams:
            self._taken = await stream.ensure_tasks(self._connection, self._tree, STATUSES)
        at, written = held.last_id, asyncio.get_running_loop().time()
        try:
            while not is_cancelled():
                self._moved.clear()
                told = await self._db.read(readers.page, at, PAGE)
                await self._send(told, database)
                now = asyncio.get_running_loop().time()
                if told or now - written > LEASE / 3:
                    at, written = told[-1].id if told else at, now
                    if not await self._db.run(readers.advance, held, at, LEASE):
                        log.info("another instance publishes task events now")
                        return
                self.told.down = False
                if self._stopping and len(told) < PAGE:
                    return
                if len(told) < PAGE:
                    await self._wait(max(LEASE / 3 - (now - written), 0))
        finally:
            self.told.holds = False
            with contextlib.suppress(*TROUBLE):
                await self._let_go(held)

    async def _let_go(self, held: Held) -> None:
        if self._stopping:
            await self._db.run(readers.let_go, held)

    def _tell(self) -> None:
        """A task has moved, by this process."""
        self._sure = True
        self._moved.set()

    async def _wait(self, seconds: float) -> None:
        """Until something has moved, or so many seconds."""
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        if self._moved.is_set() and not (self._sure or self._stopping):
            # Somebody has committed something, and that may be rows or a chat's lines, many in a second.
            await asyncio.sleep(PERHAPS)
        self._sure = False

    async def _send(self, rows: list[Told], database: str) -> None:
        """Publish a page, and return when the server has all of it."""
        events = [one for one in rows if one.action.startswith("task.") and one.task_id is not None]
        if not events:
            return
        if not self._connection.is_connected:
            raise nats.errors.ConnectionClosedError
        context = self._connection.jetstream(timeout=PATIENCE)
        reconnects = self._connection.stats["reconnects"]
        asked = [asyncio.create_task(self._tell_one(context, one, database)) for one in events]
        left = set(asked)
        try:
            while left and not is_cancelled():
                _, left = await asyncio.wait(left, timeout=LOOK_EVERY)
                if left and self._connection.stats["reconnects"] != reconnects:
                    # Their answers went with the old connection; the stream knows them again by their ids.
                    raise nats.errors.ConnectionClosedError
        finally:
            await end(left)
        kept = [one.result() for one in asked]
        if not all(kept):
            await settle(self._connection, PATIENCE)
        self.told.events += len(events)

    async def _tell_one(self, context: JetStreamContext, one: Told, database: str) -> bool:
        """Publish an event; whether a stream has said that it has it. One that nobody can take is skipped."""
        subject, body = self._message(one, database)
        headers = {MESSAGE_ID: f"{database}.{one.id}"}
        if len(body) + len(headers[MESSAGE_ID]) + HEADER > self._connection.max_payload:
            _skip(one, f"the server takes {self._connection.max_payload:,} bytes, and it has {len(body):,}")
            return True
        if one.action.removeprefix("task.") not in self._taken:
            await self._connection.publish(subject, body, headers=headers)
            return False
        try:
            await context.publish(subject, body, timeout=PATIENCE, headers=headers)
        except nats.js.errors.APIError as error:
            if error.err_code != TOO_LARGE:
                raise
            _skip(one, f"its stream says {error.description!r}")
        return True

    def _message(self, one: Told, database: str) -> tuple[str, bytes]:
        status = one.action.removeprefix("task.")
        data: dict[str, Any] = one.data if isinstance(one.data, dict) else {}
        body = {
            "event_type": one.action,
            "task_id": one.task_id,
            "status": status,
            "previous": data.get("from"),
            "attempt": data.get("attempt"),
            "agent_type": one.agent_type,
            "summary": one.summary,
            "project": one.project,
            "parent": one.parent,
            "actor": one.actor,
            "timestamp": one.at,
            "audit_id": one.id,
            "database_id": database,
        }
        return self._tree.task_event(status), json.dumps(body).encode()


def _skip(one: Told, why: str) -> None:
    # Nothing would ever be published after it, if it were tried again and again.
    log.error("the event %d, %s of task %s, was skipped: %s", one.id, one.action, one.task_id, why)


def _database_id() -> Script[str]:
    (row,) = yield Statement("audit.database_id")
    return str(row["database_id"])
