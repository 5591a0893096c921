"""The bodies of requests: JSON within its limits, and the fields that are taken from it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from abathur.payload import DEEPEST, LARGEST
from abathur.service.envelope import Refused

_decode = msgspec.json.Decoder().decode
MISSING: Final = object()

_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "text": (str,),
    "an integer": (int,),
    "a number": (int, float),
    "true or false": (bool,),
    "an object": (dict,),
    "a list": (list,),
}


def parse(raw: bytes, *, largest: int = LARGEST) -> Any:
    """The JSON value of a body. Its size is checked before it is parsed. Raises Refused."""
    if len(raw) > largest:
        raise too_large(raw, largest)
    try:
        value = _decode(raw)
    except RecursionError:
        raise _too_deep() from None
    except (msgspec.MsgspecError, ValueError):  # UnicodeDecodeError is one
        raise Refused("INVALID_JSON", "The body is not JSON.") from None
    if _is_deeper(value, DEEPEST):
        raise _too_deep()
    return value


def parse_object(raw: bytes, *, largest: int = LARGEST, may_be_empty: bool = False) -> dict[str, Any]:
    """The same for a body that must be an object. Raises Refused."""
    if not raw and may_be_empty:
        return {}
    value = parse(raw, largest=largest)
    if not isinstance(value, dict):
        raise Refused("VALIDATION_ERROR", f"The body must be a JSON object, not {kind_of(value)}.")
    return value


def too_large(raw: bytes, largest: int) -> Refused:
    """What a body of too many bytes gets."""
    return Refused(
        "VALUE_TOO_LARGE",
        f"The body has {len(raw):,} bytes; {largest:,} are taken at most.",
        bytes=len(raw),
        limit=largest,
    )


def _too_deep() -> Refused:
    return Refused("VALIDATION_ERROR", f"The body is nested deeper than {DEEPEST} levels.")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether a value is nested deeper than so many levels of objects and lists."""
    level = [value]
    for _ in range(levels):
        inner: list[Any] = []
        for found in level:
            if type(found) is dict:
                inner += found.values()
            elif type(found) is list:
                inner += found
        if not inner:
            return False
        level = inner
    return any(isinstance(found, (dict, list)) for found in level)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else "a number"


def take(body: dict[str, Any], name: str, kind: str, default: Any = MISSING) -> Any:
    """A field of a body, of the kind that is wanted: see _KINDS. Raises Refused.

    Without a `default` it must be there; with one, null means the default too.
    """
    value = body.get(name, MISSING)
    if value is MISSING or (value is None and default is not MISSING):
        if default is MISSING:
            raise Refused("MISSING_FIELD", f"Missing required field: {name}", field=name)
        return default
    right = isinstance(value, _KINDS[kind]) and (kind == "true or false" or not isinstance(value, bool))
    if not right:
        raise Refused("VALIDATION_ERROR", f"Field '{name}' must be {kind}, not {kind_of(value)}", field=name)
    return value


def only(body: dict[str, Any], *known: str) -> None:
    """Refuse fields that mean nothing, so that a misspelt one is not taken for one that is left out."""
    for name in body:
        if name not in known:
            listed = ", ".join(known)
            raise Refused(
                "VALIDATION_ERROR",
                f"Unknown field: {_shown(name)}. Known fields: {listed}",
                field=_shown(name),
            )


def _shown(name: str) -> str:
    """A name that a stranger chose, short and in one line."""
    return name[:64] if name.isprintable() else name[:64].encode("unicode_escape").decode()
