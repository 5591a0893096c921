"""Crash points: a handler that is not resumable is caught where it is not, and a resumable one passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from abathur import Database, Runner, Statement, tasks
from abathur.errors import InvalidInputError
from abathur.schema import Column, Schema, Table
from abathur.testing import CrashPoint, assert_completed, assert_enqueued, crash_points, drain


class World:
    """What does not die with the process: a list of what was done, and the keys of requests it has seen."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: set[str] = set()

    def do(self, what: str, key: str | None = None) -> None:
        if key is None or key not in self.keys:
            self.done.append(what)
        if key is not None:
            self.keys.add(key)

    async def ask(self, what: str, key: str | None = None) -> None:
        """The same as a call that does not wait, as most fakes."""
        self.do(what, key)


Handler = Callable[[World], Callable[[Any], Any]]


def scenario_of(make: Handler, world: World, **task: Any) -> Any:
    """A scenario of one task whose handler is made for the world that it works on."""

    async def scenario(db: Database) -> Runner:
        world.__init__()
        runner = Runner(db)
        runner.agent("agent")(make(world))
        await db.tasks.enqueue("Do it", agent_type="agent", **task)
        return runner

    return scenario


async def crashes_of(make: Handler, check: Callable[[World], None], **options: Any) -> list[str]:
    """Let the handler crash everywhere; returns where. What `check` raises ends it."""
    world, seen = World(), []
    task = options.pop("task", {})
    for crash in crash_points(scenario_of(make, world, **task), **options):
        async with crash as db:
            await assert_completed(db, agent_type="agent")
            check(world)
            assert (await db.audit.verify()).ok
        assert crash.drained is not None
        assert crash.drained.left == ()
        seen.append(crash.point.what if crash.point else "none")
    return seen


async def where_it_is_caught(make: Handler, check: Callable[[World], None], **options: Any) -> str:
    """The note of the first crash after which the check fails."""
    with pytest.raises(AssertionError) as caught:
        await crashes_of(make, check, **options)
    return caught.value.__notes__[0]


def done_once(*what: str) -> Callable[[World], None]:
    def check(world: World) -> None:
        assert sorted(world.done) == sorted(what)

    return check


# -- teeth -------------------------------------------------------------------------------------


def mails_with_a_key(world: World):
    async def mail(ctx):
        await ctx.progress(0.5, "writing")
        await world.ask("mail", key=ctx.task.id)
        return "sent"

    return mail


def mails_without_a_key(world: World):
    async def mail(ctx):
        await ctx.progress(0.5, "writing")
        await world.ask("mail")
        return "sent"  # killed here, and not before, there are two mails

    return mail


async def test_a_resumable_handler_passes_at_every_point(figure):
    seen = await crashes_of(mails_with_a_key, done_once("mail"))
    assert seen == [
        "none",
        "before the handler of 'agent' began",
        "before the line",
        "before the statement batches.held",
        "before the statement tasks.extend",
        "before the statement tasks.set_progress",
        "before the COMMIT of heartbeat",
        "after the COMMIT of heartbeat",
        "before the line",
        "before the line",
        "after the handler of 'agent' had returned",
        "before the statement tasks.complete",
        "before the statement tasks.add_result",
        "before the statement batches.waiting_for",
        "before the COMMIT of complete",
        "after the COMMIT of complete",
    ]
    figure(f"{len(seen) - 1} crashes of one handler, all resumed")


async def test_a_handler_that_is_not_resumable_is_caught_at_the_first_point_where_it_is_not():
    note = await where_it_is_caught(mails_without_a_key, done_once("mail"))
    assert note.startswith("In crash 9 of 15: killed before the line, at ")
    assert note.endswith(" in mail.")
    line = int(note.partition(".py:")[2].split()[0])
    assert "killed here, and not before" in Path(__file__).read_text(encoding="utf-8").splitlines()[line - 1]


