"""Tasks over NATS: enqueue, get, list, cancel, retry and wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import datetime
from typing import Any, Final

import msgspec

from abathur import payload
from abathur.errors import UnknownTaskError, WaitTimeoutError
from abathur.models import Prerequisite, Task
from abathur.script import Script
from abathur.service.body import kind_of, only, take
from abathur.service.envelope import Refused
from abathur.service.handlers import Call, write_once
from abathur.tasks import checks, control
from abathur.tasks.failures import LONGEST_MESSAGE

FIELDS: Final = {
    "prompt": "text", "agent_type": "text", "priority": "an integer", "key": "text", "max_attempts":
    "an integer", "timeout": "a number", "parent": "text", "project": "text", "summary": "text",
    "estimated_duration": "a number", "created_by": "text", "session": "text", "source": "text",
}  # fmt: skip
"""What a new task may have, beside its input, its dependencies and two moments."""
LARGE: Final = ("prompt", "input", "result")
LOOK_EVERY: Final = 0.5
"""Seconds between two looks for whoever waits for a task that another process works on."""
MOST: Final = 1_000
"""Tasks of one request and of one page."""


def shown(task: Task, *, whole: bool = True) -> dict[str, Any]:
    """A task as JSON. Not whole: without what may be large."""
    found = msgspec.structs.asdict(task)
    for name in () if whole else LARGE:
        del found[name]
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in found.items()
    }


def bound_wait(call: Call, longest: float) -> None:
    """Let nobody wait for longer than the service allows."""
    asked = take(call.body, "timeout", "a number", 30.0)
    call.body["timeout"] = max(min(asked, longest - 1), 0)


async def tasks(call: Call) -> dict[str, Any]:
    """Do what was asked for."""
    return await {
        "enqueue": _enqueue,
        "get": _get,
        "list": _list,
        "cancel": _cancel,
        "retry": _retry,
        "wait": _wait,
    }[call.address.op](call)


async def _enqueue(call: Call) -> dict[str, Any]:
    body = call.body
    if "tasks" in body:
        only(body, "tasks", "request_id")
        many = take(body, "tasks", "a list")
        if not 0 < len(many) <= MOST:
            raise Refused("VALIDATION_ERROR", f"Field 'tasks' must have 1 to {MOST:,} tasks", field="tasks")
        made = await call.db.tasks.enqueue_many(
            _parameters(one, call, place) for place, one in enumerate(many)
        )
        return {"ids": [task.id for task in made], "created": len(made)}
    parameters = _parameters(body, call)
    task = await call.db.tasks.enqueue(parameters.pop("prompt"), **parameters)
    return {"id": task.id, "task": shown(task)}


def _parameters(body: Any, call: Call, place: int | None = None) -> dict[str, Any]:
    """What `db.tasks.enqueue` is given, of a body."""
    if not isinstance(body, dict):
        raise Refused("VALIDATION_ERROR", f"Task {place} must be an object, not {kind_of(body)}")
    more = ("ref",) if place is not None else ()
    only(body, *FIELDS, "input", "depends_on", "run_at", "deadline", "request_id", *more)
    found: dict[str, Any] = {"created_by": "nats", "prompt": take(body, "prompt", "text")}
    for name, kind in FIELDS.items():
        value = take(body, name, kind, None)
        if value is not None:
            found[name] = value
    if place is not None and "ref" in body:
        found["ref"] = take(body, "ref", "text")
    if call.request_id is not None and "key" not in found:
        # The two forms never meet, whatever the ids are.
        one = f"request:{call.request_id}"
        found["key"] = one if place is None else f"requests:{call.request_id}:{place}"
    if body.get("input") is not None:
        found["input"] = body["input"]
    for name in ("run_at", "deadline"):
        if body.get(name) is not None:
            found[name] = _moment(name, take(body, name, "text"))
    found["depends_on"] = [_prerequisite(one) for one in take(body, "depends_on", "a list", [])]
    return found


def _moment(name: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min  # noqa: DTZ901  # it has no offset, so it is refused
    if found.tzinfo is None:
        raise Refused(
            "VALIDATION_ERROR", f"Field '{name}' must be a moment in ISO 8601 with its offset", field=name
        )
    return found


def _prerequisite(one: Any) -> str | Prerequisite:
    if isinstance(one, str):
        return one
    if isinstance(one, dict) and set(one) <= {"task", "on_failure"} and isinstance(one.get("task"), str):
        return Prerequisite(one["task"], one.get("on_failure", "block"))
    raise Refused(
        "VALIDATION_ERROR",
        'Field \'depends_on\' must be a list of ids, or of {"task": id, "on_failure": policy}',
        field="depends_on",
    )


def _id(call: Call, *more: str) -> str:
    only(call.body, "id", "request_id", *more)
    return str(take(call.body, "id", "text"))


async def _get(call: Call) -> dict[str, Any]:
    try:
        return {"exists": True, "task": shown(await call.db.tasks.get(_id(call)))}
    except UnknownTaskError:
        return {"exists": False}


async def _list(call: Call) -> dict[str, Any]:
    body = call.body
    texts = ("status", "agent_type", "parent", "project", "after")
    only(body, *texts, "limit", "newest_first", "whole", "request_id")
    limit = take(body, "limit", "an integer", 100)
    if not 1 <= limit <= MOST:
        raise Refused("VALIDATION_ERROR", f"Field 'limit' must be 1 to {MOST:,}", field="limit")
    found = await call.db.tasks.list(
        **{name: take(body, name, "text", None) for name in texts},
        limit=limit + 1,
        newest_first=take(body, "newest_first", "true or false", False),
    )
    whole = take(body, "whole", "true or false", False)
    page = [shown(task, whole=whole) for task in found[:limit]]
    return {"tasks": page, "count": len(page), "truncated": len(found) > limit}


async def _cancel(call: Call) -> dict[str, Any]:
    task_id = _id(call, "reason", "tree")
    reason = take(call.body, "reason", "text", None)
    tree = take(call.body, "tree", "true or false", False)
    if reason is not None:
        payload.plain(reason, "reason", longest=LONGEST_MESSAGE)
    return await write_once(call, _cancelled, checks.id_of(task_id), reason, tree, call.db.actor)


def _cancelled(task_id: str, reason: str | None, tree: bool, actor: str, now: int) -> Script[dict[str, Any]]:
    return {"task": shown((yield from control.cancel(task_id, reason, tree, actor, now)))}


async def _retry(call: Call) -> dict[str, Any]:
    return await write_once(call, _retried, checks.id_of(_id(call)), call.db.actor)


def _retried(task_id: str, actor: str, now: int) -> Script[dict[str, Any]]:
    return {"task": shown((yield from control.retry(task_id, actor, now)))}


async def _wait(call: Call) -> dict[str, Any]:
    """Not by `db.tasks.wait`: each of those has a connection of its own that listens to other processes."""
    task_id = _id(call, "timeout")
    timeout = take(call.body, "timeout", "a number", 30.0)
    deadline = time.monotonic() + timeout
    with call.db.watch.for_end(task_id) as ended:
        while True:
            ended.clear()
            found = await call.db.tasks.get(task_id)
            left = deadline - time.monotonic()
            if found.ended:
                return {"task": shown(found)}
            if left <= 0:
                raise WaitTimeoutError(task_id, found.status, timeout)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await ended.wait()
