"""The database of one test: what the fixtures give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from abathur.database import Database

OPTIONS: Final[Mapping[str, Any]] = {"environment": "test", "durability": "normal"}
"""How a test's database is opened. What a sync is for shows only when the power fails."""


class OwnDatabase(Database):
    """A new, empty `Database` at a place that belongs to one test: ``async with abathur_db as db:``.

    It is not open yet, and like every Database it can be opened once. `another` gives one more at the same
    place, as a program has that starts again; options of your own go there, too.
    """

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **{**OPTIONS, **options})
        self._url = url
        self._made: list[Database] = [self]

    @property
    def url(self) -> str:
        """The path or URL, for a program that opens it itself. On a server it may hold a password."""
        return self._url

    @property
    def path(self) -> Path:
        """The file. Raises TypeError in memory and on a server."""
        if "://" in self._url or self._url == ":memory:":
            raise TypeError(f"{self!r} is no file; use abathur_path")
        return Path(self._url)

    def another(self, **options: Any) -> Database:
        """A Database at the same place, not open yet; in memory that is a new, empty one.

        `options` are those of `Database`, such as `schema`.
        """
        self._made.append(Database(self._url, **{**OPTIONS, "clock": self.clock, **options}))
        return self._made[-1]

    def left_open(self) -> list[Database]:
        """Those that were opened here and not closed."""
        return [made for made in self._made if made._state not in ("new", "closed")]  # noqa: SLF001
