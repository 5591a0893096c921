"""Where a test has its database: what the fixtures give."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from abathur.database import Database

OPTIONS: Final[Mapping[str, Any]] = {"environment": "test", "durability": "normal"}
"""How a test's database is opened. What a sync is for shows only when the power fails."""


class Place:
    """A new, empty database for one test: ``async with abathur_db as db:``.

    It can be entered again, as a program is that starts again: a file and a schema hold then what they held,
    memory is empty. `database` gives one with options of your own.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        """The path or URL, for a program that opens it itself. On a server it may hold a password."""
        self._made: list[Database] = []
        self._entered: dict[object, list[Database]] = {}

    @property
    def path(self) -> Path:
        """The file. Raises TypeError for memory and for a server."""
        if "://" in self.url or self.url == ":memory:":
            raise TypeError(f"{self!r} is no file; use abathur_path")
        return Path(self.url)

    def database(self, **options: Any) -> Database:
        """A `Database` at this place, not open yet. `options` are those of `Database`, such as `schema`."""
        from abathur.database import Database

        made = Database(self.url, **{**OPTIONS, **options})
        self._made.append(made)
        return made

    async def __aenter__(self) -> Database:
        opened = await self.database().__aenter__()
        self._entered.setdefault(asyncio.current_task(), []).append(opened)
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered[asyncio.current_task()].pop().__aexit__(kind, error, trace)

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        shown = self.url.partition("@")[2] if "@" in self.url else self.url
        return f"<a test's database: {shown}>"

    @property
    def left_open(self) -> list[Database]:
        """Those that were opened here and not closed."""
        return [made for made in self._made if not repr(made).endswith((", closed)", ", new)"))]
