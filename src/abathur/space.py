"""The room that a database takes on the disk, and how what is free of it is given back."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from attrs import frozen

from abathur.engines.base import Engine, Progress
from abathur.script import Script, Statement


@frozen(kw_only=True)
class Space:
    """The pages of a database file."""

    pages: int
    free: int
    """Pages that hold nothing; new rows take them first."""
    page_size: int
    """Bytes."""
    can_shrink: bool
    """Whether free pages can be given back bit by bit. Adopted files, made without
    ``auto_vacuum=INCREMENTAL``, need a VACUUM for it."""

    @property
    def free_bytes(self) -> int:
        """What could be given back to the file system."""
        return self.free * self.page_size


def space() -> Script[Space]:
    """How full the file is."""
    (row,) = yield Statement("space.state")
    return Space(
        pages=row["pages"],
        free=row["free"],
        page_size=row["page_size"],
        can_shrink=row["auto_vacuum"] == INCREMENTAL,
    )


INCREMENTAL: Final = 2
"""What ``PRAGMA auto_vacuum`` answers where free pages are given back on request."""


STEP: Final = 64
"""Pages that one transaction gives back: few, because every writer waits behind them."""


def shrink() -> Script[Space]:
    """Give a few free pages back. Returns what is left."""
    for _ in range(STEP):
        # One at a time: Python's driver stops this PRAGMA after its first page, whatever number it names.
        yield Statement("space.shrink")
    return (yield from space())


async def give_back(engine: Engine, progress: Progress | None) -> int:
    """Shrink in small transactions, as long as it helps; returns how many bytes were given back."""
    at = before = await engine.read(space)
    while at.can_shrink and at.free:
        began = time.monotonic()
        left = await engine.write(shrink)
        if left.free >= at.free:  # others free as much as is given back
            break
        at = left
        if progress is not None:
            progress(max(before.free - at.free, 0), before.free)
        await asyncio.sleep(time.monotonic() - began)  # the others get as much time
    return max(before.pages - at.pages, 0) * before.page_size
