"""The part of `db.tasks` that keeps the tables in order: reconcile, recount, prune."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

from abathur import audit
from abathur.engines.base import Engine, Progress
from abathur.errors import ConstraintError, InvalidInputError
from abathur.script import Script
from abathur.tasks import moves, prune, reading, reconcile
from abathur.tasks.retention import Pruned, Retention

log = logging.getLogger("abathur.tasks")

BEYOND: Final = "\U0010ffff"
"""A text that comes after every id."""


class Upkeep:
    """What is done now and then, by runners or by a person."""

    _engine: Engine
    _actor: str
    """Who prunes, for the audit trail."""

    async def reconcile(self) -> int:
        """Move on what older versions left behind; returns how many tasks that were.

        Runners do this when they start. It is needed once after an older database was adopted.
        """
        total = 0
        while moved := await self._engine.write(reconcile.reconcile):
            total += moved
        return total

    async def recount(self) -> None:
        """Count all tasks anew, after another program has written to the tables."""
        await self._engine.write(moves.recount)

    async def prune(
        self,
        retention: Retention,
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Pruned:
        """Remove tasks that ended longer ago than `retention` keeps them; `dry_run` only counts them.

        With a task go its input and result, attempts, edges, idempotency key and the rows of the audit
        trail, in whose place a tombstone stands. A task stays while something that is left needs it: one
        that waits for it, or would if it were tried again, its parent while that has not ended, and its
        parts. It works in small
        transactions, so nobody waits long; what one has removed stays removed when it is cancelled.
        `progress` is called with the numbers of tasks that were looked at and that there are.

        Raises InvalidInputError.
        """
        if not isinstance(retention, Retention):
            raise InvalidInputError(
                f"{retention!r} is no retention.",
                "Expected how long tasks are kept, by how they ended.",
                "Write `Retention(completed=timedelta(days=30))`.",
            )
        cutoffs = retention.cutoffs(await self._engine.read(moment))
        return await Pruning(self._engine, self._actor).run(cutoffs, dry_run=dry_run, progress=progress)


@define
class Pruning:
    """One run of `prune`."""

    _engine: Engine
    _actor: str

    async def run(
        self, cutoffs: Mapping[str, int], *, dry_run: bool = False, progress: Progress | None = None
    ) -> Pruned:
        """Remove what ended before the cutoff of its status (microseconds)."""
        done = _Done()
        before: str | None = BEYOND if cutoffs else None
        total = sum(row[2] for row in await self._engine.read(reading.counts)) if progress is not None else 0
        seen = 0
        while before is not None:
            page = await self._engine.read(prune.candidates, cutoffs, before)
            for start in range(0, len(page.ids), prune.BATCH):
                began = time.monotonic()
                await self._remove(page.ids[start : start + prune.BATCH], cutoffs, done, dry_run=dry_run)
                await asyncio.sleep(time.monotonic() - began)  # the other writers get as much time
            before, seen = page.before, seen + page.seen
            if progress is not None:
                progress(min(seen, total), total)
        seals = await self._cut() if done.audit_rows else 0
        return Pruned(
            tasks=done.by_status.total(),
            by_status=dict(sorted(done.by_status.items())),
            audit_rows=done.audit_rows,
            seals=seals,
            needed=done.needed,
            refused=done.refused,
            dry_run=dry_run,
        )

    async def _cut(self) -> int:
        """Cut off the oldest part of the trail, if all of it was pruned; returns how many seals that were."""
        while await self._engine.write(audit.checkpoint):
            pass
        total = 0
        while True:
            began = time.monotonic()
            seals = await self._engine.write(audit.cut, self._actor)
            if not seals:
                return total
            total += seals
            await asyncio.sleep(time.monotonic() - began)

    async def _remove(
        self, ids: Sequence[str], cutoffs: Mapping[str, int], done: _Done, *, dry_run: bool
    ) -> None:
        try:
            if dry_run:
                removal = await self._engine.read(prune.preview, ids, cutoffs, done.gone)
                done.gone.update(removal.ids)
            else:
                removal = await self._engine.write(prune.remove, ids, cutoffs, self._actor)
        except ConstraintError as error:
            # A foreign key, or a trigger, of a table that is not ours: find the tasks that it is about.
            if len(ids) == 1:
                log.info("task %s is kept: %s", ids[0], error.problem)
                done.refused += 1
                return
            half = len(ids) // 2
            for part in (ids[:half], ids[half:]):
                await self._remove(part, cutoffs, done, dry_run=dry_run)
            return
        done.by_status.update(removal.by_status)
        done.audit_rows += removal.audit_rows
        done.needed += removal.needed


@define
class _Done:
    gone: set[str] = field(factory=set)
    """Of a dry run, what would be gone."""
    by_status: Counter[str] = field(factory=Counter)
    audit_rows: int = 0
    needed: int = 0
    refused: int = 0


def moment(now: int) -> Script[int]:
    """The moment of a transaction. Written, it is one before which every other one has ended."""
    yield from ()
    return now
