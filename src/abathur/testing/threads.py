"""Threads around tests: a loop apart from the test's own, and connections that were left open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds: a thread ends a moment after its connection was closed."""
DRIVER: Final = "aiosqlite"


def run_apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function in an event loop on a thread of its own, and wait for its result.

    A synchronous fixture may not use `asyncio.run` itself: that takes the loop away which a plugin for
    asynchronous tests has set in the main thread.
    """
    import asyncio  # not at the top: every session of pytest imports this module

    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001  # raised again below
            errors.append(error)

    thread = threading.Thread(target=body, name="abathur-testing")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def of_connections() -> set[threading.Thread]:
    """The threads on which aiosqlite's connections live; each has one until it is closed."""
    return {thread for thread in threading.enumerate() if _is_of_connection(thread)}


def _is_of_connection(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    return str(getattr(target, "__module__", "")).partition(".")[0] == DRIVER


def left(before: set[threading.Thread]) -> list[threading.Thread]:
    """The threads of connections that were opened since, and are still open after a moment."""
    deadline = time.monotonic() + PATIENCE
    while (found := of_connections() - before) and time.monotonic() < deadline:
        time.sleep(0.002)
    return sorted(found, key=lambda thread: thread.name)


def end(threads: list[threading.Thread]) -> None:
    """Close the connections of these threads, without which the interpreter would not end."""
    import gc

    import aiosqlite

    for found in gc.get_objects():
        if issubclass(type(found), aiosqlite.Connection) and found._thread in threads:  # noqa: SLF001
            found.stop()
