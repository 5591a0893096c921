"""Values of fields: how a caller's becomes the one that is stored, and how that one is given back.

Moments are stored as microseconds since the epoch, truth as 0 or 1: so both engines compare them alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from abathur.errors import ValueTooLargeError
from abathur.rows.names import invalid, kind, shown
from abathur.times import EPOCH

TYPES: Final = ("string", "text", "integer", "float", "boolean", "datetime")
TEXTS: Final = frozenset({"string", "text"})
NUMBERS: Final = frozenset({"integer", "float"})
ORDERED: Final = frozenset({*NUMBERS, "datetime"})
"""Types of which one value is before another."""
LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1
LONGEST: Final = 1024 * 1024
"""Bytes of UTF-8 that one text may have."""

_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,30}")
_FLOAT: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_YES: Final = frozenset({"true", "1", "yes", "on"})
_NO: Final = frozenset({"false", "0", "no", "off"})


class _Unfit(Exception):  # noqa: N818  # a signal inside of this module
    """A value is none of the type."""


def stored(name: str, type_name: str, value: Any) -> Any:
    """A caller's value as it is stored in a field of this type; not for null.

    Raises RowValidationError, or ValueTooLargeError for a text that is too long for any field.
    """
    try:
        return _TO[type_name](value)
    except _Unfit as error:
        raise invalid(
            f"Field '{name}': Cannot convert value to {type_name}: {error}",
            f"Expected {_EXPECTED[type_name]}.",
        ) from None


def given_back(type_name: str, value: Any) -> Any:
    """A stored value as an answer has it."""
    if value is None:
        return None
    make = _FROM.get(type_name)
    return value if make is None else make(value)


def plain_text(text: str, name: str) -> str:
    """Text that both engines can store. Raises RowValidationError or ValueTooLargeError."""
    if "\0" in text:
        raise invalid(
            f"{name} holds a NUL character", "Expected text without NUL, which PostgreSQL cannot store."
        )
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise invalid(f"{name} holds a lone surrogate", "Expected text that UTF-8 can hold.") from None
    if size > LONGEST:
        raise ValueTooLargeError(
            f"{name} has {size:,} bytes",
            f"Expected {LONGEST:,} at most.",
            "Store it elsewhere, and its place here.",
        )
    return text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return plain_text(value, "The text")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() <= 4_096:  # Python refuses to write out much longer ones
        return str(value)
    if isinstance(value, float):
        return repr(_finite(value))
    raise _Unfit(f"{kind(value)} is no text")


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Unfit(f"{kind(value)} is no whole number")
    if isinstance(value, str):
        if not _DIGITS.fullmatch(value):
            raise _Unfit(f"{shown(value)} is no whole number")
        value = int(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise _Unfit(f"{shown(value)} is no whole number")
        value = int(value)
    if not LEAST <= value <= MOST:
        raise _Unfit(f"{shown(value)} does not fit into 64 bits")
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _Unfit(f"{kind(value)} is no number")
    if isinstance(value, str) and (len(value) > 400 or not _FLOAT.fullmatch(value)):
        raise _Unfit(f"{shown(value)} is no number")
    try:
        return _finite(float(value))
    except OverflowError:
        raise _Unfit(f"{shown(value)} is out of range") from None


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise _Unfit(f"{value!r} is no finite number")
    return value + 0.0  # -0.0 is 0.0 once it is stored


def _boolean(value: Any) -> int:
    if isinstance(value, str):
        word = value.lower()
        if word in _YES or word in _NO:
            return int(word in _YES)
    elif isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)
    raise _Unfit(f"{shown(value)} is neither true nor false")


def _moment(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _Unfit(f"{shown(value)} is no moment in ISO 8601") from None
    if not isinstance(value, datetime):
        raise _Unfit(f"{kind(value)} is no moment in ISO 8601")
    moment: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise _Unfit(f"{shown(value)} is out of range") from None
    return (moment - EPOCH) // timedelta(microseconds=1)


def _number(value: float) -> float:
    return float(value) + 0.0  # zero times a negative number is -0.0 on one engine only


def iso(micros: int) -> str:
    """A stored moment as text; `times.iso` keeps the few that a transaction needs again and again."""
    return (EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


_TO: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string": _text,
    "text": _text,
    "integer": _integer,
    "float": _float,
    "boolean": _boolean,
    "datetime": _moment,
}
_FROM: Final[Mapping[str, Callable[[Any], Any]]] = {"float": _number, "boolean": bool, "datetime": iso}
_EXPECTED: Final = {
    "string": f"text, a number or a boolean, {LONGEST:,} bytes at most, without NUL",
    "text": f"text, a number or a boolean, {LONGEST:,} bytes at most, without NUL",
    "integer": "a whole number of 64 bits, or its digits",
    "float": "a finite number",
    "boolean": "true or false, 1 or 0, yes or no, on or off",
    "datetime": "text such as 2026-01-31T09:30:00+00:00",
}
