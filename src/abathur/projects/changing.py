"""The part of `db.projects` that changes projects which exist: rename, adopt, repair."""

from __future__ import annotations

import asyncio

from attrs import frozen

from abathur import ids, payload
from abathur.errors import CopiedProjectError, ProjectConfigError
from abathur.projects import claim, config, names, publish, reading
from abathur.projects.config import Config, Place
from abathur.projects.decision import Earlier, Event
from abathur.projects.looking import Directory, Looking
from abathur.projects.publish import Published
from abathur.projects.registrar import fact, note_published
from abathur.projects.stores import StoreT
from abathur.projects.values import Project, Resolution, Root
from abathur.script import Script, Statement


@frozen(kw_only=True)
class Repaired:
    """A project, and what was done to it, in words."""

    project: Project
    done: tuple[str, ...]


class Changing(Looking[StoreT]):
    """Changes projects of a Database."""

    async def rename(self, project: str | Project, name: str) -> Project:
        """Give a project another name, also in its configurations; its id and its store stay.

        Where a configuration cannot be written, or has `dry_run`, its root's `reason` says so, and the new
        name holds all the same. Raises UnknownProjectError, AmbiguousProjectError or InvalidInputError.
        """
        payload.plain(name, "name", longest=names.LONGEST)
        with self._reached():
            found = await self._one(project)
            if name != found.name:
                await self._engine.write(_rename, found.id, found.name, name, ids.new_id(), self._actor)
            for root in found.roots:
                published = await self._write_name(root, found.id, name)
                await self._engine.write(note_published, root.path, found.id, published, name)
            return await self._one(found.id)

    async def _write_name(self, root: Root, project_id: str, name: str) -> Published:
        try:
            path = config.path_of(root.path)
            if path is None:
                return Published(persisted=False, reason="it is gone")
            return await publish.publish_name(path, project_id, name)
        except ProjectConfigError as error:
            return Published(persisted=False, reason=error.reason)

    async def adopt(self, project: str | Project, directory: Directory) -> Resolution:
        """Make a directory one of a project's: its configuration gets the project's id and name.

        An id that it had is replaced; the project that had that keeps its store and its other roots. With
        `dry_run` in the configuration nothing is done, and `reason` says what would be.
        Raises UnknownProjectError, AmbiguousProjectError, ProjectDirectoryError, ProjectConfigError, or
        CopiedProjectError if its configuration is strict and the project has another directory.
        """
        with self._reached():
            found = await self._one(project)
            place = config.place(config.real(directory))
            if place.config is not None and place.config.dry_run:
                return _would_adopt(found, place, place.config)
            found = await self._registrar.completed(found)
            if place.config is not None and place.config.strict_mode:
                rows = await self._engine.read(reading.roots_of, found.id)
                others = [Earlier.of(row) for row in rows if row["root"] != place.root]
                facts = [await asyncio.to_thread(fact, one, place.directory, found.id) for one in others]
                copies = [one.root for one, seen in zip(others, facts, strict=True) if seen == "copy"]
                if copies:
                    raise CopiedProjectError(found.id, place.root, copies)
            if place.config is None:
                published = await publish.publish_new(place.root, found.id, found.name, {})
            else:
                published = await publish.replace_id(place.config.path, found.id, found.name)
            if published.persisted:
                settled = await self._registrar.settle(config.place(place.root), "directory")
                assert settled is not None  # noqa: S101  # the project exists
                return settled
            if place.config is not None and place.config.id not in (None, found.id):
                raise ProjectConfigError(
                    place.config.path,
                    "project.id",
                    f"it is that of another project, and {published.reason}",
                    "Expected a configuration that can be changed.",
                    "Make it writable, or remove it.",
                )
            event = Event(project_id=found.id, kind="root_added", detail={"root": place.root})
            await self._engine.write(_attach, place, found, published, event, ids.new_id(), self._actor)
            return Resolution(
                project_id=found.id,
                name=found.name,
                database_name=found.database_name,
                tier="directory",
                root=place.root,
                config_persisted=False,
                reason=published.reason,
            )

    async def repair(self, project: str | Project) -> Repaired:
        """Make good what can be: a store that is gone is made anew, empty; roots that are gone are forgotten.

        Configurations without the id get it. Raises UnknownProjectError, AmbiguousProjectError or
        StoreTakenError.
        """
        with self._reached():
            found = await self._one(project)
            done: list[str] = []
            if found.state == "provisioning":
                await self._registrar.completed(found)
                done.append(f"its store {found.database_name} was completed")
            elif not await self._stores.exists(found.database_name):
                await self._stores.forget(found.database_name)
                event = Event(project_id=found.id, kind="repaired", detail={"store": found.database_name})
                await self._engine.write(_begin_again, event, ids.new_id(), self._actor)
                await self._registrar.completed(await self._one(found.id))
                done.append(f"its store {found.database_name} was gone and was made anew, empty")
            for root in found.roots:
                done += await self._repair_root(found, root)
            return Repaired(project=await self._one(found.id), done=tuple(done))

    async def _repair_root(self, project: Project, root: Root) -> list[str]:
        if not config.is_directory(root.path):
            await self._engine.write(_forget, root.path, project.id)
            return [f"{root.path} is gone and was forgotten"]
        try:
            path = config.path_of(root.path)
            has = None if path is None else config.read(path).id
        except ProjectConfigError as error:
            return [f"{error.path} has to be corrected by hand: {error.reason}"]
        if has is not None and has != project.id:
            await self._engine.write(_forget, root.path, project.id)
            return [f"{root.path} is another project's by now and was forgotten"]
        if has is not None:
            return []
        if path is None:
            published = await publish.publish_new(root.path, project.id, project.name, {})
        else:
            published = await publish.publish_id(path, project.id)
        await self._engine.write(note_published, root.path, project.id, published)
        if published.persisted:
            return [f"the configuration of {root.path} got its id"]
        return [f"the configuration of {root.path} did not get its id: {published.reason}"]


