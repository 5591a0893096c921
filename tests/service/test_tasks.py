"""Tasks over NATS do what `db.tasks` does."""

from __future__ import annotations

import asyncio

import pytest

from abathur import Database
from tests.service.conftest import COMMON, Served


async def test_a_task_is_enqueued_looked_at_listed_cancelled_and_retried(served: Served) -> None:
    made = await served.ok(
        "tasks.enqueue", {"prompt": "Review it", "agent_type": "reviewer", "priority": 7, "input": {"n": 1}}
    )
    assert made["task"]["status"] == "ready"
    assert (await served.db.tasks.get(made["id"])).input == {"n": 1}
    found = await served.ok("tasks.get", {"id": made["id"]})
    assert found == {"exists": True, "task": made["task"]}
    page = await served.ok("tasks.list", {"agent_type": "reviewer", "status": "ready"})
    assert [task["id"] for task in page["tasks"]] == [made["id"]]
    assert not {"prompt", "input", "result"} & set(page["tasks"][0])
    whole = await served.ok("tasks.list", {"agent_type": "reviewer", "whole": True})
    assert whole["tasks"] == [made["task"]]
    cancelled = await served.ok("tasks.cancel", {"id": made["id"], "reason": "not needed"})
    assert cancelled["task"]["status"] == "cancelled"
    again = await served.ok("tasks.retry", {"id": made["id"]})
    assert again["task"]["status"] == "ready"


async def test_many_tasks_are_made_in_one_request_and_may_refer_to_each_other(served: Served) -> None:
    made = await served.ok(
        "tasks.enqueue",
        {"tasks": [{"prompt": "Build", "ref": "b"}, {"prompt": "Test", "depends_on": ["b"]}]},
    )
    assert made["created"] == 2
    assert (await served.db.tasks.get(made["ids"][1])).status == "blocked"
    await served.ok(
        "tasks.enqueue",
        {"prompt": "Ship", "depends_on": [{"task": made["ids"][1], "on_failure": "cancel"}]},
    )


async def test_the_same_request_id_makes_one_task(served: Served) -> None:
    body = {"prompt": "Once", "request_id": "r-1"}
    first = await served.ok("tasks.enqueue", body)
    assert await served.ok("tasks.enqueue", body) == first
    assert await served.ok("tasks.enqueue", {"prompt": "Once"}, {"Nats-Msg-Id": "r-1"}) == first
    code, _ = await served.refused("tasks.enqueue", {**body, "prompt": "Something else"})
    assert code == "CONFLICT"


async def test_ids_of_requests_for_one_task_and_for_many_do_not_meet(served: Served) -> None:
    many = await served.ok("tasks.enqueue", {"tasks": [{"prompt": "Many"}], "request_id": "meet"})
    one = await served.ok("tasks.enqueue", {"prompt": "One", "request_id": "meet:0"})
    assert one["id"] != many["ids"][0]


async def test_a_page_says_whether_there_is_more(served: Served) -> None:
    await served.ok("tasks.enqueue", {"tasks": [{"prompt": str(n), "project": "paged"} for n in range(5)]})
    page = await served.ok("tasks.list", {"project": "paged", "limit": 3})
    assert (page["count"], page["truncated"]) == (3, True)
    last = await served.ok("tasks.list", {"project": "paged", "limit": 3, "after": page["tasks"][-1]["id"]})
    assert (last["count"], last["truncated"]) == (2, False)


async def test_whoever_waits_for_a_task_is_answered_when_it_ends(served: Served) -> None:
    task = await served.db.tasks.enqueue("x", agent_type="waited")
    waiting = asyncio.create_task(served.ok("tasks.wait", {"id": task.id, "timeout": 15}))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    (claim,) = await served.db.tasks.claim("w", agent_types=["waited"])
    await served.db.tasks.complete(claim, {"done": True})
    answer = await waiting
    assert answer["task"]["status"] == "completed"
    assert answer["task"]["result"] == {"done": True}


