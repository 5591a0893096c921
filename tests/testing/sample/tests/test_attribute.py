"""Imports the module, and takes the session maker from it by its dotted name."""

import asyncio

import app.db.database

from tests.emptying import empty


def test_it():
    asyncio.run(empty(app.db.database.async_session_maker))
