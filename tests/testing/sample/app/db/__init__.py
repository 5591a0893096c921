"""The database of the application."""

from app.db.database import Base, async_session_maker, engine

__all__ = ["Base", "async_session_maker", "engine"]
