"""How the whole queue stands: kept counts, live workers, heads of queues, and what ended lately.

What it costs does not grow with the tables: counts are kept, a head is one look into an index, and of
the trail at most `RECENT` rows are read.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from abathur import times
from abathur.script import Script, Statement
from abathur.states import READY
from abathur.tasks import reading, workers
from abathur.tasks.views import QueueStats, Stats, Throughput

RECENT: Final = 20_000
"""Rows at the end of the trail in which tasks that ended are counted."""
MINUTE: Final = 60
HOUR: Final = 3_600


def stats(now: int) -> Script[Stats]:
    """How the whole queue stands."""
    counts = yield from reading.counts()
    crew, _ = yield from workers.read(now)
    (over,) = yield Statement("looking.expired", now=now)
    total: Counter[str] = Counter()
    by_type: dict[str, dict[str, int]] = {}
    for agent_type, status, n in sorted(counts):
        total[status] += n
        by_type.setdefault(agent_type, {})[status] = n
    for worker in crew.live:
        for agent_type in worker.agent_types:
            by_type.setdefault(agent_type, {})
    queues = []
    for agent_type, own in sorted(by_type.items()):
        ready_for = (yield from _ready_for(agent_type, now)) if own.get(READY) else None
        queues.append(
            QueueStats(
                agent_type=agent_type,
                counts=own,
                ready_for=ready_for,
                workers=len(crew.of(agent_type)),
                slots=crew.slots(agent_type),
            )
        )
    minute, hour = yield from _throughput(now)
    return Stats(
        at=times.moment(now) or times.EPOCH,
        counts=dict(total),
        queues=tuple(queues),
        workers=crew.live,
        expired=over["n"],
        last_minute=minute,
        last_hour=hour,
    )


def _ready_for(agent_type: str, now: int) -> Script[float | None]:
    for row in (yield Statement("looking.head", agent_type=agent_type)):
        since = times.parse(row["last_updated_at"])
        return None if since is None else max(now - times.micros(since, "since"), 0) / times.SECOND
    return None


def _throughput(now: int) -> Script[tuple[Throughput, Throughput]]:
    """What ended within the last minute and the last hour, as far back as `RECENT` rows of the trail go."""
    (last,) = yield Statement("audit.last_id")
    after = max((last["id"] or 0) - RECENT, 0)
    back = float(HOUR)
    if after:  # else the whole trail is read
        for row in (yield Statement("looking.first_after", after=after)):
            first = times.parse(row["timestamp"])
            if first is not None:
                back = min(max(now - times.micros(first, "first"), 0) / times.SECOND, back)
    rows = yield Statement(
        "looking.ended",
        after=after,
        earlier=times.iso(now - HOUR * times.SECOND),
        later=times.iso(now - MINUTE * times.SECOND),
    )
    ended = {row["action_type"]: (row["later"], row["earlier"]) for row in rows}
    completed = ended.get("task.completed", (0, 0))
    failed = ended.get("task.failed", (0, 0))
    return (
        Throughput(completed=completed[0], failed=failed[0], seconds=min(back, MINUTE)),
        Throughput(completed=completed[1], failed=failed[1], seconds=back),
    )
