"""The errors about projects, really raised; see tests/provoked.py."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

from abathur import errors
from tests.provoked import at, provokes

ID = "0197c2d4-5b1e-7cc3-98c4-dc0c0c07398f"


def configured(directory: Path, name: str = "shop", **more: Any) -> Path:
    """A directory with a configuration."""
    place = directory / name
    (place / ".abathur").mkdir(parents=True)
    (place / ".git").mkdir()
    flags = {key: more.pop(key) for key in ("auto_switch", "strict_mode") if key in more}
    value = {"version": "1.0", "project": {"name": name, **more}, **flags}
    (place / ".abathur" / "config.json").write_text(json.dumps(value), encoding="utf-8")
    return place


@provokes(errors.NoProjectError)
async def _(directory: Path) -> None:
    (directory / "shop" / ".git").mkdir(parents=True)
    async with at(directory) as db:
        await db.projects.resolve(directory=directory / "shop")


@provokes(errors.UnknownProjectError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.projects.resolve("shop")


@provokes(errors.AmbiguousProjectError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        for place in ("old", "new"):
            await db.projects.resolve(directory=configured(directory / place, "shop"))
        await db.projects.resolve("shop")


@provokes(errors.ProjectConfigError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.projects.resolve(directory=configured(directory, id="shop-1"))


@provokes(errors.ProjectDirectoryError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.projects.resolve(directory=directory / "shop")


@provokes(errors.ProjectDataMissingError)
async def _(directory: Path) -> None:
    place = configured(directory, id=ID, database_name="shop_data")
    async with at(directory) as db:
        await db.projects.resolve(directory=place)
        (directory / "shop_data").unlink()
        await db.projects.resolve(directory=place)


@provokes(errors.CopiedProjectError)
async def _(directory: Path) -> None:
    place = configured(directory, id=ID, strict_mode=True)
    async with at(directory) as db:
        await db.projects.resolve(directory=place)
        await db.projects.resolve(directory=shutil.copytree(place, directory / "copy"))


@provokes(errors.StoreTakenError)
async def _(directory: Path) -> None:
    async with at(directory) as db:
        await db.projects.resolve(directory=configured(directory, id=ID, database_name="data"))
        await db.projects.resolve(directory=configured(directory, "till", database_name="data"))


@provokes(errors.ResolverError)
async def _(directory: Path) -> None:
    def ask(directory: str | None, session: str | None) -> str:
        raise OSError("No route to host")

    ask.__qualname__ = "ask"
    async with at(directory) as db:
        db.projects.configure(resolver=ask)
        await db.projects.resolve(session="editor-1")


@provokes(errors.RegistryUnavailableError)
async def _(directory: Path) -> None:
    async with at(directory, lock_timeout=0.2) as db:
        with (directory / "agents.db-lock").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            await db.projects.create("shop")
