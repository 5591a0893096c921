"""Why a task is not running: each reason, with exactly its data, and in words."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import attrs
import pytest

from abathur import Database, Prerequisite, Reason, TaskState
from abathur.errors import InvalidInputError, UnknownTaskError
from abathur.tasks import waits, workers
from tests.conformance.checks import execute, pass_time


def state(task, status=None):
    return TaskState(task.id, status or task.status, task.agent_type, task.summary)


async def reasons(db, task) -> list[Reason]:
    found = await db.tasks.why(task)
    assert found.task == state(await db.tasks.get(task))
    assert all(reason.text in str(found) for reason in found.reasons)
    return list(found.reasons)


async def only(db, task) -> Reason:
    (reason,) = await reasons(db, task)
    return reason


async def announce(db, name, *agent_types, concurrency=2, **limits):
    """Let a worker be there, as a runner in another process would."""
    agents = {**dict.fromkeys(agent_types), **limits}
    who = workers.Announcement(
        id=f"run of {name}", name=name, agents=agents, concurrency=concurrency, host="host", pid=17
    )
    await db.run(workers.announce, who, True)


async def run(db, agent_type="general", **claim):
    (claim,) = await db.tasks.claim("w", agent_types=[agent_type], **claim)
    return claim


# -- ready ---------------------------------------------------------------------------------------


async def test_a_ready_task_without_a_worker_for_its_agent_type_says_which_workers_there_are(db):
    task = await db.tasks.enqueue("x", agent_type="reviewer")
    missing, queued = await reasons(db, task)
    assert (missing.code, missing.data) == (
        "no_worker",
        {"agent_type": "reviewer", "project": None, "live": (), "gone": ()},
    )
    assert "No worker at all is live." in missing.text
    assert (queued.code, queued.data) == ("queued", {"agent_type": "reviewer", "ahead": 0, "more": False})
    await announce(db, "w1", "builder", "tester")
    missing, _ = await reasons(db, task)
    assert missing.data["live"] == tuple(await db.tasks.workers())
    assert "Live: 'w1' (builder, tester)." in missing.text


async def test_a_worker_that_was_there_minutes_ago_is_named(db):
    task = await db.tasks.enqueue("x")
    await announce(db, "w1", "general")
    assert [reason.code for reason in await reasons(db, task)] == ["queued"]
    await pass_time(db, 50)
    missing, _ = await reasons(db, task)
    assert missing.code == "no_worker"
    assert [worker.name for worker in missing.data["gone"]] == ["w1"]
    assert "'w1' did, and was last seen 50 s ago." in missing.text


async def test_a_ready_task_with_a_free_worker_is_only_queued_and_knows_its_place(db):
    await announce(db, "w1", "general")
    tasks = [await db.tasks.enqueue(f"{n}", priority=5 + (n == 3)) for n in range(5)]
    await db.tasks.enqueue("of another type", agent_type="other", priority=10)
    ahead = [(await only(db, task)).data["ahead"] for task in tasks]
    assert ahead == [1, 2, 3, 0, 4]
    assert "It is the next one" in (await only(db, tasks[3])).text
    assert "should be claimed within a second or two" in (await only(db, tasks[3])).text
    assert (await only(db, tasks[0])).text.startswith("1 task is ahead of it")


async def test_more_than_a_thousand_ahead_are_not_counted(db):
    *_, last = await db.tasks.enqueue_many([{"prompt": "x"}] * 1_002)
    queued = (await reasons(db, last))[-1]
    assert queued.data == {"agent_type": "general", "ahead": 1_000, "more": True}
    assert queued.text.startswith("More than 1,000 tasks are ahead of it")
    before = await db.tasks.list(limit=1_001)
    queued = (await reasons(db, before[-1]))[-1]
    assert (queued.data["ahead"], queued.data["more"]) == (1_000, False)


async def test_a_ready_task_whose_workers_are_all_busy_says_how_many_slots_there_are(db):
    await announce(db, "w", "general")
    await announce(db, "idle", "other")
    for n in range(3):
        await db.tasks.enqueue(f"{n}")
    last = (await db.tasks.list())[-1]
    await run(db)
    assert [reason.code for reason in await reasons(db, last)] == ["queued"]
    await run(db)
    busy, queued = await reasons(db, last)
    assert (busy.code, busy.data) == (
        "busy",
        {"agent_type": "general", "busy": 2, "slots": 2, "workers": ("w",)},
    )
    assert "(2 of 2)" in busy.text
    assert "should be claimed" not in queued.text


async def test_a_worker_that_is_busy_with_other_agent_types_or_at_its_limit_for_one_is_busy(db):
    await announce(db, "w", "b", concurrency=3, a=1)
    for agent_type in "aabbb":
        await db.tasks.enqueue("x", agent_type=agent_type)
    tasks = await db.tasks.list()
    await run(db, "a")
    busy, _ = await reasons(db, tasks[1])
    assert (busy.code, busy.data["slots"]) == ("busy", 1)
    assert [reason.code for reason in await reasons(db, tasks[4])] == ["queued"]
    await run(db, "b")
    await run(db, "b")
    busy, _ = await reasons(db, tasks[4])
    assert (busy.code, busy.data["slots"]) == ("busy", 3)


# -- scheduled and running -----------------------------------------------------------------------


async def test_a_scheduled_task_says_until_when_because_of_its_run_at(db):
    now = (await db.tasks.enqueue("y")).submitted_at
    task = await db.tasks.enqueue("x", run_at=now + timedelta(hours=3))
    reason = await only(db, task)
    assert reason.code == "scheduled"
    assert reason.data == {
        "until": task.run_at,
        "cause": "run_at",
        "attempt": 0,
        "max_attempts": 3,
        "error": None,
    }
    assert "3 hours from now" in reason.text or "2 hours from now" in reason.text


async def test_a_scheduled_task_that_is_tried_again_says_after_which_error(db):
    task = await db.tasks.enqueue("x")
    await db.tasks.fail(await run(db), "no such file.", retry_in=60)
    reason = await only(db, task)
    found = await db.tasks.get(task)
    assert (reason.code, reason.data) == (
        "scheduled",
        {
            "until": found.run_at,
            "cause": "retry",
            "attempt": 1,
            "max_attempts": 3,
            "error": "no such file.",
        },
    )
    assert "the pause after attempt 1 of 3, which failed: no such file." in reason.text


async def test_a_scheduled_task_that_was_given_back_says_so(db):
    task = await db.tasks.enqueue("x")
    await db.tasks.release(await run(db), retry_in=60)
    reason = await only(db, task)
    assert (reason.data["cause"], reason.data["attempt"]) == ("released", 0)


async def test_a_task_whose_time_has_come_waits_for_any_claim(db):
    task = await db.tasks.enqueue(
        "x", run_at=(await db.tasks.enqueue("y")).submitted_at + timedelta(seconds=5)
    )
    await pass_time(db, 10)
    due, missing = await reasons(db, task)
    assert (due.code, due.data["until"]) == ("due", task.run_at)
    assert missing.code == "no_worker"
    await announce(db, "w1", "general")
    assert (await only(db, task)).code == "due"


async def test_a_running_task_says_who_has_it_since_when_and_until_when(db):
    task = await db.tasks.enqueue("x", max_attempts=5)
    await run(db, lease=300)
    found = await db.tasks.get(task)
    reason = await only(db, task)
    assert (reason.code, reason.data) == (
        "running",
        {
            "worker": "w",
            "since": found.started_at,
            "until": found.lease_expires_at,
            "attempt": 1,
            "max_attempts": 5,
        },
    )
    assert "Worker 'w'" in reason.text
    assert "(attempt 1 of 5)" in reason.text


@pytest.mark.parametrize(("attempts", "said"), [(2, "runs it again"), (1, "its attempts are used up")])
async def test_a_task_whose_lease_is_over_is_about_to_be_taken_away(db, attempts, said):
    task = await db.tasks.enqueue("x", max_attempts=attempts)
    await run(db, lease=10)
    await pass_time(db, 15)
    expired, missing = await reasons(db, task)
    assert expired.code == "expired"
    assert (expired.data["worker"], expired.data["attempt"]) == ("w", 1)
    assert expired.data["until"] == (await db.tasks.get(task)).lease_expires_at
    assert said in expired.text
    assert missing.code == "no_worker"


# -- ended ---------------------------------------------------------------------------------------


async def test_a_completed_task_says_when_and_by_whom(db):
    task = await db.tasks.enqueue("x")
    await db.tasks.complete(await run(db))
    reason = await only(db, task)
    at = (await db.tasks.get(task)).completed_at
    assert (reason.code, reason.data) == ("completed", {"at": at, "worker": "w"})


async def test_a_failed_task_says_that_its_attempts_are_used_up_and_the_last_error(db):
    task = await db.tasks.enqueue("x", max_attempts=1)
    await db.tasks.fail(await run(db), "boom")
    reason = await only(db, task)
    assert (reason.code, reason.data) == (
        "failed",
        {
            "attempt": 1,
            "max_attempts": 1,
            "outcome": "failed",
            "error": "boom",
            "worker": "w",
            "at": (await db.tasks.get(task)).completed_at,
        },
    )
    assert "all its attempts are used up. The last one failed: boom." in reason.text


@pytest.mark.parametrize(
    ("outcome", "said"), [("timed_out", "took too long: late."), ("failed", "failed: late.")]
)
async def test_a_failed_task_with_attempts_left_was_not_to_be_tried_again(db, outcome, said):
    task = await db.tasks.enqueue("x")
    await db.tasks.fail(await run(db), "late", retry=False, outcome=outcome)
    reason = await only(db, task)
    assert reason.data["outcome"] == outcome
    assert f"no other attempt was to be made. The last one {said}" in reason.text


async def test_a_cancelled_task_says_by_whom_why_and_when(make_db):
    db = await make_db(actor="alice@host")
    task = await db.tasks.enqueue("x")
    await db.tasks.cancel(task, reason="no longer needed")
    reason = await only(db, task)
    at = (await db.tasks.get(task)).completed_at
    assert (reason.code, reason.data) == (
        "cancelled",
        {"by": "alice@host", "reason": "no longer needed", "at": at},
    )
    assert reason.text.startswith("alice@host cancelled it at ")
    assert reason.text.endswith(": no longer needed.")


# -- blocked -------------------------------------------------------------------------------------


async def test_a_blocked_task_has_a_reason_for_each_unmet_prerequisite_and_none_for_a_met_one(db):
    met, running, ready = [
        await db.tasks.enqueue(name, agent_type=name) for name in ("met", "running", "ready")
    ]
    task = await db.tasks.enqueue("x", depends_on=[met, running, ready])
    await db.tasks.complete(await run(db, "met"))
    await run(db, "running")
    first, second = await reasons(db, task)  # what is further from its end comes first
    for reason, prerequisite, status in [(first, ready, "ready"), (second, running, "running")]:
        assert (reason.code, reason.data) == (
            "blocked",
            {
                "prerequisite": state(prerequisite, status),
                "root": state(prerequisite, status),
                "chain": (state(prerequisite, status),),
                "length": 1,
                "on_failure": "block",
                "never": False,
            },
        )
    assert first.text.endswith("which is ready for agent type 'ready', and no live worker handles that.")
    assert second.text.endswith("which worker 'w' is running.")


async def test_a_chain_is_followed_to_its_root(db):
    a = await db.tasks.enqueue("A", max_attempts=1)
    b = await db.tasks.enqueue("B", depends_on=[a])
    c = await db.tasks.enqueue("C", depends_on=[Prerequisite(b.id, "ignore")])
    d = await db.tasks.enqueue("D", depends_on=[c])
    await db.tasks.fail(await run(db), "compiler not found")
    (reason,) = await reasons(db, d)
    assert reason.data == {
        "prerequisite": state(c),
        "root": state(a, "failed"),
        "chain": (state(c), state(b), state(a, "failed")),
        "length": 3,
        "on_failure": "block",
        "never": True,
    }
    assert (
        f'It waits for {c.id} "C", which waits for {b.id} "B", which waits for {a.id} "A",'
        f" which failed: compiler not found. It stays blocked until {a.id} is retried"
    ) in reason.text
    direct = await only(db, b)
    assert "(its edge says `block`) until that one is retried" in direct.text
    await db.tasks.retry(a)
    assert (await only(db, d)).data["never"] is False


async def test_what_can_never_be_met_hides_behind_nothing(db):
    """Of several roots above a prerequisite the worst is told, and the worst prerequisite comes first."""
    good = await db.tasks.enqueue("good")
    bad = await db.tasks.enqueue("bad", max_attempts=1, agent_type="bad")
    both = await db.tasks.enqueue("both", depends_on=[good, bad])
    task = await db.tasks.enqueue("x", depends_on=[good, both])
    await db.tasks.fail(await run(db, "bad"), "no")
    first, second = await reasons(db, task)
    assert (first.data["prerequisite"], first.data["root"]) == (state(both), state(bad, "failed"))
    assert (second.data["prerequisite"], second.data["never"]) == (state(good), False)


async def test_a_root_that_is_scheduled_or_whose_lease_is_over_is_told_as_that(db):
    later = await db.tasks.enqueue(
        "later", run_at=(await db.tasks.enqueue("y")).submitted_at + timedelta(days=2)
    )
    dead = await db.tasks.enqueue("dead", agent_type="dead")
    task = await db.tasks.enqueue("x", depends_on=[later, dead])
    await run(db, "dead", lease=10)
    await pass_time(db, 20)
    first, second = await reasons(db, task)
    assert f"which is scheduled for {later.run_at:%Y-%m-%d %H:%M:%S} UTC." in first.text
    assert "which worker 'w' is running under a lease that is over." in second.text


async def test_a_task_that_was_ended_by_its_prerequisite_says_because_of_whom_in_the_end(db):
    a = await db.tasks.enqueue("A", max_attempts=1)
    b = await db.tasks.enqueue("B", depends_on=[Prerequisite(a.id, "cancel")])
    c = await db.tasks.enqueue("C", depends_on=[Prerequisite(b.id, "fail")])
    d = await db.tasks.enqueue("D", depends_on=[c])
    await db.tasks.fail(await run(db), "boom")
    reason = await only(db, c)
    assert reason.code == "failed"
    assert reason.data == {
        "at": (await db.tasks.get(c)).completed_at,
        "because": b.id,
        "prerequisite": state(b, "cancelled"),
        "root": state(a, "failed"),
        "chain": (state(b, "cancelled"), state(a, "failed")),
        "length": 2,
    }
    assert (
        f'It failed because of {b.id} "B", which was cancelled because of {a.id} "A", which failed: boom.'
    ) in reason.text
    assert (await only(db, b)).code == "cancelled"
    waiting = await only(db, d)  # blocked by C, which is only the last in the row
    assert [one.id for one in waiting.data["chain"]] == [c.id, b.id, a.id]
    assert waiting.data["root"] == state(a, "failed")


async def test_a_prerequisite_that_was_retried_since_is_no_longer_the_cause(db):
    a = await db.tasks.enqueue("A", max_attempts=1)
    b = await db.tasks.enqueue("B", depends_on=[Prerequisite(a.id, "fail")])
    c = await db.tasks.enqueue("C", depends_on=[b])
    await db.tasks.fail(await run(db), "boom")
    await db.tasks.retry(a)
    reason = await only(db, b)
    assert (reason.code, reason.data["because"]) == ("failed", a.id)
    assert "That has changed since: `abathur retry` lets this one wait again." in reason.text
    waiting = await only(db, c)
    assert (waiting.data["root"], waiting.data["never"]) == (state(b, "failed"), True)


async def test_a_long_chain_is_told_by_its_ends_and_a_long_list_is_cut(db):
    many = await db.tasks.enqueue_many(
        [
            {"prompt": f"{n}", "ref": f"{n}", "depends_on": [f"{n - 1}"] if n else [], "agent_type": "chain"}
            for n in range(30)
        ]
    )
    task = await db.tasks.enqueue("x", depends_on=[many[-1]])
    reason = await only(db, task)
    assert [one.id for one in reason.data["chain"]] == [one.id for one in (*many[:19:-1], *many[9::-1])]
    assert reason.data["length"] == 30
    assert f"which waits, through 27 others, for {many[0].id}" in reason.text
    wide = await db.tasks.enqueue("y", depends_on=many)
    found = await db.tasks.why(wide)
    assert (len(found.reasons), found.more) == (20, 10)
    assert str(found).endswith("- 10 more of its prerequisites are not met.")


async def test_of_a_graph_that_is_too_large_a_part_is_read_and_the_answer_says_so(db, monkeypatch):
    monkeypatch.setattr(waits, "MOST_EDGES", 5)
    chain = await db.tasks.enqueue_many(
        [{"prompt": f"{n}", "ref": f"{n}", "depends_on": [f"{n - 1}"] if n else []} for n in range(10)]
    )
    reason = await only(db, chain[-1])
    assert (reason.data["root"], reason.data["length"]) == (state(chain[4]), 5)
    assert "which waits for more tasks than are looked at here." in reason.text
    path = await db.tasks.critical_path(chain[-1])
    assert (path.more, len(path.tasks)) == (True, 6)


# -- what older versions left, and bad input -------------------------------------------------------


@pytest.fixture
async def older():
    """A database in which statuses are set by hand."""
    sets = "UPDATE tasks SET status = :status, unmet = :unmet WHERE id = :id"
    edge = (
        "INSERT INTO task_dependencies (id, dependent_task_id, prerequisite_task_id, created_at)"
        " VALUES (:dependent || :prerequisite, :dependent, :prerequisite, '2020-01-01 00:00:00')"
    )
    async with Database(":memory:", queries={"test.set": sets, "test.edge": edge}) as db:
        yield db


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("pending", "pending"),
        ("blocked", "adrift"),
        ("running", "adrift"),
        ("waiting", "waiting"),
        ("asleep", "unknown"),
    ],
)
async def test_a_status_that_an_older_or_another_program_left_is_told_as_that(older, status, code):
    task = await older.tasks.enqueue("x")
    await older.run(partial(execute, "test.set", id=task.id, status=status, unmet=0))
    reason = await only(older, task)
    assert reason.code == code
    assert ("reconcile" in reason.text) == (code in ("pending", "adrift"))
    below = await older.tasks.enqueue("y", depends_on=[task])
    root = await only(older, below)
    assert root.data["root"] == state(task, status)
    assert (f"which is {status}, as an older version left it." in root.text) == (
        code in ("pending", "adrift")
    )


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_a_task_that_ended_before_the_trail_began_is_told_without_it(older, status):
    task = await older.tasks.enqueue("x")
    await older.run(partial(execute, "test.set", id=task.id, status=status, unmet=0))
    reason = await only(older, task)
    assert reason.code == status


async def test_a_circle_that_an_older_version_left_is_told_and_ends(older):
    a, b, c = [await older.tasks.enqueue(name) for name in "abc"]
    for dependent, prerequisite in [(a, b), (b, a), (c, b)]:
        await older.run(partial(execute, "test.edge", dependent=dependent.id, prerequisite=prerequisite.id))
        await older.run(partial(execute, "test.set", id=dependent.id, status="blocked", unmet=1))
    reason = await only(older, c)
    assert reason.data["never"] is True
    assert "in a circle of tasks that wait for each other" in reason.text


async def test_an_unknown_task_and_what_is_no_id_are_refused(db):
    with pytest.raises(UnknownTaskError):
        await db.tasks.why("nobody")
    with pytest.raises(InvalidInputError):
        await db.tasks.why("")


async def test_the_values_are_frozen(db):
    found = await db.tasks.why(await db.tasks.enqueue("x"))
    for value in (found, found.task, found.reasons[0]):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            value.status = "else"
