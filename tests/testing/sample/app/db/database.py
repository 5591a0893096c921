"""The engine and the session maker, made at import: whoever imports this has the real database."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import NullPool

from app.settings import DATABASE

engine = create_async_engine(f"sqlite+aiosqlite:///{DATABASE}", poolclass=NullPool)
async_session_maker = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """What every model derives from."""
