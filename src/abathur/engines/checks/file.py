"""The checks of a database file: first the place around it, then, if it can be opened, its pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from abathur.engines import files
from abathur.engines.checks import contents, place
from abathur.engines.connection import Connection
from abathur.engines.waiting import outlast
from abathur.errors import EngineError, OpenError
from abathur.models import Finding


async def examine_file(
    path: Path, connect: Callable[[], Awaitable[Connection]], *, deep: bool
) -> list[Finding]:
    """All findings; why a file cannot be opened is not among them, for opening it says so."""
    found = await asyncio.to_thread(place.findings, path)
    try:
        files.check_place(path)
        if not files.size(path):
            return found
        connection = await connect()
    except (OpenError, EngineError):
        return found
    try:
        return found + await outlast(connection.hop(lambda raw: contents.findings(raw, deep=deep)))
    finally:
        await outlast(connection.close())
