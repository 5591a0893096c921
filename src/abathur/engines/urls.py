"""What a path or a URL names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from abathur.errors import InvalidUrlError

MEMORY: Final = ":memory:"


def path_of(url: str | Path) -> Path | str:
    """The file that a path or URL names, or ``:memory:``. Raises InvalidUrlError."""
    text = os.fspath(url) if isinstance(url, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InvalidUrlError(
            f"{url!r} names no database.",
            "Expected a path, ':memory:' or a URL.",
            "Write Database('agents.db').",
        )
    scheme, found, rest = text.partition("://")
    if not found or "/" in scheme:
        return text
    if scheme not in ("sqlite", "sqlite+aiosqlite"):
        raise InvalidUrlError(
            f"There is no engine for {scheme}:// URLs in this version.",
            "Expected sqlite:///relative.db, sqlite:////absolute.db, sqlite:///:memory:, or a path.",
            "Use a file.",
        )
    if "?" in rest:
        raise InvalidUrlError(
            f"The URL {text!r} has options.",
            "Expected none in this version.",
            "Leave out what follows the `?`.",
        )
    return unquote(rest).removeprefix("/") or MEMORY
