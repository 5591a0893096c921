"""The shape of a graph of tasks, as a test writes it: chains of names with arrows, or a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from abathur.errors import InvalidInputError

Shape: TypeAlias = str | Mapping[str, Iterable[str]]


def edges_of(shape: Shape) -> dict[str, list[str]]:
    """Each name with the names that it waits for, in the order in which they are first named.

    Raises InvalidInputError for what is no graph; circles are left to `enqueue_many`.
    """
    found: dict[str, list[str]] = {}
    if isinstance(shape, Mapping):
        for name, before in shape.items():
            if isinstance(before, str):
                before = [before]  # noqa: PLW2901  # one name, which is no list of letters
            for one in (*before, name):
                found.setdefault(one, [])
            found[name] += [one for one in before if one not in found[name]]
    elif isinstance(shape, str):
        for chain in shape.replace(";", "\n").splitlines():
            if chain.strip():
                _add(chain, found)
    else:
        raise _wrong(shape)
    if not found or not all(isinstance(name, str) and name for name in found):
        raise _wrong(shape)
    return found


def _add(chain: str, found: dict[str, list[str]]) -> None:
    before: list[str] = []
    for part in chain.split("->"):
        names = [name.strip() for name in part.split(",")]
        for name in names:
            if not name or ">" in name:
                raise _wrong(chain.strip())
            waits = found.setdefault(name, [])
            waits += [one for one in before if one not in waits]
        before = names


def _wrong(shape: object) -> InvalidInputError:
    return InvalidInputError(
        f"{shape!r} is no graph of tasks.",
        "Expected names with arrows, or a mapping of names to the names that each waits for.",
        'Write "fetch -> parse, index -> report", or {"fetch": [], "parse": ["fetch"]}.',
    )
