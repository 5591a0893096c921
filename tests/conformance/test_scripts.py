"""Scripts: one's own statements and the library's in one transaction."""

from __future__ import annotations

import asyncio

import pytest

from abathur import Statement, schema, tasks
from abathur.closing import Closing
from abathur.errors import (
    ConstraintError,
    EngineError,
    InvalidInputError,
    LeaseLostError,
    StatementError,
    UnknownStatementError,
)
from abathur.script import Emit

SHOP = schema.Schema(
    owner="shop",
    tables=(
        schema.Table(
            "shop_orders",
            (
                schema.Column("id", "INTEGER", primary_key=True),
                schema.Column("what", "TEXT", not_null=True),
                schema.Column("task_id", "TEXT"),
            ),
            unique=(("what",),),
        ),
    ),
)
QUERIES = {
    "shop.add": "INSERT INTO shop_orders (id, what, task_id) VALUES (:id, :what, :task_id)",
    "shop.link": "UPDATE shop_orders SET task_id = :task_id WHERE id = :id",
    "shop.all": "SELECT id, what, task_id FROM shop_orders ORDER BY id",
    "shop.one": (
        "SELECT CAST(:a AS INTEGER) AS a, ':b' AS b, \"what\" FROM shop_orders -- :c\n"
        " WHERE id = :id /* :d */ AND CAST(:a AS INTEGER) = CAST(:a AS INTEGER)"
    ),
    "shop.nothing": "SELECT nothing FROM nowhere",
    "shop.nonsense": "SELEKT 1",
    "shop.two": "SELECT 1 AS a; SELECT 2 AS b",
}


@pytest.fixture
async def shop(make_db):
    return await make_db(schema=SHOP, queries=QUERIES)


def add(order, what, task_id=None):
    yield Statement("shop.add", id=order, what=what, task_id=task_id)


def orders():
    rows = yield Statement("shop.all")
    return [(row["id"], row["what"], row["task_id"]) for row in rows]


def order(number, what, task, now, boom=None):
    """An order with the task that packs it, in one transaction."""
    yield from add(number, what)
    (made,) = yield from tasks.enqueue([task], now)
    yield Statement("shop.link", id=number, task_id=made.id)
    if boom is not None:
        raise boom
    return made


async def test_a_script_returns_its_value_after_the_commit(shop):
    await shop.run(add, 1, "book")
    assert await shop.read(orders) == await shop.run(orders) == [(1, "book", None)]


async def test_a_task_and_an_application_row_are_made_together(shop):
    made = await shop.run(order, 1, "book", tasks.new_task("Pack order 1", agent_type="packer"))
    assert await shop.read(orders) == [(1, "book", made.id)]
    assert (await shop.tasks.get(made)).agent_type == "packer"
    (claim,) = await shop.tasks.claim("w", agent_types=["packer"])
    assert claim.task.id == made.id


@pytest.mark.parametrize(
    "boom", [ValueError("no"), KeyError("no"), AssertionError(), RuntimeError("x")], ids=repr
)
async def test_a_script_that_raises_undoes_everything_and_the_error_is_its_callers(shop, boom):
    def run(now):
        return order(1, "book", tasks.new_task("x"), now, boom)

    with pytest.raises(type(boom)) as caught:
        await shop.run(run)
    assert caught.value is boom
    assert await shop.read(orders) == []
    assert await shop.tasks.list() == []
    assert await shop.audit.list() == []


async def test_a_completion_and_an_application_row_are_made_together(shop):
    await shop.tasks.enqueue("x")
    (claim,) = await shop.tasks.claim("w")

    def settle(now):
        yield from add(1, "book", claim.task.id)
        yield from tasks.complete(claim, {"n": 1}, now=now)

    await shop.run(settle)
    assert (await shop.tasks.get(claim.task)).result == {"n": 1}

    def again(now):
        yield from add(2, "pen", claim.task.id)
        yield from tasks.complete(claim, {"n": 2}, now=now)

    with pytest.raises(LeaseLostError):
        await shop.run(again)
    assert await shop.read(orders) == [(1, "book", claim.task.id)]


