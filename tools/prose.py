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


def split(text: str, names: list[str]) -> tuple[str, dict[str, str]]:
    """A docstring without its sentences about parameters, and those: {name: what it means}.

    Such a sentence begins with the name and a colon, at the beginning of a paragraph or after another
    sentence, and goes to the next one or to the end of its paragraph.
    """
    found: dict[str, str] = {}
    if not names:
        return text, found
    alternatives = "|".join(map(re.escape, names))
    begins = re.compile(rf"(?:(?<=[.?!)])\s|\A)\s*({alternatives}):\s", re.MULTILINE)
    kept = []
    for paragraph in re.split(r"\n\s*\n", text):
        pieces = begins.split(paragraph)
        if pieces[0].strip():
            kept.append(pieces[0].rstrip())
        found.update(
            (name, " ".join(meaning.split())) for name, meaning in zip(pieces[1::2], pieces[2::2], strict=True)
        )
    return "\n\n".join(kept), found


def with_links(text: str, errors: frozenset[str]) -> str:
    """The text with every name of an error as a link to its section of errors.md."""
    return re.sub(
        r"`?\b([A-Z]\w*Error)(s?)\b`?",
        lambda match: f"[`{match[1]}`][{match[1].lower()}]{match[2]}" if match[1] in errors else match[0],
        text,
    )
