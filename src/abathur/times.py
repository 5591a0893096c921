"""Moments as the database keeps them: integer microseconds to compare, ISO 8601 UTC text to read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from abathur.errors import InvalidInputError

SECOND: Final = 1_000_000
"""Microseconds in a second."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = re.compile(
    r"(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+(?:\.\d+)?)s)?"
)


@lru_cache(maxsize=16)
def iso(moment: int) -> str:
    """Microseconds since the epoch as text of fixed width: ``2026-01-31T09:30:00.000000+00:00``."""
    return (EPOCH + timedelta(microseconds=moment)).isoformat(timespec="microseconds")


def micros(moment: datetime, name: str) -> int:
    """An aware datetime as microseconds since the epoch. Raises InvalidInputError for a naive one."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidInputError(
            f"{name}={moment!r} has no time zone."
            if isinstance(moment, datetime)
            else f"{name}={moment!r} is no datetime.",
            "Expected an aware datetime.",
            "Write `datetime.now(UTC) + timedelta(...)` or `datetime(..., tzinfo=UTC)`.",
        )
    return (moment - EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=64)  # those of one transaction are often the same
def moment(value: int | None) -> datetime | None:
    """Microseconds since the epoch as an aware datetime in UTC; None for what a damaged row may hold."""
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(value / SECOND, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


@lru_cache(maxsize=64)  # the same
def parse(text: str | None) -> datetime | None:
    """A stored text time as a datetime; older databases hold other forms, which become None."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def interval(text: str) -> timedelta | None:
    """``1d2h30m15s``, any of its parts, as an interval; None for other text."""
    match = _UNITS.fullmatch(text)
    if match is None or not text:
        return None
    return timedelta(**{unit: float(number) for unit, number in match.groupdict().items() if number})
