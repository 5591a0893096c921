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
from abathur.rows.api import Rows
from abathur.schema.declare import Schema
from abathur.schema.found import Fingerprint
from abathur.schema.inspect import fingerprint
from abathur.schema.stamp import environment_of
from abathur.tasks.api import Tasks
from abathur.tasks.retention import Pruned, Retention
from abathur.tasks.watch import Watch

TEST: Final = "test"
PRUNE_ALL: Final = "prune --all"
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
    _rows: Rows
    _environment: str | None
    _actor: str
    _state: str
    _tasks: Tasks
    _watch: Watch
    _open: Callable[..., Any]
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
            backup = aside or await self._copied("drop", environment)
            await self._removed(aside)
            return self._destroyed("drop", environment, backup)
        return self._destroyed("drop", environment, existed=False)

    async def reset(self, *, allow_destructive: str | None = None) -> Destroyed:
        """Drop the database and make it anew, with the environment that it had.

        The rule, the copy and the errors are those of `drop`.
        """
        found, environment, aside = await self._permitted("reset", allow_destructive)
        backup = None
        if found:
            backup = aside or await self._copied("reset", environment)
            await self._removed(aside)
        self._environment = environment or self._environment
        await self.initialize()
        return self._destroyed("reset", environment, backup, existed=found)

    async def purge(self, *, allow_destructive: str | None = None) -> Destroyed:
        """Delete all rows: tasks, their history, and those of every declared table. The schema stays.

        One transaction, beside which other processes may work. Tables that nobody has declared keep their
        rows, those of plugins are emptied too, and the stores of projects, which are databases of their own,
        are not touched. The trail begins anew, with an entry that says so. The rule, the copy and the errors
        are those of `drop`; ConstraintError where rows of an undeclared table refer to what would be deleted.
        """
        found, environment, aside = await self._permitted("purge", allow_destructive)
        backup = await self._copied("purge", environment) if found and aside is None else aside
        await self.initialize()
        if found:
            schemas = await self.declared()
            async with self._engine.migration() as migration:
                await migration.write(purge, self._engine.dialect, schemas, self._actor, aside)
            self._watch.elsewhere()
        return self._destroyed("purge", environment, backup, existed=found)

    async def prune_all(
        self, *, allow_destructive: str | None = None, progress: Progress | None = None
    ) -> tuple[Destroyed, Pruned]:
        """Remove every task that has ended, however short ago, as `db.tasks.prune` removes the old ones.

        The rule, the copy and the errors are those of `drop`. `progress` is that of `db.tasks.prune`.
        """
        found, environment, aside = await self._permitted(PRUNE_ALL, allow_destructive)
        backup = await self._copied("prune", environment) if found and aside is None else aside
        await self.initialize()
        if aside is not None:
            tables = [table.name for schema in await self.declared() for table in schema.tables]
            async with self._engine.migration() as migration:
                await migration.write(copy_aside, tables, aside)
        pruned = await self._tasks.prune(ALL, progress=progress)
        return self._destroyed(PRUNE_ALL, environment, backup, existed=found), pruned

    # -- the rule ------------------------------------------------------------------------------

    async def _permitted(self, operation: str, allowed: str | None) -> tuple[bool, str, str | None]:
        """Whether there is a database, its environment, and the schema in which a server keeps a copy.

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

    def _aside(self, operation: str) -> str | None:
        if "backup" in self._engine.capabilities:
            return None
        schema = own_names(self._engine.name)[0].partition(".")[2] or "abathur"
        return f"{schema[:30]}_before_{operation.partition(' ')[0]}_{_moment().lower()}"

    async def _copied(self, operation: str, environment: str) -> str | None:
        """Make the copy. One of the tests is not worth one, and memory has nothing to lose."""
        if environment == TEST or "file" not in self._engine.capabilities:
            return None
        path = Path(self._engine.name)
        target = path.with_name(f"{path.name}.before-{operation}-{_moment()}.db")
        await self._engine.backup(target)
        return str(target)

    async def _removed(self, aside: str | None) -> None:
        await self._engine.remove(aside)
        self._state = "open"  # and no more initialized
        self._rows.forget()
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
    schema = parse_qs(parts.query).get("schema", [""])[0]
    return f"{database}.{schema}" if schema else database, name


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
