"""Bringing any earlier database to the declared schema: look, lock, look again, back up, apply, record.

With nothing to do only reads are executed. Everything else is one transaction: a process that is
killed at any statement leaves the database as it was, and the next one begins again.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen

from abathur.engines.base import Closing, Engine, Migration
from abathur.errors import (
    AbathurError,
    ConstraintError,
    EngineError,
    EnvironmentMismatchError,
    ForeignDatabaseError,
    InvalidInputError,
    MigrationError,
    NewerSchemaError,
    OpenError,
    SchemaConflictError,
    StatementError,
    UnfinishedMoveError,
)
from abathur.ids import new_id
from abathur.schema.apply import Progress, Work, converge, count_rows, duplicates, look, misfits
from abathur.schema.declare import Schema
from abathur.schema.inspect import Fingerprint, Found, filled_tables, fingerprint
from abathur.schema.plan import Options, Plan, make_plan
from abathur.schema.stamp import APPLICATION_IDS, environment_of, is_older, recorded_environment
from abathur.schema.steps import AddConstraint, CreateIndex, Step
from abathur.script import Emit, Emitted, Script, ScriptFunction, start

T = TypeVar("T")

BACKUPS_KEPT: Final = 2
MOVE: Final = "move"
"""The row of the stamp that says that the database is the target of a move that is not finished."""

More = Callable[[str], Script[Sequence[Schema]]]
"""A script, given the dialect, that reads which further schemas the database itself declares."""


@frozen(kw_only=True)
class Report:
    """What `initialize()` did. `steps` is empty when nothing had to change."""

    steps: tuple[Step, ...] = ()
    """What was done, in this order."""
    notes: tuple[str, ...] = ()
    """Differences from the declaration that need nothing, in words."""
    backup: Path | None = None
    """The copy from before, if one was made."""
    took_ms: float = 0.0
    """Milliseconds from the first look to the end."""
    environment: str = ""
    """``production``, ``development`` or ``test``."""
    database_id: str = ""
    """The database's own id; a copy of the file has the same."""
    created: bool = False
    """Whether there was no database before."""


@frozen(kw_only=True)
class _Wish:
    """How the database is to be opened: the arguments of `migrate`."""

    version: str
    environment: str | None
    project: str
    adopt: bool
    receives: bool = False
    """Whether as the target of a move, which may not be finished."""
    database_id: str = field(factory=new_id)
    """For a database that has none yet."""


