"""Payloads: what may be stored as a task's input or result, and how it becomes text."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Final

import msgspec

from abathur.errors import InvalidInputError, InvalidPayloadError

LARGEST: Final = 256 * 1024
"""Bytes of JSON text that one payload may have."""
DEEPEST: Final = 64
"""Levels that one payload may be nested."""

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder()
_PLAIN = (str, int, bool, type(None))


def encode(value: Any, name: str, *, largest: int | None = LARGEST) -> str:
    """JSON text of a payload, with sorted keys. Raises InvalidPayloadError, naming the payload.

    largest: how many bytes of JSON it may have; None if the caller looks at that.
    """
    _check(value, name)
    try:
        raw = _encoder.encode(value)
    except (TypeError, ValueError) as error:  # UnicodeEncodeError, of a lone surrogate, is a ValueError
        raise _not_json(name, str(error)) from None
    if largest is not None and len(raw) > largest:
        raise InvalidPayloadError(
            f"{name} has {len(raw):,} bytes of JSON.",
            f"Expected {largest:,} at most.",
            "Store the data elsewhere, and put its path or URL into the payload.",
        )
    if b"\\u0000" in raw and _holds_nul(value):
        raise InvalidPayloadError(
            f"{name} holds a NUL character.",
            "Expected text without NUL, which PostgreSQL cannot store.",
            "Remove it, or encode binary data as base64.",
        )
    return raw.decode()


def _not_json(name: str, found: str) -> InvalidPayloadError:
    return InvalidPayloadError(
        f"{name} is not JSON: {found}.",
        "Expected None, booleans, finite numbers, text, lists, and dicts with text keys.",
        "Convert other values first, for example a datetime with `.isoformat()`.",
    )


def decode(text: str | bytes | None) -> Any:
    """The value of stored JSON text; None stays None."""
    return None if text is None else _decoder.decode(text)


def decode_stored(text: Any) -> Any:
    """The same for what older versions or somebody's SQL have left: what is no JSON stays as it is."""
    if not isinstance(text, (str, bytes)):
        return text  # a column of SQLite holds anything
    try:
        return decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        return json.loads(text or "")  # older versions wrote NaN
    except (ValueError, RecursionError):
        return text


def batch(items: Any) -> str:
    """JSON text of a batch of ids and numbers of ours, for a set-based statement."""
    return _encoder.encode(items).decode()


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


def _check(value: Any, name: str) -> None:
    """Refuse what the encoder would change silently (NaN, bytes, a datetime, a key that is no text)."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inner: list[Any] = []
        for found in level:
            if isinstance(found, _PLAIN):
                continue
            if isinstance(found, dict):
                for key in found:
                    if not isinstance(key, str):
                        raise _not_json(name, f"it has the key {key!r}")
                inner += found.values()
            elif isinstance(found, (list, tuple)):
                inner += found
            elif not isinstance(found, float):
                raise _not_json(name, f"it holds a {type(found).__name__}")
            elif not math.isfinite(found):
                raise _not_json(name, f"it holds {found}")
        if not inner:
            return
        if len(inner) > LARGEST:  # each takes a byte at least; a value that holds itself twice doubles
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
