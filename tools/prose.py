"""Reads the prose of the library's docstrings: sentences about parameters, and names of errors."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ERRORS = Path(__file__).resolve().parent.parent / "src" / "abathur" / "errors" / "__init__.py"


def public_errors() -> frozenset[str]:
    """The names in `abathur.errors.__all__`, without importing it."""
    for node in ast.parse(ERRORS.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    raise ValueError(f"{ERRORS} has no __all__")


def split(text: str, names: list[str]) -> tuple[str, dict[str, str], str]:
    """A docstring in three: before its sentences about parameters, {name: what it means}, after them.

    Such a sentence begins with the name and a colon, at the beginning of a paragraph or after another
    sentence, and goes to the next one or to the end of its paragraph.
    """
    alternatives = "|".join(map(re.escape, names)) or r"(?!)"
    begins = re.compile(rf"(?:(?<=[.?!)])\s|\A)\s*({alternatives}):\s")
    found: dict[str, str] = {}
    before: list[str] = []
    after: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        first, *pieces = begins.split(paragraph)
        (after if found else before).append(first.rstrip())
        found |= {
            name: " ".join(meaning.split()) for name, meaning in zip(pieces[::2], pieces[1::2], strict=True)
        }
    return "\n\n".join(filter(None, before)), found, "\n\n".join(filter(None, after))


def with_links(text: str, errors: frozenset[str]) -> str:
    """The text with every name of an error as a link to its section of errors.md."""
    return re.sub(
        r"`?\b([A-Z]\w*Error)(s?)\b`?",
        lambda match: f"[`{match[1]}`][{match[1].lower()}]{match[2]}" if match[1] in errors else match[0],
        text,
    )
