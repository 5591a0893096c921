"""Checks files: each is parsed, and never imported."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from attrs import frozen

from abathur.errors import InvalidInputError
from abathur.testing.imports.finder import Finder
from abathur.testing.imports.finding import Finding, Forbidden
from abathur.testing.imports.modules import Modules
from abathur.testing.imports.settings import Settings

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "build", "dist"})
_ALLOWED: Final = re.compile(r"#\s*isolation:\s*allowed\b[\s,:;-]*(?P<reason>.*)")


@frozen
class Checked:
    """What a check has found."""

    findings: tuple[Finding, ...]
    files: int
    """How many it has looked at."""


def check_files(
    paths: Sequence[Path], forbidden: Sequence[Forbidden], settings: Settings, *, exclude: Sequence[str] = ()
) -> Checked:
    """Look for forbidden names in the Python files at these paths.

    paths: files and directories. exclude: patterns of paths to leave out, from the root or by name.

    Raises InvalidInputError where nothing is forbidden, or nothing is there: that is no success.
    """
    if not forbidden:
        raise InvalidInputError(
            "Nothing is forbidden, so nothing would be found.",
            "Expected the ini option abathur_forbidden_imports in pytest's configuration, or --forbid.",
            'Write abathur_forbidden_imports = ["app.db.database:async_session_maker"] there.',
        )
    for path in paths:
        if not path.exists():
            raise InvalidInputError(f"{path} does not exist.", "Expected test files.", "Name another path.")
    files = list(dict.fromkeys(_files(paths, settings.root, exclude)))
    roots = [settings.root, settings.root / "src", *settings.sources, Path.cwd(), *map(_base, files)]
    modules = Modules(roots, forbidden)
    found = [finding for path in files for finding in check_file(path, modules)]
    return Checked(tuple(found), len(files))


def check_file(path: Path, modules: Modules) -> list[Finding]:
    """What is wrong in one file, in the order of its lines."""
    try:
        source = path.read_bytes()
        tree = ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError, OSError, RecursionError) as error:
        line = getattr(error, "lineno", None) or 1
        column = getattr(error, "offset", None) or 1
        said = getattr(error, "msg", None) or " ".join(str(error).split())
        return [Finding(path, line, column, "unreadable", f"cannot be checked: {said}")]
    finder = Finder(modules, _package(path))
    finder.walk(tree)
    lines = source.decode("utf-8", "replace").splitlines()
    found: dict[tuple[int, int, Forbidden], Finding] = {}
    for node, hit, how in finder.found:
        first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", None) or 1
        allowed = [match for text in lines[first - 1 : last] if (match := _ALLOWED.search(text))]
        if any(match["reason"].strip() for match in allowed):
            continue
        through = f" by way of {', '.join(hit.through)}" if hit.through else ""
        message = f"{how} {hit.forbidden}{through}"
        if allowed:
            message += "; say why after `# isolation: allowed`"
        column = getattr(node, "col_offset", 0) + 1
        finding = Finding(path, first, column, "forbidden-import", message, str(hit.forbidden))
        found.setdefault((first, column, hit.forbidden), finding)  # an expression may be found twice
    return sorted(found.values(), key=lambda one: (one.line, one.column, one.message))


def _files(paths: Iterable[Path], root: Path, exclude: Sequence[str]) -> Iterator[Path]:
    for path in paths:
        if path.is_file():
            if not _is_excluded(path, root, exclude):
                yield path
            continue
        for directory, names, files in os.walk(path):
            here = Path(directory)
            names[:] = sorted(
                name
                for name in names
                if name not in SKIPPED
                and not name.startswith(".")
                and not (here / name / "pyvenv.cfg").exists()
                and not _is_excluded(here / name, root, exclude)
            )
            for name in sorted(files):
                if name.endswith(".py") and not _is_excluded(here / name, root, exclude):
                    yield here / name


def _is_excluded(path: Path, root: Path, exclude: Sequence[str]) -> bool:
    there = path.absolute()
    relative = there.relative_to(root).as_posix() if there.is_relative_to(root) else there.as_posix()
    return any(fnmatch(relative, pattern.rstrip("/")) or fnmatch(path.name, pattern) for pattern in exclude)


def _base(path: Path) -> Path:
    """The directory that a file's package is imported from."""
    directory = path.absolute().parent
    while (directory / "__init__.py").is_file() and directory != directory.parent:
        directory = directory.parent
    return directory


def _package(path: Path) -> str:
    """The package that relative imports of a file begin at."""
    return ".".join(path.absolute().parent.relative_to(_base(path)).parts)
