"""What somebody looks for, from their words to the query of an engine.

A query is words, which all have to be in one chunk, in any order. `"in quotes"` they have to follow one
another. A word that ends with `*` stands for all that begin with it. Nothing else has a meaning: there is no
operator, so no text is a wrong query, as long as it has a word.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from abathur.errors import InvalidInputError
from abathur.payload import plain
from abathur.projects.index.folding import fold

LONGEST: Final = 500
"""Characters of a query."""

_PART: Final = re.compile(r'"([^"]*)("\*?|$)|([^\s"]+)')


@frozen
class Part:
    """Words that follow one another; of the last one perhaps only the beginning."""

    words: tuple[str, ...]
    is_prefix: bool = False


@frozen
class Query:
    """Parts of which a chunk has to have every one."""

    parts: tuple[Part, ...]

    @property
    def fts5(self) -> str:
        """For SQLite's full-text table."""
        return " AND ".join(f'"{" ".join(part.words)}"{"*" * part.is_prefix}' for part in self.parts)

    @property
    def tsquery(self) -> str:
        """For PostgreSQL's `to_tsquery`."""
        return " & ".join(_tsquery(part) for part in self.parts)


def _tsquery(part: Part) -> str:
    words = [f"'{word}'" for word in part.words]
    if part.is_prefix:
        words[-1] += ":*"
    return f"({' <-> '.join(words)})"


def parse(text: str) -> Query:
    """Understand a query. Raises InvalidInputError for one that is too long, or has no word."""
    plain(text, "query", longest=LONGEST)
    parts: list[Part] = []
    for match in _PART.finditer(text):
        quoted, end, bare = match.groups()
        words = fold(quoted if bare is None else bare).split()
        is_prefix = (end if bare is None else bare).endswith("*")
        part = Part(tuple(words), is_prefix)
        if words and part not in parts:
            parts.append(part)
    if not parts:
        raise InvalidInputError(
            f"The query {text!r} has no word to look for.",
            "Expected letters or digits.",
            "Signs alone are not in the index; look for a word that stands beside them.",
        )
    return Query(tuple(parts))
