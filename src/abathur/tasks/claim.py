"""Claim: who works on what, for how long, under which fence.

Every claim first promotes what is due and rescues expired leases, bounded, in the same
transaction, so there is no leader whose death would stop the queue.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from abathur import times
from abathur.errors import LeaseLostError
from abathur.models import Claim
from abathur.script import Script, Statement
from abathur.states import READY, RUNNING, SCHEDULED
from abathur.tasks import moves, of_projects, rank, reading, settle
from abathur.tasks.moves import Move, about
from abathur.tasks.reading import Stored

SWEEP: Final = 100
"""Tasks that one claim promotes, rescues or lifts at most, so that no claim is slow."""


@frozen
class Request:
    """One caller's wish for work."""

    worker: str
    agent_types: tuple[str, ...] | None
    """None means any agent type."""
    limit: int
    lease: float
    caps: tuple[tuple[str, int], ...] = ()
    """Agent types of which it takes so many at most."""
    projects: tuple[str, ...] | None = None
    """None means any task, of a project or of none."""


@frozen
class Renewal:
    """One heartbeat: a claim, the lease that it asks for, and what it says about its progress."""

    task_id: str
    fence: int
    lease: float
    fraction: float | None = None
    message: str | None = None


def claim_calls(requests: Sequence[Request], now: int) -> Script[list[list[Claim]]]:
    """Give each request the next ready tasks of its agent types, in the order of their ranks."""
    yield from sweep(now)
    answers: list[list[Claim]] = [[] for _ in requests]
    groups: dict[Any, list[int]] = {}
    for place, request in enumerate(requests):
        # What one may take of a type, another with the same caps may take as well: no shares in common.
        group = (request.agent_types, request.projects, place if request.caps else None)
        groups.setdefault(group, []).append(place)
    for places in groups.values():
        first = requests[places[0]]
        wanted = sum(requests[place].limit for place in places)
        types, caps = first.agent_types, dict(first.caps)
        if first.projects is None:
            found = yield from _next_ready(types, wanted, caps)
        else:
            ids = yield from of_projects.next_ready(first.projects, types, wanted, caps)
            found = yield from reading.whole(ids)
        if not found:
            continue
        # First come, first served: the first request is filled before the second gets any.
        shares = [requests[place] for place in places for _ in range(requests[place].limit)]
        owners = [place for place in places for _ in range(requests[place].limit)]
        claims = yield from take(found, shares, now)
        for owner, claim in zip(owners, claims, strict=False):
            answers[owner].append(claim)
    return answers


def _next_ready(agent_types: tuple[str, ...] | None, limit: int, caps: Mapping[str, int]) -> Script[Stored]:
    """The best ranked ready tasks, in their order; of an agent type no more than its cap."""
    if agent_types is None:
        agent_types = yield from _ready_types()
    if len(agent_types) == 1:  # there is nothing to merge, so they are read at once
        (only,) = agent_types
        most = min(limit, caps.get(only, limit))
        return reading.stored((yield Statement("tasks.next", agent_type=only, limit=most)) if most else [])
    return (yield from reading.whole((yield from _best(agent_types, limit, caps))))


def _best(agent_types: tuple[str, ...], limit: int, caps: Mapping[str, int]) -> Script[list[str]]:
    """The ids of several agent types: a merge of one short index read for each, up to its cap."""
    candidates: list[tuple[int, str]] = []
    for agent_type in agent_types:
        most = min(limit, caps.get(agent_type, limit))
        rows = (yield Statement("tasks.ready", agent_type=agent_type, limit=most)) if most else []
        candidates += [(row["rank"], row["id"]) for row in rows]
    return [task_id for _, task_id in heapq.nsmallest(limit, candidates)]


def _ready_types() -> Script[tuple[str, ...]]:
    found: list[str] = []
    after = ""
    while True:
        (row,) = yield Statement("tasks.next_ready_type", after=after)
        if row["agent_type"] is None:
            return tuple(found)
        after = row["agent_type"]
        found.append(after)


def take(found: Stored, shares: Sequence[Request], now: int) -> Script[list[Claim]]:
    """Claim these tasks, which are ready, each for the request in its place; there may be more requests."""
    at = times.iso(now)
    claims: list[Claim] = []
    changes: list[tuple[Any, ...]] = []
    made: list[Move] = []
    for (task_id, (steady, before)), share in zip(found.items(), shares, strict=False):
        _, fence, attempt, *_ = before
        expires = now + int(share.lease * times.SECOND)
        changes.append((share.worker, expires, at, at, task_id, fence))
        fence, attempt = fence + 1, attempt + 1
        task = reading.task(steady, (RUNNING, fence, attempt, share.worker, expires, at, at))
        made.append(
            Move(task_id, task.agent_type, READY, RUNNING, share.worker, about(READY, fence, attempt))
        )
        claims.append(Claim(task, fence, share.worker, share.lease))
    yield Statement("tasks.claim", rows=changes, columns=_CLAIM)
    yield from moves.record(made, now)
    return claims


_CLAIM: Final = ("worker", "lease_expires_at", "started_at", "at", "id", "fence")


def sweep(now: int) -> Script[None]:
    """Promote what is due, rescue expired leases, lift what is in danger."""
    at = times.iso(now)
    # One look, because most of the time there is nothing. Those that become ready here may be near as well.
    (found,) = yield Statement("tasks.overdue", now=now)
    due = (yield Statement("tasks.due", now=now, limit=SWEEP)) if found["due"] else []
    if due:
        yield Statement("tasks.promote", rows=[{"id": row["id"], "at": at} for row in due])
        yield from moves.record(
            [Move(row["id"], row["agent_type"], SCHEDULED, READY, None, _ABOUT_DUE) for row in due], now
        )
    expired = (yield Statement("tasks.expired", now=now, limit=SWEEP)) if found["expired"] else []
    if expired:
        yield from settle.expire(expired, now)
    near = (yield Statement("tasks.near", now=now, limit=SWEEP)) if found["near"] or due or expired else []
    if near:
        yield Statement("tasks.lift", rows=[{"id": row["id"], "by": rank.LIFT} for row in near])


_ABOUT_DUE = about(SCHEDULED)


def heartbeat_calls(renewals: Sequence[Renewal], now: int) -> Script[list[LeaseLostError | None]]:
    """Extend leases whose fence still holds; answer the others with LeaseLostError."""
    held = yield from settle.held([(renewal.task_id, renewal.fence) for renewal in renewals])
    good = [renewal for renewal in renewals if (renewal.task_id, renewal.fence) in held]
    if good:
        yield Statement(
            "tasks.extend",
            rows=[
                {
                    "id": renewal.task_id,
                    "fence": renewal.fence,
                    "lease_expires_at": now + int(renewal.lease * times.SECOND),
                }
                for renewal in _last(good)
            ],
        )
    said = _last([one for one in good if one.fraction is not None or one.message is not None])
    if said:
        yield Statement(
            "tasks.set_progress",
            rows=[
                {"id": renewal.task_id, "fraction": renewal.fraction, "message": renewal.message, "now": now}
                for renewal in said
            ],
        )
    lost = yield from settle.lost(
        [
            (renewal.task_id, renewal.fence)
            for renewal in renewals
            if (renewal.task_id, renewal.fence) not in held
        ]
    )
    return [lost.get((renewal.task_id, renewal.fence)) for renewal in renewals]


def _last(renewals: Sequence[Renewal]) -> list[Renewal]:
    """Of several heartbeats for one claim the last."""
    return list({renewal.task_id: renewal for renewal in renewals}.values())
