"""The base of every error: a message of a problem, what was expected, and a remedy."""

from __future__ import annotations

from typing import Any


class AbathurError(Exception):
    """The base of every error of this library."""

    def __init__(self, problem: str, expected: str = "", remedy: str = "") -> None:
        self.problem = problem
        self.expected = expected
        self.remedy = remedy
        super().__init__(" ".join(part for part in (problem, expected, remedy) if part))

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses take other arguments than the message, so the default would not unpickle.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[AbathurError], args: tuple[Any, ...], state: dict[str, Any]) -> AbathurError:
    base: Any = kind
    while base.__flags__ & (1 << 9):  # a class made by Python: only its built-in base can make it
        base = base.__base__
    error: AbathurError = base.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error
