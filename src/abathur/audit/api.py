"""`db.audit`: read the trail and check it."""

from __future__ import annotations

from abathur import payload, times
from abathur.audit import head as heads
from abathur.audit import reading
from abathur.audit.head import AuditHead
from abathur.audit.verify import Check
from abathur.engines.base import Engine, Progress
from abathur.errors import InvalidInputError
from abathur.models import AuditEntry, AuditReport
from abathur.script import Script, Statement


class Audit:
    """The trail of a Database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(
        self, *, task_id: str | None = None, action: str | None = None, after: int = 0, limit: int = 100
    ) -> list[AuditEntry]:
        """Entries in the order in which they were written, those with an id above `after`.

        Ask for the next page with `after=entries[-1].id`. `action` is an exact `action_type` such
        as ``task.completed``.
        """
        for name, value in (("after", after), ("limit", limit)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidInputError(
                    f"{name}={value!r} is no id or number of rows.",
                    "Expected an integer from 0.",
                    f"Give another {name}.",
                )
        return await self._engine.read(_list, task_id, action, after, limit)

    async def verify(
        self,
        *,
        head: AuditHead | str | None = None,
        progress: Progress | None = None,
    ) -> AuditReport:
        """Check every seal, row, checkpoint and tombstone of the trail.

        Never raises for a bad trail: see `.ok`, `.first_bad` and `.problem`. With a `head` that was kept
        somewhere else it also proves that everything up to that moment is still there. `progress` is
        called with the numbers of seals that are done and that there are. What is written meanwhile is
        left to the next call. Raises InvalidInputError for a `head` that is none.
        """
        pinned = AuditHead.parse(head) if isinstance(head, str) else head
        bounds = await self._engine.read(reading.bounds)
        while True:
            check = Check(bounds, pinned)
            check.start()
            while not check.done:
                page = await self._engine.read(
                    reading.page, check.last_seal, check.next_row, bounds.last_seal
                )
                check.take(page)
                if progress is not None:
                    progress(check.last_seal, bounds.last_seal)
            check.end()
            before, bounds = bounds, await self._engine.read(reading.bounds)
            if check.problem is None or bounds.cut == before.cut:  # else it was cut under our hands
                return check.report()

    async def head(self) -> AuditHead:
        """Where the trail stands now. Keep ``str(head)`` where nobody who can write the database can."""
        return await self._engine.read(heads.head)

    async def checkpoint(self) -> None:
        """Join the seals since the last checkpoint into another one; runners do this now and then.

        A checkpoint makes the next `head` quick, and shows when seals that it has seen are removed.
        """
        while await self._engine.write(heads.checkpoint):
            pass


def _list(task_id: str | None, action: str | None, after: int, limit: int) -> Script[list[AuditEntry]]:
    if task_id is None:
        rows = yield Statement("audit.list", action=action, after=after, limit=limit)
    else:
        rows = yield Statement("audit.of_task", task_id=task_id, action=action, after=after, limit=limit)
    return [
        AuditEntry(
            id=row["id"],
            at=times.parse(row["timestamp"]),
            actor=row["actor"] or row["agent_id"],
            action=row["action_type"],
            task_id=row["task_id"],
            data=payload.decode_stored(row["action_data"]),
            result=row["result"],
        )
        for row in rows
    ]