async def test_what_does_not_wait_is_told_apart_from_the_line_after_it():
    """Neither await gives way to the event loop, and still the process can die between the two."""

    def pays_and_ships(world):
        async def handler(ctx):
            if ctx.attempt == 1:
                await world.ask("paid")
                await world.ask("shipped")

        return handler

    note = await where_it_is_caught(pays_and_ships, done_once("paid", "shipped"))
    assert "killed before the handler" in note  # a second attempt does nothing
    with_lines = await where_it_is_caught(
        pays_and_ships, lambda world: None if world.done != ["paid"] else done_once("paid", "shipped")(world)
    )
    assert "killed before the line" in with_lines


async def test_nothing_of_the_handler_runs_after_it_was_killed():
    @contextmanager
    def session(world, name):
        try:
            yield
        finally:
            world.do(f"closed {name}")

    class Guard:
        def __init__(self, world):
            self.world = world

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.world.do("left")

    @asynccontextmanager
    async def connection(world) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await world.ask("disconnected")

    def cleans_up(world):
        async def handler(ctx):
            try:
                async with connection(world):
                    with session(world, "one"), Guard(world):
                        await ctx.progress(0.1)
                        await asyncio.sleep(0)
                        world.do("work", key="work")
            except BaseException:  # noqa: BLE001  # what a killed process does not do either
                world.do("swallowed")
            finally:
                world.do("finally")
                world.do("finally again")

        return handler

    def check(world):
        assert "swallowed" not in world.done
        assert world.done.count("work") == 1
        # The second attempt does it once. The first one may have come so far before it was killed.
        for name in ("closed one", "left", "disconnected", "finally", "finally again"):
            assert world.done.count(name) <= 2

    ends = []

    def only_once(world):
        check(world)
        ends.append(world.done.count("finally again"))

    seen = await crashes_of(cleans_up, only_once, inside=[connection, session])
    killed_early = ends[1 : seen.index("in the await") + 2]
    assert killed_early == [1] * len(killed_early)  # before its end nothing of the first attempt was seen
    assert ends[-1] == 1
    assert 2 in ends  # and after its end all of it was


# -- kinds of handlers -------------------------------------------------------------------------


async def test_a_handler_is_stopped_in_each_await_once():
    def waits(world):
        async def handler(ctx):
            for _ in range(3):
                await asyncio.sleep(0)
            await many(5)

        return handler

    async def many(times):
        for _ in range(times):
            await asyncio.sleep(0)

    seen = await crashes_of(waits, done_once(), lines=False)
    assert seen.count("in the await") == 4
    assert "before the line" not in seen
    inside = await crashes_of(waits, done_once(), lines=False, inside=[many])
    assert inside.count("in the await") == 3 + 5


@pytest.mark.parametrize("kind", ["gather", "TaskGroup", "anyio"])
async def test_the_tasks_of_a_handler_die_with_it(kind):
    def fans_out(world):
        async def part(ctx, name):
            try:
                await asyncio.sleep(0)
                await ctx.enqueue(name, agent_type="other", key=f"{ctx.task.id} {name}")
                await asyncio.sleep(0)
            finally:
                world.do(f"end of {name}", key=name)

        async def handler(ctx):
            if kind == "gather":
                await asyncio.gather(part(ctx, "a"), part(ctx, "b"))
            elif kind == "TaskGroup":
                async with asyncio.TaskGroup() as group:
                    group.create_task(part(ctx, "a"))
                    group.create_task(part(ctx, "b"))
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(part, ctx, "a")
                    group.start_soon(part, ctx, "b")

        return handler

    world, number = World(), 0
    for crash in crash_points(scenario_of(fans_out, world), lines=False):
        async with crash as db:
            await assert_completed(db, agent_type="agent")
            await assert_enqueued(db, count=2, agent_type="other")
            assert sorted(world.done) == ["end of a", "end of b"]
        number += 1
    assert number > 10


async def test_a_plain_function_is_stopped_at_its_lines_in_its_thread():
    def plain(world):
        def handler(ctx):
            world.do("first", key="first")
            try:
                world.do("second", key="second")
            finally:
                world.do("third", key="third")
            return 3

        return handler

    seen = await crashes_of(plain, done_once("first", "second", "third"))
    assert seen.count("before the line") == 5

    def twice(world):
        def handler(ctx):
            world.do("first")
            world.do("second")

        return handler

    note = await where_it_is_caught(twice, done_once("first", "second"))
    assert "killed before the line" in note


