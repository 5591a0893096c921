"""Adds up what was found in the files, and writes it down for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from abathur.cli.output import clean

MOST: Final = 15
"""Rows of each of the report's lists."""


def add_up(files: Sequence[dict[str, Any]], failed: Sequence[str]) -> dict[str, Any]:
    """Totals and the first of each ranking, as JSON values. `failed` are paths that gave no result."""
    languages: dict[str, Counter[str]] = {}
    imports: Counter[str] = Counter()
    longest: list[dict[str, Any]] = []
    python: Counter[str] = Counter()
    broken = []
    for file in files:
        counts = languages.setdefault(file["language"], Counter())
        counts.update({name: file[name] for name in ("lines", "code", "comment", "blank", "bytes", "todo")})
        counts["files"] += 1
        found = file.get("python")
        if found is None:
            continue
        if "error" in found:
            broken.append({"path": file["path"], "error": found["error"]})
            continue
        imports.update(found["imports"])
        longest += [{"path": file["path"], **function} for function in found["longest"]]
        names = ("functions", "classes", "documentable", "documented")
        python.update({name: found[name] for name in names})
    return {
        "files": len(files),
        "lines": sum(file["lines"] for file in files),
        "languages": [
            {"name": name, **counts}
            for name, counts in sorted(languages.items(), key=lambda one: -one[1]["lines"])
        ],
        "biggest": _first(files, "lines", ("path", "lines", "code", "comment")),
        "longest": _first(longest, "lines", ("path", "name", "line", "lines")),
        "imports": [list(pair) for pair in imports.most_common(MOST)],
        "todo": _first([file for file in files if file["todo"]], "todo", ("path", "todo")),
        "python": dict(python),
        "broken": broken[:MOST],
        "failed": list(failed)[:MOST],
    }


def _first(found: Iterable[dict[str, Any]], by: str, names: Sequence[str]) -> list[dict[str, Any]]:
    ranked = sorted(found, key=lambda one: (-one[by], one["path"]))
    return [{name: one[name] for name in names} for one in ranked[:MOST]]


def render(merged: dict[str, Any], directory: str) -> str:
    """The report, in Markdown."""
    parts = [
        f"# {_cell(directory)}",
        f"{merged['files']:,} source files with {merged['lines']:,} lines. Made by `abathur demo`.",
        "## Languages",
        _table(
            ("Language", "Files", "Lines", "Code", "Comments", "Blank", "TODO"),
            [
                (
                    counts["name"],
                    counts["files"],
                    counts["lines"],
                    counts["code"],
                    _share(counts["comment"], counts["lines"]),
                    counts["blank"],
                    counts["todo"],
                )
                for counts in merged["languages"]
            ],
        ),
    ]
    python = merged["python"]
    if python:
        share = _share(python["documented"], python["documentable"])
        have = f"{python['functions']:,} functions and {python['classes']:,} classes."
        parts += ["## Python", f"{have} Of the modules and public names {share} have a docstring."]
    parts += _section(
        "Biggest files",
        ("File", "Lines", "Code", "Comments"),
        [
            (one["path"], one["lines"], one["code"], _share(one["comment"], one["lines"]))
            for one in merged["biggest"]
        ],
    )
    parts += _section(
        "Longest functions",
        ("Function", "Where", "Lines"),
        [(one["name"], f"{one['path']}:{one['line']}", one["lines"]) for one in merged["longest"]],
    )
    parts += _section("Most imported modules", ("Module", "Files"), merged["imports"])
    parts += _section(
        "TODO hot spots", ("File", "TODOs"), [(one["path"], one["todo"]) for one in merged["todo"]]
    )
    parts += _section(
        "Python files that cannot be parsed",
        ("File", "Error"),
        [(one["path"], one["error"]) for one in merged["broken"]],
    )
    parts += _section("Files that could not be read", ("File",), [(path,) for path in merged["failed"]])
    return "\n\n".join(parts) + "\n"


def _section(title: str, headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [f"## {title}", _table(headers, rows)] if rows else []


def _table(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    numbers = [all(isinstance(row[place], int) for row in rows) for place in range(len(headers))]
    rule = ["---:" if number else "---" for number in numbers]
    lines = [headers, rule, *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else clean(str(value))
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
