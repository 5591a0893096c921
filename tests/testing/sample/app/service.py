"""What the application does with its database."""

from __future__ import annotations

from sqlalchemy import delete, func, select

from app.db.database import async_session_maker
from app.models import Dancer


async def count_dancers() -> int:
    """How many dancers there are."""
    async with async_session_maker() as session:
        return int(await session.scalar(select(func.count()).select_from(Dancer)) or 0)


async def remove_all_dancers() -> None:
    """Forget every dancer; a button for the end of the season."""
    async with async_session_maker() as session:
        await session.execute(delete(Dancer))
        await session.commit()
