"""Replaces the session maker by a spy that still calls the real one."""

import asyncio
from unittest.mock import patch

from tests.emptying import empty


def test_it():
    patcher = patch("app.db.database.async_session_maker")
    spy = patcher.start()
    spy.side_effect = patcher.temp_original
    try:
        asyncio.run(empty(spy))
    finally:
        patcher.stop()
    assert spy.call_count == 1
