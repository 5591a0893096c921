"""One table of a configuration file: its values with their checks, and errors that name the place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from abathur import times
from abathur.errors import ConfigError, InvalidInputError


class Table:
    """A table of the file at `path`; its `name` is as it stands in the file, None for the top."""

    def __init__(self, path: Path, name: str | None, values: Mapping[str, Any]) -> None:
        self.path = path
        self.name = name
        self._values = values

    def only(self, known: Iterable[str]) -> None:
        """Refuse keys that nobody knows: a misspelt one would silently do nothing. Raises ConfigError."""
        known = list(known)
        for key in self._values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
                is_table = isinstance(self._values[key], dict)
                what = f"There is no table [{self._inner(key)}]" if is_table else "This key is unknown"
                raise self.error(
                    None if is_table else key,
                    f"{what}." if not near else f"{what}; did you mean {near[0]!r}?",
                    f"Expected some of: {', '.join(known)}.",
                    f"Write {near[0]!r}." if near else "Take it out.",
                )

    def get(self, key: str, check: Callable[[Any], Any], default: Any = None) -> Any:
        """What `check` makes of the value, or the default where there is none. Raises ConfigError."""
        if key not in self._values:
            return default
        with self.at(key):
            return check(self._values[key])

    def table(self, key: str) -> Table:
        """A table in this one; an empty one where there is none. Raises ConfigError."""
        found = self._values.get(key, {})
        if not isinstance(found, dict):
            inner = self._inner(key)
            raise self.error(
                key, f"It is a {_kind(found)}.", "Expected a table.", f"Begin it with a line [{inner}]."
            )
        return Table(self.path, self._inner(key), found)

    def names(self) -> list[str]:
        """The keys, in the order of the file."""
        return list(self._values)

    @contextmanager
    def at(self, key: str | None) -> Iterator[None]:
        """What is wrong with a value becomes an error that says where it stands."""
        try:
            yield
        except ConfigError:
            raise
        except InvalidInputError as error:
            raise self.error(key, error.problem, error.expected, error.remedy) from None

    def error(self, key: str | None, problem: str, expected: str, remedy: str) -> ConfigError:
        """An error about a key of this table, or about the table."""
        return ConfigError(str(self.path), self.name, key, problem, expected, remedy)

    def _inner(self, key: str) -> str:
        # As TOML has to be written: a name with other characters stands in quotes.
        plain = key.replace("-", "").replace("_", "").isalnum() and key.isascii()
        shown = key if plain else f'"{key}"'
        return shown if self.name is None else f"{self.name}.{shown}"


_KINDS = {str: "text", bool: "true or false", int: "number", float: "number", list: "list", dict: "table"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


# -- checks ------------------------------------------------------------------------------------


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidInputError(f"It is {_shown(value)}.", "Expected a text.", 'Write it in quotes: "..."')
    return value


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A whole number within these bounds."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidInputError(
                f"It is {_shown(value)}.",
                f"Expected a whole number from {low} to {high:,}.",
                "Write it without quotes.",
            )
        return value

    return check


def duration(most: float, *, zero: bool = False) -> Callable[[Any], float]:
    """Seconds, as a number or as text such as ``90s`` or ``1h30m``; `most` at most."""

    def check(value: Any) -> float:
        found = None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found = float(value)
        elif isinstance(value, str) and (interval := _interval(value)) is not None:
            found = interval
        if found is None or not (0 < found <= most or (zero and found == 0)):
            raise InvalidInputError(
                f"It is {_shown(value)}.",
                f"Expected a duration of {'0 to' if zero else 'more than 0 and'} {most:,.0f} seconds"
                f"{'' if zero else ' at most'}.",
                'Write a number of seconds, or "90s", "10m", "1h30m".',
            )
        return found

    return check


def _interval(value: str) -> float | None:
    try:
        found = times.interval(value)
    except OverflowError:
        return None
    return None if found is None else found.total_seconds()


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return f"a {_kind(value)}"
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return shown if len(shown) <= 100 else f"{shown[:97]}..."
