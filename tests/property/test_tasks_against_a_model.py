"""Tasks against a model: any sequence of operations gives the statuses that a plain dictionary gives.

The model is at the top, in thirty lines that fit in one's head. Below it, Hypothesis draws what to do
next: enqueue with dependencies, claim, settle with claims that may be lost long ago, cancel, retry, let
time pass, close and open again. After each step every task must be what the model says.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from abathur import Claim, Database, LeaseLostError, Prerequisite
from abathur.errors import IllegalMoveError
from abathur.states import MOVES
from abathur.times import moment
from tests.property.clocks import SECOND, FakeClock
from tests.property.operations import POLICIES

ENDED = ("completed", "failed", "cancelled")


# -- the model -----------------------------------------------------------------------------------


@define
class Edge:
    prerequisite: str
    policy: str
    met: bool = False


@define
class Modelled:
    """A task as the model knows it."""

    rank: int
    max_attempts: int
    run_at: int | None
    status: str = "ready"
    attempt: int = 0
    fence: int = 0
    lease_ends: int = 0
    dependents: int = 0
    edges: list[Edge] = field(factory=list)

    def unmet(self) -> int:
        return sum(not edge.met for edge in self.edges)

    def free(self, now: int) -> str:
        return "scheduled" if self.run_at is not None and self.run_at > now else "ready"


class Model:
    """What should become of tasks."""

    def __init__(self) -> None:
        self.tasks: dict[str, Modelled] = {}

    def ended(self, task_ids: list[str], now: int) -> None:
        """Tell the dependents of tasks that have just ended, round by round."""
        while task_ids:
            following = []
            for task_id, task in sorted(self.tasks.items()):
                doom = None
                for edge in sorted(task.edges, key=lambda edge: edge.prerequisite):
                    if edge.prerequisite not in task_ids or edge.met:
                        continue
                    if self.over(edge):
                        edge.met = True
                    elif edge.policy in ("fail", "cancel") and task.status == "blocked":
                        doom = {"fail": "failed", "cancel": "cancelled"}[edge.policy]
                if doom:
                    task.status = doom
                    following.append(task_id)
                elif task.status == "blocked" and not task.unmet():
                    task.status = task.free(now)
            task_ids = following

    def over(self, edge: Edge) -> bool:
        status = self.tasks[edge.prerequisite].status
        return status == "completed" or (edge.policy == "ignore" and status in ("failed", "cancelled"))

    def sweep(self, now: int) -> None:
        """What each claim does first."""
        gone = []
        for task_id, task in self.tasks.items():
            if task.status == "scheduled" and task.run_at is not None and task.run_at <= now:
                task.status = "ready"
            elif task.status == "running" and task.lease_ends <= now:
                task.run_at = None
                task.status = "ready" if task.attempt < task.max_attempts else "failed"
                gone += [task_id] if task.status == "failed" else []
        self.ended(gone, now)


# -- what may happen -----------------------------------------------------------------------------


class Operations(RuleBasedStateMachine):
    """Draws what happens next, does it to both, and compares."""

    steps: ClassVar[Counter[str]] = Counter()

    @initialize(in_memory=st.booleans())
    def open(self, in_memory: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.url = ":memory:" if in_memory else str(Path(self.directory.name) / "tasks.db")
        self.clock = FakeClock()
        self.model = Model()
        self.claims: list[Claim] = []
        self.moves = Counter[str]()
        self._open()

    def _open(self) -> None:
        self.db = Database(self.url)
        self.db._engine._clock = self.clock  # type: ignore[attr-defined]
        self.do(self.db.initialize())

    def teardown(self) -> None:
        if hasattr(self, "db"):
            try:
                trail = self.do(self.db.audit.list(limit=10_000))
                assert self.do(self.db.audit.verify()).ok
                self._check_trail(trail)
            finally:
                self.do(self.db.close())
                self.loop.close()
                self.directory.cleanup()

    def _check_trail(self, trail: list[Any]) -> None:
        """Each task's audit rows are its moves, each allowed, from new to where it is now."""
        last: dict[str, str] = {}
        for entry in trail:
            status = entry.action.removeprefix("task.")
            assert entry.data["from"] == last.get(entry.task_id, "new")
            assert status in MOVES[entry.data["from"]]
            last[entry.task_id] = status
        assert last == {task_id: task.status for task_id, task in self.model.tasks.items()}

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def some_task(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.model.tasks)))

    @rule(
        data=st.data(),
        priority=st.integers(0, 10),
        later=st.sampled_from([None, 0, 5, 60]),
        max_attempts=st.integers(1, 3),
    )
    def enqueue(self, data: st.DataObject, priority: int, later: int | None, max_attempts: int) -> None:
        now = self.clock.time
        known = sorted(self.model.tasks)
        edges = [
            Edge(task_id, data.draw(st.sampled_from(POLICIES)))
            for task_id in (
                data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
            )
        ]
        run_at = None if later is None else now + later * SECOND
        made = self.do(
            self.db.tasks.enqueue(
                "a task",
                priority=priority,
                max_attempts=max_attempts,
                run_at=moment(run_at),
                depends_on=[Prerequisite(edge.prerequisite, edge.policy) for edge in edges],  # type: ignore[arg-type]
            )
        )
        task = Modelled(now // 1000 - 86_400_000 * priority, max_attempts, run_at, edges=edges)
        self.model.tasks[made.id] = task
        for edge in edges:
            edge.met = self.model.over(edge)
            if not edge.met:
                prerequisite = self.model.tasks[edge.prerequisite]
                prerequisite.dependents += 1
                if prerequisite.dependents <= 24:
                    prerequisite.rank -= 3_600_000
        task.status = "blocked" if task.unmet() else task.free(now)
        for edge in sorted(edges, key=lambda edge: edge.prerequisite):
            if edge.policy in ("fail", "cancel") and self._has_failed(edge):
                task.status = {"fail": "failed", "cancel": "cancelled"}[edge.policy]
        assert made.status == task.status

    def _has_failed(self, edge: Edge) -> bool:
        return self.model.tasks[edge.prerequisite].status in ("failed", "cancelled")

    @rule(limit=st.integers(1, 3), lease=st.sampled_from([1, 10, 100]))
    def claim(self, limit: int, lease: int) -> None:
        now = self.clock.time
        self.model.sweep(now)
        ready = [(task.rank, task_id) for task_id, task in self.model.tasks.items() if task.status == "ready"]
        expected = [task_id for _, task_id in sorted(ready)[:limit]]
        claims = self.do(self.db.tasks.claim("worker", limit=limit, lease=lease))
        assert [claim.task.id for claim in claims] == expected
        for claim in claims:
            task = self.model.tasks[claim.task.id]
            task.status, task.attempt, task.fence = "running", task.attempt + 1, task.fence + 1
            task.lease_ends = now + lease * SECOND
            assert claim.fence == task.fence
        self.claims += claims

    def holds(self, claim: Claim) -> bool:
        task = self.model.tasks[claim.task.id]
        return task.status == "running" and task.fence == claim.fence

    def settle(self, claim: Claim, work: Any) -> bool:
        """Do it; a claim that no longer holds must be refused."""
        if self.holds(claim):
            self.do(work)
            return True
        with pytest.raises(LeaseLostError):
            self.do(work)
        return False

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if self.settle(claim, self.db.tasks.complete(claim, {"done": True})):
            self.model.tasks[claim.task.id].status = "completed"
            self.model.ended([claim.task.id], self.clock.time)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), retry_in=st.sampled_from([0, 7]), retry=st.booleans())
    def fail(self, data: st.DataObject, retry_in: int, retry: bool) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if not self.settle(claim, self.db.tasks.fail(claim, "no", retry_in=retry_in, retry=retry)):
            return
        task = self.model.tasks[claim.task.id]
        task.run_at = None
        if retry and task.attempt < task.max_attempts:
            task.run_at = self.clock.time + retry_in * SECOND if retry_in else None
            task.status = "scheduled" if retry_in else "ready"
        else:
            task.status = "failed"
            self.model.ended([claim.task.id], self.clock.time)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if self.settle(claim, self.db.tasks.release(claim)):
            task = self.model.tasks[claim.task.id]
            task.status, task.attempt, task.run_at = "ready", task.attempt - 1, None

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), lease=st.sampled_from([1, 50]))
    def heartbeat(self, data: st.DataObject, lease: int) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        if self.settle(claim, self.db.tasks.heartbeat(claim, lease=lease)):
            self.model.tasks[claim.task.id].lease_ends = self.clock.time + lease * SECOND

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        task = self.model.tasks[task_id]
        if task.status in ("completed", "failed"):
            with pytest.raises(IllegalMoveError):
                self.do(self.db.tasks.cancel(task_id))
            return
        self.do(self.db.tasks.cancel(task_id, reason="not needed"))
        if task.status != "cancelled":
            task.status = "cancelled"
            self.model.ended([task_id], self.clock.time)

    @precondition(lambda self: self.model.tasks)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        task = self.model.tasks[task_id]
        if task.status not in ("failed", "cancelled"):
            with pytest.raises(IllegalMoveError):
                self.do(self.db.tasks.retry(task_id))
            return
        self.do(self.db.tasks.retry(task_id))
        waits = any(not edge.met and not self.model.over(edge) for edge in task.edges)
        task.status = "blocked" if waits else task.free(self.clock.time)
        task.attempt = 0

    @rule(seconds=st.sampled_from([0, 1, 6, 30, 200]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.time += int(timedelta(seconds=seconds) / timedelta(microseconds=1))

    @precondition(lambda self: self.url != ":memory:")
    @rule()
    def close_and_open_again(self) -> None:
        self.do(self.db.close())
        self._open()

    @invariant()
    def every_task_is_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        found = {
            task.id: (task.status, task.attempt, task.fence, task.rank)
            for task in self.do(self.db.tasks.list(limit=10_000))
        }
        assert found == {
            task_id: (task.status, task.attempt, task.fence, task.rank)
            for task_id, task in self.model.tasks.items()
        }
        counts = Counter(task.status for task in self.model.tasks.values())
        assert self.do(self.db.tasks.counts()) == dict(counts)
        Operations.steps["checked"] += 1


@pytest.mark.slow
def test_any_sequence_of_operations_gives_what_the_model_gives(figure: Callable[[str], None]) -> None:
    Operations.steps.clear()
    run_state_machine_as_test(
        Operations, settings=settings(max_examples=300, stateful_step_count=25, deadline=None)
    )
    assert Operations.steps["checked"] > 300
    figure(f"300 sequences, {Operations.steps['checked']:,} states compared with the model: equal")
