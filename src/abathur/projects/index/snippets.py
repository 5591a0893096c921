"""Shows where in a chunk the words of a query are: the lines around the best place."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from abathur.projects.index.folding import fold
from abathur.projects.index.query import Query

LINES: Final = 3
"""Lines of a snippet."""
WIDTH: Final = 200
"""Characters of one of its lines."""


@frozen
class Snippet:
    """Some lines of a chunk."""

    line: int
    """The number of its first line in the file."""
    text: str


def snippet(query: Query, body: str, first_line: int) -> Snippet:
    """The lines with the most of what is looked for; the first ones, where only the path has it."""
    lines = body.split("\n")
    weights = _weights(query, lines)
    best = max(range(len(lines)), key=lambda at: (sum(weights[at : at + LINES]), weights[at], -at))
    if not any(weights):
        best = next((at for at, line in enumerate(lines) if line.strip()), 0)
    shown = [_cut(line.rstrip(), query) for line in lines[best : best + LINES]]
    while len(shown) > 1 and not shown[-1].strip():
        shown.pop()
    return Snippet(first_line + best, "\n".join(shown))


def _weights(query: Query, lines: list[str]) -> list[int]:
    """How much of the query is in each line."""
    return [sum(_is_in(words, query, at) for at in range(len(query.parts))) for words in map(_words, lines)]


def _words(line: str) -> list[str]:
    return fold(line).split()


def _is_in(words: list[str], query: Query, at: int) -> bool:
    part = query.parts[at]
    size = len(part.words)
    for start in range(len(words) - size + 1):
        *before, last = words[start : start + size]
        found = last.startswith(part.words[-1]) if part.is_prefix else last == part.words[-1]
        if found and tuple(before) == part.words[:-1]:
            return True
    return False


def _cut(line: str, query: Query) -> str:
    """A line that is not too long, around the first word that is looked for."""
    if len(line) <= WIDTH:
        return line
    lower = line.lower()
    places = [lower.find(part.words[0]) for part in query.parts]
    first = min((place for place in places if place >= 0), default=0)
    start = max(first - WIDTH // 4, 0)
    return ("…" if start else "") + line[start : start + WIDTH] + ("…" if start + WIDTH < len(line) else "")
