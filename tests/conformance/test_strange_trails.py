"""What else somebody's SQL may leave in the trail: it is found, and `verify` neither raises nor hangs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from abathur import Retention
from abathur.audit import Chain, append, cutting, reading
from abathur.audit import head as heads
from abathur.audit.entries import stored_digest
from abathur.audit.verify import Check
from abathur.script import Emit

ALL = Retention(completed=timedelta(0), failed=timedelta(0), cancelled=timedelta(0))
LOWEST = -(2**63)
NO_TEXT = "CAST(x'ff41' AS TEXT)"
"""Text that is no UTF-8."""


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """A few seals are enough for a cut."""
    monkeypatch.setattr(cutting, "FEWEST", 5)


@pytest.fixture
async def db(unopened, initialized):
    db = unopened()
    await db.initialize()
    yield db
    await db.close()


async def work(db, count):
    """So many tasks, each with three transactions of its own."""
    for n in range(count):
        await db.tasks.enqueue(f"{n}", agent_type="done")
        (claim,) = await db.tasks.claim("w", agent_types=["done"])
        await db.tasks.complete(claim)


LAST_ID = {
    "sqlite": ("sqlite_sequence", "UPDATE sqlite_sequence SET seq = {} WHERE name = 'audit'"),
    "postgres": ("audit_issued", "UPDATE abathur_meta SET value = {} WHERE key = 'audit_issued'"),
}
"""Where the last id that was given to a row of the trail is kept, and how it is altered."""


@pytest.mark.parametrize("value", ["'x'", "''", "'3.5'", "'99999999999999999999'"])
async def test_a_last_id_that_is_no_number_is_found(db, tamper, dialect, value):
    await last_id_is_found(db, tamper, dialect, value)


@pytest.mark.parametrize("value", ["NULL", "x'00'", "3.5"])
async def test_a_last_id_of_another_type_is_found(db, tamper, dialect, loose_types, value):
    await last_id_is_found(db, tamper, dialect, value)


async def last_id_is_found(db, tamper, dialect, value):
    await work(db, 1)
    where, sql = LAST_ID[dialect]
    await tamper(sql.format(value))
    report = await db.audit.verify()
    assert not report.ok
    assert where in report.problem


@pytest.mark.parametrize(
    ("sql", "row"),
    [
        (f"UPDATE audit SET action_data = {NO_TEXT} WHERE id = 3", 3),
        (f"UPDATE audit SET actor = {NO_TEXT} WHERE id = 2", 2),
        (f"UPDATE audit_seals SET digests = {NO_TEXT} WHERE id = 3", 3),
        (f"UPDATE audit_seals SET writer = {NO_TEXT} WHERE id = 3", 3),
        (f"UPDATE audit_seals SET ids = {NO_TEXT} WHERE id = 6", 6),
        (f"UPDATE audit_checkpoints SET hash = {NO_TEXT}", None),
    ],
)
async def test_text_that_is_no_utf_8_is_found_and_the_row_is_named(db, tamper, loose_types, sql, row):
    await work(db, 2)
    await db.audit.checkpoint()
    await tamper(sql)
    report = await db.audit.verify()
    assert (report.ok, report.first_bad) == (False, row), report


async def test_a_row_that_is_no_utf_8_can_be_pruned_and_is_still_found(db, tamper, loose_types):
    await db.tasks.enqueue("open")  # so that nothing is cut off
    await work(db, 2)
    await tamper(f"UPDATE audit SET action_data = {NO_TEXT} WHERE id = 3")
    assert (await db.tasks.prune(ALL)).tasks == 2
    report = await db.audit.verify()
    assert (report.ok, report.first_bad) == (False, 2)  # the first of its tombstone


@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE audit_seals SET id = {LOWEST} WHERE id = 1",
        f"UPDATE audit_seals SET id = {2**63 - 1} WHERE id = 6",
        f"UPDATE audit SET id = {2**63 - 1} WHERE id = 6",
        f"UPDATE audit_checkpoints SET last_row = {2**63 - 1}",
        f"UPDATE audit_checkpoints SET last_seal = {LOWEST}",
    ],
)
async def test_the_largest_and_the_smallest_numbers_are_found(db, tamper, sql):
    await work(db, 2)
    await db.audit.checkpoint()
    await tamper(sql)
    assert not (await db.audit.verify()).ok


async def test_a_cut_that_says_the_largest_number_is_found_when_no_rows_are_left(db, tamper):
    await work(db, 4)
    assert (await db.tasks.prune(ALL)).seals > 5
    await tamper(f"UPDATE audit_checkpoints SET last_row = {2**63 - 1}", "DELETE FROM audit")
    assert not (await db.audit.verify()).ok


async def test_a_tombstone_and_a_seal_that_claim_endless_rows_are_found_at_once(db, tamper):
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(4))
    await db.tasks.cancel((await db.tasks.list())[0])
    await db.tasks.prune(ALL)
    await tamper(
        "UPDATE audit_tombstones SET ids = '1-999999999999999999', last_row = 999999999999999999",
        "UPDATE audit_seals SET ids = '1-999999999999999999' WHERE id = 1",
    )
    assert not (await db.audit.verify()).ok


async def test_a_checkpoint_of_nonsense_stops_neither_the_next_nor_the_head(db, tamper, dialect):
    await work(db, 1)
    await db.audit.checkpoint()
    nonsense = {"sqlite": "last_row = 'x', hash = x'00'", "postgres": "last_row = -7, hash = ''"}
    await tamper(f"UPDATE audit_checkpoints SET {nonsense[dialect]}")
    await work(db, 1)
    await db.audit.checkpoint()
    await db.audit.head()
    assert not (await db.audit.verify()).ok


async def test_a_guard_that_somebody_left_up_goes_down_with_the_next_pruning(db, tamper):
    await work(db, 1)
    await tamper("INSERT INTO abathur_meta (key, value) VALUES ('audit_guard', 'x')")
    pruned = await db.tasks.prune(ALL)
    assert (pruned.tasks, pruned.refused) == (1, 0)
    assert await tamper("SELECT * FROM abathur_meta WHERE key = 'audit_guard'") == []


async def test_a_row_that_vouches_for_nonsense_is_no_reason_to_raise(db):
    data = ['{"last_seal": [], "last_row": {}}', '{"tombstone": 1e99}', "[" * 50_000, "7", None]

    def forge(now):
        chain = Chain("somebody")
        for action in ("audit.cut", "audit.pruned"):
            entries = [("2026-01-01", None, action, one, None) for one in data]
            for step in append(entries):
                if not isinstance(step, Emit):
                    yield step
            chain = yield from chain.seal(entries, now)

    await db.run(forge)
    assert (await db.audit.verify()).ok


async def test_a_seal_cannot_be_put_into_the_first_form_to_hide_an_altered_row(db, tamper):
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(4))
    await db.tasks.cancel((await db.tasks.list())[-1])
    await db.tasks.prune(ALL)
    head = await db.audit.head()
    found = await tamper("UPDATE audit SET actor = 'forged' WHERE id = 3", "SELECT * FROM audit")
    rows = {row["id"]: row for row in found}
    (kept,) = await tamper("SELECT digests FROM audit_seals WHERE id = 1")
    starts = "".join(
        stored_digest(rows[n])[:16] if n in rows else kept["digests"][(n - 1) * 32 :][:16]
        for n in range(1, 5)
    )
    await tamper(f"UPDATE audit_seals SET digests = '{starts}' WHERE id = 1")
    for report in (await db.audit.verify(), await db.audit.verify(head=head)):
        assert (report.ok, report.first_bad) == (False, 1)


async def test_a_tombstone_that_a_cut_divided_cannot_be_made_to_cover_more(db, tamper):
    await work(db, 4)
    await db.audit.checkpoint()
    await db.tasks.enqueue("open")
    await work(db, 4)
    await db.tasks.prune(ALL)
    await db.tasks.enqueue("of which a row is removed")
    head = await db.audit.head()
    report = await db.audit.verify(head=head)
    assert (report.ok, report.cut_after) == (True, 12)
    last = head.last_row
    await tamper(
        f"DELETE FROM audit WHERE id = {last}",
        f"UPDATE audit_tombstones SET ids = ids || ',{last}', last_row = {last}, n = n + 1",
    )
    for report in (await db.audit.verify(), await db.audit.verify(head=head)):
        assert (report.ok, report.first_bad) == (False, 14)
        assert "no row vouches for tombstone" in report.problem


async def test_after_a_cut_nobody_can_move_the_start_to_make_rows_look_adopted(db, tamper):
    await work(db, 4)
    assert (await db.tasks.prune(ALL)).seals > 5
    assert (await db.audit.verify()).ok
    await tamper(
        "UPDATE abathur_meta SET value = '5' WHERE key = 'audit_starts_after'",
        "INSERT INTO audit (id, timestamp, action_type) VALUES (3, '2026', 'forged')",
    )
    report = await db.audit.verify()
    assert not report.ok
    assert "no row vouches for a cut" in report.problem


async def test_checkpoints_that_are_made_while_verify_reads_are_no_false_alarm(db, monkeypatch):
    monkeypatch.setattr(heads, "PAGE", 4)
    monkeypatch.setattr(reading, "PAGE", 10)
    await work(db, 1)
    await db.audit.checkpoint()
    await work(db, 9)
    check = Check(await db.read(reading.bounds))
    check.start()
    while not check.done:
        check.take(await db.read(reading.page, check.last_seal, check.next_row, check.bounds.last_seal))
        if check.last_seal == 10:
            await db.audit.checkpoint()  # at 7, 11, 15, ...: the first of them is behind us
    check.end()
    assert check.report().ok, check.report()
    report = await db.audit.verify()
    assert (report.ok, report.checkpoints) == (True, 8)
