"""Finds the source files of a directory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

LARGEST: Final = 1_000_000
"""Bytes; what is larger was hardly written by a person."""
MOST_ENTRIES: Final = 200_000
"""Directory entries that are looked at, so that `abathur demo /` ends."""

SKIPPED: Final = frozenset(
    {"__pycache__", "build", "dist", "htmlcov", "node_modules", "site-packages", "target", "vendor", "venv"}
)
VISIBLE: Final = frozenset({".ci", ".github", ".gitlab"})
"""Hidden directories in which there are sources nevertheless."""


@frozen
class Language:
    """How a language is recognised and how it writes comments."""

    name: str
    line: tuple[str, ...] = ()
    block: tuple[str, str] | None = None


_C: Final = ("//",), ("/*", "*/")
_HASH: Final = (("#",),)
_LANGUAGES: Final = {
    Language("Python", *_HASH): (".py", ".pyi"),
    Language("JavaScript", *_C): (".js", ".jsx", ".mjs", ".cjs"),
    Language("TypeScript", *_C): (".ts", ".tsx"),
    Language("C", *_C): (".c", ".h"),
    Language("C++", *_C): (".cc", ".cpp", ".cxx", ".hpp", ".hh"),
    Language("C#", *_C): (".cs",),
    Language("CSS", (), ("/*", "*/")): (".css", ".scss"),
    Language("Elixir", *_HASH): (".ex", ".exs"),
    Language("Go", *_C): (".go",),
    Language("Haskell", ("--",), ("{-", "-}")): (".hs",),
    Language("HTML", (), ("<!--", "-->")): (".html", ".htm", ".vue", ".svelte"),
    Language("Java", *_C): (".java",),
    Language("Kotlin", *_C): (".kt", ".kts"),
    Language("Lua", ("--",)): (".lua",),
    Language("Markdown", (), ("<!--", "-->")): (".md", ".rst"),
    Language("PHP", ("//", "#"), ("/*", "*/")): (".php",),
    Language("Ruby", *_HASH): (".rb",),
    Language("Rust", *_C): (".rs",),
    Language("Scala", *_C): (".scala",),
    Language("Shell", *_HASH): (".sh", ".bash", ".zsh"),
    Language("SQL", ("--",), ("/*", "*/")): (".sql",),
    Language("Swift", *_C): (".swift",),
    Language("TOML", *_HASH): (".toml",),
    Language("YAML", *_HASH): (".yaml", ".yml"),
    Language("Zig", ("//",)): (".zig",),
}
_BY_SUFFIX: Final = {suffix: language for language, suffixes in _LANGUAGES.items() for suffix in suffixes}
_BY_NAME: Final = {
    "dockerfile": Language("Dockerfile", *_HASH),
    "makefile": Language("Makefile", *_HASH),
}


def language_of(path: Path) -> Language | None:
    """The language of a file, by its name."""
    return _BY_NAME.get(path.name.lower()) or _BY_SUFFIX.get(path.suffix.lower())


def sources(root: Path, *, skip: Path | None = None) -> Iterator[Path]:
    """The source files below `root`, relative to it, what is near before what is deep.

    Links are not followed. `skip` is a directory that is left out.
    """
    left_out = None if skip is None else skip.resolve()
    todo = deque([root])
    seen = 0
    while todo and seen < MOST_ENTRIES:
        directory = todo.popleft()
        try:
            with os.scandir(directory) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError:  # not ours to read, or gone meanwhile
            continue
        seen += len(entries)
        for entry in entries:
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                if _is_entered(path) and path.resolve() != left_out:
                    todo.append(path)
            elif entry.is_file(follow_symlinks=False) and language_of(path) and _is_text(path):
                yield path.relative_to(root)


def _is_entered(path: Path) -> bool:
    if path.name.startswith(".") and path.name not in VISIBLE:
        return False
    return path.name not in SKIPPED and not (path / "pyvenv.cfg").exists()


def _is_text(path: Path) -> bool:
    """Whether a file is small enough and holds no NUL at its beginning."""
    try:
        if path.stat().st_size > LARGEST:
            return False
        with path.open("rb") as file:
            return b"\0" not in file.read(8_192)
    except OSError:
        return False
