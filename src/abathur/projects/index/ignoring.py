"""Which files a project leaves out: what its `.gitignore` files say, and what is never of interest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import field, frozen
from pathspec import GitIgnoreSpec

NAME: Final = ".gitignore"
LARGEST: Final = 1024 * 1024
"""Bytes of a `.gitignore` that are read."""

NEVER: Final = frozenset(
    {
        ".abathur", ".codebase-mcp", ".git", ".hg", ".svn", ".jj", ".bzr", "CVS",
        "node_modules", "__pycache__", ".venv", ".tox", ".nox", ".eggs",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".cache", ".DS_Store",
    }
)  # fmt: skip
"""Names of directories and files that are left out everywhere."""
MARKS: Final = frozenset({"CACHEDIR.TAG", "pyvenv.cfg"})
"""A directory with one of these holds what a tool has made, and makes again."""

BINARY: Final = frozenset(
    {
        "7z", "a", "avi", "bin", "bmp", "bz2", "class", "db", "db-journal", "db-shm", "db-wal", "dll",
        "dmg", "dylib", "ear", "eot", "exe", "flac", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg", "lz4",
        "m4a", "mkv", "mov", "mp3", "mp4", "mpeg", "o", "obj", "ogg", "otf", "pdf", "png", "pyc", "pyd",
        "pyo", "rar", "so", "sqlite", "sqlite-journal", "sqlite-shm", "sqlite-wal", "sqlite3",
        "sqlite3-journal", "sqlite3-shm", "sqlite3-wal", "tar", "tgz", "tif", "tiff", "ttf", "war", "wav",
        "webm", "webp", "whl", "wmv", "woff", "woff2", "xz", "zip", "zst",
    }
)  # fmt: skip
"""Ends of names whose files are not even opened. Databases are among them for a reason: whoever opens and
closes the file of one takes the locks from a connection of the same process."""


SIDECARS: Final = ("-wal", "-shm", "-journal")
"""Ends of the names of what SQLite keeps beside a database, whatever that is called."""


def is_binary_by_name(name: str) -> bool:
    """Whether a file need not be opened to know that it is no text."""
    return name.endswith(SIDECARS) or ("." in name and name.rpartition(".")[2].lower() in BINARY)


@frozen
class Ignoring:
    """The `.gitignore` files that count in one directory: its own, and those of the directories above."""

    specs: Mapping[str, GitIgnoreSpec] = field(factory=dict)
    """By the directory, from the top; the deepest that says anything about a path decides."""

    def below(self, directory: str, *, has_file: bool = True) -> Ignoring:
        """The same for a directory below, with what its own file says."""
        spec = _spec(os.path.join(directory, NAME)) if has_file else None
        return self if spec is None else Ignoring({directory: spec, **self.specs})

    def ignores(self, path: str, *, is_directory: bool) -> bool:
        """Whether a path, absolute as the directories are, is left out."""
        for directory, spec in self.specs.items():
            below = path[len(directory) :].lstrip("/")
            said = spec.check_file(below + "/" if is_directory else below).include
            if said is not None:
                return said
        return False


def _spec(path: str) -> GitIgnoreSpec | None:
    """The patterns of a file; None where there is none that can be read, as for git."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(descriptor, LARGEST).decode("utf-8", "replace")
    except OSError:  # it is a directory
        return None
    finally:
        os.close(descriptor)
    return _compiled(text.splitlines())


def _compiled(lines: Sequence[str]) -> GitIgnoreSpec:
    """The patterns of a file; one that is none matches nothing, as for git, and the others count."""
    try:
        return GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error):
        return GitIgnoreSpec.from_lines([line for line in lines if _is_pattern(line)])


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


def above(root: str, directory: str) -> Ignoring:
    """What counts in a directory at or below `root`, from the repository's top down to it.

    The top is the nearest directory above with a `.git`; without one it is the root. So it is where the
    repository leaves out the root as a whole: who asks for it wants to have it.
    """
    outer = _down(Ignoring(), _top(root), os.path.dirname(root))
    if outer.ignores(root, is_directory=True):
        outer = Ignoring()
    return _down(outer, root, directory)


def _down(found: Ignoring, top: str, directory: str) -> Ignoring:
    """What the files of all directories from one down to another add; nothing where it is not below."""
    if directory != top and not directory.startswith(top.rstrip("/") + "/"):
        return found
    place = top
    found = found.below(place)
    for part in directory[len(top) :].split("/"):
        if part:
            place = os.path.join(place, part)
            found = found.below(place)
    return found


def _top(root: str) -> str:
    place = root
    while not os.path.lexists(os.path.join(place, ".git")):
        parent = os.path.dirname(place)
        if parent == place:
            return root
        place = parent
    return place
