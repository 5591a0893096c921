"""Reads one source file and says what is in it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from abathur.cli.demo.sources import Language, language_of

_TODO: Final = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")
_Function: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_LONGEST: Final = 5
_MOST_IMPORTS: Final = 200


def analyse(root: Path, path: Path) -> dict[str, Any]:
    """What is in a file, as JSON values. `path` is relative to `root`. Raises OSError."""
    raw = (root / path).read_bytes()
    text = raw.decode("utf-8", "replace").replace("\0", "")
    language = language_of(path) or Language("Text")
    lines = text.splitlines()
    blank = sum(not line.strip() for line in lines)
    comments = _comment_lines(lines, language)
    found: dict[str, Any] = {
        "path": path.as_posix(),
        "language": language.name,
        "bytes": len(raw),
        "lines": len(lines),
        "blank": blank,
        "comment": comments,
        "code": len(lines) - blank - comments,
        "todo": sum(len(_TODO.findall(line)) for line in lines),
    }
    if language.name == "Python":
        found["python"] = _python(text)
    return found


def _comment_lines(lines: list[str], language: Language) -> int:
    """Lines that hold nothing but a comment."""
    start, end = language.block or ("", "")
    inside = False
    count = 0
    for line in map(str.strip, lines):
        if not line:
            continue
        if inside:
            count += 1
            inside = end not in line
        elif start and line.startswith(start):
            count += 1
            inside = end not in line[len(start) :]
        elif language.line and line.startswith(language.line):
            count += 1
    return count


def _python(text: str) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the file's own, such as a wrong escape
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    functions = sorted(_functions(tree), key=lambda one: -one["lines"])
    named = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (*_Function, ast.ClassDef)) and not node.name.startswith("_")
    ]
    return {
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
        "longest": functions[:_LONGEST],
        "imports": sorted(set(_imports(tree)))[:_MOST_IMPORTS],
        "documentable": 1 + len(named),
        "documented": sum(ast.get_docstring(node) is not None for node in (tree, *named)),
    }


def _functions(tree: ast.AST, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Every function with its qualified name and its length."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (*_Function, ast.ClassDef)):
            name = prefix + node.name
            if not isinstance(node, ast.ClassDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield {"name": name, "line": node.lineno, "lines": lines}
            yield from _functions(node, f"{name}.")
        else:
            yield from _functions(node, prefix)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
