"""Imports the session maker."""

import asyncio

from app.db.database import async_session_maker

from tests.emptying import empty


def test_it():
    asyncio.run(empty(async_session_maker))
