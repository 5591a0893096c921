"""The destructive operations of a database, and the rule that each of them goes by.

It is the stamp of the database that decides, never who asks: what is stamped `test` may be destroyed,
anything else only by its own name, never under pytest, and after a copy was made.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from attrs import frozen

from abathur.engines.base import Engine, Progress
from abathur.errors import CorruptDatabaseError, NotADatabaseError, ProtectedDatabaseError, StatementError
from abathur.purging import copy_aside, purge
from abathur.schema.declare import Schema
from abathur.schema.found import Fingerprint
from abathur.schema.inspect import fingerprint
from abathur.schema.stamp import environment_of
from abathur.tasks.retention import Pruned, Retention
from abathur.tasks.upkeep import Pruning, moment
from abathur.tasks.watch import Watch

TEST: Final = "test"
PRUNE_ALL: Final = "prune --all"
LONGEST_NAME: Final = 63
"""Bytes of a name that a server keeps."""
ALL: Final = Retention(completed=timedelta(0), failed=timedelta(0), cancelled=timedelta(0))


@frozen(kw_only=True)
class Destroyed:
    """What a destructive operation did."""

    operation: str
    """``drop``, ``reset``, ``purge`` or ``prune --all``."""
    name: str
    """The database, as in messages."""
    environment: str
    """What it was stamped with; empty without a stamp."""
    existed: bool = True
    """Whether there was anything."""
    backup: str | None = None
    """The copy from before: a file, or a schema of the server. None for a database of the tests."""


class Destroying:
    """The part of `Database` that destroys. See docs/testing.md for the rule."""

    _engine: Engine
    _environment: str | None
    _actor: str
    _state: str
    _watch: Watch
    _open: Callable[..., Any]
    _forget: Callable[[], None]
    initialize: Callable[..., Any]
    declared: Callable[[], Awaitable[tuple[Schema, ...]]]

    async def drop(self, *, allow_destructive: str | None = None) -> Destroyed:
        """Remove the database: the file with its logs; on a server the schema, with everything in it.

        It must not be in use by another process. `initialize()` makes a new one. allow_destructive: the
        database's own name, which only one that is stamped `test` does without: the file's name, or on a
        server the database's (``database.schema`` for a schema of another name than `abathur`).

        Of a database that is not stamped `test` a copy is kept: the file ``NAME.before-drop-TIME.db`` beside
        it; on a server the schema stays, under the name ``SCHEMA_before_drop_TIME``. Raises
        ProtectedDatabaseError, also under pytest whatever is allowed; LockTimeoutError; and what `backup`
        raises: without a copy nothing is removed.
        """
        found, environment, aside = await self._permitted("drop", allow_destructive)
        if found:
            await self._removed(aside)
            return self._destroyed("drop", environment, aside)
        return self._destroyed("drop", environment, existed=False)

    async def reset(self, *, allow_destructive: str | None = None) -> Destroyed:
        """Drop the database and make it anew, with the environment that it had.

        The rule, the copy and the errors are those of `drop`.
        """
        found, environment, aside = await self._permitted("reset", allow_destructive)
        if found:
            await self._removed(aside)
        self._environment = environment or self._environment
        await self.initialize()
        return self._destroyed("reset", environment, aside, existed=found)

    async def purge(self, *, allow_destructive: str | None = None) -> Destroyed:
        """Delete all rows: tasks, their history, and those of every declared table. The schema stays.

        One transaction, within which the copy is made too: other processes may work, and wait for it. Tables
        that nobody has declared keep their rows, those of plugins are emptied too, and the stores of
        projects, which are databases of their own, are not touched. The trail begins anew, with an entry
        that says so. The rule, the copy and the errors are those of `drop`; ConstraintError where rows of an
        undeclared table refer to what would be deleted.
        """
        found, environment, aside = await self._permitted("purge", allow_destructive)
        await self.initialize()
        if found:
            about = (purge, self._engine.dialect, await self.declared(), self._actor)
            async with self._engine.migration() as migration:
                if aside is not None and self._in_file:
                    await migration.back_up_and_write(Path(aside), *about, None)
                else:
                    await migration.write(*about, aside)
            self._watch.elsewhere()
        return self._destroyed("purge", environment, aside, existed=found)

    async def prune_all(
        self, *, allow_destructive: str | None = None, progress: Progress | None = None
    ) -> tuple[Destroyed, Pruned]:
        """Remove every task that has ended by now, as `db.tasks.prune` removes those that ended long ago.

        The rule, the copy and the errors are those of `drop`. `progress` is that of `db.tasks.prune`.
        """
        found, environment, aside = await self._permitted(PRUNE_ALL, allow_destructive)
        await self.initialize()
        # What ends later is not in the copy, and stays.
        cutoffs = ALL.cutoffs(await self._engine.write(moment))
        if aside is not None and self._in_file:
            await self._engine.backup(Path(aside))
        elif aside is not None:
            tables = [table.name for schema in await self.declared() for table in schema.tables]
            async with self._engine.migration() as migration:
                await migration.write(copy_aside, tables, aside)
        pruned = await Pruning(self._engine, self._actor).run(cutoffs, progress=progress)
        return self._destroyed(PRUNE_ALL, environment, aside, existed=found), pruned

    # -- the rule ------------------------------------------------------------------------------

    async def _permitted(self, operation: str, allowed: str | None) -> tuple[bool, str, str | None]:
        """Whether there is a database, its environment, and what is going to keep a copy: a file or a schema.

        Raises ProtectedDatabaseError. Nothing in the database was changed then, not even brought up to date.
        """
        await self._open()
        if not await self._engine.exists():
            return False, "", None
        environment = await self._stamped()
        if environment == TEST:
            return True, environment, None
        names = own_names(self._engine.name)
        if "pytest" in sys.modules:
            raise _refused(
                self._engine.name, environment, operation, "and under pytest nothing else is destroyed", ""
            )
        if allowed not in names:
            said = "and nobody has allowed it" if allowed is None else f"and {allowed!r} is not its name"
            remedy = (
                f"If that is what you want, say its name: allow_destructive={names[0]!r} "
                f"(`--allow-destructive {names[0]}`)."
            )
            raise _refused(self._engine.name, environment, operation, said, remedy)
        return True, environment, self._aside(operation)

    async def _stamped(self) -> str:
        """The environment in the stamp; empty where there is none, or none that can be trusted."""
        try:
            seen = await self._engine.read(fingerprint, self._engine.dialect)
        except (NotADatabaseError, CorruptDatabaseError, StatementError):
            return ""
        return trusted_environment(seen, self._engine.dialect)

    @property
    def _in_file(self) -> bool:
        return "file" in self._engine.capabilities

    def _aside(self, operation: str) -> str | None:
        """What is going to keep a copy. Memory has nothing to lose."""
        what = operation.partition(" ")[0]
        if self._in_file:
            path = Path(self._engine.name)
            return str(path.with_name(f"{path.name}.before-{what}-{_moment()}.db"))
        if "backup" in self._engine.capabilities:
            return None
        return schema_aside(_schema_of(self._engine.name) or "abathur", f"_before_{what}_{_moment().lower()}")

    async def _removed(self, aside: str | None) -> None:
        await self._engine.remove(aside)
        self._state = "open"  # and no more initialized
        self._forget()
        self._watch.elsewhere()

    def _destroyed(
        self, operation: str, environment: str, backup: str | None = None, **more: Any
    ) -> Destroyed:
        return Destroyed(
            operation=operation, name=self._engine.name, environment=environment, backup=backup, **more
        )


def _refused(name: str, environment: str, operation: str, said: str, remedy: str) -> ProtectedDatabaseError:
    return ProtectedDatabaseError(name, environment, operation, f"it is not stamped `test`, {said}", remedy)


def trusted_environment(seen: Fingerprint, dialect: str) -> str:
    """The environment that a stamp says; empty if there is none, or if its two halves disagree."""
    row = seen.meta.get("environment", "")
    if dialect == "postgres":
        return row
    header = environment_of(seen.application_id)
    return header if header is not None and row in ("", header) else ""


def own_names(name: str) -> tuple[str, str]:
    """What somebody has to say who means this database: its short name, or the whole of it.

    name: the path or URL, as in messages.
    """
    if "://" not in name:
        return Path(name).name, name
    parts = urlsplit(name)
    database = parts.path.strip("/") or (parts.username or "")
    schema = _schema_of(name)
    return f"{database}.{schema}" if schema else database, name


def schema_aside(schema: str, ending: str) -> str:
    """The name of a schema that keeps what was in another one.

    A server cuts names after 63 bytes, and with them the ending, so it is the beginning that is cut here.
    """
    beginning = schema.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore")
    return beginning + ending


def _schema_of(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("schema", [""])[0]


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
