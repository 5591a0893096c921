"""Imports the session maker under another name."""

import asyncio

from app.db.database import async_session_maker as test_sessions

from tests.emptying import empty


def test_it():
    asyncio.run(empty(test_sessions))
