"""The demo's figures for people."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from abathur.cli.demo.figures import Figures
from abathur.cli.output import aligned, clean, has_rich, write

Row = tuple[str, str, str, bool | None]
"""Name, figure, what it means, and whether it is good; None where it is neither."""


def tell(figures: Figures) -> None:
    """The table, where things are left, and how to look at them."""
    rows = list(_rows(figures))
    if has_rich():
        _print_rich(rows)
    else:
        for line in aligned([[name, figure, clean(meaning)] for name, figure, meaning, _ in rows]):
            write(line)
    write()
    report = _shown(figures.report) if figures.report else "none: see the logs of the workers"
    write(f"Report:    {clean(report)}")
    write(f"Database:  {clean(_shown(figures.database))}")
    write("Look at them:")
    start = f"{_program()} --database {shlex.quote(_shown(figures.database))}"
    write(clean(f"  {start} list"))
    write(clean(f"  {start} audit verify"))


def _rows(figures: Figures) -> Iterator[Row]:
    types = ", ".join(f"{n} {name.removeprefix('demo.')}" for name, n in figures.by_type.items())
    yield "tasks", f"{figures.tasks}", types, None
    yield "attempts", f"{figures.attempts}", f"by {figures.workers} workers", None
    for one in figures.killed:
        yield "killed", "1", f"{one.worker} (pid {one.pid}), in the middle of {_tasks(len(one.held))}", None
    if not figures.killed:
        yield "killed", "0", "everything was done too soon; try a higher --pace", None
    after = figures.rescued_after
    waited = "" if after is None else f"; begun elsewhere {after:.1f} s after the first time"
    yield "rescued", f"{figures.rescued}", f"leases that ended because nobody renewed them{waited}", None
    yield "completed", f"{figures.by_status.get('completed', 0)}", "", None
    if figures.failed:
        yield "failed", f"{figures.failed}", "`list --status failed` shows them", None
    yield "lost", f"{figures.lost}", "tasks that have not ended", not figures.lost
    yield "completed twice", f"{figures.twice}", "tasks with two completions in the trail", not figures.twice
    if figures.refused:
        yield "late results", f"{figures.refused}", "refused, because their leases were over", None
    trail = f"{figures.audit_rows:,} rows" + (f": {figures.audit_problem}" if figures.audit_problem else "")
    yield "audit trail", "valid" if figures.audit_ok else "BROKEN", trail, figures.audit_ok
    if figures.words is not None:
        yield "report", f"{figures.words:,} words", "counted by a shell script: a command agent", None
    yield "time", f"{figures.seconds:.1f} s", "from the first task's submission to the last one's end", None


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _print_rich(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {True: "bold green", False: "bold red", None: "bold"}
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(justify="right", no_wrap=True)
    made.add_column()
    for name, figure, meaning, good in rows:
        made.add_row(name, Text(figure, style=styles[good]), Text(clean(meaning), style="dim"))
    Console(highlight=False).print(made)


def _shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _program() -> str:
    """How this command line can be started again from here."""
    if shutil.which("abathur"):
        return "abathur"
    started = Path(sys.argv[0])
    if started.name == "abathur" and os.access(started, os.X_OK):
        return shlex.quote(_shown(started))
    return f"{shlex.quote(sys.executable)} -m abathur"
