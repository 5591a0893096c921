"""The application's own answer to which project is meant: a function, or a URL that is asked.

Its answer is kept for a minute. It has one second; one that fails or is late is an error, and never passes
for "none".
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from abathur.errors import InvalidInputError, ResolverError

Answering: TypeAlias = Callable[[str | None, str | None], "Awaitable[str | None] | str | None"]
"""Called with a directory and a session, of which each may be None; answers with an id, a name or None."""

TIMEOUT: Final = 1.0
KEPT: Final = 60.0
"""Seconds for which an answer is good."""
MOST: Final = 1_000
LARGEST: Final = 64 * 1024


class Asking:
    """A resolver with its cache."""

    def __init__(self, resolver: Answering | str, timeout: float = TIMEOUT) -> None:
        is_url = isinstance(resolver, str) and resolver.startswith(("http://", "https://"))
        if not is_url and not callable(resolver):
            raise InvalidInputError(
                f"{resolver!r} is no resolver.",
                "Expected a function of a directory and a session, or a URL of http or https.",
                "Give one of these.",
            )
        self._resolver = resolver
        self._timeout = timeout
        self._kept: dict[tuple[str | None, str | None], tuple[float, str | None]] = {}

    @property
    def name(self) -> str:
        """What it is called in messages; of a URL nothing that may be a secret."""
        if isinstance(self._resolver, str):
            return self._resolver.partition("?")[0].rpartition("@")[2]
        return getattr(self._resolver, "__qualname__", type(self._resolver).__name__)

    async def ask(self, directory: str | None, session: str | None) -> str | None:
        """The id or name of the project that is meant, or None. Raises ResolverError."""
        key = (directory, session)
        until, answer = self._kept.get(key, (0.0, None))
        if time.monotonic() < until:
            return answer
        answer = await self._asked(directory, session)
        if len(self._kept) >= MOST:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + KEPT, answer)
        return answer

    async def _asked(self, directory: str | None, session: str | None) -> str | None:
        try:
            async with asyncio.timeout(self._timeout):
                answer = await self._call(directory, session)
        except TimeoutError:
            raise ResolverError(self.name, f"it took longer than {self._timeout:g} s") from None
        except Exception as error:
            raise ResolverError(self.name, str(error) or repr(error)) from error
        if answer is not None and not (isinstance(answer, str) and answer.strip() and "\0" not in answer):
            raise ResolverError(self.name, f"it answered with {answer!r:.80}")
        return answer

    async def _call(self, directory: str | None, session: str | None) -> Any:
        resolver = self._resolver
        if isinstance(resolver, str):
            url = resolver
            return await _in_thread(lambda: _fetch(url, directory, session, self._timeout))
        if inspect.iscoroutinefunction(resolver):
            return await resolver(directory, session)
        answer = await _in_thread(lambda: resolver(directory, session))
        return await answer if inspect.isawaitable(answer) else answer


def _fetch(url: str, directory: str | None, session: str | None, timeout: float) -> Any:
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import Request, urlopen

    given = {name: value for name, value in (("directory", directory), ("session", session)) if value}
    query = urlencode(given)
    request = Request(  # noqa: S310  # its scheme was checked
        f"{url}{'&' if '?' in url else '?'}{query}", headers={"Accept": "application/json"}
    )
    try:
        with urlopen(request, timeout=timeout) as response:  # noqa: S310
            if response.status == 204:
                return None
            answer = json.loads(response.read(LARGEST))
    except HTTPError as error:
        error.close()
        if error.code == 404:
            return None
        raise ValueError(f"it answered with the status {error.code}") from None
    if not isinstance(answer, dict) or "project" not in answer:
        raise ValueError('it answered with something else than {"project": ...}')
    return answer["project"]


async def _in_thread(fn: Callable[[], Any]) -> Any:
    """Call a function on a thread of its own, which is left behind when it is late; it keeps nobody alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = fn()
        except Exception as error:  # noqa: BLE001  # it is the caller's
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            return  # the loop is closed, and nobody waits any more

    threading.Thread(target=run, name="abathur-resolver", daemon=True).start()
    return await future
