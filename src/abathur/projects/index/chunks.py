"""Cuts a text into chunks: some lines each, that a search finds, ranks and shows as one."""

from __future__ import annotations

from typing import Final

from attrs import frozen

ENOUGH: Final = 1_000
"""Characters after which a chunk ends at the next empty line."""
MOST: Final = 2_000
"""Characters that a chunk has at most. A longer line is cut."""


@frozen
class Chunk:
    """A part of a text. The bodies of all chunks, one after the other, are the text."""

    first_line: int
    """The number of its first line; 1 is the first of the file."""
    last_line: int
    body: str


def chunks(text: str) -> list[Chunk]:
    """The chunks of a text, in order; none for an empty one. Lines end at a newline and nowhere else."""
    made: list[Chunk] = []
    held: list[str] = []
    size, first, number = 0, 1, 0

    def end(last: int) -> None:
        nonlocal size
        if held:
            made.append(Chunk(first, last, "".join(held)))
            held.clear()
            size = 0

    for line in _lines(text):
        number += 1
        if size + len(line) > MOST or (size >= ENOUGH and not line.strip()):
            end(number - 1)
        if not held:
            first = number
        while len(line) > MOST:
            made.append(Chunk(number, number, line[:MOST]))
            line = line[MOST:]  # noqa: PLW2901  # the rest of it
        if line:
            held.append(line)
            size += len(line)
    end(number)
    return made


def _lines(text: str) -> list[str]:
    """The lines, each with its newline."""
    parts = text.split("\n")
    lines = [part + "\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines
