"""Imports the session maker among others, in several lines."""

import asyncio

from app.db.database import (
    Base,
    async_session_maker,
    engine,
)

from tests.emptying import empty


def test_it():
    assert Base
    assert engine
    asyncio.run(empty(async_session_maker))
