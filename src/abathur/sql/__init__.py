"""Every SQL statement, by name: reads `queries/*.sql` and an application's own.

A statement is `topic.name`. It stands in `queries/topic.sql` when one text serves every engine,
else in each `queries/topic.<dialect>.sql`. One line above it says what it is for::

    -- settle: end a claim whose fence still holds.
    UPDATE tasks SET ... WHERE id = :id AND fence = :fence

Parameters are written `:name`, casts `CAST(x AS t)`. A last line such as ``-- locking FOR UPDATE OF t``
says which rows a write locks where several write at once; SQLite, and a script that only reads, leave it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from abathur.errors import InvalidInputError, UnknownStatementError

QUERIES: Final = Path(__file__).parent / "queries"
DIALECTS: Final = ("sqlite", "postgres")

_HEADER = re.compile(r"^-- ([a-z][a-z0-9_]*): (.+)$", re.MULTILINE)
_LOCKING = re.compile(r"^-- locking (FOR [A-Z ]+(?: OF [a-z_]+)?(?: SKIP LOCKED)?)$", re.MULTILINE)
_TOKENS = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | (?P<param>(?<![:\w]):[a-z_][a-z0-9_]*)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


@frozen
class Query:
    """One statement, ready for drivers that take positional parameters: `?`, or `$1` and so on."""

    name: str
    purpose: str
    sql: str
    """The text with `:name` parameters, as written."""
    positional: str = field(init=False)
    """The same text with `?` in their places."""
    numbered: str = field(init=False)
    """The same text with `$1`, `$2` and so on: one for each place, so that each has its own type."""
    locking: str = field(init=False)
    """What follows `numbered` where rows are to be locked, else empty."""
    names: tuple[str, ...] = field(init=False)
    """The parameters in the order of the `?`, repeated where they are repeated."""
    bind: Callable[[Mapping[str, Any]], tuple[Any, ...]] = field(init=False, repr=False, eq=False)
    """Takes the values out of a mapping, in that order. Raises KeyError for one that is missing."""

    def __attrs_post_init__(self) -> None:
        names: list[str] = []
        positional = _replaced(self.sql, lambda _: "?")

        def number(name: str) -> str:
            names.append(name)
            return f"${len(names)}"

        numbered = _replaced(self.sql, number)
        locking = _LOCKING.search(self.sql)
        object.__setattr__(self, "positional", positional)
        object.__setattr__(self, "numbered", numbered)
        object.__setattr__(self, "locking", f" {locking[1]}" if locking else "")
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "bind", _binder(tuple(names)))

    def binder(self, columns: tuple[str, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
        """Puts a tuple whose places `columns` names into the order of the `?`; None if it is in it."""
        return None if columns == self.names else _arranger(self.names, columns)


def _replaced(sql: str, parameter: Callable[[str], str]) -> str:
    """A text without comments, each parameter replaced by what `parameter` makes of its name."""

    def place(match: re.Match[str]) -> str:
        if match["param"] is None:
            return "" if match[0].startswith(("--", "/*")) else match[0]
        return parameter(match["param"][1:])

    text = _TOKENS.sub(place, sql)
    return " ".join(text.split()) if "'" not in text else text.strip()


@lru_cache(maxsize=512)
def _arranger(
    names: tuple[str, ...], columns: tuple[str, ...]
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    missing = [name for name in names if name not in columns]
    if missing:
        raise KeyError(missing[0])
    if len(names) == 1:
        only = columns.index(names[0])
        return lambda row: (row[only],)
    return itemgetter(*(columns.index(name) for name in names))


def _binder(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if not names:
        return lambda _: ()
    if len(names) == 1:
        only = names[0]
        return lambda params: (params[only],)
    return itemgetter(*names)


def parse(topic: str, text: str) -> dict[str, Query]:
    """Read the statements of one file, keyed by `topic.name`."""
    found: dict[str, Query] = {}
    headers = list(_HEADER.finditer(text))
    for header, following in zip(headers, [*headers[1:], None], strict=True):
        name = f"{topic}.{header[1]}"
        body = text[header.end() : following.start() if following else len(text)].strip().rstrip(";").strip()
        if name in found or not body:
            raise InvalidInputError(
                f"The statement {name} is {'defined twice' if name in found else 'empty'}.",
                "Expected each name once, with its SQL below the line that says what it is for.",
                "Rename it or give it a text.",
            )
        found[name] = Query(name, header[2], body)
    return found


class Catalog:
    """The statements that one Database knows: the library's and the application's."""

    def __init__(self, ours: Mapping[str, Query], others: Mapping[str, Query] | None = None) -> None:
        self._ours = ours
        self._queries = {**ours, **(others or {})}

    def is_ours(self, name: str) -> bool:
        """Whether a statement is the library's own."""
        return name in self._ours

    def __getitem__(self, name: str) -> Query:
        try:
            return self._queries[name]
        except KeyError:
            topic = name.partition(".")[0] + "."
            raise UnknownStatementError(
                name, [known for known in self._queries if known.startswith(topic)]
            ) from None

    def __iter__(self) -> Any:
        return iter(self._queries)

    def extended(self, queries: Mapping[str, str] | Path | str, dialect: str) -> Catalog:
        """Add an application's statements: a directory of `.sql` files, or a mapping of names to SQL."""
        if isinstance(queries, Mapping):
            added = {name: Query(name, "an application's statement", sql) for name, sql in queries.items()}
        else:
            added = read_directory(Path(queries), dialect)
        taken = sorted(set(added) & set(self._queries))
        if taken:
            raise InvalidInputError(
                f"These statements are abathur's own: {', '.join(taken)}.",
                "Expected names that are not taken.",
                "Give your statements a topic of their own, such as `myapp.name`.",
            )
        return Catalog(self._ours, added)


def read_directory(directory: Path, dialect: str) -> dict[str, Query]:
    """Read `topic.sql` and `topic.<dialect>.sql` of a directory. Other dialects' files are left out."""
    if not directory.is_dir():
        raise InvalidInputError(
            f"{directory} is not a directory.", "Expected one with `.sql` files.", "Check `queries=`."
        )
    found: dict[str, Query] = {}
    for path in sorted(directory.glob("*.sql")):
        topic, _, variant = path.stem.partition(".")
        if variant in ("", dialect):
            found.update(parse(topic, path.read_text(encoding="utf-8")))
    return found


@lru_cache
def library(dialect: str) -> Catalog:
    """The library's own statements for one dialect."""
    return Catalog(read_directory(QUERIES, dialect))
