"""Commands: each is in the audit trail as it was given, and nobody can change it there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from abathur.chat import Event
from abathur.errors import ConstraintError
from tests.conformance.chats import T
from tests.conformance.checks import execute


def command(**changes):
    said = {"timestamp": T + 0.25, "username": "mod", "command": "!kick", "result": "success"}
    return {**said, **changes}


async def test_a_command_is_in_the_trail_with_its_own_time_and_that_of_its_arrival(db):
    arrived = datetime.fromtimestamp(T + 5, UTC)
    body = command(args="alice now", error=None)
    await db.chat.record([Event("action.pm_command", body, ("s", 1), arrived)])
    (entry,) = await db.audit.list()
    assert (entry.action, entry.actor, entry.task_id) == ("chat.pm_command", "mod", None)
    assert entry.data == {
        "username": "mod",
        "command": "!kick",
        "args": "alice now",
        "timestamp": T + 0.25,
        "arrived": "2023-11-14T22:13:25.000000+00:00",
        "result": "success",
        "error": None,
    }
    assert (await db.audit.verify()).ok


@pytest.mark.parametrize("kind", ["action.pm_command", "events.pm_command"])
@pytest.mark.parametrize("result", ["success", "error", "pending"])
async def test_both_subjects_and_every_result_are_accepted(db, kind, result):
    assert (await db.chat.record([Event(kind, command(result=result))])).stored == 1
    (entry,) = await db.audit.list(action="chat.pm_command")
    assert entry.data["result"] == result


async def test_a_command_without_a_time_of_arrival_arrives_when_it_is_recorded(db):
    await db.chat.log_command(
        "mod", "!kick", result="error", timestamp="2026-01-01T00:00:00Z", error="no rights"
    )
    (entry,) = await db.audit.list()
    assert entry.data["timestamp"] == "2026-01-01T00:00:00Z"
    assert datetime.fromisoformat(entry.data["arrived"]) == entry.at


async def test_the_envelope_gives_a_command_its_time(db):
    inner = {key: value for key, value in command().items() if key != "timestamp"}
    await db.chat.record([Event("action.pm_command", {"event_type": "pm", "data": inner, "timestamp": T})])
    assert (await db.audit.list())[0].data["timestamp"] == T


async def test_a_command_that_is_delivered_twice_is_in_the_trail_once(db):
    events = [Event("action.pm_command", command(command=f"!{n}"), ("s", n)) for n in range(1, 4)]
    await db.chat.record(events)
    await db.chat.record(events)
    assert [one.data["command"] for one in await db.audit.list()] == ["!1", "!2", "!3"]


async def test_any_arguments_are_kept_as_they_are(db):
    for args in ("'; DROP TABLE audit; --", ["a", 1, None], {"nested": {"x": [1.5]}}, "", 0):
        await db.chat.log_command("🦋\r\n", "!x\n", result="success", timestamp=0, args=args)
        assert (await db.audit.list(limit=1_000))[-1].data["args"] == args


@pytest.mark.parametrize("sql", ["DELETE FROM audit", "UPDATE audit SET actor = 'somebody else'"])
async def test_a_command_cannot_be_changed_or_deleted_through_rows(make_db, sql):
    db = await make_db(queries={"test.change": sql})
    await db.chat.log_command("mod", "!kick", result="success", timestamp=1)
    with pytest.raises(ConstraintError, match="append-only"):
        await db.run(execute, "test.change")
    assert (await db.audit.list())[0].actor == "mod"


async def test_a_command_that_fits_only_without_its_arrival_is_refused_and_not_lost_silently(db):
    from abathur import payload

    room = payload.LARGEST - len(payload.encode(command(args="", error=None), "x")) - 5
    recorded = await db.chat.record(
        [Event("action.pm_command", command(args="x" * room)), Event("action.pm_command", command())]
    )
    assert (recorded.stored, len(recorded.refused)) == (1, 1)
    assert len(await db.audit.list()) == 1


async def test_a_prune_of_tasks_leaves_the_commands(db):
    from datetime import timedelta

    from abathur import Retention

    await db.chat.log_command("mod", "!kick", result="success", timestamp=1)
    await db.tasks.enqueue("x")
    (claim,) = await db.tasks.claim("w")
    await db.tasks.complete(claim)
    await db.tasks.prune(Retention(completed=timedelta(0)))
    assert [one.actor for one in await db.audit.list(action="chat.pm_command")] == ["mod"]
    assert (await db.audit.verify()).ok
