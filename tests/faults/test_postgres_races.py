"""Two transactions at once on a server, in every order of their statements: as if one came after the other.

Each race is run with one held after each of its statements in turn, and then with the two exchanged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import frozen

from abathur import Claim, Database, LeaseLostError, Prerequisite, Retention, Task
from abathur.errors import AbathurError, DependencyCycleError, IllegalMoveError, UnknownTaskError
from tests import schemas
from tests.conformance.checks import QUERIES, check_invariants
from tests.faults.budget import SECONDS
from tests.faults.stepping import Call, Pair

STRIDE = 1 if SECONDS in os.environ else 3
"""In the suite one is held after every third of its statements."""
ALL = Retention(completed=timedelta(0), failed=timedelta(0), cancelled=timedelta(0))
Check = Callable[[Any, Any], Awaitable[None]]


@frozen
class Race:
    """Two calls, and what must be true of their answers and of the database afterwards."""

    one: Call
    other: Call
    check: Check


class Maker:
    """Makes the tasks of one race; they have an agent type of their own."""

    def __init__(self, db: Database, agent_type: str) -> None:
        self.db, self.agent_type = db, agent_type

    async def task(self, *waits: str | Prerequisite | Task, **more: Any) -> Task:
        return await self.db.tasks.enqueue("x", agent_type=self.agent_type, depends_on=waits, **more)

    async def claimed(self, n: int = 1, lease: float = 600) -> list[Claim]:
        for _ in range(n):
            await self.task()
        return await self.db.tasks.claim("w", agent_types=[self.agent_type], limit=n, lease=lease)

    async def failed(self, *waits: Prerequisite) -> Task:
        task = await self.task(*waits)
        return await self.db.tasks.cancel(task)

    async def status(self, task: Task) -> str:
        return (await self.db.tasks.get(task)).status


def fine(*answers: Any) -> None:
    for one in answers:
        if isinstance(one, AbathurError):
            raise one


def one_of_them(answers: tuple[Any, Any], *errors: type[AbathurError]) -> int:
    """Which of the two was refused, and only that one."""
    refused = [place for place, one in enumerate(answers) if isinstance(one, AbathurError)]
    assert len(refused) == 1, answers
    assert isinstance(answers[refused[0]], errors), answers
    return refused[0]


# -- the races -----------------------------------------------------------------------------------


async def two_prerequisites_complete(make: Maker) -> Race:
    one, other = await make.claimed(2)
    waiting = await make.task(one.task, other.task)

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert await make.status(waiting) == "ready"

    return Race(lambda db: db.tasks.complete(one), lambda db: db.tasks.complete(other), check)


async def one_completes_and_one_fails_for_good(make: Maker) -> Race:
    one, other = await make.claimed(2)
    waiting = await make.task(Prerequisite(one.task.id, "fail"), Prerequisite(other.task.id, "fail"))
    below = await make.task(Prerequisite(waiting.id, "cancel"))

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert await make.status(waiting) == "failed"
        assert await make.status(below) == "cancelled"

    return Race(lambda db: db.tasks.complete(one), lambda db: db.tasks.fail(other, "no", retry=False), check)


async def a_prerequisite_completes_while_it_is_waited_for(make: Maker) -> Race:
    (one,) = await make.claimed()

    async def check(_: Any, made: Any) -> None:
        fine(_, made)
        assert await make.status(made) == "ready"

    return Race(
        lambda db: db.tasks.complete(one),
        lambda db: db.tasks.enqueue("x", agent_type=make.agent_type, depends_on=[one.task]),
        check,
    )


async def a_prerequisite_fails_while_it_is_waited_for(make: Maker) -> Race:
    (one,) = await make.claimed()
    edge = Prerequisite(one.task.id, "cancel")

    async def check(_: Any, made: Any) -> None:
        fine(_, made)
        assert await make.status(made) == "cancelled"

    return Race(
        lambda db: db.tasks.fail(one, "no", retry=False),
        lambda db: db.tasks.enqueue("x", agent_type=make.agent_type, depends_on=[edge]),
        check,
    )


async def a_prerequisite_completes_while_an_edge_to_it_is_added(make: Maker) -> Race:
    (one,) = await make.claimed()
    task = await make.task()

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert await make.status(task) == "ready"
        (edge,) = await make.db.tasks.prerequisites(task)
        assert edge.met

    return Race(
        lambda db: db.tasks.complete(one), lambda db: db.tasks.add_dependencies(task, [one.task]), check
    )


async def two_edges_make_a_circle(make: Maker) -> Race:
    one, other, third = [await make.task() for _ in range(3)]
    await make.db.tasks.add_dependencies(third, [other])

    async def check(*answers: Any) -> None:
        one_of_them(answers, DependencyCycleError)

    return Race(
        lambda db: db.tasks.add_dependencies(one, [third]),
        lambda db: db.tasks.add_dependencies(other, [one]),
        check,
    )


async def a_task_is_pruned_while_it_is_waited_for(make: Maker) -> Race:
    old = await make.failed()

    async def check(pruned: Any, made: Any) -> None:
        fine(pruned)
        if isinstance(made, AbathurError):
            assert isinstance(made, UnknownTaskError)
        else:
            assert await make.status(made) == "blocked"
            assert await make.status(old) == "cancelled"

    return Race(
        lambda db: db.tasks.prune(ALL),
        lambda db: db.tasks.enqueue("x", agent_type=make.agent_type, depends_on=[old]),
        check,
    )


async def a_task_is_pruned_while_a_part_of_it_is_made(make: Maker) -> Race:
    old = await make.failed()

    async def check(pruned: Any, made: Any) -> None:
        fine(pruned)
        if isinstance(made, AbathurError):
            assert isinstance(made, UnknownTaskError)
        else:
            assert await make.status(old) == "cancelled"

    return Race(
        lambda db: db.tasks.prune(ALL),
        lambda db: db.tasks.enqueue("x", agent_type=make.agent_type, parent=old),
        check,
    )


async def a_task_is_pruned_while_it_is_retried(make: Maker) -> Race:
    old = await make.failed()
    below = await make.failed(Prerequisite(old.id))

    async def check(pruned: Any, retried: Any) -> None:
        fine(pruned)
        if isinstance(retried, AbathurError):
            assert isinstance(retried, UnknownTaskError)
        else:
            assert await make.status(below) == "blocked"
            assert await make.status(old) == "cancelled"

    return Race(lambda db: db.tasks.prune(ALL), lambda db: db.tasks.retry(below), check)


async def a_task_is_pruned_twice(make: Maker) -> Race:
    old = await make.failed()

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert sum(one.tasks for one in answers) >= 1
        with pytest.raises(UnknownTaskError):
            await make.db.tasks.get(old)

    return Race(lambda db: db.tasks.prune(ALL), lambda db: db.tasks.prune(ALL), check)


async def a_dependent_is_retried_while_its_prerequisite_completes(make: Maker) -> Race:
    (one,) = await make.claimed()
    waiting = await make.failed(Prerequisite(one.task.id))

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert await make.status(waiting) == "ready"

    return Race(lambda db: db.tasks.complete(one), lambda db: db.tasks.retry(waiting), check)


async def a_dependent_is_retried_while_its_prerequisite_is_cancelled(make: Maker) -> Race:
    one = await make.task()
    waiting = await make.failed(Prerequisite(one.id, "ignore"))

    async def check(*answers: Any) -> None:
        fine(*answers)
        assert await make.status(waiting) == "ready"

    return Race(lambda db: db.tasks.cancel(one), lambda db: db.tasks.retry(waiting), check)


async def a_task_is_retried_twice(make: Maker) -> Race:
    old = await make.failed()

    async def check(*answers: Any) -> None:
        one_of_them(answers, IllegalMoveError)
        assert await make.status(old) == "ready"

    return Race(lambda db: db.tasks.retry(old), lambda db: db.tasks.retry(old), check)


async def two_claim(make: Maker) -> Race:
    made = [await make.task() for _ in range(4)]

    async def check(one: Any, other: Any) -> None:
        fine(one, other)
        taken = [claim.task.id for claim in [*one, *other]]
        assert len(taken) == len(set(taken)) == 3
        assert set(taken) <= {task.id for task in made}

    return Race(
        lambda db: db.tasks.claim("a", agent_types=[make.agent_type], limit=2, lease=600),
        lambda db: db.tasks.claim("b", agent_types=[make.agent_type], limit=1, lease=600),
        check,
    )


async def a_task_is_claimed_while_it_is_cancelled(make: Maker) -> Race:
    task = await make.task()

    async def check(claims: Any, cancelled: Any) -> None:
        fine(claims, cancelled)
        assert await make.status(task) == "cancelled"

    return Race(
        lambda db: db.tasks.claim("a", agent_types=[make.agent_type], lease=600),
        lambda db: db.tasks.cancel(task),
        check,
    )


async def a_task_is_claimed_while_an_edge_is_added(make: Maker) -> Race:
    task = await make.task(priority=10)
    other = await make.task(run_at=datetime.now(UTC) + timedelta(days=1))

    async def check(claims: Any, added: Any) -> None:
        fine(claims)
        assert isinstance(added, LeaseLostError if claims else type(None))
        assert await make.status(task) == ("running" if claims else "blocked")

    return Race(
        lambda db: db.tasks.claim("a", agent_types=[make.agent_type], lease=600),
        lambda db: db.tasks.add_dependencies(task, [other]),
        check,
    )


async def a_task_completes_while_it_is_cancelled(make: Maker) -> Race:
    (one,) = await make.claimed()
    part = await make.task(parent=one.task)

    async def check(*answers: Any) -> None:
        refused = one_of_them(answers, LeaseLostError, IllegalMoveError)
        assert await make.status(one.task) == ("cancelled", "completed")[refused]
        assert await make.status(part) == ("cancelled", "ready")[refused]

    async def cancel(db: Database) -> None:
        await db.tasks.cancel(one.task)
        await db.tasks.cancel(part)

    return Race(lambda db: db.tasks.complete(one), cancel, check)


async def a_worker_beats_while_its_lease_is_taken_away(make: Maker) -> Race:
    (one,) = await make.claimed(lease=0.001)
    await asyncio.sleep(0.01)

    async def check(beat: Any, claims: Any) -> None:
        fine(claims)
        assert isinstance(beat, LeaseLostError if claims else type(None))
        assert await make.status(one.task) == "running"

    return Race(
        lambda db: db.tasks.heartbeat(one, lease=600),
        lambda db: db.tasks.claim("b", agent_types=[make.agent_type], lease=600),
        check,
    )


async def one_key_is_used_twice(make: Maker) -> Race:
    async def check(one: Any, other: Any) -> None:
        fine(one, other)
        assert one.id == other.id

    def enqueue(db: Database) -> Awaitable[Task]:
        return db.tasks.enqueue("x", agent_type=make.agent_type, key=make.agent_type)

    return Race(enqueue, enqueue, check)


async def the_tasks_are_counted_while_one_completes(make: Maker) -> Race:
    (one,) = await make.claimed()

    async def check(*answers: Any) -> None:
        fine(*answers)  # and the counts are right, as they must be after every race

    return Race(lambda db: db.tasks.recount(), lambda db: db.tasks.complete(one), check)


async def two_checkpoints_are_made(make: Maker) -> Race:
    await make.task()

    async def check(*answers: Any) -> None:
        fine(*answers)

    return Race(lambda db: db.audit.checkpoint(), lambda db: db.audit.checkpoint(), check)


async def a_checkpoint_is_made_while_one_completes(make: Maker) -> Race:
    (one,) = await make.claimed()

    async def check(*answers: Any) -> None:
        fine(*answers)

    return Race(lambda db: db.audit.checkpoint(), lambda db: db.tasks.complete(one), check)


RACES = (
    two_prerequisites_complete,
    one_completes_and_one_fails_for_good,
    a_prerequisite_completes_while_it_is_waited_for,
    a_prerequisite_fails_while_it_is_waited_for,
    a_prerequisite_completes_while_an_edge_to_it_is_added,
    two_edges_make_a_circle,
    a_task_is_pruned_while_it_is_waited_for,
    a_task_is_pruned_while_a_part_of_it_is_made,
    a_task_is_pruned_while_it_is_retried,
    a_task_is_pruned_twice,
    a_dependent_is_retried_while_its_prerequisite_completes,
    a_dependent_is_retried_while_its_prerequisite_is_cancelled,
    a_task_is_retried_twice,
    two_claim,
    a_task_is_claimed_while_it_is_cancelled,
    a_task_is_claimed_while_an_edge_is_added,
    a_task_completes_while_it_is_cancelled,
    a_worker_beats_while_its_lease_is_taken_away,
    one_key_is_used_twice,
    the_tasks_are_counted_while_one_completes,
    two_checkpoints_are_made,
    a_checkpoint_is_made_while_one_completes,
)


@pytest.fixture(scope="module")
def common(postgres_server: str) -> Iterator[str]:
    """One database for all races: they leave each other's tasks alone."""
    schema = schemas.a_name()
    yield schemas.place(postgres_server, schema)
    schemas.drop(postgres_server, schema)


@pytest.fixture
async def pair(common: str, monkeypatch: pytest.MonkeyPatch):
    options = {"environment": "test", "durability": "normal", "queries": QUERIES}
    async with Database(common, **options) as first, Database(common, **options) as second:
        yield Pair(first, second, monkeypatch)


@pytest.mark.row("R21")
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
async def test_it_is_as_if_one_came_after_the_other(race, pair, figure):
    orders = 0
    for turn in (False, True):
        number = 1 + turn
        while True:
            orders += 1
            tried = await race(Maker(pair.second, f"{race.__name__}-{orders}"))
            calls = (tried.other, tried.one) if turn else (tried.one, tried.other)
            first, second, was_held = await pair.race(number, *calls)
            try:
                await tried.check(*((second, first) if turn else (first, second)))
            except AssertionError as error:
                error.add_note(f"held after statement {number}, turned round: {turn}; {first!r}, {second!r}")
                raise
            number += STRIDE
            if not was_held:
                break
    await check_invariants(pair.first)
    figure(f"races on PostgreSQL: {race.__name__.replace('_', ' ')}, in {orders} orders: right in all")