async def test_a_waiter_hears_of_a_completion_in_a_script(shop):
    task = await shop.tasks.enqueue("x")
    (claim,) = await shop.tasks.claim("w")
    waiter = asyncio.create_task(shop.tasks.wait(task, timeout=20))

    def settle(now):
        yield from tasks.complete(claim, now=now)

    await shop.run(settle)
    assert (await waiter).status == "completed"


async def test_a_hundred_scripts_at_once_of_which_some_raise_are_each_whole_or_nothing(shop):
    def run(number):
        def script(now):
            return order(
                number,
                f"{number}",
                tasks.new_task(f"{number}"),
                now,
                ValueError(number) if number % 7 == 0 else None,
            )

        return script

    answers = await asyncio.gather(*(shop.run(run(n)) for n in range(100)), return_exceptions=True)
    bad = [n for n, answer in enumerate(answers) if isinstance(answer, BaseException)]
    assert bad == list(range(0, 100, 7))
    assert [answers[n].args for n in bad] == [(n,) for n in bad]
    found = await shop.read(orders)
    assert [number for number, *_ in found] == [n for n in range(100) if n % 7]
    assert [task_id for *_, task_id in found] == [answers[n].id for n in range(100) if n % 7]


async def test_rows_are_written_many_at_a_time(shop):
    def many():
        answer = yield Statement(
            "shop.add", rows=[{"id": n, "what": f"{n}", "task_id": None} for n in range(500)]
        )
        assert [row["changed"] for row in answer] == [500]
        return (yield Statement("shop.all"))

    rows = await shop.run(many)
    assert [row["id"] for row in rows] == list(range(500))

    def tuples():
        rows = [(None, n, f"{n}") for n in range(500, 600)]
        yield Statement("shop.add", rows=rows, columns=("task_id", "id", "what"))
        return (yield Statement("shop.all"))

    rows = await shop.run(tuples)
    assert [(row["id"], row["what"]) for row in rows] == [(n, f"{n}") for n in range(600)]


async def test_parameters_stand_outside_of_strings_and_comments(shop):
    await shop.run(add, 1, "book")
    (row,) = await shop.read(_one)
    assert (row["a"], row["b"], row["what"]) == (7, ":b", "book")


def _one():
    return (yield Statement("shop.one", id=1, a=7))


@pytest.mark.parametrize(
    "fn", [lambda: [Statement("shop.all")], lambda: None, lambda: 17], ids=["list", "none", "int"]
)
async def test_a_function_that_is_no_script_is_refused(shop, fn):
    with pytest.raises(InvalidInputError, match="not a script"):
        await shop.run(fn)


async def test_an_async_function_is_no_script(shop):
    async def fn():
        return 1

    coroutine = fn()
    with pytest.raises(InvalidInputError, match="async"):
        await shop.run(lambda: coroutine)
    coroutine.close()


@pytest.mark.parametrize("wrong", ["SELECT 1", None, 17, ("shop.all",)], ids=repr)
async def test_a_script_that_yields_something_else_is_refused(shop, wrong):
    def script():
        yield from add(1, "book")
        yield wrong

    with pytest.raises(InvalidInputError, match="yielded"):
        await shop.run(script)
    assert await shop.read(orders) == []


async def test_a_statement_that_nobody_defined_is_named(shop):
    with pytest.raises(UnknownStatementError, match=r"'shop\.none'") as caught:
        await shop.run(_yield("shop.none"))
    assert "shop.all" in str(caught.value)
    assert caught.value.name == "shop.none"


async def test_a_parameter_that_is_missing_is_named(shop):
    with pytest.raises(InvalidInputError, match=":what"):
        await shop.run(_yield("shop.add", id=1))
    with pytest.raises(InvalidInputError, match=":task_id"):
        await shop.run(_yield("shop.add", rows=[{"id": 1, "what": "x"}]))
    assert await shop.read(orders) == []


@pytest.mark.parametrize(
    "value", [object(), [1], {"a": 1}, 2**63, "\ud800"], ids=["object", "list", "dict", "big", "surrogate"]
)
async def test_a_value_that_no_column_can_hold_is_a_typed_error(shop, value):
    with pytest.raises((InvalidInputError, EngineError)):
        await shop.run(add, 1, value)
    assert await shop.read(orders) == []


