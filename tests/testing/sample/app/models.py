"""The tables."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from app.db.database import Base


class User(Base):
    """Who may sign in."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Dancer(Base):
    """Who dances."""

    __tablename__ = "dancers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    level: Mapped[str]
