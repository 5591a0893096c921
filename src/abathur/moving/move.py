"""The move itself: look at both databases, copy page by page, compare, and open the target."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence

from attrs import frozen

from abathur import times
from abathur._version import __version__
from abathur.closing import last_moment
from abathur.database import Database
from abathur.engines.base import Engine, Progress
from abathur.errors import (
    InvalidInputError,
    LeftBehindError,
    MissingDatabaseError,
    MoveDiffersError,
    SourceInUseError,
)
from abathur.moving import mark as marks
from abathur.moving import numbers, pages
from abathur.moving.compare import Meter, compare, total
from abathur.moving.mark import Mark
from abathur.moving.tables import LeftBehind, Moving, left_behind, moving
from abathur.moving.values import for_sqlite
from abathur.schema.render import quoted
from abathur.script import Built, Script
from abathur.tasks import workers


@frozen(kw_only=True)
class MovedTable:
    """One table of a move."""

    name: str
    rows: int
    digest: str
    """A number over all its rows, in hexadecimal, the same on both sides."""


@frozen(kw_only=True)
class Moved:
    """What `move` did."""

    source: str
    target: str
    database_id: str
    """The same on both sides."""
    environment: str
    """``production``, ``development`` or ``test``; the same on both sides."""
    tables: tuple[MovedTable, ...]
    """What was copied and compared."""
    left_behind: tuple[LeftBehind, ...]
    """What the source holds and the program does not declare; it was not copied."""
    resumed: bool
    """Whether it went on where an earlier call had ended."""
    took_ms: float


async def move(
    source: Database,
    target: Database,
    *,
    progress: Progress | None = None,
    only_declared: bool = False,
    while_running: bool = False,
) -> Moved:
    """Copy a database into an empty one, on any engine, and compare them table by table.

    Nothing may write to the source meanwhile. Both are opened, if they are not open yet, and left to the
    caller to close; both must be made with the same `schema`, whose tables are copied too. The source is
    not changed, except that an older one is brought to today's schema first.

    A call that was interrupted or failed is repeated with the same databases, and goes on where it was.
    Until then nobody else can open the target (UnfinishedMoveError).

    `progress` is called with how many rows are done and how many there are; each is counted three times:
    copied, read again here, and there. `only_declared` leaves behind what the Databases do not declare, such
    as tables of an application. `while_running` copies although runners have been seen on the source within
    a minute: they may have been killed, and what they write would be found in the end.

    Raises TargetNotEmptyError, SourceInUseError, LeftBehindError, UnmovableValueError, MoveDiffersError if
    something wrote to the source, MoveConflictError; besides what opening a database raises.
    """
    began = time.monotonic()
    if source.schemas != target.schemas:
        raise InvalidInputError(
            "The two Databases of the move declare different schemas.",
            "Expected the same, as their tables are copied.",
            "Give both the same `schema=`.",
        )
    if not await source.exists():
        raise MissingDatabaseError(source.name)
    opened = await source.initialize()
    crew = await source.read(workers.live)
    if crew and not while_running:
        raise SourceInUseError(source.name, [worker.name for worker in crew])
    here = source.engine
    schemas = await source.declared()
    left = await here.read(left_behind, here.dialect, schemas)
    strange = [str(one) for one in left if not one.declared]
    if strange and not only_declared:
        raise LeftBehindError(source.name, strange)
    tables = moving(schemas)
    await target.receive(opened.environment, schemas, marks.admitted, opened.database_id)
    there = target.engine
    if there.dialect != here.dialect == "sqlite":
        for one in tables:
            pages.check(one, await here.read(pages.suspects, one), there.dialect)
    stamp = await here.read(marks.stamped)
    mark = await there.write(marks.begin, there.name, there.dialect, schemas, tables, stamp)
    resumed = mark != Mark(opened.database_id)
    meter = Meter(3 * await total(here, tables), progress)
    mark = await _copy(here, there, tables, mark, meter)
    compared = await compare(here, there, tables, meter)
    if compared.differing:
        await there.write(marks.note, there.name, mark, mark.then("again"))
        raise MoveDiffersError(source.name, target.name, compared.differing)
    told = {"from": here.name, "at": times.iso(time.time_ns() // 1000), "version": __version__}
    await there.write(marks.finish, there.name, mark, json.dumps(told))
    there.not_before(await there.read(last_moment))
    return Moved(
        source=here.name,
        target=there.name,
        database_id=opened.database_id,
        environment=opened.environment,
        tables=tuple(
            MovedTable(name=name, rows=rows, digest=f"{digest:064x}")
            for name, rows, digest in compared.tables
        ),
        left_behind=left,
        resumed=resumed,
        took_ms=(time.monotonic() - began) * 1000,
    )


async def _copy(here: Engine, there: Engine, tables: Sequence[Moving], mark: Mark, meter: Meter) -> Mark:
    """Copy what is not there yet, a page in each transaction."""
    names = [one.name for one in tables]
    begun = names.index(mark.table) if mark.table in names else 0
    if mark.table is not None:
        meter.add(await total(there, tables))
    if mark.phase != "copying":
        return mark
    for place, one in enumerate(tables[begun:], begun):
        after = mark.after if place == begun and mark.table is not None else None
        pace = pages.Pace()
        while (page := await here.read(pages.read, one, here.dialect, after, pace.limit)).rows:
            pages.check(one, page, there.dialect)
            following = mark.at(one.name, page.last)
            rows = for_sqlite(page.rows) if there.dialect == "sqlite" else page.rows
            await there.write(marks.put, there.name, one, rows, mark, following)
            mark, after = following, page.last
            pace.look(page.rows)
            meter.add(len(page.rows))
    last = await here.read(numbers.issued, tables, here.dialect)
    await there.write(_settle, there.name, there.dialect, tables, last, mark)
    return mark.then("comparing")


def _settle(
    name: str, dialect: str, tables: Sequence[Moving], last: dict[str, int], mark: Mark
) -> Script[None]:
    """After the last page: numbers go on where they were, and the planner learns what is there."""
    yield from marks.note(name, mark, mark.then("comparing"))
    yield from numbers.go_on(tables, dialect, last)
    if dialect == "postgres":  # SQLite's ANALYZE would change the schema
        for one in tables:
            yield Built(f"ANALYZE {quoted(one.name)}")
