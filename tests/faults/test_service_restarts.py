"""What a service does once stays done once, whatever is restarted, dropped or repeated."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest

from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.faults.budget import Budget
from tests.nats import Caller, until

EACH = 30
"""Requests of each kind in a round."""


@pytest.mark.row("R22")
@pytest.mark.leaks_allowed("nats-py leaves a connection that was cut off to the garbage collector")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
async def test_one_effect_for_each_request_id_and_each_event_once(
    tmp_path: Path, budget: Budget, figure
) -> None:
    """R22: the server is restarted, replies are dropped, requests are repeated, by two instances."""
    draw = budget.draw()
    with NatsServer(tmp_path / "nats") as server:
        path = tmp_path / "agents.db"
        async with DatabaseService(server.url, path) as one, DatabaseService(server.url, path) as other:
            client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
            caller = Caller(client=client, prefix="rosey", timeout=1)
            fields = [{"name": "n", "type": "integer"}]
            await caller.ok("db.schema.p.register", {"table": "items", "fields": fields})
            counter = await caller.ok("db.row.p.items.insert", {"n": 0})
            done = 0
            for round_ in budget(quick=3, long=20):
                work = [
                    asyncio.create_task(_insist(caller, draw, n, counter["id"]))
                    for n in range(done, done + EACH)
                ]
                events = [asyncio.create_task(_publish(client, n)) for n in range(done, done + EACH)]
                done += EACH
                await asyncio.sleep(draw.random() * 0.1)
                server.restart(kill=bool(round_ % 2))
                await asyncio.gather(*work, *events)
            rows = await _answered(caller, "db.row.p.items.search", {"aggregates": {"rows": {"$count": "*"}}})
            assert rows["rows"] == done + 1
            found = await _answered(caller, "db.row.p.items.select", {"id": counter["id"]})
            assert found["data"]["n"] == done
            assert sum((await one.db.tasks.counts()).values()) == done

            async def all_there() -> bool:
                user = await other.db.chat.user_stats("ann")
                return bool(user["found"]) and user["total_chat_lines"] >= done

            await until(all_there, seconds=60)
            await asyncio.sleep(0.2)
            assert (await one.db.chat.user_stats("ann"))["total_chat_lines"] == done
            assert (await one.db.audit.verify()).ok
            await client.close()
    figure(f"{budget.done} restarts, {done * 3:,} requests with one effect each, {done:,} events once")


async def _answered(caller: Caller, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question: after a restart it is asked again until somebody hears it."""
    for _ in range(30):
        try:
            return await caller.ok(subject, body)
        except (nats.errors.Error, TimeoutError, OSError):
            await asyncio.sleep(0.02)
    raise TimeoutError(subject)


async def _insist(caller: Caller, draw: random.Random, number: int, counter: int) -> None:
    """Three requests, each repeated until it is answered, and some once more when they were."""
    for subject, body in (
        ("db.row.p.insert", {"table": "items", "data": {"n": number}, "request_id": f"i{number}"}),
        (
            "db.row.p.items.update",
            {"id": counter, "operations": {"n": {"$inc": 1}}, "request_id": f"u{number}"},
        ),
        ("tasks.enqueue", {"prompt": str(number), "request_id": f"t{number}"}),
    ):
        first: dict[str, Any] | None = None
        wanted = draw.randrange(1, 4)
        for _ in range(400):
            try:
                if draw.random() < 0.3:  # nobody listens to this answer
                    full, raw = f"rosey.{subject}", json.dumps(body).encode()
                    await caller.client.publish(full, raw, reply=caller.client.new_inbox())
                answer = await caller.ok(subject, body)
            except (nats.errors.Error, TimeoutError, OSError):
                await asyncio.sleep(0.02)
                continue
            assert first is None or answer == first
            first, wanted = answer, wanted - 1
            if not wanted:
                break
        assert first is not None, f"{subject} {number} was never answered"


async def _publish(client: Any, number: int) -> None:
    """An event, until the stream has it."""
    raw = json.dumps({"username": "ann", "message": str(number)}).encode()
    for _ in range(400):
        try:
            context = client.jetstream(timeout=1)
            await context.publish("rosey.db.message.log", raw, headers={"Nats-Msg-Id": f"e{number}"})
        except (nats.errors.Error, TimeoutError, OSError):
            await asyncio.sleep(0.02)
        else:
            return
    raise AssertionError(f"event {number} was never taken")
