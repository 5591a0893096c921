"""However many events an instance has taken when it stalls, each of them is stored in the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from abathur.chat.streams import MOST_GAPS
from abathur.service import DatabaseService
from abathur.service.stream import IN_FLIGHT
from abathur.testing.nats_server import NatsServer
from tests.service.test_events import LINE, line, stored


@pytest.fixture(params=["newest", "older"])
def server(request: pytest.FixtureRequest, own_server: Callable[..., NatsServer]) -> NatsServer:
    """A server of the test's own, of each version."""
    older = request.getfixturevalue("older_server") if request.param == "older" else None
    return own_server(server=older)


async def consumer_of(client: Any) -> str:
    (info,) = await client.jsm().consumers_info("rosey_events")
    return str(info.name)


async def test_what_a_stalled_instance_holds_is_stored_when_it_comes_again(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    """It holds every other event, so there is a gap before each of those that are stored meanwhile."""
    published = 3 * MOST_GAPS
    client = await connected(server.url)
    service = DatabaseService(server.url, tmp_path / "a.db")
    async with service:
        pass
    for number in range(published):
        await client.publish(LINE, line("ann", number))
    await client.flush()
    stalled = await client.jetstream().pull_subscribe_bind(await consumer_of(client), "rosey_events")
    held = []
    while len(held) < published:
        try:
            held += await stalled.fetch(500, timeout=1)
        except (nats.errors.TimeoutError, TimeoutError):
            break
    for msg in held[1::2]:
        await msg.nak()
    await client.flush()
    async with service:
        await stored(service.db, "ann", published)


async def test_a_consumer_of_an_older_version_is_given_the_present_bounds(
    server: NatsServer, connected: Any, tmp_path: Path
) -> None:
    assert IN_FLIGHT <= MOST_GAPS  # each gap is an event that somebody has taken and not stored
    client = await connected(server.url)
    service = DatabaseService(server.url, tmp_path / "a.db")
    async with service:
        name = await consumer_of(client)
    await client.jsm().delete_consumer("rosey_events", name)
    old = ConsumerConfig(
        durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=30, max_ack_pending=20_000
    )
    await client.jsm().add_consumer("rosey_events", old)
    async with service:
        found = (await client.jsm().consumer_info("rosey_events", name)).config
    assert (found.max_ack_pending, found.ack_wait) == (IN_FLIGHT, 5.0)
