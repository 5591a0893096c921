"""`why` and the critical path against brute force: every path of a random small graph is walked.

The model knows only the edges and what was done to each task. It finds the roots of what a task waits
for, and the longest chain, by trying all paths; ours must say the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, Literal, cast

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from abathur import Database, Prerequisite, Task
from abathur.times import moment

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND
ENDED = ("completed", "failed", "cancelled")
Policy = Literal["block", "fail", "cancel", "ignore"]


@frozen
class Plan:
    """A task of the random graph: what it waits for, how long it takes, and what is done to it."""

    prerequisites: tuple[tuple[int, Policy], ...]
    estimate: int
    run_in: int
    """Seconds until its run_at; 0 for none."""
    end: str
    """What is done to it if it is free: ``completed``, ``failed``, ``cancelled``, ``running`` or ``left``."""


@st.composite
def graphs(draw: st.DrawFn) -> list[Plan]:
    policies: st.SearchStrategy[Policy] = st.sampled_from(("block", "block", "fail", "cancel", "ignore"))
    ends = st.sampled_from(("completed", "completed", "failed", "cancelled", "running", "left", "left"))
    plans = []
    for n in range(draw(st.integers(1, 8))):
        before = draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True)) if n else []
        edges = tuple((one, draw(policies)) for one in before)
        run_in = draw(st.sampled_from((0, 0, 0, 7, 40)))
        plans.append(Plan(edges, draw(st.integers(1, 20)), run_in, draw(ends)))
    return plans


class FakeClock:
    """A clock that stands still, so that nothing comes due and every sum is exact."""

    def now(self) -> int:
        return NOW

    def at_least(self, _: int) -> None:
        """Nothing has been recorded that this clock has not shown."""


class Model:
    """What the tasks wait for, by brute force over their statuses."""

    def __init__(self, plans: list[Plan], tasks: list[Task]) -> None:
        self.plans = plans
        self.tasks = tasks

    def unmet(self, n: int) -> list[int]:
        """A task's prerequisites that hold it back, as they are now."""
        if self.tasks[n].status == "completed":
            return []
        return [
            one
            for one, policy in self.plans[n].prerequisites
            if self.tasks[one].status != "completed"
            and not (policy == "ignore" and self.tasks[one].status in ENDED)
        ]

    def paths(self, n: int) -> Iterator[list[int]]:
        """Every way up from a task over unmet prerequisites, to those that wait for nothing."""
        above = self.unmet(n)
        if not above:
            yield [n]
        for one in above:
            for path in self.paths(one):
                yield [n, *path]

    def causes(self, n: int) -> set[int]:
        """The roots that a blocked task waits for: the last of each path, or the first that has ended."""
        found = set()
        for path in self.paths(n):
            stops = [one for one in path if self.tasks[one].status != "blocked"]
            found.add(stops[0])
        return found

    def seconds(self, n: int) -> float:
        """When a task can be done: the worst path, each task beginning after the one above and its run_at."""
        worst = 0.0
        for path in self.paths(n):
            for cut in range(1, len(path) + 1):  # a run_at further down may decide as well
                at = 0.0
                for one in reversed(path[:cut]):
                    run_in = 0 if self.tasks[one].status == "running" else self.plans[one].run_in
                    at = max(at, float(run_in)) + self.plans[one].estimate
                worst = max(worst, at)
        return worst


async def build(db: Database, plans: list[Plan]) -> list[Task]:
    """Make the tasks, then do to each what its plan says, if it is free."""
    ids: list[str] = []
    for n, plan in enumerate(plans):
        made = await db.tasks.enqueue(
            f"{n}",
            agent_type=f"{n}",
            max_attempts=1,
            estimated_duration=plan.estimate,
            run_at=moment(NOW + plan.run_in * SECOND) if plan.run_in else None,
            depends_on=[Prerequisite(ids[one], policy) for one, policy in plan.prerequisites],
        )
        ids.append(made.id)
        found = await db.tasks.get(made)
        if plan.end == "cancelled" and not found.ended:
            await db.tasks.cancel(made)
        elif found.status == "ready" and plan.end != "left":
            (claim,) = await db.tasks.claim("w", agent_types=[f"{n}"], lease=1_000)
            if plan.end == "completed":
                await db.tasks.complete(claim)
            elif plan.end == "failed":
                await db.tasks.fail(claim, "no")
    return [await db.tasks.get(one) for one in ids]


