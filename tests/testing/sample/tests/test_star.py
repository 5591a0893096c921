"""Imports everything."""

import asyncio

from app.db.database import *

from tests.emptying import empty


def test_it():
    asyncio.run(empty(async_session_maker))
