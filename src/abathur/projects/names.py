"""Names: what a project's id looks like, and how its store is called."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 255
"""Characters that a project's name may have."""
LONGEST_STEM: Final = 30
DRAWS: Final = 20
"""How many names are tried for a store before it is given up."""

_ID: Final = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII)
_STORE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
RESERVED: Final = ("public", "information_schema")


def as_id(text: str) -> str | None:
    """A UUID in its usual form, whether it came in upper case, in braces or without hyphens; else None."""
    plain = text.strip().lower()
    if plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1]
    if not _ID.fullmatch(plain):
        return None
    digits = plain.replace("-", "")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def is_store(name: str) -> bool:
    """Whether a store can be called so: as a file, and as a schema in PostgreSQL."""
    return bool(_STORE.fullmatch(name)) and not name.startswith("pg_") and name not in RESERVED


def stem(name: str) -> str:
    """What is left of a project's name in the name of its store."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "project"
    if found[0].isdigit() or found.startswith("pg_"):
        found = f"p_{found}"
    return found[:LONGEST_STEM].rstrip("_")


def stores(name: str, project_id: str) -> Iterator[str]:
    """The names to try for a store, the usual one first. They follow from the project alone.

    So a registry that was lost and is made anew finds the stores that are there.
    """
    digits = project_id.replace("-", "")
    yield f"{stem(name)}_{digits[-8:]}"  # the first digits of a UUIDv7 are the time
    for number in range(1, DRAWS):
        yield f"{stem(name)}_{hashlib.sha256(f'{digits}:{number}'.encode()).hexdigest()[:8]}"
