"""DatabaseService: owns a Database, and answers requests for it on a NATS subject tree."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection
from types import TracebackType
from typing import Final, Self

from nats.aio.client import Client

from abathur import maintenance
from abathur.database import Database
from abathur.errors import LifecycleError, NatsRefusedError
from abathur.service.connection import Connecting, keep_alive, masked, place_of, refuse_unprotected
from abathur.service.dispatch import INBOXES
from abathur.service.ending import SERVER_AWAY
from abathur.service.forms import Given, Nats, Stored
from abathur.service.limits import Limits
from abathur.service.running import Running
from abathur.service.subjects import Tree
from abathur.tasks.retention import Retention

log = logging.getLogger("abathur.service")

PATIENCE: Final = 30.0
"""Seconds that `stop` gives to what was accepted."""


class DatabaseService:
    """Answers requests for one database over NATS; several instances of it share the work.

    nats: a connected client of nats-py, or the URL of a server. database: a Database, a path, a URL, or a
    configuration. prefix: what all subjects begin with. limits: see `Limits`. tasks: whether tasks can be
    enqueued and looked at, and their events are published. jetstream: None to use it where it is, False to
    do without, True to refuse a server that has none. inboxes: how the subjects begin to which answers may
    be sent. echo: log each request. plugins: those that are served, else every one. retention: for how long
    tasks are kept that have ended, else for ever.

    ``DatabaseService({"database": {"url": "agents.db"}, "nats": {"url": "nats://127.0.0.1:4222"}})`` connects
    by itself; `database` may have an ``echo`` that logs each request, and `nats` credentials: ``creds``,
    ``nkey``, ``user`` and ``password``, or ``token``.

    What was passed in open stays open. Raises InvalidInputError or InvalidUrlError.
    """

    def __init__(
        self,
        nats: Nats,
        database: Stored | None = None,
        prefix: str = "rosey",
        *,
        limits: Limits | None = None,
        tasks: bool = True,
        jetstream: bool | None = None,
        inboxes: tuple[str, ...] = INBOXES,
        echo: bool = False,
        plugins: Collection[str] | None = None,
        retention: Retention | None = None,
    ) -> None:
        self._given = Given.of(nats, database)
        self._echo = echo or self._given.echo
        self._tree = Tree(prefix)
        self._limits = limits or Limits()
        self._tasks = tasks
        self._jetstream = jetstream
        self._inboxes = inboxes
        self._plugins = None if plugins is None else frozenset(plugins)
        self._retention = retention
        self._db = self._new_database()
        self._used = False
        self._lock = asyncio.Lock()
        self._connection: Client | None = None
        self._running: Running | None = None
        self._connecting: Connecting | None = None

    def _new_database(self) -> Database:
        given = self._given.database
        return given if isinstance(given, Database) else Database(given)

    # -- what it is ----------------------------------------------------------------------------

    @property
    def db(self) -> Database:
        """The Database that it answers for."""
        return self._db

    @property
    def nats(self) -> Client:
        """The connection. Raises LifecycleError while it does not run."""
        if self._connection is None:
            raise LifecycleError("The service does not run.", "Expected `await service.start()`.", "Call it.")
        return self._connection

    @property
    def prefix(self) -> str:
        """What all subjects begin with."""
        return self._tree.prefix

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return self._running is not None

    @property
    def events_mode(self) -> str:
        """How events are stored: ``exactly-once``, or without JetStream ``at-most-once``; else ``none``."""
        return "none" if self._running is None else self._running.events.told.mode

    def describe(self) -> str:
        """One line for whoever has started it."""
        access = self._given.access
        at = masked(access.url) if access is not None else place_of(self._connection)
        how = {
            "exactly-once": "events exactly once, by JetStream",
            "at-most-once": "events at most once, as there is no JetStream",
        }.get(self.events_mode, "stopped")
        return f"Serving {self._db.name} on {at} as {self.prefix}: {how}"

    def __repr__(self) -> str:
        state = "running" if self.is_running else "stopped"
        return f"DatabaseService({self._db.name!r}, {self.prefix!r}, {state})"

    # -- starting and stopping -----------------------------------------------------------------

    async def start(self) -> None:
        """Open and initialize the database, connect, and begin to answer. Does nothing when it runs.

        Raises what `Database.initialize` raises, and NatsUnavailableError, NatsRefusedError,
        UnprotectedServerError or StreamConflictError; then nothing is left open.
        """
        async with self._lock:
            if self._running is not None:
                return
            running: Running | None = None
            try:
                connecting = await self._connect()
                if self._used:
                    self._db = self._new_database()  # one that was closed cannot be opened again
                    self._used = False
                await self._db.initialize()
                running = Running(
                    self.nats,
                    self._db,
                    self._tree,
                    self._limits,
                    tasks=self._tasks,
                    inboxes=self._inboxes,
                    echo=self._echo,
                    plugins=self._plugins,
                )
                await running.start(
                    jetstream=self._jetstream,
                    complaints=lambda: [] if connecting is None else connecting.complaints,
                )
                running.watch(keep_alive(self.nats, said=_heard))
                running.watch(maintenance.forever(self._db, self._retention))
            except BaseException:
                await self._close(running, 0)
                raise
            self._running = running

    async def _connect(self) -> Connecting | None:
        if self._given.connection is not None:
            await refuse_unprotected(self._given.connection)
            self._connection = self._given.connection
            return None
        assert self._given.access is not None  # noqa: S101  # there is one or the other
        connecting = Connecting(self._given.access, name=f"abathur database service {self.prefix}")
        connecting.heard = _heard
        self._connecting = connecting
        self._connection = await connecting.connect()
        return connecting

    async def stop(self) -> None:
        """Stop accepting, answer what was accepted, and close what `start` opened. May be called twice."""
        async with self._lock:
            running, self._running = self._running, None
            await self._close(running, PATIENCE)

    async def _close(self, running: Running | None, patience: float) -> None:
        try:
            if running is not None:
                await running.stop(patience)
        finally:
            connection, self._connection = self._connection, None
            try:
                if connection is not None and connection is not self._given.connection:
                    with contextlib.suppress(*SERVER_AWAY):
                        await connection.close()
            finally:
                if not isinstance(self._given.database, Database):
                    self._used = True
                    await self._db.close()

    async def failed(self) -> None:
        """Wait until the service cannot go on by itself, and raise why. For whoever supervises it.

        A server that goes away is waited for. One that throws the user out, because its credentials have
        expired, say, is not tried again: raises NatsRefusedError. One that has come back without asking for
        credentials, where others reach it, is left: raises UnprotectedServerError.
        """
        connecting = self._connecting
        if connecting is None:  # the connection is somebody else's
            await asyncio.Event().wait()
        else:
            await connecting.closed.wait()
            if connecting.reason is not None:
                raise connecting.reason
            said = connecting.complaints[-1] if connecting.complaints else "it has closed the connection"
            raise NatsRefusedError(masked(self._given.access.url if self._given.access else ""), said)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


def _heard(said: str) -> None:
    log.warning("NATS: %s", said)
