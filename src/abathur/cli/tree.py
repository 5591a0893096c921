"""`abathur tree` and `abathur critical-path`: a task's parts, and what decides when it is done."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from abathur.cli.completing import TASK
from abathur.cli.options import Settings, common
from abathur.cli.output import (
    STYLES,
    clean,
    facts,
    has_rich,
    is_terminal,
    note,
    table,
    write,
    write_json,
)

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.tasks.views import CriticalPath, Tree, TreeTask

BOXES: Final = ("├─ ", "└─ ", "│  ")
ASCII: Final = ("|- ", "`- ", "|  ")
FEW: Final = 3
"""Prerequisites that are named in a line of the tree."""


@click.command(
    short_help="Show a task with its parts.",
    epilog="""\b
Examples:
  abathur tree 0199a1b2-c3d4
  abathur tree 0199a1b2-c3d4 --limit 10000 --json
""",
)
@click.argument("task_id", metavar="ID", type=TASK)
@click.option("--limit", type=int, default=1_000, show_default=True, help="So many tasks at most; to 10,000.")
@common
@click.pass_obj
def tree(settings: Settings, task_id: str, limit: int) -> None:
    """Show a task with its parts, their parts, and so on: how they stand and what they wait for.

    ID is a task's id or any beginning of it that no other task's id has.
    """
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def read(db: Database) -> Tree:
        return await db.tasks.tree(await full_id(db, task_id), limit=limit)

    found = with_database(settings, read)
    if settings.json:
        write_json(found)
        return
    _draw(found)
    if found.more:
        note(f"There is more than these {len(found.tasks):,} tasks: --limit {min(limit * 10, 10_000)}")


def _draw(found: Tree) -> None:
    names = _names([task.id for task in found.tasks])
    for branch, task in zip(_branches(found.tasks), found.tasks, strict=True):
        said = "  ".join(part for part in (task.agent_type, task.summary, _said(task, names)) if part)
        _write_line(f"{branch}{clean(names[task.id])}  ", clean(task.status), f"  {clean(said)}")


def _branches(tasks: Sequence[TreeTask]) -> list[str]:
    """What stands before each task: the lines that join it to the task above it."""
    fork, last, pass_by = BOXES if _has_boxes() else ASCII
    found: list[str] = []
    goes_on: set[int] = set()  # the depths at which another part follows below
    for task in reversed(tasks):
        depth = task.depth
        goes_on = {one for one in goes_on if one <= depth}
        own = "" if not depth else fork if depth in goes_on else last
        found.append("".join(pass_by if one in goes_on else "   " for one in range(1, depth)) + own)
        goes_on.add(depth)
    return found[::-1]


def _has_boxes() -> bool:
    """Whether the output is for a person and can show box characters."""
    try:
        "".join(BOXES).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return is_terminal()


def _said(task: TreeTask, names: dict[str, str]) -> str:
    unmet = [one for one in task.prerequisites if not one.met]
    parts = []
    if task.status == "running":
        parts.append(f"on {task.worker}")
        if task.progress is not None:
            fraction = None if task.progress.fraction is None else f"{task.progress.fraction:.0%}"
            parts += [part for part in (fraction, task.progress.message) if part]
    if task.status == "blocked" and unmet:
        named = [names.get(one.task_id, one.task_id) for one in unmet[:FEW]]
        rest = f" and {len(unmet) - FEW:,} more" if len(unmet) > FEW else ""
        parts.append(f"waits for {', '.join(named)}{rest}")
    return f"({', '.join(parts)})" if parts else ""


def _names(ids: Sequence[str]) -> dict[str, str]:
    from abathur.cli.ids import shortened

    return dict(zip(ids, shortened(ids) if is_terminal() else ids, strict=True))


def _write_line(before: str, status: str, after: str) -> None:
    """A clean line, with the status coloured where that can be seen."""
    if not has_rich():
        write(before + status + after)
        return
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(before, (status, STYLES.get(status, "")), after)
    Console(highlight=False).print(line, no_wrap=True, overflow="ellipsis")


@click.command(
    "critical-path",
    short_help="Show what decides when a task is done.",
    epilog="""\b
Examples:
  abathur critical-path 0199a1b2-c3d4
  abathur critical-path 0199a1b2-c3d4 --json
""",
)
@click.argument("task_id", metavar="ID", type=TASK)
@common
@click.pass_obj
def critical_path(settings: Settings, task_id: str) -> None:
    """Show the chain of tasks that decides when a task can be done, and what each adds to it.

    A task counts with its estimated duration, else with what its agent type took lately, else with a
    second. ID is a task's id or any beginning of it that no other task's id has.
    """
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def read(db: Database) -> tuple[str, CriticalPath]:
        found = await full_id(db, task_id)
        return found, await db.tasks.critical_path(found)

    whole, path = with_database(settings, read)
    if settings.json:
        write_json(path)
        return
    if not path.tasks:
        note("It has ended, so nothing decides when it is done.")
        return
    names = _names([task.id for task in path.tasks])
    table(
        ("id", "status", "agent type", "adds", "takes", "known from", "summary"),
        [
            (
                names[task.id],
                task.status,
                task.agent_type,
                seconds(task.seconds),
                seconds(task.estimate),
                {"estimate": "its estimate", "recent": "its agent type", "unknown": "nothing"}[task.basis],
                task.summary,
            )
            for task in path.tasks
        ],
    )
    write()
    facts([("tasks", f"{len(path.tasks):,}"), ("at least", seconds(path.seconds))])
    if path.never:
        note(f"It waits for a task that has failed or was cancelled: abathur why {whole}")
    if path.more:
        note("The graph is so large that only a part of it was looked at.")


def seconds(value: float) -> str:
    """A length of time for people."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
