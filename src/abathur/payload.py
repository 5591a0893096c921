"""Payloads: what may be stored as a task's input or result, and how it becomes text."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from abathur.errors import InvalidInputError, InvalidPayloadError

LARGEST: Final = 256 * 1024
"""Bytes of JSON text that one payload may have."""
DEEPEST: Final = 64
"""Levels that one payload may be nested."""

_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"), check_circular=False
)


def encode(value: Any, name: str) -> str:
    """JSON text of a payload, with sorted keys. Raises InvalidPayloadError, naming the payload."""
    _check_shape(value, name)
    try:
        text = _encoder.encode(value)
        size = len(text) if text.isascii() else len(text.encode())
    except (TypeError, ValueError) as error:  # UnicodeEncodeError, of a lone surrogate, is a ValueError
        raise InvalidPayloadError(
            f"{name} is not JSON: {error}.",
            "Expected None, booleans, finite numbers, text, lists, and dicts with text keys.",
            "Convert other values first, for example a datetime with `.isoformat()`.",
        ) from None
    if size > LARGEST:
        raise InvalidPayloadError(
            f"{name} has {size:,} bytes of JSON.",
            f"Expected {LARGEST:,} at most.",
            "Store the data elsewhere, and put its path or URL into the payload.",
        )
    if "\\u0000" in text and _holds_nul(value):
        raise InvalidPayloadError(
            f"{name} holds a NUL character.",
            "Expected text without NUL, which PostgreSQL cannot store.",
            "Remove it, or encode binary data as base64.",
        )
    return text


def decode(text: str | None) -> Any:
    """The value of stored JSON text; None stays None."""
    return None if text is None else json.loads(text)


def decode_older(text: str | None) -> Any:
    """The same for an older database's inline value, which may be other text than JSON."""
    try:
        return decode(text)
    except ValueError:
        return text


def batch(items: Any) -> str:
    """JSON text of a batch of ids and numbers of ours, for a set-based statement."""
    return _encoder.encode(items)


def plain(value: Any, name: str, *, longest: int = 1_000, empty: bool = False) -> str:
    """Check a short text argument: a string without NUL, within `longest` characters."""
    if not isinstance(value, str):
        raise InvalidInputError(
            f"{name} is a {type(value).__name__}.", "Expected text.", f"Pass {name} as a str."
        )
    if "\0" in value or (not value.strip() and not empty) or len(value) > longest:
        found = (
            "holds a NUL character" if "\0" in value else "is empty" if not value.strip() else "is too long"
        )
        raise InvalidInputError(
            f"{name} {found}.", f"Expected 1 to {longest:,} characters without NUL.", f"Give another {name}."
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"{name} holds a lone surrogate.",
            "Expected text that UTF-8 can hold.",
            "Decode it with errors='replace'.",
        ) from None
    return value


def digest(*parts: Any) -> str:
    """SHA-256 of parts, each with its length before it, so that no two lists of parts look alike."""
    sha = hashlib.sha256()
    for part in parts:
        raw = b"-" if part is None else str(part).encode("utf-8", "surrogatepass")
        sha.update(b"%d:" % len(raw) if part is not None else b"n:")
        sha.update(raw)
    return sha.hexdigest()


def _check_shape(value: Any, name: str) -> None:
    """Refuse what the encoder would change silently (keys that are not text) or die of (depth, cycles)."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for found in level:
            if isinstance(found, dict):
                for key in found:
                    if not isinstance(key, str):
                        raise InvalidPayloadError(
                            f"{name} has the key {key!r}.",
                            "Expected dicts with text keys.",
                            "Write str(key).",
                        )
                inner += [deeper for deeper in found.values() if isinstance(deeper, (dict, list, tuple))]
            elif isinstance(found, (list, tuple)):
                inner += [deeper for deeper in found if isinstance(deeper, (dict, list, tuple))]
        if not inner:
            return
        if len(inner) > LARGEST:  # each takes two bytes at least; one that holds itself twice doubles
            break
        level = inner
    raise InvalidPayloadError(
        f"{name} is nested deeper than {DEEPEST} levels, or holds too many values.",
        "Expected a smaller or flatter value.",
        "Store it as text.",
    )


def _holds_nul(value: Any) -> bool:
    todo = [value]
    while todo:
        found = todo.pop()
        if isinstance(found, str):
            if "\0" in found:
                return True
        elif isinstance(found, dict):
            todo += found.keys()
            todo += found.values()
        elif isinstance(found, (list, tuple)):
            todo += found
    return False
