"""Directories with configurations, and what the registry has made of them."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from abathur import Database
from abathur.projects.values import Resolution


def repository(place: Path, name: str = "Some Project", project_id: str | None = None, **more: Any) -> Path:
    """A directory with a configuration and two files. `more` goes into the configuration."""
    (place / ".abathur").mkdir(parents=True)
    (place / "main.py").write_text("print('main')\n")
    (place / "README.md").write_text("# A project\n")
    project = {"name": name, **({"id": project_id} if project_id else {})}
    for key in ("database_name",):
        if key in more:
            project[key] = more.pop(key)
    write(place, {"version": "1.0", "project": project, **more})
    return place


def path_of(place: Path) -> Path:
    return place / ".abathur" / "config.json"


def files(place: Path) -> list[str]:
    """What is beside the configuration, and that."""
    return sorted(path.name for path in path_of(place).parent.iterdir())


def config(place: Path) -> Any:
    return json.loads(path_of(place).read_text())


def write(place: Path, value: Any) -> None:
    path_of(place).write_text(value if isinstance(value, str) else json.dumps(value, indent=2) + "\n")


def edit(place: Path, **project: Any) -> None:
    """Change the configuration as a user would; None removes a key."""
    value = config(place)
    for key, given in project.items():
        value["project"].pop(key, None)
        if given is not None:
            value["project"][key] = given
    write(place, value)


def a_store() -> str:
    """A name for a store that no other test has: those of a server lie in one database."""
    return f"asked_for_{secrets.token_hex(6)}"


class World:
    """A registry, and a directory to work in, below which nothing else is looked at."""

    def __init__(self, db: Database, again: Callable[..., Awaitable[Database]], place: Path) -> None:
        self.db, self.again, self.place = db, again, place
        self._number = 0

    async def restarted(self) -> Database:
        """The same registry with nothing left in memory; one that lies in memory would be gone, and stays."""
        if self.in_memory:
            return self.db
        await self.db.close()
        self.db = await self.again()
        return self.db

    @property
    def in_memory(self) -> bool:
        return "processes" not in self.db.engine.capabilities

    def repository(self, name: str = "Some Project", project_id: str | None = None, **more: Any) -> Path:
        self._number += 1
        return repository(self.place / f"work{self._number}", name, project_id, **more)

    def directory(self) -> Path:
        """A directory without a configuration."""
        self._number += 1
        made = self.place / f"work{self._number}"
        made.mkdir()
        return made

    async def resolve(self, *arguments: Any, **options: Any) -> Resolution:
        return await self.db.projects.resolve(*arguments, **options)

    async def here(self, place: Path) -> Resolution:
        return await self.db.projects.resolve(directory=place)

    async def destroy_store(self, name: str) -> None:
        """Remove a store as somebody would who does not know what it is."""
        address = self.db.engine.beside(name)
        if not address.startswith("postgresql://"):
            Path(address).unlink()
            for suffix in ("-wal", "-shm"):
                Path(address + suffix).unlink(missing_ok=True)
            return
        connection = await asyncpg.connect(_server(self.db))
        try:
            await connection.execute(f'DROP SCHEMA "{name}" CASCADE')
        finally:
            await connection.close()

    async def stores(self) -> set[str]:
        """The stores that lie where the registry's projects have theirs."""
        if self.in_memory:
            return set(self.db.projects._stores._open)
        listed = {one.database_name for one in await self.db.projects.list(limit=1000)}
        if self.db.name.startswith("postgresql://"):
            return {name for name in listed if await self.db.engine.which_beside(name)}
        registry = Path(self.db.name)
        beside = {path.name for path in registry.parent.iterdir() if path.is_file()}
        return {name for name in beside if not name.endswith(("-wal", "-shm", "-lock"))} - {registry.name}


def _server(db: Database) -> str:
    return db.engine.address.partition("schema=")[0].rstrip("?&")


async def remove_stores(db: Database) -> None:
    """On a server, remove the schemas of all projects; files go with their directory."""
    if not db.name.startswith("postgresql://"):
        return
    names = []
    while page := await db.projects.list(after=names[-1][0] if names else "", limit=1000):
        names += [(one.id, one.database_name) for one in page]
    connection = await asyncpg.connect(_server(db))
    try:
        for _, name in names:
            await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    finally:
        await connection.close()


@pytest.fixture
async def world(
    make_db: Callable[..., Awaitable[Database]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A registry on each engine. What it has made is removed after the test."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))  # where looking upward ends
    made = World(await make_db(), make_db, Path(os.path.realpath(place)))
    yield made
    if "initialized" in repr(made.db):
        await made.db.projects.close()
        await remove_stores(made.db)
