"""What may not be imported, and a place where it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from attrs import frozen

from abathur.errors import InvalidInputError

_NAME: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


@frozen
class Forbidden:
    """A name of a module, or all of a module and what lies below it."""

    module: str
    name: str | None
    """None for the whole module."""

    @classmethod
    def parse(cls, text: str) -> Forbidden:
        """``app.db.database:async_session_maker``, or ``app.db.database`` alone. Raises InvalidInputError."""
        module, colon, name = text.strip().partition(":")
        name = "" if name == "*" else name
        if (
            not _NAME.fullmatch(module)
            or (name and not name.isidentifier())
            or (colon and text.endswith(":"))
        ):
            raise InvalidInputError(
                f"{text!r} is no name that could be imported.",
                "Expected module:name, or the dotted name of a module.",
                "Write app.db.database:async_session_maker.",
            )
        return cls(module, name or None)

    def __str__(self) -> str:
        return self.module if self.name is None else f"{self.module}:{self.name}"


@frozen
class Finding:
    """A place in a file. Lines and columns count from 1."""

    path: Path
    line: int
    column: int
    code: str
    """``forbidden-import``, or ``unreadable`` for a file that cannot be checked."""
    message: str
    forbidden: str = ""
    """What is imported, as it was declared."""
