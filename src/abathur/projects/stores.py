"""Projects' stores: a Database each, opened once, and closed with the one that holds the registry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from abathur.engines.base import Engine
from abathur.errors import (
    AccessDeniedError,
    CorruptDatabaseError,
    DatabaseClosedError,
    ForeignDatabaseError,
    NotADatabaseError,
    ProjectDataMissingError,
    StoreTakenError,
)


class Store(Protocol):
    """What is asked of a Database here; `database` hands in how to make one."""

    @property
    def name(self) -> str: ...
    async def exists(self) -> bool: ...
    async def stamp(self) -> Mapping[str, str] | None: ...
    async def initialize(self) -> Any: ...
    async def close(self) -> None: ...


StoreT = TypeVar("StoreT", bound=Store)
NO_STORE = (NotADatabaseError, ForeignDatabaseError, CorruptDatabaseError, AccessDeniedError)
"""What an opening raises where something else lies, which is nobody's store."""


AT_A_TIME = 4
"""Stores that are made at once: each takes connections of its own while it is."""


class Stores(Generic[StoreT]):
    """The stores of the projects of one registry."""

    def __init__(self, engine: Engine, make: Callable[[str, str], StoreT]) -> None:
        self._engine = engine
        self._make = make
        self._open: dict[str, StoreT] = {}
        self._which: dict[str, str | None] = {}
        """Of those that are open: which database it was, of all that are called so in the course of time."""
        self._opening: dict[str, asyncio.Lock] = {}
        self._makers = asyncio.Semaphore(AT_A_TIME)
        self._closed = False

    @property
    def in_memory(self) -> bool:
        """Whether stores live only as long as this object, as their registry does."""
        return "processes" not in self._engine.capabilities

    async def exists(self, database_name: str) -> bool:
        """Whether there is a store of that name."""
        self._check()
        if self.in_memory:
            return database_name in self._open
        return await self._engine.which_beside(database_name) is not None

    async def is_free(self, database_name: str, project_id: str | None) -> bool:
        """Whether a project may have a store of that name: there is none, or it is the project's already."""
        if self.in_memory:
            return not await self.exists(database_name)
        if self._engine.beside(database_name) == self._engine.address:
            return False  # the registry itself
        store = self._make(database_name, "")
        try:
            if not await self.exists(database_name):
                return True
            stamp = await store.stamp()  # one look: another process may be making it just now
            return stamp is None or (project_id is not None and stamp.get("project") == project_id)
        except NO_STORE:
            return False
        finally:
            await store.close()

    async def owner(self, database_name: str) -> str | None:
        """The id of the project that a store belongs to; None for what is no store."""
        store = self._make(database_name, "")
        try:
            return (await store.stamp() or {}).get("project") or None
        except NO_STORE:
            return None
        finally:
            await store.close()

    async def provision(self, database_name: str, project_id: str, wanted_by: str) -> None:
        """Make the store of a project, unless it is there. Raises StoreTakenError if it is somebody else's.

        Several processes may do it at once, and one may die at any point: what makes the tables is one
        transaction, under the store's own lock, and the id of the project is a part of it.
        """
        async with self._opening.setdefault(database_name, asyncio.Lock()):
            self._check()
            if database_name in self._open:
                which = await self._engine.which_beside(database_name)
                if await self._still_open(database_name, which) is not None:
                    return
            if not await self.is_free(database_name, project_id):
                raise StoreTakenError(database_name, await self._whose(database_name), wanted_by)
            async with self._makers:
                await self._provision(database_name, project_id, wanted_by)

    async def _provision(self, database_name: str, project_id: str, wanted_by: str) -> None:
        store = self._make(database_name, project_id)
        kept = False
        try:
            await store.initialize()
            await self._check_owner(store, database_name, project_id, wanted_by)  # another registry's?
            if self.in_memory and not self._closed:
                self._open[database_name] = store
                kept = True
        finally:
            if not kept:
                await store.close()

    async def open(self, database_name: str, project_id: str, name: str) -> StoreT:
        """The opened store of a project. Raises ProjectDataMissingError or StoreTakenError.

        One that another process has put in the place of that which is open is opened instead: what was
        written to the old one would be lost.
        """
        async with self._opening.setdefault(database_name, asyncio.Lock()):
            self._check()
            which = await self._engine.which_beside(database_name)
            if (found := await self._still_open(database_name, which)) is not None:
                return found
            if which is None:
                raise ProjectDataMissingError(project_id, name, self.place(database_name))
            store = self._make(database_name, project_id)
            try:
                await self._check_owner(store, database_name, project_id, repr(name))
                await store.initialize()
                self._check()  # it may have been closed meanwhile
                self._open[database_name], self._which[database_name] = store, which
            except BaseException:
                await store.close()
                raise
            return store

    async def forget(self, database_name: str) -> None:
        """Close a store whose file or schema is gone: what is open leads nowhere."""
        async with self._opening.setdefault(database_name, asyncio.Lock()):
            if not self.in_memory and (gone := self._open.pop(database_name, None)) is not None:
                await gone.close()

    async def _still_open(self, database_name: str, which: str | None) -> StoreT | None:
        """The store that is open, if it is that one; any other one is closed, for it has no name any more."""
        found = self._open.get(database_name)
        if found is not None and not self.in_memory and self._which.get(database_name) != which:
            del self._open[database_name]
            await found.close()
            return None
        return found

    def place(self, database_name: str) -> str:
        """Where a store is, for messages."""
        store = self._make(database_name, "")
        return store.name

    async def close(self) -> None:
        """Close every store that is open."""
        self._closed = True
        while self._open:
            _, store = self._open.popitem()
            await store.close()

    async def _check_owner(self, store: StoreT, database_name: str, project_id: str, wanted_by: str) -> None:
        if (await store.stamp() or {}).get("project") != project_id:
            raise StoreTakenError(database_name, await self._whose(database_name), wanted_by)

    async def _whose(self, database_name: str) -> str:
        owner = None if self.in_memory else await self.owner(database_name)
        return f"the project {owner}" if owner else "no project of this registry; something else lies there"

    def _check(self) -> None:
        if self._closed:
            raise DatabaseClosedError
