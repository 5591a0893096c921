"""Ending tasks that use nats-py: its `publish` and `flush` swallow a cancellation now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


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
