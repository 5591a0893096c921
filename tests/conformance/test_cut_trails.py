"""The oldest part of the trail is cut off when all of it was pruned, and the rest stays provable."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from abathur import Retention
from abathur.audit import cutting
from tests.conformance.checks import check_invariants, execute, select
from tests.conformance.tampering import unguarded

ALL = Retention(completed=timedelta(0))
SQL = {
    "test.seals": "SELECT MIN(id) AS first, COUNT(*) AS n FROM audit_seals",
    "test.tombstones": "SELECT COUNT(*) AS n FROM audit_tombstones",
    "test.checkpoints": "SELECT MIN(last_seal) AS first, COUNT(*) AS n FROM audit_checkpoints",
    "test.drop_rows": unguarded("audit", "rows"),
    "test.drop_values": unguarded("audit_checkpoints", "values"),
    "test.drop_seals": unguarded("audit_seals", "rows"),
    "test.insert": "INSERT INTO audit (id, timestamp, action_type) VALUES (7, '2026', 'x')",
    "test.forget": "DELETE FROM audit_seals WHERE id = (SELECT MIN(id) FROM audit_seals)",
    "test.other_hash": (
        "UPDATE audit_checkpoints SET hash = 'x'"
        " WHERE last_seal = (SELECT MIN(last_seal) FROM audit_checkpoints)"
    ),
    "test.other_row": {
        dialect: f"UPDATE audit_checkpoints SET last_row = {nonsense}"
        " WHERE last_seal = (SELECT MIN(last_seal) FROM audit_checkpoints)"
        for dialect, nonsense in (("sqlite", "'x'"), ("postgres", "-7"))
    },
    "test.other_previous": (
        "UPDATE audit_checkpoints SET previous = 1"
        " WHERE last_seal = (SELECT MIN(last_seal) FROM audit_checkpoints)"
    ),
    "test.older_checkpoint": (
        "INSERT INTO audit_checkpoints (last_seal, last_row, previous, made_at, hash)"
        " VALUES (1, 1, 0, 0, 'x')"
    ),
    "test.remove_rows": "DELETE FROM audit WHERE id <= 30",
    "test.remove_seals": "DELETE FROM audit_seals WHERE id <= 30",
    "test.no_checkpoint": "DELETE FROM audit_checkpoints WHERE last_seal > 0",
    "test.drop_checkpoints": unguarded("audit_checkpoints", "rows"),
}


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """A few seals are enough for a cut."""
    monkeypatch.setattr(cutting, "FEWEST", 20)


@pytest.fixture
async def db(unopened, initialized):
    db = unopened(queries=SQL)
    await db.initialize()
    yield db
    await db.close()


async def work(db, count: int) -> None:
    """So many tasks, each with three transactions of its own."""
    for n in range(count):
        await db.tasks.enqueue(f"{n}")
        (claim,) = await db.tasks.claim("w")
        await db.tasks.complete(claim)


async def first(db, name: str) -> dict[str, int]:
    return (await db.read(select, name))[0]


async def test_what_was_pruned_whole_is_cut_off_and_the_rest_is_provable(db):
    await work(db, 30)
    old = await db.audit.head()
    pruned = await db.tasks.prune(ALL)
    assert (pruned.tasks, pruned.seals) == (30, 92)  # 90 of the tasks, 2 of the pruning
    seals = await first(db, "test.seals")
    assert (seals["first"], seals["n"]) == (93, 1)
    assert (await first(db, "test.tombstones"))["n"] == 0
    report = await db.audit.verify()
    assert (report.ok, report.rows, report.pruned, report.cut_after) == (True, 1, 0, 92)
    head = await db.audit.head()
    await work(db, 3)
    assert (await db.audit.verify(head=head)).ok
    report = await db.audit.verify(head=old)
    assert not report.ok
    assert "too old to be proved" in report.problem
    await check_invariants(db)


async def test_cuts_follow_each_other_and_the_trail_stays_short(db):
    for _ in range(4):
        await work(db, 12)
        assert (await db.tasks.prune(ALL)).tasks == 12
        assert (await db.audit.verify()).ok
    assert (await first(db, "test.seals"))["n"] < 40
    assert (await first(db, "test.checkpoints"))["n"] <= 2
    await db.audit.checkpoint()
    head = await db.audit.head()
    assert (await db.audit.verify(head=head)).ok


async def test_a_task_that_stays_keeps_everything_after_it(db):
    await work(db, 15)
    await db.tasks.enqueue("open", agent_type="other")
    await work(db, 15)
    await db.audit.checkpoint()
    pruned = await db.tasks.prune(ALL)
    assert (pruned.tasks, pruned.seals) == (30, 0)  # its row lies before the first checkpoint
    assert (await db.audit.verify()).ok


async def test_a_tombstone_that_a_cut_divides_is_still_vouched_for(db):
    await work(db, 10)
    await db.audit.checkpoint()
    await db.tasks.enqueue("open", agent_type="other")
    await work(db, 10)
    assert (await db.tasks.prune(ALL)).seals == 30
    assert (await first(db, "test.tombstones"))["n"] == 1
    report = await db.audit.verify()
    assert (report.ok, report.cut_after, report.pruned) == (True, 30, 30)


async def test_other_writers_go_on_after_a_cut(db, unopened, processes):
    other = unopened(queries=SQL)
    await other.initialize()
    try:
        await other.tasks.enqueue("first")
        await work(db, 20)
        (claim,) = await db.tasks.claim("w")
        await db.tasks.complete(claim)
        assert (await db.tasks.prune(ALL)).seals > 20
        await other.tasks.enqueue("second")
        third = unopened(queries=SQL)
        await third.initialize()
        await third.tasks.enqueue("third")
        await third.close()
        report = await db.audit.verify()
        assert report.ok, report
    finally:
        await other.close()


async def test_verify_is_right_while_the_trail_is_cut(db):
    await work(db, 60)

    async def verify():
        return [await db.audit.verify() for _ in range(15)]

    reports, pruned = await asyncio.gather(verify(), db.tasks.prune(ALL))
    assert pruned.seals > 100
    assert all(report.ok for report in reports), [report for report in reports if not report.ok]


@pytest.mark.parametrize(
    ("names", "row"),
    [
        (["test.insert"], 7),
        (["test.drop_seals", "test.forget"], None),
        (["test.drop_values", "test.other_hash"], None),
        (["test.drop_values", "test.other_row"], None),
        (["test.drop_values", "test.other_previous"], 1),
        (["test.older_checkpoint"], None),
        (["test.drop_checkpoints", "test.no_checkpoint"], 1),
    ],
)
async def test_what_is_done_to_a_cut_is_found(db, names, row):
    await work(db, 10)
    assert (await db.tasks.prune(ALL)).seals == 31
    await work(db, 2)
    assert (await db.audit.verify()).ok
    for name in names:
        await db.run(execute, name)
    report = await db.audit.verify()
    assert not report.ok
    assert report.problem
    assert row is None or report.first_bad == row


async def test_nobody_else_can_make_a_cut(db):
    """Rows and seals that were removed without a cut's own row are missed, checkpoint or not."""
    await work(db, 10)
    await db.audit.checkpoint()
    await work(db, 3)
    for name in ("test.drop_rows", "test.drop_seals", "test.remove_rows", "test.remove_seals"):
        await db.run(execute, name)
    report = await db.audit.verify()
    assert (report.ok, report.first_bad) == (False, 1)
    assert "no row vouches for a cut" in report.problem
