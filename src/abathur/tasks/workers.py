"""The runners at work on a database: who is there, for which agent types, with how many slots.

A runner announces itself again and again; one that was not seen for `LIVE_FOR` counts as gone.
Announcements change no task, so they are not in the audit trail.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from abathur import payload, times
from abathur.script import Script, Statement
from abathur.tasks.views import WorkerInfo

LIVE_FOR: Final = 45 * times.SECOND
"""A worker that was seen within this time is live: it may miss two announcements."""
FORGET_AFTER: Final = 300 * times.SECOND
"""After this time the row of one that is gone is removed by anybody's announcement."""


@frozen(kw_only=True)
class Announcement:
    """What a runner says about itself."""

    id: str
    """Of this one run. Names may repeat: two runners of one process have the same, if none is given."""
    name: str
    agents: Mapping[str, int | None]
    """Its agent types, each with the number of tasks that it runs at a time if that is less than all."""
    concurrency: int
    host: str
    pid: int
    projects: tuple[str, ...] | None = None
    """Of which projects it takes tasks; None means any."""


def announce(who: Announcement, first: bool, now: int) -> Script[None]:
    """Note that a runner is at work, and forget those that were not seen for long.

    The `first` time it also replaces what other processes left under its name, for one that
    is started again under the name it had when it died.
    """
    if first:
        yield Statement("workers.replace", name=who.name, host=who.host, pid=who.pid)
    yield Statement("workers.forget", before=now - FORGET_AFTER)
    yield Statement(
        "workers.announce",
        id=who.id,
        name=who.name,
        agent_types=payload.encode(dict(who.agents), "the agent types"),
        concurrency=who.concurrency,
        host=who.host,
        pid=who.pid,
        projects=None if who.projects is None else payload.batch(who.projects),
        now=now,
    )


def withdraw(run: str) -> Script[None]:
    """Note that a runner has stopped."""
    yield Statement("workers.withdraw", id=run)


@frozen
class Crew:
    """The live workers, and the names of those that were there minutes ago."""

    live: tuple[WorkerInfo, ...]
    gone: tuple[WorkerInfo, ...]

    def of(self, agent_type: str) -> tuple[WorkerInfo, ...]:
        """The live workers that handle an agent type, whatever their projects."""
        return tuple(worker for worker in self.live if agent_type in worker.agent_types)

    def able(self, agent_type: str, project: str | None) -> tuple[WorkerInfo, ...]:
        """The live workers that handle an agent type, and take tasks of a project, or of none."""
        return tuple(worker for worker in self.of(agent_type) if worker.takes(project))

    def slots(self, agent_type: str) -> int:
        """How many tasks of an agent type the live workers could run at a time."""
        return slots(self.of(agent_type), agent_type)


def slots(workers: Sequence[WorkerInfo], agent_type: str) -> int:
    """How many tasks of an agent type these workers could run at a time."""
    return sum(worker.limits.get(agent_type, worker.concurrency) for worker in workers)


def read(now: int) -> Script[tuple[Crew, Mapping[tuple[str, str], int]]]:
    """The workers that have announced themselves; how many tasks of which agent type each name holds."""
    rows = yield Statement("workers.list")
    counts = yield Statement("workers.held")
    held = {(row["worker"] or "", row["agent_type"]): int(row["n"]) for row in counts}
    live: list[WorkerInfo] = []
    gone: list[WorkerInfo] = []
    for row in rows:
        (live if row["seen_at"] > now - LIVE_FOR else gone).append(_worker(row, held))
    return Crew(tuple(live), tuple(gone)), held


def live(now: int) -> Script[list[WorkerInfo]]:
    """The live workers, by name."""
    crew, _ = yield from read(now)
    return list(crew.live)


def _worker(row: Any, held: Mapping[tuple[str, str], int]) -> WorkerInfo:
    agents = payload.decode_stored(row["agent_types"])
    agents = agents if isinstance(agents, dict) else {}  # whoever writes to the table by hand
    concurrency = row["concurrency"]
    return WorkerInfo(
        name=row["name"],
        agent_types=tuple(sorted(agents)),
        limits={name: most for name, most in agents.items() if isinstance(most, int) and most < concurrency},
        concurrency=concurrency,
        host=row["host"],
        pid=row["pid"],
        started_at=times.moment(row["started_at"]) or times.EPOCH,
        seen_at=times.moment(row["seen_at"]) or times.EPOCH,
        running=sum(held.get((row["name"], agent_type), 0) for agent_type in agents),
        projects=_projects(row["projects"]),
    )


def _projects(text: Any) -> tuple[str, ...] | None:
    found = payload.decode_stored(text)
    return tuple(map(str, found)) if isinstance(found, list) else None


def are_busy(workers: Sequence[WorkerInfo], agent_type: str, held: Mapping[tuple[str, str], int]) -> bool:
    """Whether none of these workers could take another task of an agent type now.

    Runners that share a name are looked at together: a claim says only the name.
    """
    slots: Counter[str] = Counter()
    own: Counter[str] = Counter()
    types: dict[str, set[str]] = {}
    for worker in workers:
        slots[worker.name] += worker.concurrency
        own[worker.name] += worker.limits.get(agent_type, worker.concurrency)
        types.setdefault(worker.name, set()).update(worker.agent_types)
    return all(
        _total(held, name, types[name]) >= slots[name] or held.get((name, agent_type), 0) >= own[name]
        for name in types
    )


def _total(held: Mapping[tuple[str, str], int], name: str, agent_types: Iterable[str]) -> int:
    return sum(held.get((name, agent_type), 0) for agent_type in agent_types)
