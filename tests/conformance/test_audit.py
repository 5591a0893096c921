"""The audit trail: one row per change of status, and what was tampered with is found and named."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from abathur import Retention, Statement
from abathur.audit.chain import GENESIS, Span, seal_hash
from abathur.audit.entries import stored_digest
from abathur.errors import InvalidInputError
from tests.conformance.checks import check_invariants, execute, pass_time, select
from tests.conformance.tampering import UNGUARD, unguard

SQL = {
    "test.rows": "SELECT id, task_id, action_type FROM audit ORDER BY id",
    "test.seals": "SELECT id, writer, sequence, ids FROM audit_seals ORDER BY id",
    "test.alter": "UPDATE audit SET actor = 'somebody else' WHERE id = :id",
    "test.alter_data": "UPDATE audit SET action_data = replace(action_data, 'ready', 'READY') WHERE id = :id",
    "test.alter_type": {
        "sqlite": "UPDATE audit SET timestamp = 17 WHERE id = :id",
        "postgres": "UPDATE audit SET timestamp = '17' WHERE id = :id",
    },
    "test.to_null": "UPDATE audit SET actor = NULL WHERE id = :id",
    "test.remove": "DELETE FROM audit WHERE id = :id",
    "test.insert": (
        "INSERT INTO audit (id, timestamp, task_id, action_type) VALUES (:id, '2026', 'x', 'task.ready')"
    ),
    "test.append": (
        "INSERT INTO audit (id, timestamp, task_id, action_type)"
        " SELECT MAX(id) + 1, '2026', 'x', 'task.ready' FROM audit"
    ),
    "test.renumber": "UPDATE audit SET id = :to WHERE id = :id",
    "test.cut": "DELETE FROM audit WHERE id > :after",
    "test.cut_seals": {
        "sqlite": "DELETE FROM audit_seals WHERE CAST(substr(ids, instr(ids, '-') + 1) AS INTEGER) > :after",
        "postgres": "DELETE FROM audit_seals WHERE CAST(split_part(ids, '-', -1) AS BIGINT) > :after",
    },
    "test.remove_seal": "DELETE FROM audit_seals WHERE id = :id",
    "test.swap_seals": "UPDATE audit_seals SET id = :to WHERE id = :id",
    "test.alter_seal": "UPDATE audit_seals SET sealed_at = sealed_at + 1 WHERE id = :id",
    "test.break_ids": "UPDATE audit_seals SET ids = :ids WHERE id = :id",
    "test.break_hash": "UPDATE audit_seals SET hash = :hash WHERE id = :id",
    "test.break_digests": "UPDATE audit_seals SET digests = :digests WHERE id = :id",
    **UNGUARD,
    "test.break_start": "UPDATE abathur_meta SET value = :value WHERE key = 'audit_starts_after'",
}


@pytest.fixture
async def sealed(unopened, initialized):
    """A database with some sealed rows, which the test tampers with."""
    db = unopened(queries=SQL)
    await db.initialize()
    try:
        for n in range(6):
            await db.tasks.enqueue(f"{n}")
        for claim in await db.tasks.claim("w", limit=4):
            await db.tasks.complete(claim)
        await check_invariants(db)
        await db.run(unguard)  # whoever owns the tables can also drop what keeps the trail as it was
        yield db
        await check_invariants(db, trail=False)
    finally:
        await db.close()


async def test_each_change_of_status_has_one_row_that_says_who_where_from_and_under_which_fence(make_db):
    db = await make_db(actor="ada")
    task = await db.tasks.enqueue("x", created_by="grace")
    (claim,) = await db.tasks.claim("host-1")
    await db.tasks.fail(claim, "broken", retry_in=5)
    await pass_time(db, 6)
    (claim,) = await db.tasks.claim("host-2")
    await db.tasks.complete(claim)
    entries = await db.audit.list(task_id=task.id)
    assert [(entry.action, entry.actor, entry.data) for entry in entries] == [
        ("task.ready", "grace", {"from": "new"}),
        ("task.running", "host-1", {"from": "ready", "fence": 1, "attempt": 1}),
        ("task.scheduled", "host-1", {"from": "running", "fence": 1, "attempt": 1, "outcome": "failed"}),
        ("task.ready", None, {"from": "scheduled"}),
        ("task.running", "host-2", {"from": "ready", "fence": 2, "attempt": 2}),
        ("task.completed", "host-2", {"from": "running", "fence": 2, "attempt": 2}),
    ]
    assert [entry.task_id for entry in entries] == [task.id] * 6
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)


async def test_the_trail_is_filtered_and_paged(db):
    tasks = await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(7))
    for claim in await db.tasks.claim("w", limit=7):
        await db.tasks.complete(claim)
    whole = await db.audit.list()
    assert len(whole) == 21
    found = []
    while page := await db.audit.list(after=found[-1].id if found else 0, limit=4):
        assert len(page) <= 4
        found += page
    assert found == whole
    completed = await db.audit.list(action="task.completed")
    assert completed == [entry for entry in whole if entry.action == "task.completed"]
    of_one = [entry for entry in whole if entry.task_id == tasks[3].id]
    assert await db.audit.list(task_id=tasks[3].id) == of_one
    assert await db.audit.list(task_id=tasks[3].id, action="task.running") == of_one[1:2]
    assert await db.audit.list(task_id=tasks[3].id, after=of_one[0].id, limit=1) == of_one[1:2]
    assert await db.audit.list(task_id="nobody") == []
    assert await db.audit.list(after=whole[-1].id) == []


async def test_an_untouched_trail_is_good(sealed):
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad, report.problem) == (True, None, None)
    assert (report.rows, report.writers, report.adopted, report.starts_after) == (14, 1, 0, 0)
    assert report.seals == 6 + 1 + 4


async def test_an_empty_trail_is_good(db):
    report = await db.audit.verify()
    assert (report.ok, report.rows, report.seals) == (True, 0, 0)


@pytest.mark.parametrize("row", [1, 2, 7, 9, 14])
@pytest.mark.parametrize("how", ["test.alter", "test.alter_data", "test.alter_type", "test.to_null"])
async def test_an_altered_row_is_named(sealed, row, how):
    await sealed.run(_with, how, {"id": row})
    report = await sealed.audit.verify()
    altered = how != "test.alter_data" or 7 <= row <= 10
    assert (report.ok, report.first_bad) == ((False, row) if altered else (True, None))


@pytest.mark.parametrize("row", [1, 2, 8, 10, 13, 14])
async def test_a_removed_row_is_named(sealed, row):
    await sealed.run(_with, "test.remove", {"id": row})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, row)


async def test_a_removed_row_whose_place_is_taken_is_named(sealed):
    await sealed.run(_with, "test.remove", {"id": 5})
    await sealed.run(_with, "test.insert", {"id": 5})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, 5)


async def test_an_inserted_row_is_named(sealed):
    await sealed.run(_with, "test.append", {})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, 15)
    await sealed.tasks.enqueue("after it")
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, 15)


@pytest.mark.parametrize("place", [0, -3])
async def test_a_row_inserted_before_the_first_is_named(sealed, place):
    await sealed.run(_with, "test.insert", {"id": place})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, place)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (7, 10), (3, 14)])
async def test_rows_that_were_swapped_are_named(sealed, one, other):
    for row, to in ((one, 1000), (other, one), (1000, other)):
        await sealed.run(_with, "test.renumber", {"id": row, "to": to})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, one)


async def test_a_row_removed_together_with_its_seal_is_found(sealed):
    seals = await sealed.read(select, "test.seals")
    for seal in (seals[2], seals[0]):
        await sealed.run(_with, "test.remove", {"id": int(seal["ids"].split("-")[0])})
        await sealed.run(_with, "test.remove_seal", {"id": seal["id"]})
        report = await sealed.audit.verify()
        assert not report.ok
        assert report.first_bad == int(seal["ids"].split("-")[0])


async def test_a_whole_trail_that_was_removed_is_found_by_what_comes_after(sealed):
    for seal in await sealed.read(select, "test.seals"):
        await sealed.run(_with, "test.remove_seal", {"id": seal["id"]})
    for row in await sealed.read(select, "test.rows"):
        await sealed.run(_with, "test.remove", {"id": row["id"]})
    await sealed.tasks.enqueue("after it")
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, 1)


@pytest.mark.parametrize("place", [0, 3, -1])
async def test_a_seal_that_was_altered_or_removed_is_found(sealed, place):
    seal = (await sealed.read(select, "test.seals"))[place]
    first = int(seal["ids"].split("-")[0])
    await sealed.run(_with, "test.alter_seal", {"id": seal["id"]})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, first)
    await sealed.run(_with, "test.remove_seal", {"id": seal["id"]})
    report = await sealed.audit.verify()
    assert (report.ok, report.first_bad) == (False, first)


async def test_seals_that_were_swapped_are_found(sealed):
    for seal, to in ((2, 1000), (3, 2), (1000, 3)):
        await sealed.run(_with, "test.swap_seals", {"id": seal, "to": to})
    assert not (await sealed.audit.verify()).ok


NONSENSE = [
    "",
    "x",
    "-",
    "1-",
    "1-x",
    "5-1",
    "1-99999999999999999999",
    "1",
    "0-0",
    "-1--1",
    "1-2-3",
]


@pytest.mark.parametrize("what", ["ids", "hash", "digests"])
async def test_verify_never_raises_for_a_seal_of_nonsense(sealed, what):
    for value in NONSENSE:
        await sealed.run(_with, f"test.break_{what}", {"id": 3, what: value})
        report = await sealed.audit.verify()
        assert not report.ok, value
        assert report.problem


@pytest.mark.parametrize("what", ["ids", "hash", "digests"])
async def test_verify_never_raises_for_a_seal_of_bytes(sealed, loose_types, what):
    await sealed.run(_with, f"test.break_{what}", {"id": 3, what: b"\xff\x00"})
    report = await sealed.audit.verify()
    assert not report.ok
    assert report.problem


async def test_verify_never_raises_for_a_start_of_nonsense(sealed):
    await sealed.run(_with, "test.break_start", {"value": "yesterday"})
    assert not (await sealed.audit.verify()).ok


async def test_the_chains_of_two_writers_are_verified_together(db, make_db, processes):
    other = await make_db()
    for n in range(20):
        await (db, other)[n % 2].tasks.enqueue(f"{n}")
    await asyncio.gather(*((db, other)[n % 2].tasks.enqueue(f"{n}") for n in range(50)))
    report = await db.audit.verify()
    assert (report.ok, report.writers, report.rows) == (True, 2, 70)


async def test_verify_is_right_while_others_write(db):
    stop = False

    async def write():
        while not stop:
            await db.tasks.enqueue("x")

    writers = [asyncio.create_task(write()) for _ in range(5)]
    for _ in range(20):
        report = await db.audit.verify()
        assert report.ok, report
    stop = True
    await asyncio.gather(*writers)


def _with(name, params):
    yield from execute(name, **params)


@pytest.mark.parametrize("after", [0, 3, 10])
async def test_a_tail_that_was_cut_off_together_with_its_seals_is_found(sealed, after):
    def cut():
        yield Statement("test.cut", after=after)
        # Seals hold several rows each; those that reach beyond the cut go too.
        yield Statement("test.cut_seals", after=after)

    await sealed.run(cut)
    report = await sealed.audit.verify()
    assert not report.ok
    assert "removed" in report.problem


@pytest.mark.parametrize("wrong", [{"limit": "x"}, {"limit": -1}, {"after": None}, {"limit": True}])
async def test_a_wrong_page_of_the_trail_is_refused(db, wrong):
    with pytest.raises(InvalidInputError):
        await db.audit.list(**wrong)


FIRST_FORM = {
    "test.raw_seals": "SELECT id, writer, sequence, sealed_at, ids FROM audit_seals ORDER BY id",
    "test.kept": "SELECT id, digests FROM audit_seals ORDER BY id LIMIT 1",
    "test.raw_rows": (
        "SELECT id, timestamp, agent_id, task_id, action_type, action_data, result, actor FROM audit"
    ),
    "test.to_first_form": (
        "UPDATE audit_seals SET digests = :digests, previous = :previous, hash = :hash WHERE id = :id"
    ),
}


async def test_seals_of_the_first_form_are_verified_and_pruned(unopened, initialized, processes):
    """They kept 16 digits of each row's digest, and hashed all 64."""
    db = unopened(queries={**SQL, **FIRST_FORM})
    await db.initialize()
    try:
        await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(4))
        for claim in await db.tasks.claim("w", limit=2):
            await db.tasks.complete(claim)
        await db.run(execute, "test.drop_audit_seals_values")
        await db.run(execute, "test.drop_audit_values")

        def older():
            heads = {}
            rows = {row["id"]: row for row in (yield Statement("test.raw_rows"))}
            for seal in (yield Statement("test.raw_seals")):
                span = Span.of(seal)
                whole = [stored_digest(rows[row_id]) for row_id in range(span.first, span.last + 1)]
                before = heads.get(seal["writer"], GENESIS)
                parts = (before, seal["writer"], seal["sequence"], seal["sealed_at"], seal["ids"])
                heads[seal["writer"]] = made = seal_hash(*parts, "".join(whole))
                kept = "".join(digest[:16] for digest in whole)
                yield Statement("test.to_first_form", id=seal["id"], digests=kept, previous=before, hash=made)

        await db.run(older)
        report = await db.audit.verify()
        assert (report.ok, report.rows) == (True, 8), report
        await db.close()
        db = unopened(queries={**SQL, **FIRST_FORM})  # the writer's chain in memory is of the other form
        await db.initialize()
        await db.tasks.prune(Retention(completed=timedelta(0)))
        await db.tasks.enqueue("of the second form")
        report = await db.audit.verify()
        assert (report.ok, report.pruned) == (True, 6), report
        await db.run(execute, "test.drop_audit_values")
        await db.run(_with, "test.alter", {"id": 3})
        report = await db.audit.verify()
        assert (report.ok, report.first_bad) == (False, 3)

        # Also when the digests that the seal keeps are made to fit: it hashed more of them.
        def fit():
            rows = {row["id"]: row for row in (yield Statement("test.raw_rows"))}
            (seal, *_) = yield Statement("test.kept")
            digests = seal["digests"][:32] + stored_digest(rows[3])[:16] + seal["digests"][48:]
            yield Statement("test.break_digests", id=seal["id"], digests=digests)

        await db.run(execute, "test.drop_audit_seals_values")
        await db.run(fit)
        report = await db.audit.verify()
        assert (report.ok, report.first_bad) == (False, 1)
    finally:
        await db.close()
