"""Opens the database that a command is about, and closes it again."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from abathur.cli.options import Settings, url_of
from abathur.cli.output import note
from abathur.database import Database
from abathur.engines.urls import MEMORY, Server, target_of
from abathur.errors import InvalidUrlError, MissingDatabaseError, UnrelatedDatabaseError
from abathur.schema.steps import CreateTable

T = TypeVar("T")


def database(settings: Settings, *, must_exist: bool, **arguments: Any) -> Database:
    """The Database that is meant, not opened yet. Raises MissingDatabaseError or InvalidUrlError.

    Whether there is one on a server is not seen before it is opened: `refuse_strangers` asks.
    """
    url = url_of(settings)
    target = target_of(url)
    if isinstance(target, Server):
        return Database(url, **{"actor": _person(), **arguments})
    if str(target) == MEMORY:
        raise InvalidUrlError(
            "A database in memory ends with the command that opens it.",
            "Expected a file.",
            "Name one with --database, such as --database agents.db.",
        )
    path = Path(target)
    if must_exist and _is_missing(path):
        raise MissingDatabaseError(str(path.absolute()))
    return Database(url, **{"actor": _person(), **arguments})


def _is_missing(path: Path) -> bool:
    """Whether there is nothing at a path, or an empty file. What cannot be seen is for `open` to refuse."""
    try:
        return path.stat().st_size == 0 and path.is_file()
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False


def with_database(
    settings: Settings, body: Callable[[Database], Awaitable[T]], *, must_exist: bool = True, **arguments: Any
) -> T:
    """Run `body` with the open database, in an event loop of its own."""
    db = database(settings, must_exist=must_exist, **arguments)

    async def opened() -> T:
        try:
            await refuse_strangers(db, must_exist=must_exist)
            await initialize(db)
            return await body(db)
        finally:
            await db.close()

    return asyncio.run(opened())


async def refuse_strangers(db: Database, *, must_exist: bool = False) -> None:
    """Only `init` and `migrate` add tables to a database of somebody else's.

    Raises UnrelatedDatabaseError; with `must_exist`, MissingDatabaseError where there is nothing.
    """
    if not await db.exists():
        if must_exist:
            raise MissingDatabaseError(db.name)
        return
    plan = await db.plan()
    makes_tasks = any(isinstance(step, CreateTable) and step.table == "tasks" for step in plan.steps)
    if makes_tasks:
        raise UnrelatedDatabaseError(db.name)


async def initialize(db: Database) -> None:
    """Open a database, and say so if it was an older one that had to be brought to today's schema."""
    report = await db.initialize()
    if report.steps and not report.created:
        copy = f" The copy from before: {report.backup}" if report.backup else ""
        note(f"{db.name} was brought to today's schema in {len(report.steps)} steps.{copy}")


def _person() -> str:
    """Who types this, for the audit trail."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
