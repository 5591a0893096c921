"""A service that has stopped hears nothing more, whatever the connection was like when it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nats.errors
import pytest

from abathur.service import DatabaseService
from abathur.testing.nats_server import NatsServer
from tests.nats import until

RESTARTS = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves one to the garbage collector when it connects anew, and that says so."""
pytestmark = [RESTARTS, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]

SUBJECTS = ["rosey.db.health", "rosey.db.kv.p.list", "rosey.tasks.list", "$SRV.PING", "$SRV.STATS"]


@pytest.mark.parametrize("jetstream", [True, False])
async def test_a_service_that_stops_while_the_server_is_away_does_not_come_back_with_it(
    own_server: Callable[..., NatsServer], connected: Any, tmp_path: Path, jetstream: bool
) -> None:
    server = own_server(jetstream=jetstream)
    shared, other = await connected(server.url), await connected(server.url)
    service = DatabaseService(shared, tmp_path / "a.db")
    await service.start()
    server.stop()

    async def is_away() -> bool:
        return shared.is_reconnecting and other.is_reconnecting

    await until(is_away)
    async with asyncio.timeout(20):
        await service.stop()
    server.start()

    async def is_back() -> bool:
        return shared.is_connected and other.is_connected

    await until(is_back)
    await shared.flush()
    for subject in SUBJECTS:
        with pytest.raises(nats.errors.NoRespondersError):
            await other.request(subject, b"{}", timeout=5)
    left = [one.subject for one in shared._subs.values() if not one.subject.startswith("_INBOX")]
    assert left == []
