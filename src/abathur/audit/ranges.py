"""Sets of row ids as short text: ``1-5,9,12-40``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

_TEXT: Final = re.compile(r"[1-9]\d{0,17}(?:-[1-9]\d{0,17})?(?:,[1-9]\d{0,17}(?:-[1-9]\d{0,17})?)*", re.ASCII)


def to_text(ids: Iterable[int]) -> str:
    """The text for some ids."""
    spans: list[list[int]] = []
    for one in sorted(set(ids)):
        if spans and spans[-1][1] == one - 1:
            spans[-1][1] = one
        else:
            spans.append([one, one])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def between(text: object, first: int, last: int) -> Iterator[int]:
    """Those ids of a stored text that lie between two, in order; none for what is no such text."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        return
    for part in text.split(","):
        low, _, high = part.partition("-")
        yield from range(max(int(low), first), min(int(high or low), last) + 1)
