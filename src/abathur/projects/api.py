"""`db.projects`: which project is meant, and everything that can be done with projects."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from abathur import ids, payload
from abathur.engines.base import Engine
from abathur.errors import (
    AmbiguousProjectError,
    DiskIOError,
    InvalidInputError,
    LockTimeoutError,
    NoProjectError,
    ProjectDirectoryError,
    RegistryUnavailableError,
    ServerUnavailableError,
    UnknownProjectError,
)
from abathur.projects import claim, config, names, reading
from abathur.projects.claim import Wish
from abathur.projects.config import Place
from abathur.projects.index.api import Indexing
from abathur.projects.registrar import New, Registrar, default_name
from abathur.projects.stores import Stores, StoreT
from abathur.projects.values import Project, Resolution, Tier, WorkingDirectory
from abathur.script import Script, Statement

Directory = str | os.PathLike[str]


class Projects(Indexing[StoreT]):
    """The registry of projects of a Database."""

    def __init__(self, engine: Engine, actor: str, make: Callable[[str, str], StoreT]) -> None:
        self._engine = engine
        self._actor = actor
        self._stores = Stores(engine, make)
        self._registrar = Registrar(engine, actor, self._stores)

    # -- which one is meant --------------------------------------------------------------------

    async def resolve(
        self, explicit: str | None = None, *, directory: Directory | None = None, session: str | None = None
    ) -> Resolution:
        """Which project is meant; made, if a directory's configuration says that there is one.

        explicit: an id or a name; then nothing else is looked at. directory: where the caller works;
        the nearest configuration from there upward counts. session: whose working directory counts, if
        `directory` is not given.

        Raises UnknownProjectError, AmbiguousProjectError, ProjectConfigError, ProjectDataMissingError,
        NoProjectError and other ProjectErrors; RegistryUnavailableError if the database is not there.
        """
        with self._reached():
            if explicit is not None:
                return await self._by_name(payload.plain(explicit, "the project", longest=512), "explicit")
            tried: list[str] = []
            if directory is not None:
                found = await self._by_directory(config.real(directory), "directory", tried)
            else:
                found = await self._by_session(session, tried)
            if found is None:
                raise NoProjectError(tried)
            return found

    async def _by_name(self, text: str, tier: Tier) -> Resolution:
        project = await self._registrar.completed(await self._one(text))
        root = project.roots[0] if project.roots else None
        return Resolution(
            project_id=project.id,
            name=project.name,
            database_name=project.database_name,
            tier=tier,
            root=root.path if root else None,
            config_persisted=bool(root and root.config_persisted),
            reason=root.reason if root else "it has no directory",
        )

    async def _one(self, text: str) -> Project:
        found = await self._engine.read(reading.matching, text)
        if not found:
            raise UnknownProjectError(text)
        if len(found) > 1:
            raise AmbiguousProjectError(text, [(one.id, [root.path for root in one.roots]) for one in found])
        return found[0]

    async def _by_session(self, session: str | None, tried: list[str]) -> Resolution | None:
        if session is None:
            tried.append("neither a project, nor a directory, nor a session was given")
            return None
        directory = await self._engine.read(reading.working_directory, session)
        if directory is None:
            tried.append(f"the session {session!r} has no working directory")
            return None
        return await self._by_directory(config.real(directory), "session", tried)

    async def _by_directory(self, directory: str, tier: Tier, tried: list[str]) -> Resolution | None:
        place = config.find(directory)
        if place is None or place.config is None:
            tried.append(f"there is no configuration in {directory} or above it")
            return None
        found = await self._registrar.settle(place, tier, may_create=place.config.auto_switch)
        if found is None:
            remedy = f"Make it with `abathur projects create {place.root}`."
            said = f"{place.config.path} is of no project yet, and says that auto_switch is off"
            raise NoProjectError([said], remedy)
        return found

    # -- making and looking --------------------------------------------------------------------

    async def create(
        self,
        name: str | None = None,
        *,
        directory: Directory | None = None,
        description: str | None = None,
        database_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Resolution:
        """Make a project, of a directory or without one. Of a directory that has one, it is that one."""
        new = self._new(name, description, database_name, metadata)
        with self._reached():
            if directory is None:
                return await self._without_directory(new)
            root = config.real(directory)
            found = await self._registrar.settle(config.place(root), "directory", new=new)
            assert found is not None  # noqa: S101  # it may be made
            return found

    def _new(
        self,
        name: str | None,
        description: str | None,
        database_name: str | None,
        metadata: Mapping[str, Any] | None,
    ) -> New:
        if name is not None:
            payload.plain(name, "name", longest=names.LONGEST)
        if description is not None:
            payload.plain(description, "description", longest=10_000, empty=True)
        if database_name is not None and not names.is_store(database_name):
            raise InvalidInputError(
                f"database_name={database_name!r} cannot be the name of a store.",
                "Expected at most 63 lower-case letters, digits and underscores, no digit first, not `pg_`.",
                "Leave it out for one that follows from the project's name.",
            )
        text = "{}" if metadata is None else payload.encode(dict(metadata), "metadata")
        return New(name=name, description=description, database_name=database_name, metadata=text)

    async def _without_directory(self, new: New) -> Resolution:
        if new.name is None:
            raise InvalidInputError(
                "A project without a directory has no name.", "Expected a name.", "Give `name=` or `directory=`."
            )
        wish = Wish(
            actor=self._registrar.actor,
            name=new.name,
            candidate=ids.new_id(),
            event_id=ids.new_id(),
            database_name=new.database_name,
            description=new.description,
            metadata=new.metadata,
        )
        decision = await self._engine.write(claim.claim, wish)
        return await self._by_name(decision.project_id, "explicit")

    async def get(self, project: str) -> Project:
        """A project by id or name. Raises UnknownProjectError or AmbiguousProjectError."""
        with self._reached():
            return await self._one(payload.plain(project, "the project", longest=512))

    async def store(self, project_id: str) -> StoreT:
        """The project's own Database, open. It stays open until this one is closed.

        Raises UnknownProjectError, ProjectDataMissingError, StoreTakenError, or what opening it raises.
        """
        with self._reached():
            project = await self._registrar.completed(await self._one(project_id))
            return await self._stores.open(project.database_name, project.id, project.name)

    async def close(self) -> None:
        """Close the stores; a Database does it when it is closed."""
        await self._stores.close()

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (ServerUnavailableError, DiskIOError, LockTimeoutError) as error:
            raise RegistryUnavailableError(self._engine.name, str(error)) from error