async def test_a_graph_of_tasks_with_retries_passes_everywhere():
    world = World()

    async def scenario(db):
        world.__init__()
        runner = Runner(db)

        @runner.agent("plan")
        async def plan(ctx):
            await ctx.enqueue_many(
                [
                    {"prompt": name, "agent_type": "step", "key": f"{ctx.task.id} {name}"}
                    for name in ("one", "two")
                ]
            )

        @runner.agent("step")
        async def step(ctx):
            if ctx.attempt == 1:
                raise ConnectionError("the first time never works")
            world.do(ctx.task.prompt, key=ctx.task.id)

        await db.tasks.enqueue("Plan", agent_type="plan", max_attempts=5)
        return runner

    number = 0
    for crash in crash_points(scenario, lines=False):
        async with crash as db:
            await assert_enqueued(db, count=3, status="completed")
            assert sorted(world.done) == ["one", "two"]
            assert (await db.tasks.counts()).get("completed") == 3
        number += 1
    assert number > 20


SHOP = Schema(
    owner="shop",
    tables=(Table("shop_orders", (Column("id", "TEXT", primary_key=True), Column("n", "INTEGER"))),),
)
QUERIES = {
    "shop.add": "INSERT INTO shop_orders (id, n) VALUES (:id, 1)"
    " ON CONFLICT (id) DO UPDATE SET n = shop_orders.n + 1",
    "shop.all": "SELECT id, n FROM shop_orders",
}


def orders():
    rows = yield Statement("shop.all")
    return {row["id"]: row["n"] for row in rows}


def add_order(held):
    yield Statement("shop.add", id="order")


def add_order_and_complete(held, now):
    yield Statement("shop.add", id="order")
    yield from tasks.complete(held, {"ok": True}, now=now)


OPTIONS: dict[str, Any] = {"schema": SHOP, "queries": QUERIES}


@pytest.mark.parametrize("server", ["file", "postgres"])
async def test_a_row_and_the_end_of_the_task_in_two_transactions_are_caught_after_the_first(
    crash_points, server
):
    async def scenario(db):
        runner = Runner(db)

        @runner.agent("seller")
        async def sell(ctx):
            await ctx.db.run(add_order, ctx.claim)

        await db.tasks.enqueue("Sell", agent_type="seller")
        return runner

    with pytest.raises(AssertionError) as caught:
        for crash in crash_points(scenario, engine=server, **OPTIONS):
            async with crash as db:
                assert await db.read(orders) == {"order": 1}
    (note,) = caught.value.__notes__
    assert "killed after the COMMIT of add_order, at" in note


@pytest.mark.parametrize("server", ["file", "postgres"])
async def test_a_row_and_the_end_of_the_task_in_one_transaction_pass_everywhere(crash_points, server):
    async def scenario(db):
        runner = Runner(db)

        @runner.agent("seller")
        async def sell(ctx):
            await ctx.db.run(add_order_and_complete, ctx.claim)

        await db.tasks.enqueue("Sell", agent_type="seller")
        return runner

    seen = []
    for crash in crash_points(scenario, engine=server, lines=False, **OPTIONS):
        async with crash as db:
            assert await db.read(orders) == {"order": 1}
            await assert_completed(db, agent_type="seller")
        seen.append(crash.point)
    assert any(point and point.what == "before the COMMIT of add_order_and_complete" for point in seen)


# -- the loop ----------------------------------------------------------------------------------


async def test_the_clock_of_a_crash_is_moved_past_the_lease_of_the_dead_worker():
    world = World()
    for crash in crash_points(scenario_of(mails_with_a_key, world), lines=False):
        before = crash.clock.time
        async with crash as db:
            (task,) = await db.tasks.list()
            is_resumed = task.attempt == 2
            assert (crash.clock.time > before) == is_resumed
            assert is_resumed == (task.fence == 2)
        assert str(crash) == repr(crash)[1:-1]


async def test_a_body_that_does_not_let_the_crash_happen_is_told_so():
    with pytest.raises(InvalidInputError, match="did not happen"):
        for _ in crash_points(scenario_of(mails_with_a_key, World())):
            pass


