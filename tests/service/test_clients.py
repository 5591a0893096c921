"""A bot's commands `stats` and `user` answer in words, also when the service hangs or is not there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import nats
import pytest

from abathur.errors import InvalidInputError
from abathur.service import clients
from abathur.testing.nats_server import NatsServer
from tests.conformance.chats import event, joined, left, said
from tests.service.conftest import Served

UNAVAILABLE = "Stats unavailable (DatabaseService timeout)"


async def test_the_statistics_of_a_channel_are_lines_of_text(served: Served) -> None:
    await served.db.chat.record(
        [
            *(said(name, at=0) for name in ("ann", "ann", "bob\nMost users in chat: 1,000,000")),
            event("stats.high_water", 60, chat_count=1_234, connected_count=5_678),
        ]
    )
    text = await clients.stats(served.client, prefix=served.prefix)
    assert text.splitlines() == [
        "Most users in chat: 1,234 (2023-11-14 22:14 UTC)",
        "Most connected: 5,678 (2023-11-14 22:14 UTC)",
        "Users seen: 2",
        "Top chatters: ann (2), bob\ufffdMost users in chat: 1,000,000 (1)",
    ]


async def test_the_statistics_of_a_user_are_lines_of_text(served: Served) -> None:
    await served.db.chat.record([joined("cat", 0), said("cat", at=5), left("cat", 5_400)])
    assert (await clients.user(served.client, "cat", prefix=served.prefix)).splitlines() == [
        "cat: 1 message, connected for 1 h 30 min",
        "First seen 2023-11-14 22:13 UTC, last seen 2023-11-14 23:43 UTC",
    ]
    await served.db.chat.record([joined("cat", 6_000)])
    text = await clients.user(served.client, "cat", prefix=served.prefix)
    assert text.splitlines()[2] == "Here since 2023-11-14 23:53 UTC"
    missing = await clients.user(served.client, "nobody", prefix=served.prefix)
    assert "nobody" in missing
    assert UNAVAILABLE not in missing


def test_a_name_moves_nothing_on_a_screen() -> None:
    assert clients.plain("a\r\nb\x1b[2J\u202ec\u2028d\u2066") == "a\ufffd\ufffdb\ufffd[2J\ufffdc\ufffdd\ufffd"
    assert clients.plain("ünï 👩\u200d🚀 日本 עברית") == "ünï 👩\u200d🚀 日本 עברית"


@pytest.mark.parametrize("name", ["", "x" * 201, 7])
async def test_what_the_service_refuses_is_said(served: Served, name: Any) -> None:
    assert (await clients.user(served.client, name, prefix=served.prefix)).startswith("Stats error: ")


@pytest.mark.parametrize("ask", [clients.stats, lambda nc, **more: clients.user(nc, "ann", **more)])
async def test_when_nobody_answers_they_are_unavailable_at_once(
    nats_server: NatsServer, connected: Any, ask: Any
) -> None:
    client = await connected(nats_server.url)
    began = time.monotonic()
    assert await ask(client, prefix="nobody-is-there", timeout=60) == UNAVAILABLE
    assert time.monotonic() - began < 30, "nats-server says that nobody listens: it is not waited for"


@pytest.mark.parametrize("ask", [clients.stats, lambda nc, **more: clients.user(nc, "ann", **more)])
async def test_when_the_service_hangs_they_are_unavailable_after_a_second(
    nats_server: NatsServer, connected: Any, ask: Any
) -> None:
    client = await connected(nats_server.url)
    heard = await client.subscribe("hanging.db.query.*")
    began = time.monotonic()
    assert await ask(client, prefix="hanging") == UNAVAILABLE
    assert time.monotonic() - began >= 1.0
    assert (await heard.next_msg(timeout=20)).reply


async def test_while_the_server_is_away_they_are_unavailable_after_a_second(
    own_server: Any, connected: Any
) -> None:
    server = own_server()
    client = await connected(server.url)
    server.kill()
    assert await clients.stats(client) == UNAVAILABLE
    server.start()
    async with asyncio.timeout(30):
        while not client.is_connected:
            await asyncio.sleep(0.01)
    assert await clients.stats(client, timeout=20) == UNAVAILABLE, "it is back, and no service is"


async def test_a_connection_that_is_closed_is_said_to_be(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    await client.close()
    assert await clients.stats(client) == "Stats unavailable (not connected to NATS)"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"{", "Stats error: an answer that cannot be read"),
        (b"[]", "Stats error: an answer that cannot be read"),
        (b'{"success": true}', "Stats error: an answer that cannot be read"),
        (b'{"success": true, "high_water_mark": 7}', "Stats error: an answer that cannot be read"),
        (b'{"success": false}', "Stats error: unknown"),
        (b'{"success": false, "error": "an older one\\n"}', "Stats error: an older one\ufffd"),
        (
            json.dumps(
                {"success": False, "error": {"code": "LOCK_TIMEOUT", "message": "It is locked."}}
            ).encode(),
            "Stats error: It is locked.",
        ),
    ],
)
async def test_whatever_answers_there_the_bot_has_something_to_say(
    nats_server: NatsServer, connected: Any, answer: bytes, text: str
) -> None:
    client = await connected(nats_server.url)

    async def reply(message: Any) -> None:
        await message.respond(answer)

    await client.subscribe("strange.db.query.*", cb=reply)
    assert await clients.stats(client, prefix="strange", timeout=20) == text


async def test_a_prefix_that_could_be_another_subject_is_refused(
    nats_server: NatsServer, connected: Any
) -> None:
    client = await connected(nats_server.url)
    for prefix in ("a.>", "*", "", "a b", "a\r\nPUB x 0"):
        with pytest.raises(InvalidInputError):
            await clients.stats(client, prefix=prefix)


async def test_a_cancelled_question_is_cancelled(nats_server: NatsServer, connected: Any) -> None:
    client = await connected(nats_server.url)
    await client.subscribe("waiting.db.query.*")
    asking = asyncio.create_task(clients.stats(client, prefix="waiting", timeout=60))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


@pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_client_that_can_send_nothing_says_so(
    own_server: Callable[..., NatsServer], connected: Any
) -> None:
    server = own_server(config="max_payload: 1024", jetstream=False)
    client = await connected(server.url, pending_size=100)
    assert await clients.user(client, "x" * 2_000) == "Stats error: nats: maximum payload exceeded"
    server.stop()
    while not client.is_reconnecting:
        await asyncio.sleep(0.01)
    said = {await clients.user(client, "x" * 200, timeout=0.1) for _ in range(3)}
    assert said <= {UNAVAILABLE, "Stats unavailable (not connected to NATS)"}
    assert "Stats unavailable (not connected to NATS)" in said
