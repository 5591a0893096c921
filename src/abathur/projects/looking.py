"""The part of `db.projects` that only looks: projects, what happened to them, where sessions work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, get_args

from abathur import payload
from abathur.engines.base import Engine
from abathur.errors import (
    AmbiguousProjectError,
    DiskIOError,
    InvalidInputError,
    LockTimeoutError,
    RegistryUnavailableError,
    ServerUnavailableError,
    UnknownProjectError,
)
from abathur.models import Finding
from abathur.projects import config, doctor, reading
from abathur.projects.registrar import Registrar
from abathur.projects.stores import Stores, StoreT
from abathur.projects.values import Project, ProjectEvent, State, WorkingDirectory

Directory = str | os.PathLike[str]

MOST = 1_000


class Looking(Generic[StoreT]):
    """What can be seen of the projects of a Database."""

    def __init__(self, engine: Engine, actor: str, make: Callable[[str, str], StoreT]) -> None:
        self._engine = engine
        self._actor = actor
        self._stores = Stores(engine, make)
        self._registrar = Registrar(engine, actor, self._stores)

    async def get(self, project: str | Project) -> Project:
        """A project by its id, or by its name if no other one bears that.

        Raises UnknownProjectError or AmbiguousProjectError.
        """
        with self._reached():
            return await self._one(project)

    async def events(self, project: str | Project, *, limit: int = 100) -> list[ProjectEvent]:
        """What happened to a project, the last first: made, moved, copied, renamed and so on."""
        with self._reached():
            found = await self._one(project)
            return await self._engine.read(reading.events, found.id, limit)

    async def working_directory(self, session: str) -> WorkingDirectory | None:
        """Where a session works, if that was said; also after a restart."""
        payload.plain(session, "session", longest=512)
        with self._reached():
            directory = await self._engine.read(reading.working_directory, session)
        if directory is None:
            return None
        return WorkingDirectory(session=session, directory=directory, config_path=nearest_path(directory))

    async def doctor(self) -> list[Finding]:
        """What is wrong or noteworthy about the projects, each with its remedy. Changes nothing."""
        with self._reached():
            return await doctor.examine(self._engine, self._stores)

    async def store(self, project: str | Project) -> StoreT:
        """The project's own Database, open. It stays open until this one is closed.

        project: the project, its id, or its name if no other one bears that.

        Raises UnknownProjectError, AmbiguousProjectError, ProjectDataMissingError, StoreTakenError, or
        what opening a Database raises.
        """
        with self._reached():
            found = await self._registrar.completed(await self._one(project))
            return await self._stores.open(found.database_name, found.id, found.name)

    async def close(self) -> None:
        """Close the stores; a Database does it when it is closed."""
        await self._stores.close()

    async def _one(self, project: str | Project) -> Project:
        text = (
            project.id if isinstance(project, Project) else payload.plain(project, "the project", longest=512)
        )
        found = await self._engine.read(reading.matching, text)
        if not found:
            raise UnknownProjectError(text)
        if len(found) > 1:
            raise AmbiguousProjectError(text, [(one.id, [root.path for root in one.roots]) for one in found])
        return found[0]

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (ServerUnavailableError, DiskIOError, LockTimeoutError) as error:
            raise RegistryUnavailableError(self._engine.name, error.problem) from error

    # Last, because below it `list` would mean this method in annotations.
    async def list(
        self,
        *,
        name: str | None = None,
        state: State | None = None,
        after: str = "",
        limit: int = 100,
    ) -> list[Project]:
        """Projects in the order in which their ids were made, `limit` at most (1 to 1,000).

        name, state: only those. after: the id of the last one of the page before.
        """
        if state is not None and state not in get_args(State):
            raise InvalidInputError(
                f"state={state!r} is unknown.",
                f"Expected one of {', '.join(get_args(State))}.",
                "Leave it out.",
            )
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST:
            raise InvalidInputError(
                f"limit={limit!r} is out of range.", f"Expected 1 to {MOST:,}.", "Ask for the next page."
            )
        with self._reached():
            return await self._engine.read(reading.page, after, name, state, limit)


def nearest_path(directory: str) -> str | None:
    """Where the nearest configuration is, whatever is in it."""
    for root in config.levels(directory):
        path = config.path_of(root)
        if path is not None:
            return path
    return None