def _would_adopt(project: Project, place: Place, found: Config) -> Resolution:
    has = found.id == project.id
    would = "nothing would be written into it" if has else f"{found.path} would get the id {project.id}"
    return Resolution(
        project_id=project.id,
        name=project.name,
        database_name=project.database_name,
        tier="directory",
        root=place.root,
        config_persisted=has,
        reason=f"dry_run: {would}",
    )


def _rename(project_id: str, before: str, name: str, event_id: str, actor: str, now: int) -> Script[None]:
    """Give a project another name."""
    yield Statement("projects.rename", id=project_id, name=name, now=now)
    event = Event(project_id=project_id, kind="renamed", detail={"before": before, "name": name})
    yield from claim.note([event], event_id, actor, now)


def _attach(
    place: Place,
    project: Project,
    published: Published,
    event: Event,
    event_id: str,
    actor: str,
    now: int,
) -> Script[None]:
    """Note a directory of a project whose configuration cannot say so."""
    yield Statement(
        "projects.put_root",
        root=place.root,
        project_id=project.id,
        name=place.config.name if place.config else project.name,  # else it would be renamed to that
        persisted=0,
        directory=place.directory,
        now=now,
    )
    yield from note_published(place.root, project.id, published, None, now=now)
    yield from claim.note([event], event_id, actor, now)


def _begin_again(event: Event, event_id: str, actor: str, now: int) -> Script[None]:
    """Note that a project's store is to be made anew."""
    yield Statement("projects.set_state", id=event.project_id, state="provisioning", now=now)
    yield from claim.note([event], event_id, actor, now)


def _forget(root: str, project_id: str) -> Script[None]:
    """Forget a directory of a project."""
    yield Statement("projects.forget_root", root=root, project_id=project_id)
