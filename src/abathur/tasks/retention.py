"""How long tasks that have ended are kept, and what became of those that were kept long enough."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from attrs import Attribute, field, frozen

from abathur.errors import InvalidInputError
from abathur.states import CANCELLED, COMPLETED, FAILED
from abathur.times import SECOND, iso


def _age(_: Any, attribute: Attribute[Any], value: Any) -> None:
    if value is not None and (not isinstance(value, timedelta) or value < timedelta(0)):
        raise InvalidInputError(
            f"The retention of {attribute.name} tasks is {value!r}.",
            "Expected a timedelta from 0 on, or None to keep them for ever.",
            "Write `Retention(completed=timedelta(days=30))`.",
        )


@frozen(kw_only=True)
class Retention:
    """How long tasks are kept after they have ended, by how they ended; None keeps them for ever."""

    completed: timedelta | None = field(default=None, validator=_age)
    failed: timedelta | None = field(default=None, validator=_age)
    cancelled: timedelta | None = field(default=None, validator=_age)

    def cutoffs(self, now: int) -> dict[str, int]:
        """Status -> the moment (microseconds) before which such a task must have ended to be removed."""
        ages = {COMPLETED: self.completed, FAILED: self.failed, CANCELLED: self.cancelled}
        return {
            status: now - age // timedelta(microseconds=1) for status, age in ages.items() if age is not None
        }


@frozen(kw_only=True)
class Pruned:
    """What `db.tasks.prune` removed or, in a dry run, would remove."""

    tasks: int
    by_status: Mapping[str, int]
    audit_rows: int
    """Rows of the audit trail that go with them; a tombstone has their place."""
    seals: int
    """Seals of the oldest part of the trail, cut off because all of it had been pruned; 0 in a dry run."""
    needed: int
    """Tasks that are old enough and stay, because a task that is left needs them."""
    refused: int
    """Tasks that are old enough and stay, because rows of another table refer to them; 0 in a dry run."""
    dry_run: bool


def day(cutoff: int) -> str:
    """The day after a cutoff as text: what ended later, in any time zone, is not old enough."""
    return iso(max(cutoff, 0) + 86_400 * SECOND)[:10]
