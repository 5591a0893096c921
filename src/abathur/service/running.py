"""A service that runs: subscriptions, workers, intake of events and publisher, from start to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from abathur.database import Database
from abathur.errors import NatsRefusedError, NatsUnavailableError
from abathur.service import handlers, handlers_tasks, health
from abathur.service.connection import place_of, settle
from abathur.service.discovery import Discovery
from abathur.service.dispatch import Counted, Dispatcher, too_fast
from abathur.service.ending import SERVER_AWAY, end, let_go
from abathur.service.envelope import Refused
from abathur.service.events import Events
from abathur.service.limits import Limits, Rates
from abathur.service.outbox import Outbox
from abathur.service.stream import has_jetstream
from abathur.service.subjects import Tree

log = logging.getLogger("abathur.service")

PENDING: Final = 64 * 1024 * 1024
"""Bytes of requests of one subject that have come and were not looked at yet."""


class Running:
    """What runs between `start` and `stop` of a service."""

    def __init__(
        self,
        connection: Client,
        db: Database,
        tree: Tree,
        limits: Limits,
        *,
        tasks: bool,
        inboxes: tuple[str, ...],
        echo: bool,
        plugins: frozenset[str] | None = None,
    ) -> None:
        self.connection = connection
        self.counted: dict[str, Counted] = {}
        self.began = time.monotonic()
        self.events = Events(connection, db, tree, limits)
        self.outbox: Outbox | None = None
        self.dispatcher = Dispatcher(connection, limits, inboxes=inboxes, echo=echo)
        self._db = db
        self._tree = tree
        self._limits = limits
        self._tasks = tasks
        self._plugins = plugins
        self._rates = Rates(limits.rate) if limits.rate is not None else None
        self._subscriptions: list[Subscription] = []
        self._discovery: Discovery | None = None
        self._work: list[asyncio.Task[None]] = []
        self._watchers: list[asyncio.Task[None]] = []

    # -- the beginning -------------------------------------------------------------------------

    async def start(self, *, jetstream: bool | None, complaints: Callable[[], list[str]]) -> None:
        """Begin to answer. `complaints` are what the server has said against it meanwhile.

        Raises NatsRefusedError, NatsUnavailableError or StreamConflictError.
        """
        connection = self.connection
        place = place_of(connection)
        try:
            await self._try_inbox(complaints)
            with_streams = jetstream is not False and await has_jetstream(connection)
            if jetstream and not with_streams:
                raise NatsRefusedError(place, "it has no JetStream for this user")
            await (self.events.prepare() if with_streams else self.events.subscribe())
            if self._tasks:
                self.outbox = Outbox(connection, self._db, self._tree, streams=with_streams)
                await self.outbox.prepare()
            self.dispatcher.start()
            await self._subscribe()
            await settle(connection)
        except NatsUnavailableError:
            if said := complaints():  # it may not ask JetStream
                raise NatsRefusedError(place, said[-1]) from None
            raise
        except nats.js.errors.APIError as error:
            raise NatsRefusedError(place, f"JetStream says {error.description!r}") from None
        except nats.errors.Error as error:
            raise NatsRefusedError(place, str(error)) from None
        if said := complaints():
            raise NatsRefusedError(place, said[-1])
        if not with_streams:
            log.warning(
                "There is no JetStream on %s: events are stored at most once, and those that are published "
                "while no instance of the service runs are lost.",
                place,
            )
        self._begin("events", self.events.pull() if with_streams else self.events.take())
        if self.outbox is not None:
            self._begin("outbox", self.outbox.run())

    async def _try_inbox(self, complaints: Callable[[], list[str]]) -> None:
        """Whether it may hear any answer at all: without that it would wait for JetStream's in vain."""
        inbox = await self.connection.subscribe(self.connection.new_inbox())
        await settle(self.connection)
        if said := complaints():
            raise NatsRefusedError(place_of(self.connection), said[-1])
        await inbox.unsubscribe()

    def watch(self, keeper: Coroutine[Any, Any, None]) -> None:
        """Run something beside it, which is cancelled at the end."""
        task = asyncio.create_task(keeper, name="abathur-service-keeper")
        task.add_done_callback(_look)
        self._watchers.append(task)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"abathur-service-{name}")
        task.add_done_callback(_look)
        self._work.append(task)

    async def _subscribe(self) -> None:
        endpoints: dict[str, tuple[str, str, Counted]] = {}
        for name, subject in self._tree.requests.items():
            if name == "tasks" and not self._tasks:
                continue
            counted = self.counted[name] = Counted()
            endpoints[name] = (subject, self._tree.queue, counted)
            take = self._taker(counted)
            self._subscriptions.append(
                await self.connection.subscribe(
                    subject, queue=self._tree.queue, cb=take, pending_bytes_limit=PENDING
                )
            )
        self._discovery = Discovery(self.connection, self._tree.prefix, endpoints)
        await self._discovery.start()

    def _taker(self, counted: Counted) -> Callable[[Msg], Awaitable[None]]:
        """What a subscription calls with each message."""
        wait = f"{self._tree.prefix}.tasks.wait"

        async def take(msg: Msg) -> None:
            if msg.subject == wait:
                await self.dispatcher.offer_wait(msg, self._answer, counted)
            else:
                await self.dispatcher.offer(msg, self._answer, counted)

        return take

    @property
    def down(self) -> list[str]:
        """What does not work at the moment, or has ended: ``events`` or ``outbox``."""
        told = {"events": self.events.told.down, "outbox": self.outbox is not None and self.outbox.told.down}
        ended = {task.get_name().rpartition("-")[2] for task in self._work if task.done()}
        return [name for name, is_down in told.items() if is_down or name in ended]

    # -- the end -------------------------------------------------------------------------------

    async def stop(self, patience: float) -> None:
        """Take nothing more, answer what was taken, and end, within so many seconds at the most."""
        deadline = time.monotonic() + patience

        def left() -> float:
            return max(deadline - time.monotonic(), 0.1)

        try:
            await asyncio.gather(*(let_go(one, left()) for one in self._subscriptions))
            await self.events.stop(left())
            if self.outbox is not None:
                await self.outbox.stop()
            await self.dispatcher.drain(left())
            if self._work:
                await asyncio.wait(self._work, timeout=left())
        finally:  # also when it is cancelled
            await self.dispatcher.drain(0)
            await end([*self._watchers, *self._work])
            await self.events.stop(0)
            if self._discovery is not None:
                await self._discovery.end(left())
        with contextlib.suppress(*SERVER_AWAY):
            if self.connection.is_connected:
                await settle(self.connection, max(left(), 1.0))  # the answers are on their way

    # -- answering -----------------------------------------------------------------------------

    async def _answer(self, msg: Msg) -> dict[str, Any]:
        """Do what a message asks for. Raises Refused, or an error of the library."""
        address = self._tree.address(msg.subject)
        in_body = address.kind == "kv" and address.plugin is None
        if not in_body:
            self._slow(address.plugin or address.kind)
        self._admit(address.plugin)
        call = handlers.read(self._db, address, msg.data, msg.headers, self._limits.body)
        if in_body:
            plugin = handlers.plugin_of(call)
            self._slow(plugin)
            self._admit(plugin)
        if address.kind == "health":
            return await health.health(self, self._db, self._tree)
        if address.kind == "tasks":
            if address.op == "wait":
                # Shorter than the dispatcher's own limit, so that the answer says what the task's status is.
                handlers_tasks.bound_wait(call, self._limits.longest_wait)
            return await handlers_tasks.tasks(call)
        return await handlers.handle(call)

    def _slow(self, caller: str) -> None:
        """Refuse a caller that asks more often than it may."""
        if self._rates is not None and not self._rates.take(caller):
            raise too_fast()

    def _admit(self, plugin: str | None) -> None:
        """Refuse a plugin that is not served here."""
        if self._plugins is not None and plugin is not None and plugin not in self._plugins:
            log.warning("a request for the plugin %s was refused: it is not served here", plugin)
            raise Refused("PERMISSION_DENIED", "This plugin is not served here.")


def _look(task: asyncio.Task[None]) -> None:
    """An error that ends what goes on beside the requests is a bug, and is shown."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has ended", task.get_name(), exc_info=error)
