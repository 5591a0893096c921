"""Imports the module by its last name, and takes the session maker from it."""

import asyncio

from app.db import database

from tests.emptying import empty


def test_it():
    asyncio.run(empty(database.async_session_maker))
