"""Group commit: many callers in one transaction, each with its own outcome, none told a lie."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from abathur.engines.jobs import Batch, Job, gather
from abathur.engines.sqlite import SqliteEngine
from abathur.errors import ConstraintError, DiskFullError
from abathur.script import Built, Statement
from abathur.sql import Catalog, Query

SQL = {
    "t.insert": "INSERT INTO t (id, v) VALUES (:id, :v)",
    "t.child": "INSERT INTO child (id, parent) VALUES (:id, :parent)",
    "t.all": "SELECT id FROM t ORDER BY id",
    "t.children": "SELECT id FROM child ORDER BY id",
}
TABLES = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)",
    (
        "CREATE TABLE child (id INTEGER PRIMARY KEY,"
        " parent INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED)"
    ),
    "CREATE TRIGGER boom BEFORE INSERT ON t WHEN NEW.v = 'rollback' BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    "CREATE TRIGGER stop BEFORE INSERT ON t WHEN NEW.v = 'abort' BEGIN SELECT RAISE(ABORT, 'stop'); END",
    "CREATE TRIGGER fail BEFORE INSERT ON t WHEN NEW.v = 'fail' BEGIN SELECT RAISE(FAIL, 'fail'); END",
)


class Tally:
    """How often the merged script was called, and with how many items."""

    def __init__(self):
        self.sizes = []

    def insert(self, items, now):
        self.sizes.append(len(items))
        yield Statement("t.insert", rows=[{"id": number, "v": value} for number, value in items])
        return [number for number, _ in items]


def other_insert(items, now):
    yield Statement("t.insert", rows=[{"id": number, "v": value} for number, value in items])
    return [number for number, _ in items]


def child(number, parent):
    yield Statement("t.child", id=number, parent=parent)
    return number


def numbers(name="t.all"):
    return [row["id"] for row in (yield Statement(name))]


@asynccontextmanager
async def opened(target):
    engine = SqliteEngine(target, Catalog({name: Query(name, "", sql) for name, sql in SQL.items()}))
    await engine.open()
    try:
        if not engine.memory:
            Path(target).touch()

        def tables():
            for table in TABLES:
                yield Built(table)

        await engine.write(tables)
        yield engine
        assert not engine._writer.executor.connection.in_transaction
    finally:
        await engine.close()


@pytest.fixture(params=["file", "memory"])
async def engine(request, tmp_path):
    async with opened(tmp_path / "t.db" if request.param == "file" else ":memory:") as engine:
        yield engine


async def answers(*calls):
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)


def split(found):
    """(what succeeded, what failed) as the answers and the places of the errors."""
    good = [answer for answer in found if not isinstance(answer, BaseException)]
    bad = {place: answer for place, answer in enumerate(found) if isinstance(answer, BaseException)}
    return good, bad


async def test_concurrent_calls_of_one_kind_are_merged_into_one_script(engine):
    tally = Tally()
    insert = tally.insert
    found = await answers(*(engine.merge(insert, (n, "x")) for n in range(100)))
    assert found == list(range(100))
    assert tally.sizes == [100]


@pytest.mark.parametrize("value", [None, "abort", "fail", "rollback"])
@pytest.mark.parametrize("places", [[0], [57], [99], [3, 50, 51], list(range(0, 100, 2))], ids=len)
async def test_only_the_bad_callers_among_a_hundred_get_the_error(engine, value, places):
    tally = Tally()
    insert = tally.insert
    found = await answers(*(engine.merge(insert, (n, value if n in places else "x")) for n in range(100)))
    good, bad = split(found)
    assert sorted(bad) == places
    assert {type(error) for error in bad.values()} == {ConstraintError}
    assert good == await engine.read(numbers) == [n for n in range(100) if n not in places]


@pytest.mark.parametrize("second", [None, "abort", "rollback"])
@pytest.mark.parametrize("first", [None, "abort", "rollback"])
@pytest.mark.parametrize("others", [0, 1, 2])
async def test_several_kinds_of_errors_in_several_batches_end_for_everybody(engine, first, second, others):
    """A member of a split batch may cost everybody the transaction once more."""
    one, two = Tally().insert, Tally().insert
    calls = [engine.merge(one, (n, {3: first, 7: second}.get(n, "x"))) for n in range(10)]
    if others > 0:
        calls += [engine.merge(two, (n, {13: second, 17: first}.get(n, "x"))) for n in range(10, 20)]
    if others > 1:
        calls += [engine.write(other_insert, [(n, {23: first}.get(n, "x"))]) for n in range(20, 30)]
    good, bad = split(await answers(*calls))
    assert sorted(bad) == [n for n in (3, 7, 13, 17, 23) if n < len(calls)]
    assert {type(error) for error in bad.values()} == {ConstraintError}
    written = await engine.read(numbers)
    assert written == [n for n in range(len(calls)) if n not in bad]
    assert len(good) == len(written)


async def test_a_foreign_key_that_fails_at_the_commit_hits_its_own_caller_only(engine):
    tally = Tally()
    insert = tally.insert
    calls = [engine.merge(insert, (n, "x")) for n in range(50)]
    calls += [engine.write(child, n, n if n != 7 else 10_000) for n in range(20)]
    good, bad = split(await answers(*calls))
    assert sorted(bad) == [57]
    assert isinstance(bad[57], ConstraintError)
    assert len(good) == 69
    assert await engine.read(numbers) == list(range(50))
    assert await engine.read(numbers, "t.children") == [n for n in range(20) if n != 7]


async def test_an_error_in_the_answers_is_its_callers_alone(engine):
    def judge(items, now):
        return [ValueError(item) if item % 3 else item for item in items]
        yield

    good, bad = split(await answers(*(engine.merge(judge, n) for n in range(30))))
    assert good == list(range(0, 30, 3))
    assert all(error.args == (place,) for place, error in bad.items())


async def test_a_merged_script_with_too_few_answers_is_an_error_and_commits_nothing(engine):
    def forgets(items, now):
        yield Statement("t.insert", rows=[{"id": item, "v": "x"} for item in items])
        return []

    good, bad = split(await answers(*(engine.merge(forgets, n) for n in range(3))))
    assert (good, len(bad)) == ([], 3)
    assert await engine.read(numbers) == []


async def test_a_file_at_its_largest_size_is_full_until_it_may_grow(tmp_path):
    async with opened(tmp_path / "t.db") as engine:
        tally = Tally()
        insert = tally.insert
        await engine.merge(insert, (0, "x"))

        await engine._writer.hop(lambda raw: raw.execute("PRAGMA max_page_count = 40").fetchall())
        told = {0}
        found = await answers(*(engine.merge(insert, (n, "x" * 3_000)) for n in range(1, 200)))
        good, bad = split(found)
        told.update(good)
        assert bad
        assert {type(error) for error in bad.values()} == {DiskFullError}
        assert set(await engine.read(numbers)) == told
        await engine._writer.hop(lambda raw: raw.execute("PRAGMA max_page_count = 100000").fetchall())
        good, bad = split(
            await answers(*(engine.merge(insert, (n, "x" * 3_000)) for n in range(1_000, 1_100)))
        )
        assert not bad
        assert set(await engine.read(numbers)) == told | set(good)


async def test_a_transaction_that_could_not_be_ended_is_ended_before_the_next(engine):
    """ROLLBACK itself can fail, for lack of memory; the writer must not stay in that transaction for ever."""
    insert = Tally().insert
    await engine.merge(insert, (0, "x"))

    def leave_open(raw):
        raw.execute("BEGIN IMMEDIATE")
        raw.execute("INSERT INTO t (id, v) VALUES (1, 'x')")

    await engine._writer.hop(leave_open)
    await engine.merge(insert, (2, "x"))
    assert await engine.read(numbers) == [0, 2]


# -- gathering ---------------------------------------------------------------------------------


def test_jobs_of_one_kind_are_gathered_in_the_order_in_which_kinds_came():
    def one():
        yield

    def two():
        yield

    jobs = [
        Job(fn, (n,), merged)
        for n, (fn, merged) in enumerate([(one, True), (two, True), (one, False), (one, True), (two, False)])
    ]
    found = [[job.args[0] for job in batch.jobs] for batch in gather(jobs)]
    assert found == [[0, 3], [1], [2], [4]]
    assert [len(batch.jobs) for batch in Batch(jobs).split()] == [1] * 5
