"""Whether a value is what a test wants, by the parts that the test names, and else where they differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

LONGEST: Final = 120
"""Characters of a value that a message shows."""


@frozen
class Difference:
    """One place where what was found is not what was wanted."""

    path: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.wanted}, found {self.found}"


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()


def differences(wanted: Any, found: Any, path: str) -> Iterator[Difference]:
    """Where `found` is not what is `wanted`; nothing if it matches.

    A mapping matches one that has its keys, with values that match, and perhaps others. A list or tuple
    matches one of the same length, item by item. ``...`` matches anything; a compiled pattern a text that it
    is found in; a type its instances; a function whatever it answers True to; all else what is equal.
    """
    if wanted is ...:
        if found is MISSING:
            yield Difference(path, "anything", repr(found))
    elif isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, value in wanted.items():
            yield from differences(value, found.get(key, MISSING), f"{path}[{key!r}]")
    elif _is_list(wanted) and _is_list(found) and len(wanted) == len(found):
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif not _is_one(wanted, found):
        yield Difference(path, described(wanted), shown(found))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _is_one(wanted: Any, found: Any) -> bool:
    """Whether a single value is the wanted one."""
    if found is MISSING:
        return False
    if isinstance(wanted, re.Pattern):
        return isinstance(found, str) and wanted.search(found) is not None
    if isinstance(wanted, type):
        return isinstance(found, wanted)
    if callable(wanted):
        return bool(wanted(found))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)
    if isinstance(wanted, tuple):
        return bool(list(wanted) == found)  # JSON has no tuples
    return bool(wanted == found)


def described(wanted: Any) -> str:
    """What is wanted, in words."""
    if isinstance(wanted, re.Pattern):
        return f"text with /{wanted.pattern}/"
    if isinstance(wanted, type):
        return f"any {wanted.__name__}"
    if callable(wanted):
        return f"what {getattr(wanted, '__name__', repr(wanted))} answers True to"
    return "anything" if wanted is ... else shown(wanted)


def shown(value: Any) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"
