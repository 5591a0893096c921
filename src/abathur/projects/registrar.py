"""The registrar makes a project of a directory: claim, provision, ready, publish.

Whoever dies on the way leaves a claim behind, and the next one who asks completes it under the same id.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Generic

from attrs import evolve, frozen

from abathur import ids
from abathur.engines.base import Engine
from abathur.errors import (
    ProjectConfigError,
    ProjectDataMissingError,
    RegistryUnavailableError,
    StoreTakenError,
)
from abathur.projects import claim, config, names, publish
from abathur.projects.config import Config, Place
from abathur.projects.deciding import decide
from abathur.projects.decision import Decision, Earlier, Event, Fact, Wish
from abathur.projects.publish import Published
from abathur.projects.stores import Stores, StoreT
from abathur.projects.values import Project, Resolution, Tier
from abathur.script import Script, Statement

TRIES: Final = 10
"""Times that it begins again because a configuration was changed meanwhile, or roots have to be looked at."""


@frozen(kw_only=True)
class New:
    """What a caller says about a project that is to be made, beside its configuration."""

    name: str | None = None
    description: str | None = None
    database_name: str | None = None
    metadata: str = "{}"


class Registrar(Generic[StoreT]):
    """Makes projects, and completes those that somebody else has begun."""

    def __init__(self, engine: Engine, actor: str, stores: Stores[StoreT]) -> None:
        self._engine = engine
        self._actor = actor
        self.stores = stores

    # -- a directory ---------------------------------------------------------------------------

    async def settle(
        self, place: Place, tier: Tier, *, may_create: bool = True, new: New | None = None
    ) -> Resolution | None:
        """The project of a directory, made if there is none; None if none may be made.

        Raises ProjectErrors, and what opening a store raises.
        """
        for _ in range(TRIES):
            found = place.config
            wish = self._wish(place, new or New(), may_create=may_create)
            decision = await self._decided(wish, place)
            if not decision.project_id:
                return None
            if found is not None and found.dry_run:
                return _would(decision, tier, found)
            if decision.steps:
                if wish.database_name and decision.state == "provisioning":
                    await self.check_free(wish, decision.database_name, decision.project_id)
                decision = await self._claimed(wish, place)
            decision = await self._provisioned(decision, wish.database_name)
            published = await self._published(place, decision, new)
            if published.other_id is None:
                await self._note_published(decision, published)
                return _resolution(decision, tier, published)
            place = config.place(
                place.root
            )  # somebody has given it another id meanwhile, and that one counts
        raise ProjectConfigError(
            str(config.path_of(place.root)),
            "project.id",
            "it is changed again and again",
            "Expected a file that keeps what is written into it.",
            "See who else writes to it.",
        )

    def _wish(self, place: Place, new: New, *, may_create: bool) -> Wish:
        found = place.config
        return Wish(
            actor=self._actor,
            name=found.name if found else new.name or default_name(place.root),
            candidate=ids.new_id(),
            event_id=ids.new_id(),
            root=place.root,
            directory=place.directory,
            path=found.path if found else "",
            id=found.id if found else None,
            database_name=(found.database_name if found else None) or new.database_name,
            description=(found.description if found else None) or new.description,
            metadata=new.metadata,
            strict=found.strict_mode if found else False,
            may_create=may_create,
        )

    async def _decided(self, wish: Wish, place: Place) -> Decision:
        return await self._with_facts(self._engine.read, decide, wish, place)

    async def _claimed(self, wish: Wish, place: Place) -> Decision:
        return await self._with_facts(self._engine.write, claim.claim, wish, place)

    async def _with_facts(self, run: Any, script: Any, wish: Wish, place: Place) -> Decision:
        """Run a script of a claim, and look at the directories that it asks about."""
        facts: dict[str, Fact] = {}
        for _ in range(TRIES):
            decision: Decision = await run(script, evolve(wish, facts=facts))
            if not decision.unsure:
                return decision
            for one in decision.unsure:
                facts[one.root] = await asyncio.to_thread(fact, one, place.directory, wish.id)
        raise RegistryUnavailableError(self._engine.name, "its roots change again and again.")

    async def check_free(self, wish: Wish, database_name: str, project_id: str | None) -> None:
        """Refuse a store that is asked for by name and is somebody else's, before anything is claimed."""
        if not await self.stores.is_free(database_name, project_id):
            owner = await self.stores.owner(database_name)
            whose = f"the project {owner}" if owner else "no project; something else lies there"
            raise StoreTakenError(database_name, whose, wish.path or repr(wish.name))

    # -- its store -----------------------------------------------------------------------------

    async def _provisioned(self, decision: Decision, wanted: str | None) -> Decision:
        database_name = await self.provisioned(
            decision.project_id, decision.name, decision.database_name, decision.state, wanted
        )
        return evolve(decision, database_name=database_name, state="ready")

    async def provisioned(
        self, project_id: str, name: str, database_name: str, state: str, wanted: str | None = None
    ) -> str:
        """See to it that a project has its store; returns what that is called.

        One that is being made is completed; one that is gone is an error, for its data would be gone, too.
        wanted: what it was asked to be called; it is called so, or it is an error.
        """
        if state != "provisioning":
            await self._check_there(project_id, name, database_name, state)
            return database_name
        for _ in range(names.DRAWS):
            tried = database_name
            try:
                await self.stores.provision(tried, project_id, repr(name))
            except StoreTakenError:
                if wanted == tried:
                    raise
                database_name = await self._engine.write(claim.redraw, project_id, tried)
            else:
                database_name = await self._engine.write(claim.made_ready, project_id, tried)
                if database_name == tried:
                    return database_name
        raise StoreTakenError(database_name, "something else, again and again", repr(name))

    async def _check_there(self, project_id: str, name: str, database_name: str, state: str) -> None:
        is_there = await self.stores.exists(database_name)
        if not is_there:
            await self.stores.forget(database_name)
        if is_there != (state == "ready"):
            events = () if is_there else (Event(project_id=project_id, kind="missing", detail={}),)
            state = "ready" if is_there else "missing"
            await self._engine.write(_set_state, project_id, state, events, ids.new_id(), self._actor)
        if not is_there:
            raise ProjectDataMissingError(project_id, name, self.stores.place(database_name))

    # -- its configuration ---------------------------------------------------------------------

    async def _published(self, place: Place, decision: Decision, new: New | None) -> Published:
        found = place.config
        if found is None:
            more = {
                key: getattr(new, key) for key in ("database_name", "description") if getattr(new, key, None)
            }
            return await publish.publish_new(place.root, decision.project_id, decision.name, more)
        if found.id is not None:
            return Published(persisted=True)
        return await publish.publish_id(found.path, decision.project_id)

    async def _note_published(self, decision: Decision, published: Published) -> None:
        noted = (decision.persisted, decision.reason)
        if decision.root is not None and noted != (published.persisted, published.reason):
            await self._engine.write(note_published, decision.root, decision.project_id, published)

    async def completed(self, project: Project) -> Project:
        """A project that was asked for by name, completed if somebody died while making it."""
        database_name = await self.provisioned(project.id, project.name, project.database_name, project.state)
        for root in project.roots:
            if root.config_persisted or root.reason is not None or project.state != "provisioning":
                continue
            path = config.path_of(root.path)
            if path is not None:
                published = await publish.publish_id(path, project.id)
                await self._engine.write(note_published, root.path, project.id, published)
        return evolve(project, database_name=database_name, state="ready")