async def test_a_crash_happens_once():
    for crash in crash_points(scenario_of(mails_with_a_key, World())):
        async with crash:
            pass
        with pytest.raises(InvalidInputError, match="has happened"):
            await crash.__aenter__()
        break


async def test_a_scenario_that_is_not_the_same_each_time_is_refused_unless_that_is_allowed():
    runs = []

    def changes(world):
        async def handler(ctx):
            if ctx.attempt == 1:
                runs.append(1)
            if len(runs) % 2:
                await asyncio.sleep(0)
                await asyncio.sleep(0)

        return handler

    with pytest.raises(InvalidInputError, match="does not go the same way each time: its point"):
        await crashes_of(changes, done_once())
    await crashes_of(changes, done_once(), strict=False)


async def test_a_scenario_that_does_not_end_is_refused_before_anything_is_killed():
    def hangs(world):
        async def handler(ctx):
            await asyncio.Event().wait()

        return handler

    with pytest.raises(InvalidInputError, match="does not come to its end") as caught:
        await crashes_of(hangs, done_once(), timeout=0.3)
    assert "It stopped at its time-out" in str(caught.value)


async def test_a_scenario_with_too_many_points_is_refused():
    def counts(world):
        async def handler(ctx):
            total = 0
            for number in range(1_000_000):
                total += number

        return handler

    with pytest.raises(InvalidInputError, match="more than 50 points"):
        await crashes_of(counts, done_once(), limit=50)


async def test_a_database_in_memory_and_what_returns_no_runner_are_refused():
    scenario = scenario_of(mails_with_a_key, World())
    with pytest.raises(InvalidInputError, match="does not outlive"):
        async with next(crash_points(scenario, place=lambda: ":memory:")):
            pass

    async def nothing(db):
        return None

    async def a_command(db):
        runner = Runner(db)
        runner.command("lister", ["ls"])
        return runner

    async def broken(db):
        raise LookupError("the scenario itself")

    for wrong, error, words in (
        (nothing, InvalidInputError, "returned NoneType"),
        (a_command, InvalidInputError, "run by a command"),
        (broken, LookupError, "the scenario itself"),
    ):
        with pytest.raises(error, match=words):
            async with next(crash_points(wrong)):
                pass
    with pytest.raises(InvalidInputError, match="is a int"):
        crash_points(3)
    with pytest.raises(InvalidInputError, match="is one place"):
        crash_points(scenario, place="agents.db")
    with pytest.raises(InvalidInputError, match="has no lines"):
        crash_points(scenario, inside=[len])


async def test_an_error_of_the_body_carries_what_was_left():
    def gives_up(world):
        async def handler(ctx):
            await asyncio.sleep(0)

        return handler

    with pytest.raises(AssertionError) as caught:
        await crashes_of(gives_up, done_once(), task={"max_attempts": 1})
    assert caught.value.__notes__ == [
        "In crash 1 of 8: killed before the handler of 'agent' began."
    ]  # the task has used up its one attempt


async def test_coroutines_that_a_killed_handler_never_awaited_are_no_warnings():
    def prepares(world):
        async def part():
            return 1

        async def handler(ctx):
            parts = [part(), part()]
            one = part()
            return sum(await asyncio.gather(*parts)) + await one

        return handler

    assert len(await crashes_of(prepares, done_once())) > 8


async def test_the_tracing_of_others_is_left_as_it_was():
    import sys

    before = sys.gettrace(), sys.getprofile()
    await crashes_of(mails_with_a_key, done_once("mail"))
    assert (sys.gettrace(), sys.getprofile()) == before
    assert asyncio.get_running_loop().get_task_factory() is None


def test_a_point_says_what_and_where():
    assert str(CrashPoint("before the line", "a.py:3 in f")) == "before the line, at a.py:3 in f"
    assert str(CrashPoint("after the COMMIT of complete")) == "after the COMMIT of complete"


async def test_the_runner_of_a_scenario_is_left_untouched(make_db):
    db = await make_db(url=":memory:")
    runner = Runner(db)

    @runner.agent("agent")
    async def handler(ctx):
        return 1

    await db.tasks.enqueue("x", agent_type="agent")
    assert (await drain(db, runner)).completed == 1
