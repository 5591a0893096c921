"""Ids as people type them: any beginning that only one task has."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from abathur.database import Database
from abathur.errors import InvalidInputError, UnknownProjectError, UnknownTaskError

SHORTEST: Final = 13
"""Characters of an id that name the millisecond in which it was made."""


async def full_id(db: Database, given: str, role: str = "task") -> str:
    """The id that `given` is, or begins. Raises UnknownTaskError or InvalidInputError."""
    found = await db.tasks.resolve(given.strip())
    if not found:
        raise UnknownTaskError(given, role)
    if len(found) > 1 and given.strip() not in found:
        raise InvalidInputError(
            f"The ids of several tasks begin with {given!r}: {', '.join(found)}, ...",
            f"Expected the beginning of one {role}'s id.",
            "Give more of it; `abathur list --json` shows whole ids.",
        )
    return given.strip() if given.strip() in found else found[0]


async def project_id(db: Database, given: str | None) -> str | None:
    """The id of the project of that id or name; what names none is a label, and stays as it is.

    Raises AmbiguousProjectError.
    """
    if given is None:
        return None
    try:
        return (await db.projects.get(given)).id
    except UnknownProjectError:
        return given


def shortened(ids: Sequence[str]) -> list[str]:
    """Beginnings of ids that are long enough to tell these from each other."""
    length = SHORTEST
    for one, other in pairwise(sorted(set(ids))):
        same = next(
            (n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), len(one)
        )
        length = max(length, same + 1)
    return [task_id[:length] for task_id in ids]
