"""What ends every write transaction, and what tries the tables out when they were changed."""

from __future__ import annotations

from abathur import audit, ids, times
from abathur.script import Emitted, Script, Statement, Together
from abathur.tasks import claim, moves, settle, submit
from abathur.tasks.new import new_task


class Closing:
    """Ends each transaction: brings the counts up to date and seals the audit rows."""

    def __init__(self) -> None:
        self._chain = self._next = audit.Chain(ids.new_id())

    def script(self, emitted: Emitted, now: int) -> Script[None]:
        self._next = self._chain  # the last transaction may have been lost after its seal
        rows = audit.observed(emitted)
        again = moves.RECOUNT in emitted
        # With the trail, whose end only one transaction writes at a time: everybody changes these rows.
        counts = [] if again else moves.counts(moves.observed(emitted))
        if rows:
            self._next = yield from self._chain.seal(rows, now, *counts)
        elif counts:
            yield Together(*counts)
        if again:
            yield from moves.count_again()

    def committed(self) -> None:
        self._chain = self._next

    def landed(self) -> Script[bool | None]:
        if self._next is self._chain:
            return None
        return (yield from self._next.is_there())


def probe(now: int) -> Script[None]:
    """Use the tables as the library does; `migrate` undoes it. Finds CHECKs and triggers in the way."""
    agent_type = ids.new_id()
    (task,) = yield from submit.enqueue(
        [new_task("probe", agent_type=agent_type, input={"probe": True})], now
    )
    request = claim.Request("probe", (agent_type,), 1, 1.0)
    ((held,),) = yield from claim.claim_calls([request], now)
    yield from settle.complete(held, {"probe": True}, now=now)
    yield from Closing().script(
        {
            moves.TOPIC: [moves.Move(task.id, agent_type, "new", "ready", None, "{}")],
            audit.TOPIC: [(times.iso(now), None, "probe", None, None)],
        },
        now,
    )


def last_moment() -> Script[int]:
    """The latest moment (microseconds) that the database has recorded, 0 if none."""
    rows = yield Statement("audit.last_sealed_at")
    moment = rows[0]["sealed_at"] if rows else 0
    return moment if isinstance(moment, int) else 0  # in a damaged file it may be anything
