"""Settling: how a claim ends; what a worker writes after it has lost its lease is refused."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from abathur.errors import InvalidInputError, LeaseLostError
from tests.conformance.checks import changed, pass_time


async def claimed(db, **given):
    await db.tasks.enqueue("x", **given)
    (claim,) = await db.tasks.claim("w", lease=10)
    return claim


WRITES = {
    "heartbeat": lambda db, claim: db.tasks.heartbeat(claim),
    "progress": lambda db, claim: db.tasks.heartbeat(claim, progress=0.9, message="late"),
    "complete": lambda db, claim: db.tasks.complete(claim, {"late": True}),
    "fail": lambda db, claim: db.tasks.fail(claim, "late"),
    "fail for good": lambda db, claim: db.tasks.fail(claim, "late", retry=False),
    "release": lambda db, claim: db.tasks.release(claim),
}
"""Everything that a worker writes."""


async def expire(db, claim):
    await pass_time(db, 11)
    await db.tasks.claim("sweeper", agent_types=["another"])


async def expire_and_give_away(db, claim):
    await pass_time(db, 11)
    (other,) = await db.tasks.claim("other")
    assert other.fence == claim.fence + 1


async def expire_and_finish(db, claim):
    await pass_time(db, 11)
    (other,) = await db.tasks.claim("other")
    await db.tasks.complete(other, "good")


async def cancel(db, claim):
    await db.tasks.cancel(claim.task)


async def cancel_retry_and_claim(db, claim):
    await db.tasks.cancel(claim.task)
    await db.tasks.retry(claim.task)
    assert len(await db.tasks.claim("other")) == 1


async def complete(db, claim):
    await db.tasks.complete(claim, "good")


async def fail(db, claim):
    await db.tasks.fail(claim, "broken", retry=False)


async def fail_and_wait(db, claim):
    await db.tasks.fail(claim, "broken", retry_in=60)


async def release(db, claim):
    await db.tasks.release(claim)


LOSSES = (
    expire,
    expire_and_give_away,
    expire_and_finish,
    cancel,
    cancel_retry_and_claim,
    complete,
    fail,
    fail_and_wait,
    release,
)
"""Every way to lose a claim."""


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
async def test_a_worker_that_has_lost_its_claim_changes_nothing(db, lose, subtests):
    claim = await claimed(db)
    await lose(db, claim)
    before = await db.tasks.get(claim.task)
    trail = await db.audit.list(task_id=claim.task.id)
    for name, write in WRITES.items():
        with subtests.test(name):
            with pytest.raises(LeaseLostError) as caught:
                await write(db, claim)
            assert (caught.value.task_id, caught.value.fence) == (claim.task.id, claim.fence)
            assert await db.tasks.get(claim.task) == before
            assert await db.audit.list(task_id=claim.task.id) == trail
            assert await db.tasks.progress(claim.task) is None


@pytest.mark.parametrize("fence", [0, 2, 99])
async def test_a_wrong_fence_changes_nothing(db, fence, subtests):
    claim = await claimed(db)
    for name, write in WRITES.items():
        with subtests.test(name):
            with pytest.raises(LeaseLostError):
                await write(db, changed(claim, fence=fence))
            assert await db.tasks.get(claim.task) == claim.task


async def test_a_claim_on_a_task_that_does_not_exist_is_lost(db, subtests):
    claim = await claimed(db)
    for name, write in WRITES.items():
        with subtests.test(name), pytest.raises(LeaseLostError, match="does not exist"):
            await write(db, changed(claim, task=changed(claim.task, id="nobody")))


async def test_a_completion_keeps_the_result(db):
    claim = await claimed(db, input={"q": 1})
    await db.tasks.complete(claim, result={"verdict": ["good"]})
    task = await db.tasks.get(claim.task)
    assert (task.status, task.result, task.error, task.input) == (
        "completed",
        {"verdict": ["good"]},
        None,
        {"q": 1},
    )
    assert task.lease_expires_at is None
    assert task.worker == "w"
    assert task.completed_at >= task.started_at
    assert task.ended


@pytest.mark.parametrize("result", [None, {}, [], 0, False, ""])
async def test_an_empty_result_is_kept_as_it_is(db, result):
    claim = await claimed(db)
    await db.tasks.complete(claim, result)
    found = (await db.tasks.get(claim.task)).result
    assert (found, type(found)) == (result, type(result))


async def test_of_two_completions_at_once_one_wins_and_one_is_refused(db):
    claim = await claimed(db)
    answers = await asyncio.gather(*(db.tasks.complete(claim, n) for n in range(10)), return_exceptions=True)
    assert answers.count(None) == 1
    assert sum(isinstance(answer, LeaseLostError) for answer in answers) == 9
    assert (await db.tasks.get(claim.task)).result == answers.index(None)


@pytest.mark.parametrize("pairs", [("complete", "fail"), ("release", "complete"), ("fail", "release")])
async def test_of_two_different_ends_at_once_one_wins(db, pairs):
    claim = await claimed(db)
    answers = await asyncio.gather(*(WRITES[name](db, claim) for name in pairs), return_exceptions=True)
    assert sum(isinstance(answer, LeaseLostError) for answer in answers) == 1


async def test_one_lost_claim_among_a_hundred_completions_is_alone_in_getting_an_error(db):
    await db.tasks.enqueue_many({"prompt": f"{n}"} for n in range(100))
    claims = await db.tasks.claim("w", limit=100)
    await db.tasks.release(claims[42])
    answers = await asyncio.gather(*map(db.tasks.complete, claims), return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if answer is not None] == [42]
    assert isinstance(answers[42], LeaseLostError)
    assert await db.tasks.counts() == {"completed": 99, "ready": 1}


async def test_a_heartbeat_renews_the_lease_from_now(db):
    claim = await claimed(db)
    for _ in range(5):
        await pass_time(db, 8)
        await db.tasks.heartbeat(claim)
        assert await db.tasks.claim("other") == []
    await db.tasks.heartbeat(claim, lease=100)
    await pass_time(db, 90)
    assert await db.tasks.claim("other") == []
    await db.tasks.complete(claim)


async def test_a_heartbeat_is_no_change_of_status(db):
    claim = await claimed(db)
    trail = await db.audit.list()
    await db.tasks.heartbeat(claim)
    assert await db.audit.list() == trail


async def test_a_heartbeat_says_how_far_the_work_is(db):
    claim = await claimed(db)
    assert await db.tasks.progress(claim.task) is None
    await db.tasks.heartbeat(claim, progress=0.25, message="reading")
    first = await db.tasks.progress(claim.task)
    assert (first.task_id, first.fraction, first.message) == (claim.task.id, 0.25, "reading")
    await db.tasks.heartbeat(claim, progress=1)
    second = await db.tasks.progress(claim.task)
    assert second.fraction == 1
    assert second.at >= first.at


@pytest.mark.parametrize(
    "wrong",
    [{"progress": 1.5}, {"progress": -0.1}, {"progress": float("nan")}, {"lease": 0}, {"message": "a\0"}],
    ids=str,
)
async def test_a_wrong_heartbeat_is_refused(db, wrong):
    claim = await claimed(db)
    with pytest.raises(InvalidInputError):
        await db.tasks.heartbeat(claim, **wrong)


async def test_a_lease_that_has_run_out_holds_until_somebody_else_looks(db):
    claim = await claimed(db)
    await pass_time(db, 1000)
    await db.tasks.complete(claim, "late, and still the only one")
    assert (await db.tasks.get(claim.task)).status == "completed"


async def test_a_failure_is_retried_after_a_backoff_that_doubles(db):
    claim = await claimed(db, max_attempts=5)
    for attempt in range(1, 5):
        assert claim.task.attempt == attempt
        assert await db.tasks.fail(claim, f"error {attempt}") == "scheduled"
        task = await db.tasks.get(claim.task)
        wait = (task.run_at - task.updated_at).total_seconds()
        assert 0.5 * 2 ** (attempt - 1) <= wait <= 1.5 * 2 ** (attempt - 1)
        assert (task.status, task.attempt, task.error) == ("scheduled", attempt, f"error {attempt}")
        assert task.completed_at is None
        await pass_time(db, wait + 1)
        (claim,) = await db.tasks.claim("w")
    assert await db.tasks.fail(claim, "error 5") == "failed"
    task = await db.tasks.get(claim.task)
    assert (task.status, task.attempt, task.error) == ("failed", 5, "error 5")
    attempts = await db.tasks.attempts(task)
    assert [one.error["message"] for one in attempts] == [f"error {n}" for n in range(1, 6)]
    assert [one.attempt for one in attempts] == [one.fence for one in attempts] == [1, 2, 3, 4, 5]
    assert {one.outcome for one in attempts} == {"failed"}
    assert all(one.ended_at >= one.started_at for one in attempts)


async def test_retry_in_says_when_the_next_attempt_is(db):
    claim = await claimed(db)
    assert await db.tasks.fail(claim, "x", retry_in=90) == "scheduled"
    task = await db.tasks.get(claim.task)
    assert task.run_at - task.updated_at == timedelta(seconds=90)
    await pass_time(db, 91)
    (claim,) = await db.tasks.claim("w")
    assert await db.tasks.fail(claim, "x", retry_in=0) == "ready"
    (claim,) = await db.tasks.claim("w")
    assert await db.tasks.fail(claim, "x", retry_in=0) == "failed", "the attempts are used up"


async def test_a_failure_without_retry_fails_at_once(db):
    claim = await claimed(db, max_attempts=10)
    assert await db.tasks.fail(claim, "hopeless", retry=False) == "failed"
    task = await db.tasks.get(claim.task)
    assert (task.status, task.attempt, task.error) == ("failed", 1, "hopeless")
    assert task.completed_at is not None


async def test_an_exception_is_kept_with_its_type_and_traceback(db):
    claim = await claimed(db)

    def divide():
        raise ZeroDivisionError("by \0zero \ud800 日本")

    try:
        divide()
    except ZeroDivisionError as error:
        await db.tasks.fail(claim, error)
    (attempt,) = await db.tasks.attempts(claim.task)
    assert attempt.error["type"] == "ZeroDivisionError"
    assert "日本" in attempt.error["message"]
    assert "test_settling.py" in attempt.error["traceback"]
    assert "日本" in (await db.tasks.get(claim.task)).error


@pytest.mark.parametrize(
    "text", ["x" * 500_000, "\\" * 400_000, "\x01" * 100_000], ids=["x", "backslash", "control"]
)
async def test_a_very_long_error_is_cut_and_never_refused(db, text):
    claim = await claimed(db)
    await db.tasks.fail(claim, RuntimeError(text))
    task = await db.tasks.get(claim.task)
    assert 0 < len(task.error) <= 2_000
    (attempt,) = await db.tasks.attempts(task)
    assert attempt.error["type"] == "RuntimeError"


async def test_an_exception_without_a_message_is_told_by_its_type(db):
    claim = await claimed(db)
    await db.tasks.fail(claim, TimeoutError())
    assert (await db.tasks.get(claim.task)).error == "TimeoutError"


async def test_a_release_gives_the_attempt_back(db):
    claim = await claimed(db, max_attempts=1)
    for fence in range(1, 6):
        assert (claim.fence, claim.task.attempt) == (fence, 1)
        await db.tasks.release(claim)
        task = await db.tasks.get(claim.task)
        assert (task.status, task.attempt, task.error) == ("ready", 0, None)
        (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)


async def test_a_release_may_be_for_later(db):
    claim = await claimed(db)
    await db.tasks.release(claim, retry_in=30)
    assert (await db.tasks.get(claim.task)).status == "scheduled"
    assert await db.tasks.claim("w") == []
    await pass_time(db, 31)
    (again,) = await db.tasks.claim("w")
    assert again.task.attempt == 1


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "soon"])
async def test_a_wrong_retry_in_is_refused(db, wrong):
    claim = await claimed(db)
    with pytest.raises(InvalidInputError):
        await db.tasks.fail(claim, "x", retry_in=wrong)
    with pytest.raises(InvalidInputError):
        await db.tasks.release(claim, retry_in=wrong)
    assert (await db.tasks.get(claim.task)).status == "running"


async def test_a_lost_lease_says_who_has_the_task_now_or_what_became_of_it(db):
    await db.tasks.enqueue("x")
    (first,) = await db.tasks.claim("one", lease=1)
    await pass_time(db, 2)
    (second,) = await db.tasks.claim("two", lease=60)
    with pytest.raises(LeaseLostError, match=r"worker 'two' runs it under fence 2"):
        await db.tasks.complete(first)
    await db.tasks.complete(second)
    for claim in (first, second):
        with pytest.raises(LeaseLostError, match="it is completed"):
            await db.tasks.complete(claim)
    with pytest.raises(LeaseLostError, match="the task does not exist"):
        await db.tasks.complete(changed(first, task=changed(first.task, id="gone")))
