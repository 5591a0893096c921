"""`abathur check-isolation`: find test code that imports what no test may import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from abathur.cli.options import Settings, json_only
from abathur.cli.output import clean, note, write, write_json

if TYPE_CHECKING:
    from abathur.testing.imports import Checked, Finding


@click.command(
    short_help="Find test code that imports what no test may import.",
    epilog="""\b
Examples:
  abathur check-isolation
  abathur check-isolation tests --format github
  abathur check-isolation tests --forbid app.db.database:async_session_maker

\b
Exit codes:
  0  nothing was found
  1  there are findings, or files that cannot be read as Python;
     or nothing is forbidden, so that nothing could be found
""",
)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--forbid",
    multiple=True,
    metavar="MODULE:NAME",
    help="A name that no test may import, or a whole module; besides those of the configuration. Repeatable.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Paths to leave out: a pattern from the root directory, or of a name; repeatable.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration file of pytest; else the one that pytest would take for these paths.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github", "json"]),
    default="text",
    show_default=True,
    help="How findings are shown; github makes annotations of them.",
)
@json_only
@click.pass_context
def check_isolation(
    ctx: click.Context,
    paths: tuple[Path, ...],
    forbid: tuple[str, ...],
    exclude: tuple[str, ...],
    config: Path | None,
    form: str,
) -> None:
    """Look through the Python files at PATHS for imports of names that lead to a real database.

    What is forbidden stands in pytest's configuration as abathur_forbidden_imports, such as
    app.db.database:async_session_maker. Found are imports under any name, by attribute, through a module
    that exports it again, by `*`, and in the texts of patch, setattr and import_module. Nothing is imported.
    Without PATHS it takes the `testpaths` of the configuration, else this directory. A line that ends
    with `# isolation: allowed, because ...` is left out.
    """
    from abathur.testing.imports import Forbidden, check_files, read_settings

    settings = read_settings(paths, config)
    forbidden = (*settings.forbidden, *map(Forbidden.parse, forbid))
    checked = check_files(paths or settings.tests or (Path(),), forbidden, settings, exclude=exclude)
    if form == "json" or ctx.ensure_object(Settings).json:
        write_json({"ok": not checked.findings, "files": checked.files, "findings": checked.findings})
    else:
        for finding in checked.findings:
            write(_annotation(finding) if form == "github" else clean(_line(finding)))
        _sum_up(checked)
    if checked.findings:
        ctx.exit(1)


def _line(finding: Finding) -> str:
    return f"{_shown(finding.path)}:{finding.line}:{finding.column}: {finding.code}: {finding.message}"


def _annotation(finding: Finding) -> str:
    """A command of the workflows of GitHub, which makes a mark at the line of it."""
    place = f"file={_escaped(_shown(finding.path), ':,')},line={finding.line},col={finding.column}"
    return f"::error {place},title=abathur check-isolation::{_escaped(finding.message, '')}"


def _escaped(text: str, more: str) -> str:
    for character in f"%\r\n{more}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _shown(path: Path) -> str:
    there = path.absolute()
    return (there.relative_to(Path.cwd()) if there.is_relative_to(Path.cwd()) else path).as_posix()


def _sum_up(checked: Checked) -> None:
    files = "1 file" if checked.files == 1 else f"{checked.files:,} files"
    number = len(checked.findings)
    found = "nothing" if not number else "1 finding" if number == 1 else f"{number:,} findings"
    note(f"{found} in {files}")
