"""Heads and checkpoints: what was cut off, or replaced by another history, is found."""

from __future__ import annotations

import pytest

from abathur import AuditHead
from abathur.audit import Chain, append
from abathur.errors import ConstraintError, InvalidInputError
from abathur.script import Emit
from tests.conformance.checks import execute, select
from tests.conformance.tampering import UNGUARD, WIND_BACK, unguard

SQL = {
    **UNGUARD,
    "test.checkpoints": "SELECT last_seal, last_row, hash FROM audit_checkpoints ORDER BY last_seal",
    "test.cut_rows": "DELETE FROM audit WHERE id > :row",
    "test.cut_seals": "DELETE FROM audit_seals WHERE id > :seal",
    "test.cut_checkpoints": "DELETE FROM audit_checkpoints WHERE last_seal > :seal",
    "test.forget_checkpoint": "DELETE FROM audit_checkpoints WHERE last_seal = :seal",
    "test.alter_checkpoint": "UPDATE audit_checkpoints SET hash = :hash WHERE last_seal = :seal",
    "test.move_checkpoint": "UPDATE audit_checkpoints SET last_seal = last_seal + 1 WHERE last_seal = :seal",
    "test.wind_back": WIND_BACK,
    "test.remove_task": "DELETE FROM tasks WHERE id = :id",
    "test.other_database": "UPDATE abathur_meta SET value = 'another' WHERE key = 'database_id'",
}


@pytest.fixture
async def db(unopened, initialized):
    """A database with ten tasks in the trail, a checkpoint after the fifth, and none of its triggers."""
    db = unopened(queries=SQL)
    await db.initialize()
    try:
        for n in range(10):
            await db.tasks.enqueue(f"{n}")
            if n == 4:
                await db.audit.checkpoint()
        await db.run(unguard)
        yield db
    finally:
        await db.close()


async def test_a_head_is_the_same_until_something_is_written_and_with_or_without_checkpoints(db):
    first = await db.audit.head()
    assert await db.audit.head() == first
    assert (first.last_seal, first.last_row) == (10, 10)
    await db.audit.checkpoint()
    assert await db.audit.head() == first
    await db.tasks.enqueue("one more")
    later = await db.audit.head()
    assert (later.last_seal, later.last_row) == (11, 11)
    assert later.hash != first.hash


async def test_a_head_survives_its_way_through_text(db):
    head = await db.audit.head()
    assert AuditHead.parse(f"  {head}\n") == head
    assert str(head).startswith(f"abathur-trail-1:{head.database_id}:10:10:")


async def test_a_pinned_head_is_proved_to_be_in_the_history(db):
    heads = [await db.audit.head()]
    for n in range(3):
        await db.tasks.enqueue(f"later {n}")
        heads.append(await db.audit.head())
    await db.audit.checkpoint()
    for head in heads:
        assert (await db.audit.verify(head=head)).ok
        assert (await db.audit.verify(head=str(head))).ok


async def test_the_head_of_an_empty_trail_is_in_every_history_of_its_database(make_db):
    db = await make_db()
    head = await db.audit.head()
    assert (head.last_seal, head.last_row, head.hash) == (0, 0, "0" * 64)
    assert (await db.audit.verify(head=head)).ok
    await db.tasks.enqueue("x")
    assert (await db.audit.verify(head=head)).ok


@pytest.mark.parametrize("after", [0, 3, 7, 9])
async def test_a_tail_that_a_careful_forger_cut_off_is_found_by_a_pinned_head(db, after):
    head = await db.audit.head()
    await db.run(_one("test.cut_rows", {"row": after}))
    await db.run(_one("test.cut_seals", {"seal": after}))
    await db.run(_one("test.cut_checkpoints", {"seal": after}))
    await db.run(_one("test.wind_back", {"row": after}))
    report = await db.audit.verify(head=head)
    assert (report.ok, report.first_bad) == (False, after + 1)
    assert "pinned head" in report.problem


@pytest.mark.parametrize("after", [0, 3])
async def test_a_tail_that_a_checkpoint_has_seen_is_missed_also_without_a_pinned_head(db, after):
    await db.run(_one("test.cut_rows", {"row": after}))
    await db.run(_one("test.cut_seals", {"seal": after}))
    await db.run(_one("test.wind_back", {"row": after}))
    report = await db.audit.verify()
    assert (report.ok, report.first_bad) == (False, after + 1)
    assert "checkpoint" in report.problem


