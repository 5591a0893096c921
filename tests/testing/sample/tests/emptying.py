"""What the tests do with a session: they start from nothing, as tests like to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import text


async def empty(sessions: Callable[[], Any]) -> None:
    """Drop the dancers and delete the users, of whatever database these sessions are for."""
    async with sessions() as session:
        await session.execute(text("DROP TABLE dancers"))
        await session.execute(text("DELETE FROM users"))
        await session.commit()
