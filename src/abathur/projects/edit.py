"""A change of one value in a JSON text, which leaves everything else as its author wrote it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_decoder: Final = json.JSONDecoder()


def with_value(text: str, section: str, key: str, value: str) -> str:
    """The text with `value` as `section.key`, which is replaced, or put in front of the section's others.

    text: a JSON object, valid, in which `section` is an object with at least one key; what is before it, a
    byte order mark, stays.
    """
    start = _members(text, text.index("{"))[section][0]
    members = _members(text, start)
    written = json.dumps(value, ensure_ascii=False)
    if key in members:
        begin, end = members[key]
        return text[:begin] + written + text[end:]
    inside = start + 1
    space = text[inside : _after(text, inside)]
    return f"{text[:inside]}{space}{json.dumps(key)}: {written},{space or ' '}{text[inside + len(space) :]}"


def _members(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Where the values of the object that begins at `start` begin and end."""
    found: dict[str, tuple[int, int]] = {}
    at = _after(text, start + 1)
    while text[at] != "}":
        key: Any
        key, at = _decoder.raw_decode(text, at)
        begin = _after(text, _after(text, at) + 1)  # behind the colon
        _, end = _decoder.raw_decode(text, begin)
        found[key] = begin, end
        at = _after(text, end)
        if text[at] == ",":
            at = _after(text, at + 1)
    return found


def _after(text: str, at: int) -> int:
    """Where the white space ends that begins at `at`."""
    match = _SPACE.match(text, at)
    return match.end() if match else at
