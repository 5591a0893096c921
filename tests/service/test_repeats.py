"""Each write that takes a request_id has one effect, however often it comes; the answer is the first one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.conftest import Served


async def twice(served: Served, subject: str, body: dict[str, Any], between: Any) -> dict[str, Any]:
    """Ask, let something else happen, ask again: the same answer, which is returned."""
    asked = {**body, "request_id": f"twice-{subject}"}
    first = await served.ok(subject, asked)
    await between()
    assert await served.ok(subject, asked) == first
    code, message = await served.refused(subject, {**asked, **_other(body)})
    assert (code, "request_id" in message) == ("CONFLICT", True)
    return first


def _other(body: dict[str, Any]) -> dict[str, Any]:
    name = next(iter(body))
    value = body[name]
    return {name: value + 1 if isinstance(value, int) else f"{value}_2"}


@pytest.mark.parametrize("subject", ["db.kv.{}.", "db.kv."])
async def test_a_key_that_is_set_again_by_a_repeat_keeps_what_came_between(
    served: Served, subject: str
) -> None:
    plugin = served.plugin("keys")
    base = subject.format(plugin)
    whose = {} if plugin in base else {"plugin_name": plugin}

    async def other() -> None:
        await served.ok(f"db.kv.{plugin}.set", {"key": "k", "value": "newer"})

    await twice(served, f"{base}set", {"key": "k", "value": "old", **whose}, other)
    assert (await served.ok(f"db.kv.{plugin}.get", {"key": "k"}))["value"] == "newer"
    gone = await twice(served, f"{base}delete", {"key": "k", **whose}, other)
    assert gone["data"] == {"deleted": True}
    assert (await served.ok(f"db.kv.{plugin}.get", {"key": "k"}))["value"] == "newer"


async def test_an_outbound_message_is_kept_and_fails_once(served: Served) -> None:
    async def nothing() -> None:
        pass

    asked = {"message": "say this once"}
    made = await twice(served, "db.messages.outbound.enqueue", asked, nothing)
    waiting = (await served.ok("db.messages.outbound.get"))["messages"]
    assert [one["id"] for one in waiting if one["message"] == "say this once"] == [made["message_id"]]
    failed = await twice(
        served, "db.messages.outbound.mark_failed", {"message_id": made["message_id"], "error": "x"}, nothing
    )
    assert failed["retry_count"] == 1
    again = await served.ok("db.messages.outbound.mark_failed", {"message_id": made["message_id"]})
    assert again["retry_count"] == 2


async def test_a_task_is_cancelled_and_retried_once(served: Served) -> None:
    task_id = (await served.ok("tasks.enqueue", {"prompt": "x"}))["id"]

    async def retry() -> None:
        await served.ok("tasks.retry", {"id": task_id})

    async def cancel() -> None:
        await served.ok("tasks.cancel", {"id": task_id})

    told = await twice(served, "tasks.cancel", {"id": task_id}, retry)
    assert told["task"]["status"] == "cancelled"
    assert (await served.ok("tasks.get", {"id": task_id}))["task"]["status"] == "ready"
    await cancel()
    told = await twice(served, "tasks.retry", {"id": task_id}, cancel)
    assert told["task"]["status"] == "ready"
    assert (await served.ok("tasks.get", {"id": task_id}))["task"]["status"] == "cancelled"


async def test_a_table_is_unregistered_once(served: Served) -> None:
    plugin = served.plugin("tables")
    body = {"table": "items", "fields": [{"name": "a", "type": "text"}]}

    async def register() -> None:
        await served.ok(f"db.schema.{plugin}.register", body)

    await register()
    told = await twice(served, f"db.schema.{plugin}.unregister", {"table": "items"}, register)
    assert told["unregistered"] is True
    assert (await served.ok(f"db.schema.{plugin}.list"))["tables"] == ["items"]


async def test_what_was_refused_may_be_corrected_under_the_same_request_id(served: Served) -> None:
    asked = {"id": "none", "request_id": "corrected"}
    assert (await served.refused("tasks.cancel", asked))[0] == "VALIDATION_ERROR"
    task_id = (await served.ok("tasks.enqueue", {"prompt": "x"}))["id"]
    assert (await served.ok("tasks.cancel", {**asked, "id": task_id}))["task"]["status"] == "cancelled"
