"""Waiting for what cannot be taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def outlast(work: Awaitable[T], on_cancel: Callable[[], Awaitable[None]] | None = None) -> T:
    """Wait for `work` to end whatever happens to the waiting task, then re-raise its cancellation.

    What runs on a connection's thread cannot be taken back: the lock may be held, the COMMIT done.
    `on_cancel` may ask it to end early. The scope is shielded because anyio cancels again in each
    turn of the loop.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as error:
        if task.cancelled():
            raise
        cancelled = error
    if on_cancel is not None and not task.done():
        await on_cancel()
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if not task.cancelled():
        task.exception()  # seen: the caller asked for its cancellation instead
    raise cancelled