class Seen:
    counts: ClassVar[dict[str, int]] = {}


def saw(what: str) -> None:
    Seen.counts[what] = Seen.counts.get(what, 0) + 1


async def check(plans: list[Plan]) -> None:
    db = Database(":memory:", environment="test")
    cast("Any", db)._engine._clock = FakeClock()
    async with db:
        tasks = await build(db, plans)
        model = Model(plans, tasks)
        place = {task.id: n for n, task in enumerate(tasks)}
        for n, task in enumerate(tasks):
            why = await db.tasks.why(task)
            assert why.task.status == task.status
            if task.status == "blocked":
                saw("blocked")
                _check_blocked(model, n, why, place)
            elif task.status in ("running", "completed"):
                assert [reason.code for reason in why.reasons] == [task.status]
            elif task.status in ("failed", "cancelled"):
                _check_ended(model, n, why, place)
            path = await db.tasks.critical_path(task)
            _check_path(model, n, path, place)


def _check_blocked(model: Model, n: int, why: Any, place: dict[str, int]) -> None:
    assert {place[reason.data["prerequisite"].id] for reason in why.reasons} == set(model.unmet(n))
    nevers = [reason.data["never"] for reason in why.reasons]
    assert nevers == sorted(nevers, reverse=True)
    for reason in why.reasons:
        prerequisite = place[reason.data["prerequisite"].id]
        chain = [place[one.id] for one in reason.data["chain"]]
        ended = [one for one in chain if model.tasks[one].status in ("failed", "cancelled")]
        causes = model.causes(prerequisite)
        stop = ended[0] if ended else chain[-1]
        assert stop in causes
        assert chain[0] == prerequisite
        assert reason.data["root"].id == model.tasks[chain[-1]].id
        # Each task of the chain waits for the next, or was ended because of it.
        for one, other in pairwise(chain):
            assert other in {target for target, _ in model.plans[one].prerequisites}
        hopeless = any(model.tasks[one].status in ("failed", "cancelled") for one in causes)
        assert reason.data["never"] == hopeless
        saw("hopeless" if hopeless else "waiting")


def _check_ended(model: Model, n: int, why: Any, place: dict[str, int]) -> None:
    (reason,) = why.reasons
    assert reason.code == model.tasks[n].status
    if "because" in reason.data:
        saw("doomed")
        because = place[reason.data["because"]]
        assert (because, reason.code) in {
            (one, {"fail": "failed", "cancel": "cancelled"}.get(policy))
            for one, policy in model.plans[n].prerequisites
        }
        assert reason.data["root"].status in ("failed", "cancelled")


def _check_path(model: Model, n: int, path: Any, place: dict[str, int]) -> None:
    if model.tasks[n].status in ENDED:
        assert path.tasks == ()
        return
    assert path.seconds == model.seconds(n)
    assert sum(one.seconds for one in path.tasks) == path.seconds
    chain = [place[one.id] for one in path.tasks][::-1]
    assert chain[0] == n
    for one, other in pairwise(chain):
        assert other in model.unmet(one)
    above = {one for way in model.paths(n) for one in way}
    assert path.never == any(model.tasks[one].status in ("failed", "cancelled") for one in above)
    saw("paths")


@pytest.mark.slow
def test_why_and_the_critical_path_agree_with_brute_force(figure: Callable[[str], None]) -> None:
    Seen.counts.clear()

    @settings(max_examples=200, deadline=None)
    @given(graphs())
    def agree(plans: list[Plan]) -> None:
        asyncio.run(check(plans))

    agree()
    assert min(Seen.counts[what] for what in ("blocked", "hopeless", "waiting", "doomed", "paths")) > 10
    figure(
        f"{Seen.counts['blocked']} blocked tasks, {Seen.counts['hopeless']} hopeless prerequisites,"
        f" {Seen.counts['doomed']} doomed, {Seen.counts['paths']} critical paths: as by brute force"
    )
