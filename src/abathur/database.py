"""Database: opens an engine, brings it to today's schema, and hands out the features."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from abathur import audit, migrate, space
from abathur._version import __version__
from abathur.chat.tables import CHAT
from abathur.closing import Closing, last_moment, probe
from abathur.destroying import Destroying
from abathur.engines.base import Engine, GivenClock, Progress
from abathur.engines.opening import make_engine
from abathur.errors import (
    DatabaseClosedError,
    EnvironmentMismatchError,
    InvalidInputError,
    MissingDatabaseError,
    NotInitializedError,
)
from abathur.features import Features
from abathur.models import Finding
from abathur.projects.tables import FEATURE, STORE
from abathur.rows import registry
from abathur.rows.tables import ROWS
from abathur.schema.declare import Schema
from abathur.schema.inspect import stamp
from abathur.schema.plan import Plan
from abathur.schema.tables import LIBRARY
from abathur.script import ScriptFunction
from abathur.space import Space
from abathur.tasks.api import Tasks
from abathur.tasks.watch import Watch

T = TypeVar("T")

ENVIRONMENT: Final = "ABATHUR_ENVIRONMENT"


class Database(Destroying, Features["Database"]):
    """One database, in a file, in memory, or on a PostgreSQL server.

    ``Database("agents.db")``, a Path, ``":memory:"``, ``"sqlite:///agents.db"`` or
    ``"postgresql://user@host/database"`` (with the extra `postgres`; ``?schema=`` names another schema
    than ``abathur``, ``?pool=`` another number of readers' connections than 4). Open it with
    ``async with Database(...) as db:``, or with ``await db.initialize()`` and ``await db.close()``.

    url: the database. schema: an application's own tables, as one Schema or several. queries: its own
    statements, as a directory of `.sql` files or a mapping of names to SQL. environment: ``production``,
    ``development`` or ``test``, else ABATHUR_ENVIRONMENT; it must agree with the database's stamp.
    durability: ``full`` survives a power cut, ``normal`` only the death of processes. lock_timeout:
    seconds to wait for another process's transaction, or for a server that has gone away. backup: copy a
    file that holds rows before its schema is changed. adopt: accept another application's file. project:
    recorded in the stamp. actor: who does it, for the audit trail; else the host's name and the process id.
    clock: for tests, `abathur.testing.FakeClock()`, instead of the host's clock or the server's.

    Raises InvalidInputError or InvalidUrlError. Nothing is opened before `initialize()`.

    `db.tasks.list` goes by id. That is the order of submission for tasks made by this library; tasks
    of adopted older databases have random ids.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        schema: Schema | Sequence[Schema] = (),
        queries: Mapping[str, str] | Path | str | None = None,
        environment: str | None = None,
        durability: str = "full",
        lock_timeout: float = 30.0,
        backup: bool = True,
        adopt: bool = False,
        project: str | None = None,
        actor: str | None = None,
        clock: GivenClock | None = None,
    ) -> None:
        if durability not in ("full", "normal"):
            raise InvalidInputError(
                f"durability={durability!r} is unknown.",
                "Expected 'full' or 'normal'.",
                "Leave it out for 'full'.",
            )
        features = (*FEATURE, CHAT, ROWS)
        self._schemas = (LIBRARY, *features, *([schema] if isinstance(schema, Schema) else schema))
        self._environment = environment or os.environ.get(ENVIRONMENT) or None
        self._backup = backup
        self._adopt = adopt
        self._project = project
        self._state = "new"
        self._watch = Watch()
        self._clock = clock
        self._unsubscribe: Callable[[], None] | None = None
        options: dict[str, Any] = {"durability": durability, "lock_timeout": lock_timeout, "clock": clock}
        observer = self._watch.committed
        self._engine: Engine = self._make_engine(
            url, queries, closing=Closing, observer=observer, recorded=last_moment, **options
        )
        self._actor = actor = actor or f"{socket.gethostname()}:{os.getpid()}"
        self._for_stores = {**options, "backup": backup, "actor": actor}
        self._tasks = Tasks(self._engine, self._watch, actor)
        self._audit = audit.Audit(self._engine)

    def _store(self, database_name: str, project_id: str) -> Database:
        """The store of a project, not open yet. Handed down to `projects`, which imports no Database."""
        given = {"environment": self._environment, "project": project_id, **self._for_stores}
        return Database(self._engine.beside(database_name), schema=STORE, **given)

    def _make_engine(self, *args: Any, **options: Any) -> Engine:
        """What all features use; `abathur.testing` puts something of its own before it."""
        return make_engine(*args, **options)

    # -- opening and closing -------------------------------------------------------------------

    async def initialize(self, *, verify: bool = False) -> migrate.Report:
        """Open the database and bring it to today's schema. Run again, it changes nothing.

        `verify` compares every table even if the stamp says that nothing has changed. The report's
        `steps` are empty when there was nothing to do. Raises an OpenError, a LifecycleError or an
        EngineError, and then nothing in the database was changed.
        """
        await self._open()
        return await self._initialize(self._environment, self._schemas, verify=verify, more=registry.declared)

    async def receive(
        self, environment: str, schemas: Sequence[Schema], admit: ScriptFunction[object], *args: Any
    ) -> migrate.Report:
        """Open it as the target of a move, also where one was interrupted; `abathur.moving` calls this.

        environment and schemas: those of the source. admit: a script that raises where nothing may be moved
        to, before anything is made there; it is called with the name, dialect, schemas and `args`.
        """
        if self._environment not in (None, environment):
            raise EnvironmentMismatchError(self.name, environment, str(self._environment))
        if await self.exists():
            await self._engine.read(admit, self._engine.name, self._engine.dialect, schemas, *args)
        return await self._initialize(environment, schemas, receives=True)

    async def _initialize(
        self, environment: str | None, schemas: Sequence[Schema], **options: Any
    ) -> migrate.Report:
        report = await migrate.migrate(
            self._engine,
            schemas,
            version=__version__,
            environment=environment,
            probe=probe,
            backup=self._backup,
            adopt=self._adopt,
            project=self._project,
            **options,
        )
        self._environment = report.environment  # stores are made with the same
        if self._state == "open":  # it may have been closed meanwhile
            self._state = "initialized"
        return report

    async def plan(self) -> Plan:
        """What `initialize()` would do: its steps with their SQL. Changes nothing, creates no file.

        Raises the OpenErrors that `initialize()` would raise before it begins; conflicts are in the plan.
        """
        await self._open()
        return await migrate.plan(
            self._engine,
            self._schemas,
            version=__version__,
            environment=self._environment,
            adopt=self._adopt,
            project=self._project,
            more=registry.declared,
        )

    async def exists(self) -> bool:
        """Whether there is anything in the file, or in the schema on the server. Makes nothing."""
        await self._open()
        return await self._engine.exists()

    async def stamp(self) -> Mapping[str, str] | None:
        """What the database's stamp says, by key; empty if it has none. Changes nothing, makes nothing.

        None where there is no table: nothing at all, or what an `initialize()` left that was cut off, or has
        not done yet.
        """
        if not await self.exists():
            return None
        return await self._engine.read(stamp, self._engine.dialect, self._schemas)

    async def backup(self, target: str | Path, *, progress: Progress | None = None) -> Path:
        """Write a consistent copy to the new file `target` while others write, and return its path.

        Works before `initialize()` too, and then copies the older database as it is. The copy is
        checked for integrity and appears under its name only when it is whole. `progress(done, total)`,
        in pages, is called on the event loop. Raises TargetExistsError, DiskFullError and the like; on a
        server, which makes its own backups, BackupUnsupportedError.
        """
        if not str(target) or "\0" in str(target):
            raise InvalidInputError(f"{target!r} names no file.", "Expected a path.", "Give another one.")
        path = Path(target).absolute()  # noqa: ASYNC240  # a look at the working directory only
        if "backup" in self._engine.capabilities:  # else the engine refuses by itself
            await self._open()
            if not await self._engine.exists() and "file" in self._engine.capabilities:
                raise MissingDatabaseError(self.name)
        await self._engine.backup(path, progress)
        return path

    async def doctor(self, *, deep: bool = False) -> list[Finding]:
        """What is wrong or noteworthy about the database and its place, each with its remedy.

        Changes nothing, works before `initialize()`, and a database that cannot be opened is a finding,
        not an error. Reads every page of a file; `deep` compares its indexes with its tables as well, and
        checks the audit trail.
        """
        from abathur import doctor  # not needed by those who never ask

        if self._state == "closed":
            raise DatabaseClosedError
        declared = {schema.owner: schema.sha256 for schema in self._schemas}
        return await doctor.examine(self._engine, self.plan, declared, deep=deep)

    async def close(self) -> None:
        """Finish what was accepted and close every connection. May be called twice."""
        self._state = "closed"
        await self._close_stores()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        await self._engine.close()
        self._watch.elsewhere()  # whoever still waits finds it closed

    async def __aenter__(self) -> Self:
        try:
            await self.initialize()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        if self._state == "closed":
            raise DatabaseClosedError
        if self._state == "new":
            await self._engine.open()
            if self._state == "new":  # it may have been closed meanwhile
                self._state = "open"
                if self._clock is not None:
                    self._unsubscribe = self._clock.subscribe(self._clock_was_set())

    def _clock_was_set(self) -> Callable[[], None]:
        """What wakes those who wait for a moment: scheduled tasks may be due, and leases over."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._watch.elsewhere)

        return heard

    # -- scripts -------------------------------------------------------------------------------

    async def run(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script of your own in one write transaction and return its result.

        fn: a generator function that yields Statements; with a parameter `now` it is given the time of
        the transaction, in microseconds since the epoch. args: what it is called with, `now` left out.

        It may use `abathur.tasks.enqueue` and `complete` with `yield from`. What the script raises is
        raised here, and then nothing of it was applied. Raises also UnknownStatementError,
        InvalidInputError, LifecycleError or EngineError.
        """
        self._ready()
        return await self._engine.write(fn, *args)

    async def read(self, fn: ScriptFunction[T], *args: Any) -> T:
        """Run a script of your own that only reads, on one snapshot; it does not wait for writers.

        `fn` and `args` are those of `run`. A statement that writes raises ReadOnlyDatabaseError, except in
        memory.
        """
        self._ready()
        return await self._engine.read(fn, *args)

    async def space(self) -> Space:
        """How much room the database takes, and how much of it is free."""
        self._ready()
        return await self._engine.read(space.space)

    async def shrink(self, *, progress: Progress | None = None) -> int:
        """Give free pages back to the file system; returns how many bytes that were.

        It goes in small transactions with a pause after each, so that no writer waits long. `progress` is
        called with the numbers of pages that are given back and that were free. Files without
        ``auto_vacuum=INCREMENTAL`` (see `space`) stay as they are, and so does what is on a server.
        """
        self._ready()
        return await space.give_back(self._engine, progress)

    @property
    def actor(self) -> str:
        """Who does it, for the audit trail."""
        return self._actor

    @property
    def name(self) -> str:
        """The path or URL, for messages; never with a password."""
        return self._engine.name

    @property
    def schemas(self) -> tuple[Schema, ...]:
        """What the program declares: the library's tables first, then the application's."""
        return self._schemas

    async def declared(self) -> tuple[Schema, ...]:
        """The same, and what the database itself declares: the tables that plugins have registered."""
        self._ready()
        return (*self._schemas, *(await self._engine.read(registry.declared, self._engine.dialect)))

    @property
    def engine(self) -> Engine:
        """The engine, for runners and tests."""
        self._ready()
        return self._engine

    @property
    def clock(self) -> GivenClock | None:
        """The clock that it was given, else None."""
        return self._clock

    @property
    def watch(self) -> Watch:
        """Who is woken by which commit, for runners."""
        return self._watch

    def __repr__(self) -> str:
        return f"Database({self.name!r}, {self._state})"

    def _ready(self) -> None:
        if self._state != "initialized":
            raise DatabaseClosedError if self._state == "closed" else NotInitializedError