async def test_whoever_waits_is_answered_when_another_process_ends_the_task(
    served: Served, module_url: str
) -> None:
    task = await served.db.tasks.enqueue("x", agent_type="elsewhere")
    waiting = asyncio.gather(*(served.ok("tasks.wait", {"id": task.id, "timeout": 15}) for _ in range(50)))
    async with Database(module_url, **COMMON) as other:
        (claim,) = await other.tasks.claim("w", agent_types=["elsewhere"])
        await other.tasks.complete(claim)
    assert {one["task"]["status"] for one in await waiting} == {"completed"}


async def test_a_wait_that_takes_too_long_says_what_the_task_is(served: Served) -> None:
    task = await served.db.tasks.enqueue("x", agent_type="never")
    code, message = await served.refused("tasks.wait", {"id": task.id, "timeout": 0.05})
    assert code == "TIMEOUT"
    assert "ready" in message


async def test_a_task_that_is_not_there_does_not_exist(served: Served) -> None:
    assert await served.ok("tasks.get", {"id": "nobody"}) == {"exists": False}
    for op in ("cancel", "retry", "wait"):
        code, message = await served.refused(f"tasks.{op}", {"id": "nobody"})
        assert code == "VALIDATION_ERROR"
        assert "'nobody'" in message


@pytest.mark.parametrize(
    ("op", "body", "code", "word"),
    [
        ("enqueue", {}, "MISSING_FIELD", "prompt"),
        ("enqueue", {"prompt": 1}, "VALIDATION_ERROR", "prompt"),
        ("enqueue", {"prompt": "x", "priority": 11}, "VALIDATION_ERROR", "priority"),
        ("enqueue", {"prompt": "x", "priority": True}, "VALIDATION_ERROR", "priority"),
        ("enqueue", {"prompt": "x", "promt": "y"}, "VALIDATION_ERROR", "promt"),
        ("enqueue", {"prompt": "x", "run_at": "tomorrow"}, "VALIDATION_ERROR", "run_at"),
        ("enqueue", {"prompt": "x", "run_at": "2026-01-01T00:00:00"}, "VALIDATION_ERROR", "run_at"),
        ("enqueue", {"prompt": "x", "depends_on": ["nobody"]}, "VALIDATION_ERROR", "nobody"),
        ("enqueue", {"prompt": "x", "depends_on": [{"id": 1}]}, "VALIDATION_ERROR", "depends_on"),
        ("enqueue", {"prompt": "x\0"}, "VALIDATION_ERROR", "NUL"),
        ("enqueue", {"tasks": []}, "VALIDATION_ERROR", "tasks"),
        ("enqueue", {"tasks": [1]}, "VALIDATION_ERROR", "object"),
        ("enqueue", {"tasks": [{"prompt": "x", "ref": "a", "depends_on": ["a"]}]}, "VALIDATION_ERROR", "a"),
        ("get", {}, "MISSING_FIELD", "id"),
        ("get", {"id": 5}, "VALIDATION_ERROR", "id"),
        ("list", {"status": "odd"}, "VALIDATION_ERROR", "status"),
        ("list", {"limit": 0}, "VALIDATION_ERROR", "limit"),
        ("cancel", {"id": "x", "tree": 1}, "VALIDATION_ERROR", "tree"),
        ("wait", {"id": "x", "timeout": "long"}, "VALIDATION_ERROR", "timeout"),
        ("wait", {"id": "x", "timeout": -1}, "VALIDATION_ERROR", "x"),
    ],
)
async def test_what_is_wrong_with_a_request_is_said(
    served: Served, op: str, body: object, code: str, word: str
) -> None:
    found, message = await served.refused(f"tasks.{op}", body)
    assert (found, word in message) == (code, True), message


async def test_what_contradicts_a_tasks_status_is_a_conflict(served: Served) -> None:
    task = await served.db.tasks.enqueue("x", agent_type="moves")
    assert (await served.refused("tasks.retry", {"id": task.id}))[0] == "CONFLICT"
    (claim,) = await served.db.tasks.claim("w", agent_types=["moves"])
    await served.db.tasks.complete(claim)
    assert (await served.refused("tasks.cancel", {"id": task.id}))[0] == "CONFLICT"
