"""The application on the web, as an ASGI callable, with a client for its tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from app import service

Message = dict[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """`GET /dancers` counts them, `DELETE /dancers` removes them; an error is answered with 500."""
    status, answer = 200, {}
    try:
        if scope["method"] == "DELETE":
            await service.remove_all_dancers()
        answer = {"dancers": await service.count_dancers()}
    except Exception as error:  # as every web framework does
        status, answer = 500, {"error": type(error).__name__}
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


class Client:
    """Calls an ASGI application without a server, as the test clients of web frameworks do."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self._application = application

    def request(self, method: str, path: str) -> tuple[int, Any]:
        """The status and the answer."""
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
        asyncio.run(self._application(scope, receive, send))
        return sent[0]["status"], json.loads(sent[1]["body"])
