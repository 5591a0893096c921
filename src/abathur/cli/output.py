"""What the commands print: text for people, JSON for programs, and nothing that controls a terminal."""

from __future__ import annotations

import json
import math
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TextIO

import click

from abathur.errors import AbathurError, InvalidInputError

STYLES: Final = {
    "blocked": "yellow", "cancelled": "dim", "completed": "green", "failed": "red", "ready": "bold",
    "running": "cyan", "scheduled": "blue", "waiting": "magenta",
}  # fmt: skip

# They reorder or break lines although they are no control characters.
_DECEIVING: Final = frozenset(
    "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
)


# -- cleaning ----------------------------------------------------------------------------------


def clean(text: str) -> str:
    """Text in one line, with every character that controls a terminal written as an escape."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(_escaped(character) if _is_control(character) else character for character in text)


def clean_block(text: str) -> str:
    """The same for text of several lines."""
    return "\n".join(clean(line.expandtabs(4)) for line in text.replace("\r\n", "\n").split("\n"))


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DECEIVING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


# -- writing -----------------------------------------------------------------------------------


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person reads along. `stream` is standard output, if it is not given."""
    return (stream or sys.stdout).isatty()


def has_rich(stream: TextIO | None = None) -> bool:
    """Whether to decorate what goes to a stream: rich is installed and the stream is a terminal."""
    return is_terminal(stream) and find_spec("rich") is not None


def write(text: str = "") -> None:
    """A line of the answer; it must be clean."""
    _echo(_encodable(text, sys.stdout))


def note(text: str) -> None:
    """A line beside the answer, to standard error."""
    click.echo(_encodable(clean(text), sys.stderr), err=True)


def _encodable(text: str, stream: TextIO) -> str:
    """Text that the stream's encoding has characters for."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def write_json(value: Any) -> None:
    """The answer as one JSON document in one line."""
    _echo(to_json(value))


def _echo(text: str) -> None:
    try:
        click.echo(text)
    except BrokenPipeError:
        raise  # click ends quietly: whoever reads has seen enough
    except OSError as error:
        raise InvalidInputError(
            f"The answer could not be written: {error.strerror or error}.",
            "Expected a standard output that takes it.",
            "What was asked for is done; look with `abathur list` before you ask for it again.",
        ) from error


def to_json(value: Any) -> str:
    """JSON in ASCII, so that no terminal and no encoding can do anything to it."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except ValueError:  # older databases may hold NaN, which is not JSON
        return json.dumps(_finite(json.loads(json.dumps(value, default=_plain))), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    import attrs
    import msgspec

    if isinstance(value, msgspec.Struct):
        return msgspec.structs.asdict(value)
    return attrs.asdict(value, recurse=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_error(error: AbathurError, *, as_json: bool) -> None:
    """An error of the library, to standard error."""
    if as_json:
        parts = {"problem": error.problem, "expected": error.expected, "remedy": error.remedy}
        found = {"type": type(error).__name__, "message": str(error), **parts}
        click.echo(to_json({"error": found}), err=True)
        return
    lines = [line for line in (error.problem, error.expected, error.remedy) if line]
    text = clean_block("\n".join([f"Error: {lines[0] if lines else error}", *lines[1:]]))
    click.echo(_encodable(text, sys.stderr), err=True)


# -- forms -------------------------------------------------------------------------------------


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Rows below headers. The last column takes what room is left on a terminal."""
    cells = [[clean("" if cell is None else str(cell)) for cell in row] for row in rows]
    if not has_rich():
        for line in aligned([[header.upper() for header in headers], *cells]):
            write(line)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    widths = [max(map(width, column)) for column in zip(headers, *cells, strict=True)]
    for header, size in zip(headers[:-1], widths[:-1], strict=True):
        made.add_column(header.upper(), no_wrap=True, min_width=size)
    console = Console(highlight=False)
    room = max(console.width - sum(size + 2 for size in widths[:-1]), width(headers[-1]))
    made.add_column(headers[-1].upper(), no_wrap=True, overflow="ellipsis", max_width=room)
    for row in cells:
        # Text, so that brackets in stored words are no markup.
        made.add_row(*(Text(cell, style=STYLES.get(cell, ""), overflow="ellipsis") for cell in row))
    console.print(made)


def aligned(rows: Sequence[Sequence[str]], *, gap: str = "  ") -> list[str]:
    """Rows of cells as lines in which the columns stand below each other."""
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    most = shutil.get_terminal_size().columns if is_terminal() else 0
    lines = []
    for row in rows:
        cells = [cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)]
        lines.append(_cut(gap.join(cells).rstrip(), most))
    return lines


def _cut(line: str, most: int) -> str:
    if not most or width(line) <= most:
        return line
    while width(line) > most - 1:
        line = line[:-1]
    return line + "…"


def width(text: str) -> int:
    """The columns that clean text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def heading(text: str) -> None:
    """The title of a part of the answer."""
    write(click.style(clean(text), bold=True) if has_rich() else clean(text))


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one pair in a line; what is None is left out."""
    rows = [[f"  {name}", clean(str(value))] for name, value in pairs if value is not None]
    if rows:
        for line in aligned(rows):
            write(line)


def moment(value: datetime | None) -> str | None:
    """A moment for people, in UTC."""
    return None if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(value: datetime | None) -> str:
    """How long ago something was, in a few characters."""
    if value is None:
        return "?"
    passed = max((datetime.now(UTC) - value).total_seconds(), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if passed >= length:
            return f"{passed // length:.0f}{unit}"
    return f"{passed:.0f}s"
