"""A service does without JetStream only where there is none, not where it cannot answer just now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.js.errors
import pytest

from abathur import errors
from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import until

LEADERLESS = (
    'cluster { name: c, listen: "127.0.0.1:-1", routes: ["nats://127.0.0.1:1", "nats://127.0.0.1:2"] }'
)
"""One server of a cluster whose other servers are away, so that its JetStream has no leader."""


async def test_a_jetstream_that_has_no_leader_is_waited_for_and_not_done_without(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path
) -> None:
    server = own_server(config=LEADERLESS)
    client = await connected(server.url)

    async def says_so() -> bool:  # at first it says nothing
        try:
            await client.jsm()._api_request("$JS.API.INFO", timeout=1)
        except nats.js.errors.ServiceUnavailableError as error:
            return error.err_code == 10008
        except TimeoutError:
            return False
        return False

    await until(says_so, seconds=60, pause=0.5)
    with pytest.raises(errors.NatsUnavailableError, match="JetStream system temporarily unavailable"):
        await DatabaseService(server.url, tmp_path / "a.db").start()
    async with DatabaseService(server.url, tmp_path / "a.db", jetstream=False) as service:
        assert service.events_mode == "at-most-once"
