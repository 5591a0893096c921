"""Imports the module by a call."""

import asyncio
from importlib import import_module

from tests.emptying import empty


def test_it():
    asyncio.run(empty(import_module("app.db.database").async_session_maker))
