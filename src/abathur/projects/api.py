"""`db.projects`: which project is meant, and making one of a directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from abathur import ids, payload
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError, NoProjectError
from abathur.projects import claim, config, names, reading
from abathur.projects.asking import TIMEOUT, Answering, Asking
from abathur.projects.changing import Changing, Repaired
from abathur.projects.deciding import decide
from abathur.projects.decision import Wish
from abathur.projects.index.api import Indexing
from abathur.projects.looking import Directory, nearest_path
from abathur.projects.registrar import New
from abathur.projects.stores import StoreT
from abathur.projects.values import Project, Resolution, Tier, WorkingDirectory
from abathur.script import Script, Statement
from abathur.tasks.new import seconds

__all__ = ["Projects", "Repaired"]


class Projects(Changing[StoreT], Indexing[StoreT]):
    """The registry of projects of a Database."""

    def __init__(self, engine: Engine, actor: str, make: Callable[[str, str], StoreT]) -> None:
        super().__init__(engine, actor, make)
        self._asking: Asking | None = None
        self._default: str | None = None

    def configure(
        self,
        *,
        resolver: Answering | str | None = None,
        default: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        """Say what `resolve` goes by when neither the caller nor a directory says which project is meant.

        resolver: a function (asynchronous, or called on a thread) of a directory and a session, each of
        which may be None, that returns an id, a name or None; or a URL that is asked with ``?directory=``
        and ``session=`` and answers ``{"project": ...}``, or with the status 404 or 204 for none. Its
        answers are kept for a minute. default: the id or name of a project. timeout: seconds that the
        resolver has.

        Each call replaces all of it. Raises InvalidInputError.
        """
        if default is not None:
            payload.plain(default, "default", longest=512)
        limit = seconds("timeout", timeout, 60)
        self._asking = None if resolver is None else Asking(resolver, limit)
        self._default = default

    # -- which one is meant --------------------------------------------------------------------

    async def resolve(
        self,
        explicit: str | None = None,
        directory: Directory | None = None,
        session: str | None = None,
    ) -> Resolution:
        """Which project is meant; it is made, if a directory's configuration says that there is one.

        explicit: an id or a name; then nothing else is looked at. directory: where the caller works;
        the nearest configuration from there upward counts. session: the one whose working directory
        counts, if `directory` is not given. Then what `configure` says.

        Raises NoProjectError, UnknownProjectError, AmbiguousProjectError, ProjectConfigError,
        ProjectDirectoryError, ProjectDataMissingError, CopiedProjectError, StoreTakenError, ResolverError;
        RegistryUnavailableError if the database is not there; or what making a store raises.
        """
        if explicit is not None:
            payload.plain(explicit, "the project", longest=512)
        if session is not None:
            payload.plain(session, "session", longest=512)
        with self._reached():
            if explicit is not None:
                return await self._by_name(explicit, "explicit")
            tried: list[str] = []
            at = await self._directory(directory, session, tried)
            if at is not None:
                tier: Tier = "session" if directory is None else "directory"
                found = await self._by_directory(at, tier, tried)
                if found is not None:
                    return found
            if self._asking is not None:
                answer = await self._asking.ask(at, session)
                if answer is not None:
                    return await self._by_name(answer, "resolver")
                tried.append(f"the resolver {self._asking.name} knows none")
            if self._default is not None:
                return await self._by_name(self._default, "default")
            raise NoProjectError(tried)

    async def _by_name(self, text: str, tier: Tier) -> Resolution:
        project = await self._registrar.completed(await self._one(text))
        return _known(project, project.roots[0].path if project.roots else None, tier)

    async def _directory(
        self, directory: Directory | None, session: str | None, tried: list[str]
    ) -> str | None:
        if directory is not None:
            return config.real(directory)
        if session is None:
            tried.append("neither a project, nor a directory, nor a session was given")
            return None
        found = await self._engine.read(reading.working_directory, session)
        if found is None:
            tried.append(f"the session {session!r} has no working directory")
            return None
        return config.real(found)

    async def _by_directory(self, directory: str, tier: Tier, tried: list[str]) -> Resolution | None:
        place = config.find(directory)
        if place is None or place.config is None:
            # A directory whose configuration was removed, or could never be written, is known by its path.
            found = await self._engine.read(reading.nearest, tuple(config.levels(directory)))
            if found is None:
                tried.append(f"there is no configuration in {directory}, nor above it")
                return None
            root, project = found
            return _known(await self._registrar.completed(project), root, tier)
        settled = await self._registrar.settle(place, tier, may_create=place.config.auto_switch)
        if settled is None:
            raise NoProjectError(
                [f"{place.config.path} is of no project yet, and its auto_switch is off"],
                f"Make the project with `abathur projects create {place.root}`, or switch it on.",
            )
        return settled

    async def set_working_directory(
        self, session: str, directory: Directory | None
    ) -> WorkingDirectory | None:
        """Note where a session works, so that it is known after a restart too; None forgets it.

        Raises ProjectDirectoryError, InvalidInputError or RegistryUnavailableError.
        """
        payload.plain(session, "session", longest=512)
        real = None if directory is None else config.real(directory)
        with self._reached():
            await self._engine.write(_set_working_directory, session, real)
        if real is None:
            return None
        return WorkingDirectory(session=session, directory=real, config_path=nearest_path(real))

    # -- making --------------------------------------------------------------------------------

    async def create(
        self,
        name: str | None = None,
        directory: Directory | None = None,
        *,
        description: str | None = None,
        database_name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Resolution:
        """Make a project of a directory, or one without a directory.

        name: else that of the directory. directory: its configuration is written if it has none; if it is
        a project's already, that is the answer. description: in words. database_name: what its store is
        to be called, else that follows from the name and the id. metadata: JSON of the application's own.

        Raises InvalidInputError, if the directory is a project's of another name also; and what `resolve`
        raises.
        """
        new = _new(name, description, database_name, metadata)
        with self._reached():
            if directory is None:
                return await self._without_directory(new)
            place = config.place(config.real(directory))
            if place.config is None and (found := await self._engine.read(reading.nearest, (place.root,))):
                _check_name(name, found[1].name, place.root)
                new = _new(found[1].name, description, None, metadata)
            elif place.config is not None:
                _check_name(name, place.config.name, place.config.path)
            settled = await self._registrar.settle(place, "directory", new=new)
            assert settled is not None  # noqa: S101  # it may be made
            return settled

    async def _without_directory(self, new: New) -> Resolution:
        if new.name is None:
            raise InvalidInputError(
                "A project without a directory has no name.",
                "Expected a name.",
                "Give `name=` or `directory=`.",
            )
        wish = Wish(
            actor=self._actor,
            name=new.name,
            candidate=ids.new_id(),
            event_id=ids.new_id(),
            database_name=new.database_name,
            description=new.description,
            metadata=new.metadata,
        )
        if new.database_name is not None:
            await self._engine.read(decide, wish)  # which knows whose it is
            await self._registrar.check_free(wish, new.database_name, None)
        decision = await self._engine.write(claim.claim, wish)
        return await self._by_name(decision.project_id, "explicit")


def _known(project: Project, path: str | None, tier: Tier) -> Resolution:
    """The answer for a project whose configuration was not looked at."""
    root = next((one for one in project.roots if one.path == path), None)
    return Resolution(
        project_id=project.id,
        name=project.name,
        database_name=project.database_name,
        tier=tier,
        root=path,
        config_persisted=bool(root and root.config_persisted),
        reason=root.reason if root else "it has no directory",
    )


def _new(
    name: str | None, description: str | None, database_name: str | None, metadata: Mapping[str, Any] | None
) -> New:
    if name is not None:
        payload.plain(name, "name", longest=names.LONGEST)
    if description is not None:
        payload.plain(description, "description", longest=10_000, empty=True)
    if database_name is not None and not (isinstance(database_name, str) and names.is_store(database_name)):
        raise InvalidInputError(
            f"database_name={database_name!r} cannot be the name of a store.",
            "Expected at most 63 lower-case letters, digits and underscores, no digit first, not `pg_`.",
            "Leave it out for one that follows from the project's name.",
        )
    text = "{}" if metadata is None else payload.encode(dict(metadata), "metadata")
    return New(name=name, description=description, database_name=database_name, metadata=text)


def _check_name(name: str | None, found: str, where: str) -> None:
    if name is not None and name != found:
        raise InvalidInputError(
            f"{where} is of the project {found!r}, not {name!r}.",
            "Expected the name that it has.",
            "Leave the name out, or rename the project.",
        )


def _set_working_directory(session: str, directory: str | None, now: int) -> Script[None]:
    """Note where a session works."""
    if directory is None:
        yield Statement("projects.forget_session", session=session)
    else:
        yield Statement("projects.set_working_directory", session=session, directory=directory, now=now)