async def plan(
    engine: Engine,
    schemas: Sequence[Schema],
    *,
    version: str,
    environment: str | None = None,
    adopt: bool = False,
    project: str | None = None,
    more: More | None = None,
) -> Plan:
    """What `migrate` would do, with its SQL, rows and locks. Changes nothing, and creates no file.

    Refuses what `migrate` refuses, except that conflicts are a part of the plan.
    """
    wish = _wish(version, environment, project, adopt=adopt)
    if not await engine.exists():
        options = evolve(_options(engine, wish), now=time.time_ns() // 1000)
        return make_plan(schemas, _nothing(options), options)

    def looked(now: int) -> Script[Plan]:
        options = _admit((yield from fingerprint(engine.dialect)), engine, wish)
        declared = (*schemas, *((yield from more(engine.dialect)) if more else ()))
        found, plan = yield from look(declared, options, now)
        return (yield from count_rows(plan, found))

    return await engine.read(looked)


async def migrate(
    engine: Engine,
    schemas: Sequence[Schema],
    *,
    version: str,
    environment: str | None = None,
    probe: ScriptFunction[object] | None = None,
    backup: bool = True,
    verify: bool = False,
    adopt: bool = False,
    project: str | None = None,
    receives: bool = False,
    more: More | None = None,
) -> Report:
    """Bring the database to the declared schemas.

    `environment` None accepts the one in the stamp and gives "development" to a database without a
    stamp. `probe` is a script that uses the tables; it is run after the steps and undone. `verify`
    inspects even if the stamp says that nothing has changed. `receives` opens the target of a move
    that is not finished, too. `more` reads the schemas that the database itself declares. Raises an
    OpenError if the database cannot be opened as it is, and an EngineError if the disk or the lock failed;
    either way nothing was changed.
    """
    began = time.monotonic()
    wish = evolve(_wish(version, environment, project, adopt=adopt), receives=receives)
    if await engine.exists():
        seen = await engine.read(fingerprint, engine.dialect)
        options = _admit(seen, engine, wish)
        is_current = not verify and _is_current(seen, schemas, options)
        found_plan = Plan() if is_current else await engine.read(_look, schemas, more, options)
        if found_plan.conflicts:
            raise SchemaConflictError(engine.name, found_plan.conflicts)
        if found_plan.empty:
            return _report(options, began, notes=found_plan.notes)
    async with engine.migration() as migration:
        return await _migrate(engine, migration, schemas, more, wish, probe, backup, began)


def _look(schemas: Sequence[Schema], more: More | None, options: Options, now: int) -> Script[Plan]:
    declared = (*schemas, *((yield from more(options.dialect)) if more else ()))
    return (yield from look(declared, options, now))[1]


async def _migrate(
    engine: Engine,
    migration: Migration,
    schemas: Sequence[Schema],
    more: More | None,
    wish: _Wish,
    probe: ScriptFunction[object] | None,
    backup: bool,
    began: float,
) -> Report:
    """What is done under the lock; another process may have done all of it before us."""
    options = _admit(await migration.read(fingerprint, engine.dialect), engine, wish)
    if more is not None:
        schemas = (*schemas, *(await migration.read(more, engine.dialect)))
    found, planned = await migration.read(look, schemas, options)
    if planned.conflicts:
        raise SchemaConflictError(engine.name, planned.conflicts)
    if planned.empty:
        return _report(options, began, notes=planned.notes)
    copy = None
    if backup and planned.inside and engine.capabilities >= {"file", "backup"}:
        filled = await migration.read(filled_tables, found)
        copy = await _back_up(migration, Path(engine.name), wish.version) if filled else None
    for setting in planned.before:
        await migration.set_pragma(setting.name, setting.value)
    applied = Plan()
    if planned.inside:
        work = Work(
            name=engine.name,
            schemas=schemas,
            options=options,
            progress=Progress(),
            clock=time.monotonic,
            probe=probe,
            admit=lambda seen: _admit(seen, engine, wish),
        )
        applied = await _applied(engine.name, work.progress, migration.write(converge, work))
        found = work.progress.found or found
        options = _admit(found.fingerprint, engine, wish)
    for setting in planned.after:
        await migration.set_pragma(setting.name, setting.value)
    done = (*planned.before, *applied.inside, *planned.after)
    return _report(options, began, done, applied.notes, backup=copy, created=found.is_new)


async def extend(
    engine: Engine,
    closing: Callable[[], Closing],
    declare: ScriptFunction[tuple[Schema | None, T]],
    *args: Any,
    version: str,
) -> T:
    """Bring an open database to the schema that a script declares, in the transaction in which it does.

    `declare` writes down what is declared, and returns the schema, or None if nothing is to be changed, and
    the answer for the caller. What it emits is sealed by what `closing` makes. Other schemas are not looked
    at, and no copy is made: a schema of `declare` may only add. Raises what `migrate` and `declare` raise,
    and then nothing was changed.
    """
    wish = _wish(version, None, None, adopt=False)
    progress = Progress()

    given = (engine, wish, progress, declare, args)
    if "processes" not in engine.capabilities:  # everything shares one connection, and goes through its lane
        return await _applied(engine.name, progress, engine.write(_extended, *given))
    async with engine.migration() as migration:
        return await _applied(engine.name, progress, migration.write(_closed, closing, _extended, given))


def _extended(
    engine: Engine,
    wish: _Wish,
    progress: Progress,
    declare: ScriptFunction[tuple[Schema | None, T]],
    args: tuple[Any, ...],
    now: int,
) -> Script[T]:
    schema, answer = yield from start(declare, args, now)
    if schema is not None:
        options = _admit((yield from fingerprint(engine.dialect)), engine, wish)
        yield from converge(
            Work(
                name=engine.name, schemas=(schema,), options=options, progress=progress, clock=time.monotonic
            ),
            now,
        )
    return answer


def _closed(
    closing: Callable[[], Closing], fn: ScriptFunction[T], args: tuple[Any, ...], now: int
) -> Script[T]:
    """A script with what ends its transaction, as the lane does it for others."""
    emitted: Emitted = {}
    steps = start(fn, args, now)
    answer: list[Any] | None = None
    while True:
        try:
            step = steps.send(answer)  # type: ignore[arg-type]  # the first send must be None
        except StopIteration as done:
            if emitted:
                yield from closing().script(emitted, now)
            return done.value  # type: ignore[no-any-return]
        if isinstance(step, Emit):
            emitted.setdefault(step.topic, []).extend(step.values)
            answer = []
        else:
            answer = yield step


async def _applied(name: str, progress: Progress, applying: Awaitable[T]) -> T:
    """Wait for a transaction that changes the schema, and say of its errors where it was."""
    try:
        return await applying
    except (StatementError, ConstraintError) as error:
        step = progress.step
        if isinstance(error, ConstraintError) and isinstance(step, CreateIndex) and step.unique:
            raise SchemaConflictError(name, [duplicates(step)]) from error
        if isinstance(error, ConstraintError) and isinstance(step, AddConstraint):
            raise SchemaConflictError(name, [misfits(step)]) from error
        raise MigrationError(name, progress.doing, str(error)) from error
    except (OpenError, EngineError):
        raise  # the lock, the disk, the file: these say what they are
    except Exception as error:
        if isinstance(error, AbathurError) and progress.found is None:
            raise  # of the script that declares, before there was anything to apply
        raise MigrationError(name, progress.doing, str(error) or repr(error)) from error


def _wish(version: str, environment: str | None, project: str | None, *, adopt: bool) -> _Wish:
    if environment is not None and environment not in APPLICATION_IDS:
        raise InvalidInputError(
            f"There is no environment {environment!r}.",
            f"Expected one of {', '.join(APPLICATION_IDS)}.",
            "Correct `environment=` (`--environment`) or ABATHUR_ENVIRONMENT.",
        )
    return _Wish(version=version, environment=environment, project=project or "", adopt=adopt)


def _admit(seen: Fingerprint, engine: Engine, wish: _Wish) -> Options:
    """Whether this database is ours to open, and if so, with what."""
    meta = seen.meta
    stamped = recorded_environment(seen.application_id, meta)
    if seen.application_id and environment_of(seen.application_id) is None and not wish.adopt:
        raise ForeignDatabaseError(engine.name, seen.application_id)
    needed = meta.get("min_reader_version", "0")
    if is_older(wish.version, needed):
        raise NewerSchemaError(engine.name, needed, wish.version)
    if MOVE in meta and not wish.receives:
        raise UnfinishedMoveError(engine.name)
    if stamped is not None and wish.environment not in (None, stamped):
        raise EnvironmentMismatchError(engine.name, stamped, str(wish.environment))
    return _options(engine, wish, stamped, meta.get("database_id"))


def _options(
    engine: Engine, wish: _Wish, stamped: str | None = None, database_id: str | None = None
) -> Options:
    return Options(
        dialect=engine.dialect,
        version=wish.version,
        environment=stamped or wish.environment or "development",
        project=wish.project,
        database_id=database_id or wish.database_id,
        is_file="file" in engine.capabilities,
    )


def _is_current(seen: Fingerprint, schemas: Sequence[Schema], options: Options) -> bool:
    """Whether the stamp alone shows that an inspection would find no difference.

    Never on PostgreSQL, which has no number that rises with every change of the schema.
    """
    meta: Mapping[str, str] = seen.meta
    return (
        environment_of(seen.application_id) is not None
        and meta.get("schema_version") == str(seen.schema_version)
        and all(meta.get(f"declaration:{schema.owner}") == schema.sha256 for schema in schemas)
        and (seen.journal_mode == "wal" or not options.is_file)
    )


def _nothing(options: Options) -> Found:
    """What an inspection would find where there is no file, or nothing in the schema, yet."""
    mode = "delete" if options.is_file else "memory"
    return Found(Fingerprint(0, 0, mode), (), {}, {}, auto_vacuum=0, page_size=options.page_size)


def _report(
    options: Options,
    began: float,
    steps: tuple[Step, ...] = (),
    notes: tuple[str, ...] = (),
    *,
    backup: Path | None = None,
    created: bool = False,
) -> Report:
    return Report(
        steps=steps,
        notes=notes,
        backup=backup,
        took_ms=(time.monotonic() - began) * 1000,
        environment=options.environment,
        database_id=options.database_id,
        created=created,
    )


# -- the way back ------------------------------------------------------------------------------


async def _back_up(migration: Migration, path: Path, version: str) -> Path:
    """Copy the database beside itself; the last two such copies are kept."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
    safe = re.sub(r"[^\w.+]", "_", version)
    target = path.with_name(f"{path.name}.before-{safe}-{moment}.db")
    await migration.backup(target)
    with contextlib.suppress(OSError):  # the copy is there; the older ones can go the next time
        _tidy_up(path)
    return target


def _tidy_up(path: Path) -> None:
    """Remove all but the last copies; those from before something was destroyed are not ours to remove."""
    pattern = re.compile(
        re.escape(path.name) + r"\.before-(?!drop-|reset-|purge-|prune-).+-(\d{8}T\d{12}Z)\.db"
    )
    matches = ((pattern.fullmatch(other.name), other) for other in path.parent.iterdir())
    copies = sorted((match[1], other) for match, other in matches if match)
    for _, other in copies[:-BACKUPS_KEPT]:
        other.unlink()
