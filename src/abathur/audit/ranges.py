"""Sets of row ids as short text: ``1-5,9,12-40``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
    return text_of(spans)


def text_of(spans: Iterable[Sequence[int]]) -> str:
    """The text for spans, each a first and a last id, in order."""
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)


def between(text: object, first: int, last: int) -> Iterator[int]:
    """Those ids of a stored text that lie between two, in order; none for what is no such text."""
    for low, high in spans_of(text):
        yield from range(max(low, first), min(high, last) + 1)


def measure(text: object) -> tuple[int, int, int]:
    """The first id of a stored text, the last, and how many there are; zeros for what is no such text."""
    spans = spans_of(text)
    return (spans[0][0], spans[-1][1], sum(high - low + 1 for low, high in spans)) if spans else (0, 0, 0)


def spans_of(text: object) -> list[tuple[int, int]]:
    """The first and last id of each part of a stored text, in order; none for what is no such text."""
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        return []
    parts = [part.partition("-") for part in text.split(",")]
    spans = [(int(low), int(high or low)) for low, _, high in parts]
    ids = [0, *(one for span in spans for one in span)]
    rises = all(low <= high for low, high in spans) and all(
        before < after for before, after in zip(ids[::2], ids[1::2], strict=False)
    )
    return spans if rises else []