async def test_a_history_that_was_written_anew_is_found_by_a_pinned_head(db, unopened):
    head = await db.audit.head()
    await db.run(_one("test.cut_rows", {"row": 6}))
    await db.run(_one("test.cut_seals", {"seal": 6}))
    await db.run(_one("test.wind_back", {"row": 6}))

    # The writer's chain goes on where it was, so the forger writes with a chain of his own.
    def forged(now):
        chain = Chain("forger")
        for n in range(6):
            entries = [("2026-01-01", None, f"forged {n}", None, None)]
            for step in append(entries):
                if not isinstance(step, Emit):
                    yield step
            chain = yield from chain.seal(entries, now)

    await db.run(forged)
    assert (await db.audit.verify()).ok  # in itself it is a trail like any other
    report = await db.audit.verify(head=head)
    assert not report.ok
    assert "not in the history" in report.problem


async def test_the_head_of_another_database_is_no_proof_of_this_one(db):
    head = await db.audit.head()
    await db.run(execute, "test.other_database")
    report = await db.audit.verify(head=head)
    assert not report.ok
    assert "is of database" in report.problem


async def test_a_checkpoint_that_was_altered_moved_or_removed_is_found(db):
    for _ in range(2):
        await db.tasks.enqueue("more")
        await db.audit.checkpoint()
    assert len(await db.read(select, "test.checkpoints")) == 3
    report = await db.audit.verify()
    assert (report.ok, report.checkpoints) == (True, 3)
    for name, params in (
        ("test.alter_checkpoint", {"seal": 5, "hash": "0" * 64}),
        ("test.forget_checkpoint", {"seal": 5}),
    ):
        await db.run(_one(name, params))
        report = await db.audit.verify()
        assert not report.ok
        assert "checkpoint" in report.problem


def _one(name, params):
    def script():
        yield from execute(name, **params)

    return script


async def test_checkpoints_join_only_what_is_new(db):
    before = await db.read(select, "test.checkpoints")
    assert [row["last_seal"] for row in before] == [5]
    await db.audit.checkpoint()
    await db.audit.checkpoint()
    assert [row["last_seal"] for row in await db.read(select, "test.checkpoints")] == [5, 10]


async def test_a_task_that_was_removed_by_hand_is_named(db):
    task = (await db.tasks.list())[3]
    await db.run(_one("test.remove_task", {"id": task.id}))
    report = await db.audit.verify()
    assert (report.ok, report.first_bad) == (False, 4)
    assert task.id in report.problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "abathur-trail-1:",
        "abathur-trail-2:a:1:1:" + "0" * 64,
        "abathur-trail-1:a:-1:1:" + "0" * 64,
        7,
    ],
)
async def test_what_is_no_head_is_refused(db, text):
    with pytest.raises(InvalidInputError, match="no head"):
        AuditHead.parse(text)
    if isinstance(text, str):
        with pytest.raises(InvalidInputError, match="no head"):
            await db.audit.verify(head=text)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM audit WHERE id = 1",
        "UPDATE audit SET actor = 'x' WHERE id = 1",
        "UPDATE audit SET id = 100 WHERE id = 1",
        "UPDATE audit SET timestamp = '2020-01-01', result = NULL WHERE id = 1",
        "DELETE FROM audit_seals WHERE id = 1",
        "UPDATE audit_seals SET hash = 'x' WHERE id = 1",
        "DELETE FROM audit_checkpoints WHERE last_seal > 0",
        "UPDATE audit_checkpoints SET hash = 'x' WHERE last_seal > 0",
    ],
)
async def test_the_trail_is_append_only(unopened, initialized, sql):
    db = unopened(
        queries={"test.change": sql, "test.fill": "UPDATE audit SET memory_namespace = 'x' WHERE id = 1"}
    )
    await db.initialize()
    try:
        await db.tasks.enqueue("x")
        await db.audit.checkpoint()
        before = await db.audit.list()
        with pytest.raises(ConstraintError, match="append-only"):
            await db.run(execute, "test.change")
        assert await db.audit.list() == before
        await db.run(execute, "test.fill")  # a column of older databases, which no seal covers
        assert (await db.audit.verify()).ok
    finally:
        await db.close()


async def test_the_guard_is_never_up_for_anybody_else(make_db):
    db = await make_db(queries={"test.guard": "SELECT value FROM abathur_meta WHERE key = 'audit_guard'"})
    await db.tasks.enqueue("x")
    assert await db.read(select, "test.guard") == []


async def test_triggers_that_somebody_dropped_come_back(unopened, initialized, processes):
    dropped = {
        "sqlite": "DROP TRIGGER audit_keeps_rows",
        "postgres": "DROP TRIGGER audit_keeps_rows ON audit",
    }
    db = unopened(queries={"test.drop": dropped})
    await db.initialize()
    await db.run(execute, "test.drop")
    await db.close()
    again = unopened()
    report = await again.initialize()
    try:
        assert "create trigger audit_keeps_rows on audit" in [step.describe() for step in report.steps]
    finally:
        await again.close()
