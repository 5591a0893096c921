"""`abathur doctor`: look for what is wrong, and say what to do about it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, has_rich, is_terminal, write, write_json

if TYPE_CHECKING:
    from abathur.models import Finding

STYLES: Final[dict[str, dict[str, Any]]] = {
    "ok": {"fg": "green"},
    "note": {"fg": "blue"},
    "warning": {"fg": "yellow", "bold": True},
    "problem": {"fg": "red", "bold": True},
}
LEVELS: Final = ("problem", "warning", "note", "ok")


@click.command(
    short_help="Look for what is wrong, and say what to do about it.",
    epilog="""\b
Examples:
  abathur doctor
  abathur doctor --deep
  abathur doctor --json --database agents.db
  abathur doctor --nats nats://127.0.0.1:4222

\b
Exit codes:
  0  there may be notes and warnings, but no problem
  1  there is a problem
""",
)
@click.option(
    "--deep", is_flag=True, help="Also compare a file's indexes with its tables, and check the audit trail."
)
@click.option("--nats", metavar="URL", help="Look at this NATS server, in place of a database.")
@click.option(
    "--prefix", default="rosey", show_default=True, help="With --nats: what all subjects begin with."
)
@common
@click.pass_obj
def doctor(settings: Settings, deep: bool, nats: str | None, prefix: str) -> None:
    """Look at SQLite, the file and its place, or at the server; at the schema, the stamp and the tasks.

    Changes nothing, and works on a file that cannot be opened, and without a server that answers.
    Every page of a file is read, which takes a while for a large one. With --nats it looks at a
    NATS server and the service on it instead, with credentials from the environment. Exits 1 if
    there is a problem; warnings and notes are no failure.
    """
    import asyncio

    from abathur.cli.opening import database

    if nats is not None:
        from abathur.cli.serve import access
        from abathur.service import checks

        _conclude(settings, nats, "server", asyncio.run(checks.examine(access(nats), prefix)))
        return
    db = database(settings, must_exist=False)

    async def looked() -> list[Finding]:
        try:
            return await db.doctor(deep=deep)
        finally:
            await db.close()

    _conclude(settings, db.name, "database", asyncio.run(looked()))


def _conclude(settings: Settings, name: str, what: str, findings: list[Finding]) -> None:
    """Tell the findings, and exit accordingly."""
    ok = not any(finding.level == "problem" for finding in findings)
    if settings.json:
        write_json({what: name, "ok": ok, "findings": findings})
    else:
        tell(name, findings)
    if not ok:
        raise click.exceptions.Exit(1)


def tell(name: str, findings: list[Finding]) -> None:
    """Findings for people, and how many there are of each level."""
    write(clean(name))
    for finding in findings:
        level = f"{finding.level:8}"
        shown = click.style(level, **STYLES[finding.level]) if has_rich() else level
        write(f"{shown} {_wrapped(f'{finding.what}: {finding.found}')}")
        if finding.remedy:
            write(f"         {_wrapped(f'-> {finding.remedy}')}")
    counts = Counter(finding.level for finding in findings)
    write(", ".join(f"{counts[level]} {_words(level, counts[level])}" for level in LEVELS if counts[level]))


def _wrapped(text: str) -> str:
    """Text that is set below itself where a terminal is not wide enough."""
    import shutil
    import textwrap

    if not is_terminal():
        return clean(text)
    room = max(shutil.get_terminal_size().columns - 9, 30)
    lines = textwrap.wrap(clean(text), room, break_on_hyphens=False, break_long_words=False)
    return "\n         ".join(lines)


def _words(level: str, count: int) -> str:
    return level if count == 1 or level == "ok" else f"{level}s"
