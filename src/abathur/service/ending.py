"""Ending tasks and subscriptions of nats-py.

Its `publish` and `flush` swallow a cancellation now and then, and a subscription whose drain fails is
subscribed to anew with the next connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, Final

import nats.errors
from nats.aio.subscription import Subscription

SERVER_AWAY: Final = (nats.errors.Error, OSError, TimeoutError)


def is_cancelled() -> bool:
    """Whether this task was cancelled, even if what it awaited did not say so. Loops ask this."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended."""
    left = {one for one in tasks if not one.done()}
    while left:
        for one in left:
            one.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)


async def let_go(subscription: Subscription, patience: float) -> None:
    """End a subscription: what has come is dealt with, if the server is there, and nothing comes any more."""
    connection = subscription._conn  # noqa: SLF001  # nats-py hands it out nowhere else
    try:
        if connection.is_connected:
            with contextlib.suppress(*SERVER_AWAY):
                async with asyncio.timeout(patience):
                    await subscription.drain()  # type: ignore[no-untyped-call]
    finally:
        if subscription._id in connection._subs:  # noqa: SLF001  # it was not drained to its end
            subscription._closed = False  # noqa: SLF001  # else nats-py takes it for one that is gone already
            with contextlib.suppress(*SERVER_AWAY):
                await subscription.unsubscribe()
