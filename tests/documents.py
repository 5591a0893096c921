"""The code blocks of README.md and docs/, for the tests that execute and check them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w+-]*)(?P<rest>.*)$")
_NOT_EXECUTED = re.compile(r"^\s*<!-- not executed: (?P<reason>\S.*?) -->\s*$")


@dataclass(frozen=True)
class Block:
    """One fenced code block."""

    path: Path
    line: int  # of the opening fence, counted from 1
    language: str  # the first word after the fence, in lower case
    text: str
    not_executed: str | None  # the reason given in the comment on the line before

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"


def documents() -> list[Path]:
    """README.md and every page under docs/, as far as they exist."""
    readme = ROOT / "README.md"
    return [path for path in (readme, *sorted((ROOT / "docs").rglob("*.md"))) if path.is_file()]


def blocks(path: Path) -> list[Block]:
    """Every fenced code block of a page. An unclosed fence is an error."""
    return parse(path, path.read_text(encoding="utf-8"))


def parse(path: Path, text: str) -> list[Block]:
    found: list[Block] = []
    opening: re.Match[str] | None = None
    start, before, body = 0, "", [""]
    for number, line in enumerate(text.splitlines(), start=1):
        if opening is None:
            opening = _FENCE.match(line)
            if opening is None:
                before = line
            else:
                start, body = number, []
        elif _closes(line, opening["fence"]):
            comment = _NOT_EXECUTED.match(before)
            found.append(
                Block(
                    path=path,
                    line=start,
                    language=opening["language"].lower(),
                    text="".join(f"{line}\n" for line in body),
                    not_executed=comment["reason"] if comment else None,
                )
            )
            opening, before = None, line
        else:
            body.append(line.removeprefix(opening["indent"]))
    if opening is not None:
        message = f"{path}:{start}: this code block is never closed"
        raise ValueError(message)
    return found


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]}
