"""The comparison at the end of a move: each table's rows, counted and digested, here and there."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, field, frozen

from abathur.engines.base import Engine, Progress
from abathur.moving import numbers, pages
from abathur.moving.mark import stamped
from abathur.moving.tables import Moving
from abathur.moving.values import MODULUS, digest
from abathur.schema.found import META


@define
class Meter:
    """How many rows are done, of how many."""

    total: int
    progress: Progress | None
    done: int = 0

    def add(self, rows: int) -> None:
        """Count some more."""
        self.done += rows
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


@frozen
class Compared:
    """What the comparison found."""

    tables: tuple[tuple[str, int, int], ...]
    """Each table with how many rows it has, and their digest."""
    differing: list[str] = field(factory=list)
    """What is not equal on both sides, in words."""


async def total(engine: Engine, tables: Sequence[Moving]) -> int:
    """How many rows there are."""
    return sum([await engine.read(pages.count, one) for one in tables])


async def compare(here: Engine, there: Engine, tables: Sequence[Moving], meter: Meter) -> Compared:
    """Read every row on both sides.

    What was written to the source while it was copied shows in the digests; what is written while they are
    computed, in the number of the trail's last row, which is looked at before and after.
    """
    before = await here.read(numbers.issued, tables, here.dialect)
    found, differing = [], []
    for one in tables:
        ours, theirs = await _digest(here, one, meter), await _digest(there, one, meter)
        found.append((one.name, *ours))
        if ours[0] != theirs[0]:
            differing.append(f"{one.name} has {ours[0]:,} rows here and {theirs[0]:,} there")
        elif ours != theirs:
            differing.append(f"rows of {one.name} are different")
    if await here.read(stamped) != await there.read(stamped):
        differing.append(f"rows of {META} are different")
    after = await here.read(numbers.issued, tables, here.dialect)
    if not before == after == await there.read(numbers.issued, tables, there.dialect):
        differing.append("rows were added here meanwhile")
    return Compared(tuple(found), differing)


async def _digest(engine: Engine, moving: Moving, meter: Meter) -> tuple[int, int]:
    rows, sums = 0, 0
    after: pages.Key | None = None
    pace = pages.Pace()
    while (page := await engine.read(pages.read, moving, engine.dialect, after, pace.limit)).rows:
        rows += len(page.rows)
        sums = (sums + digest(page.rows)) % MODULUS
        after = page.last
        pace.look(page.rows)
        meter.add(len(page.rows))
    return rows, sums