def _would(decision: Decision, tier: Tier, found: Config) -> Resolution:
    """What would be done, where `dry_run` is set."""
    is_new = any(step.name == "projects.insert" for step in decision.steps)
    said = [f"{event.kind} {_shown(event.detail)}" for event in decision.events]
    if found.id is None:
        said.append(f"its id written into {found.path}")
    would = f"it would be {', '.join(said)}" if said else "nothing would be done"
    return Resolution(
        project_id=(found.id or "") if is_new else decision.project_id,
        name=decision.name,
        database_name=decision.database_name if found.id or not is_new else "",
        tier=tier,
        root=decision.root,
        config_persisted=found.id is not None,
        reason=f"dry_run: {would}",
    )


def default_name(root: str) -> str:
    """What a project is named if nobody says: as its directory."""
    return Path(root).name[: names.LONGEST] or "root"


def fact(earlier: Earlier, directory: str, project_id: str | None) -> Fact:
    """What another root of a project is, seen from a directory that bears the project's id.

    One that does not say whose it is, is known by its path, and stays: unless its configuration did say so,
    and another directory is there by now.
    """
    try:
        found = Path(earlier.root).stat()
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    except OSError:
        return "copy"  # nobody can say, so nothing is taken from it
    identity = f"{found.st_dev}:{found.st_ino}"
    if identity == directory:
        return "same"
    if not stat.S_ISDIR(found.st_mode):
        return "gone"
    try:
        path = config.path_of(earlier.root)
        has = None if path is None else config.read(path).id
    except ProjectConfigError:
        return "copy"
    if has is None:
        return "gone" if earlier.persisted and identity != earlier.directory else "copy"
    return "copy" if has == project_id else "gone"


def _set_state(
    project_id: str,
    state: str,
    events: tuple[Event, ...] = (),
    event_id: str = "",
    actor: str = "",
    *,
    now: int,
) -> Script[None]:
    """Note whether a project's store is there."""
    yield Statement("projects.set_state", id=project_id, state=state, now=now)
    if events:
        yield from claim.note(events, event_id, actor, now)


def note_published(
    root: str, project_id: str, published: Published, name: str | None = None, *, now: int
) -> Script[None]:
    """Note whether a directory's configuration has the id of its project.

    name: the one that was written into it, too. If it could not be, the id that it has is still there.
    """
    rows = yield Statement("projects.root", root=root)
    if rows and rows[0]["project_id"] == project_id:
        yield Statement(
            "projects.see_root",
            root=root,
            project_id=project_id,
            name=name if name is not None and published.persisted else rows[0]["name"],
            persisted=int(published.persisted or (name is not None and bool(rows[0]["persisted"]))),
            reason=published.reason,
            directory=rows[0]["directory"],
            now=now,
        )


def _resolution(decision: Decision, tier: Tier, published: Published) -> Resolution:
    return Resolution(
        project_id=decision.project_id,
        name=decision.name,
        database_name=decision.database_name,
        tier=tier,
        root=decision.root,
        config_persisted=published.persisted,
        reason=published.reason,
    )


def _shown(detail: Mapping[str, Any]) -> str:
    return f"({', '.join(f'{key}: {value}' for key, value in detail.items() if value is not None)})"
