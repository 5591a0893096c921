"""Opens the database that a command is about, and closes it again."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from abathur.cli.options import Settings
from abathur.cli.output import note
from abathur.database import Database, path_of
from abathur.engines.sqlite import MEMORY
from abathur.errors import InvalidUrlError, MissingDatabaseError, UnrelatedDatabaseError
from abathur.schema.steps import CreateTable

T = TypeVar("T")

VARIABLE: Final = "ABATHUR_DATABASE"
DEFAULT: Final = "abathur.db"
FILE: Final = "abathur.toml"


def url_of(settings: Settings) -> str:
    """The database that is meant: the option, the environment, abathur.toml, or the file in this directory.

    Raises ConfigError where abathur.toml is asked and cannot be read.
    """
    return settings.database or os.environ.get(VARIABLE) or _configured(settings) or DEFAULT


def _configured(settings: Settings) -> str | None:
    path = settings.config or Path(FILE)
    if settings.config is None and not path.is_file():
        return None
    from abathur.config import database_of

    return database_of(path)


def database(settings: Settings, *, must_exist: bool, **arguments: Any) -> Database:
    """The Database that is meant, not opened yet. Raises MissingDatabaseError or InvalidUrlError."""
    url = url_of(settings)
    target = path_of(url)
    if str(target) == MEMORY:
        raise InvalidUrlError(
            "A database in memory ends with the command that opens it.",
            "Expected a file.",
            "Name one with --database, such as --database agents.db.",
        )
    path = Path(target)
    if must_exist and not (path.exists() and (not path.is_file() or path.stat().st_size)):
        raise MissingDatabaseError(str(path.absolute()))
    return Database(url, **{"actor": _person(), **arguments})


def with_database(
    settings: Settings, body: Callable[[Database], Awaitable[T]], *, must_exist: bool = True, **arguments: Any
) -> T:
    """Run `body` with the open database, in an event loop of its own."""
    db = database(settings, must_exist=must_exist, **arguments)

    async def opened() -> T:
        try:
            await refuse_strangers(db)
            await initialize(db)
            return await body(db)
        finally:
            await db.close()

    return asyncio.run(opened())


async def refuse_strangers(db: Database) -> None:
    """Only `init` and `migrate` add tables to a file of somebody else's. Raises UnrelatedDatabaseError."""
    path = Path(db.name)
    if not (path.is_file() and path.stat().st_size):  # noqa: ASYNC240  # before anything else runs
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
