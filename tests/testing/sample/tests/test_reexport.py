"""Imports the session maker from the package that exports it again."""

import asyncio

from app.db import async_session_maker

from tests.emptying import empty


def test_it():
    asyncio.run(empty(async_session_maker))