async def test_a_constraint_that_is_violated_names_the_statement(shop):
    await shop.run(add, 1, "book")
    for number, what in ((1, "pen"), (2, "book"), (3, None)):
        with pytest.raises(ConstraintError, match=r"shop\.add") as caught:
            await shop.run(add, number, what)
        assert caught.value.statement == "shop.add"
    assert await shop.read(orders) == [(1, "book", None)]


@pytest.mark.parametrize("name", ["shop.nothing", "shop.nonsense", "shop.two"])
async def test_sql_that_cannot_be_executed_is_a_typed_error(shop, name):
    with pytest.raises(StatementError, match=name):
        await shop.run(_yield(name))
    with pytest.raises(StatementError, match=name):
        await shop.read(_yield(name))
    await shop.run(add, 1, "book")


async def test_an_error_of_a_statement_ends_the_script_and_cannot_be_caught_in_it(shop):
    went_on = []

    def script():
        try:
            yield Statement("shop.add", id=1, what=None, task_id=None)
        except Exception:  # noqa: BLE001
            went_on.append("caught")
            yield Statement("shop.add", id=2, what="x", task_id=None)

    with pytest.raises(ConstraintError):
        await shop.run(script)
    assert not went_on
    assert await shop.read(orders) == []


async def test_the_names_of_the_library_cannot_be_taken(unopened):
    with pytest.raises(InvalidInputError, match=r"tasks\.insert"):
        unopened(queries={"tasks.insert": "SELECT 1"})


async def test_statements_may_come_from_a_directory(tmp_path, url, dialect):
    from abathur import Database

    queries = tmp_path / "queries"
    queries.mkdir()
    (queries / "shop.sql").write_text(
        "-- add: an order.\nINSERT INTO shop_orders (id, what) VALUES (:id, :what);\n\n"
        "-- all: them.\nSELECT id FROM shop_orders\n"
    )
    other = {"sqlite": "postgres", "postgres": "sqlite"}[dialect]
    (queries / f"shop2.{other}.sql").write_text("-- other: of another dialect.\nSELECT 1\n")
    async with Database(url, schema=SHOP, queries=queries, environment="test") as db:
        await db.run(_yield("shop.add", id=4, what="x"))
        (row,) = await db.run(_yield("shop.all"))
        assert row["id"] == 4
        with pytest.raises(UnknownStatementError):
            await db.run(_yield("shop2.other"))


async def test_now_is_given_to_a_script_that_asks_for_it_and_never_goes_back(shop):
    def when(now):
        return now
        yield

    moments = [await shop.run(when) for _ in range(50)]
    assert moments == sorted(moments)
    assert all(isinstance(moment, int) for moment in moments)


async def test_what_a_script_emits_is_forgotten_when_it_raises(shop):
    heard = []
    await shop.tasks.enqueue("x")
    shop.engine._lane._observer = heard.append

    def script(fails):
        yield Emit("topic", [1, 2])
        if fails:
            raise RuntimeError("no")
        yield Emit("topic", [3])

    with pytest.raises(RuntimeError, match="no"):
        await shop.run(script, True)
    await asyncio.gather(shop.run(script, True), shop.run(script, False), return_exceptions=True)
    assert [emitted["topic"] for emitted in heard] == [[1, 2, 3]]


async def test_a_failed_transaction_does_not_break_the_chain_of_seals(shop, monkeypatch):
    """A transaction that failed after its seal, then one that has nothing to seal."""

    def quiet():
        yield Emit("topic", [1])

    sealing = Closing.script

    def fails(closing, emitted, now):
        yield from sealing(closing, emitted, now)
        raise StatementError("COMMIT", "the test says so")

    await shop.tasks.enqueue("first")
    with monkeypatch.context() as patch:
        patch.setattr(Closing, "script", fails)
        with pytest.raises(EngineError):
            await shop.tasks.enqueue("fails at its commit")
    await shop.run(quiet)
    await shop.tasks.enqueue("last")
    report = await shop.audit.verify()
    assert report.ok, report


def _yield(name, **params):
    def script():
        return (yield Statement(name, **params))

    return script
