"""`abathur list` and `abathur show`: look at tasks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from abathur.cli.completing import AGENT_TYPE, PROJECT, TASK
from abathur.cli.options import Settings, common
from abathur.cli.output import (
    age,
    clean_block,
    facts,
    heading,
    is_terminal,
    moment,
    note,
    table,
    write,
    write_json,
)
from abathur.states import STATUSES

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.models import Task


@click.command(
    "list",
    epilog="""\b
Examples:
  abathur list
  abathur list --status failed --agent-type reviewer
  abathur list --json --limit 1000 --after 0199a1b2-c3d4
""",
)
@click.option("--status", type=click.Choice(STATUSES), help="Only tasks in this status.")
@click.option("--agent-type", type=AGENT_TYPE, metavar="NAME", help="Only tasks for these agents.")
@click.option(
    "--project", type=PROJECT, metavar="ID", help="Only tasks of this project: its id or name, or a label."
)
@click.option("--parent", type=TASK, metavar="ID", help="Only the parts of this task.")
@click.option("--limit", type=int, default=50, show_default=True, help="So many at most; up to 10,000.")
@click.option("--after", type=TASK, metavar="ID", help="The next page: the last task of the page before.")
@click.option(
    "--newest-first/--oldest-first",
    default=None,
    help="The order; newest first for people, oldest first with --json.",
)
@common
@click.pass_obj
def list_(
    settings: Settings,
    /,
    parent: str | None,
    after: str | None,
    newest_first: bool | None,
    project: str | None,
    **filters: Any,
) -> None:
    """List tasks: the newest first for people, the oldest first with --json.

    On a terminal ids are shortened. With --json the answer is an array of whole tasks.
    """
    from abathur.cli.ids import full_id, project_id, shortened
    from abathur.cli.opening import with_database

    back = not settings.json if newest_first is None else newest_first

    async def page(db: Database) -> list[Task]:
        above = None if parent is None else await full_id(db, parent)
        last = None if after is None else await full_id(db, after)
        of = await project_id(db, project)
        return await db.tasks.list(parent=above, after=last, newest_first=back, project=of, **filters)

    tasks = with_database(settings, page)
    if settings.json:
        write_json(tasks)
        return
    if not tasks:
        note("No tasks.")
        return
    ids = [task.id for task in tasks]
    table(
        ("id", "status", "agent type", "tries", "age", "summary"),
        [
            (
                shown,
                task.status,
                task.agent_type,
                f"{task.attempt}/{task.max_attempts}",
                age(task.submitted_at),
                task.summary,
            )
            for shown, task in zip(shortened(ids) if is_terminal() else ids, tasks, strict=True)
        ],
    )
    if is_terminal() and len(tasks) == filters["limit"]:
        note(f"There may be more: --after {ids[-1]}")


@click.command(
    short_help="Show one task with its prerequisites, attempts and trail.",
    epilog="""\b
Examples:
  abathur show 0199a1b2-c3d4
  abathur show 0199a1b2-c3d4 --json
""",
)
@click.argument("task_id", type=TASK, metavar="ID")
@common
@click.pass_obj
def show(settings: Settings, task_id: str) -> None:
    """Show one task: what it waits for, its attempts, its progress and its trail.

    ID is a task's id or any beginning of it that no other task's id has.
    """
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def read(db: Database) -> dict[str, Any]:
        found = await full_id(db, task_id)
        return {
            "task": await db.tasks.get(found),
            "prerequisites": await db.tasks.prerequisites(found),
            "attempts": await db.tasks.attempts(found),
            "progress": await db.tasks.progress(found),
            "audit": await db.audit.list(task_id=found, limit=1_000),
        }

    answer = with_database(settings, read)
    if settings.json:
        write_json(answer)
    else:
        _tell(**answer)


def _tell(
    *, task: Task, prerequisites: list[Any], attempts: list[Any], progress: Any, audit: list[Any]
) -> None:
    heading(f"Task {task.id}")
    facts(
        [
            ("status", task.status),
            ("summary", task.summary),
            ("agent type", task.agent_type),
            ("priority", task.priority),
            ("attempts", f"{task.attempt} of {task.max_attempts}"),
            ("progress", None if progress is None or task.ended else _progress(progress)),
            ("error", None if task.status == "completed" else _line(task.error)),
            ("waits for", f"{task.unmet} of its prerequisites" if task.unmet and not task.ended else None),
            ("not before", moment(task.run_at) if task.status == "scheduled" else None),
            ("deadline", moment(task.deadline)),
            ("worker", task.worker),
            ("lease ends", moment(task.lease_expires_at)),
            ("timeout", f"{task.timeout:g} s"),
            ("submitted", moment(task.submitted_at)),
            ("started", moment(task.started_at)),
            ("ended", moment(task.completed_at)),
            ("created by", task.created_by),
            ("parent", task.parent),
            ("project", task.project),
            ("session", task.session),
        ]
    )
    if task.prompt != task.summary:
        _part("Prompt", task.prompt)
    if task.input not in (None, {}):
        _part("Input", _pretty(task.input))
    if task.result is not None:
        _part("Result", _pretty(task.result))
    _rows(
        "Prerequisites",
        ("id", "status", "met", "if it fails", "summary"),
        [
            (one.task_id, one.status, "yes" if one.met else "no", one.on_failure, one.summary)
            for one in prerequisites
        ],
    )
    _rows(
        "Attempts that did not complete it",
        ("attempt", "ended", "outcome", "worker", "error"),
        [
            (one.attempt, moment(one.ended_at), one.outcome, one.worker, _message(one.error))
            for one in attempts
        ],
    )
    last = attempts[-1].error if attempts else None
    for name, title in (("traceback", "Traceback"), ("stderr", "Standard error")):
        if isinstance(last, dict) and name in last:
            _part(f"{title} of attempt {attempts[-1].attempt}", last[name])
    _rows(
        "Trail",
        ("row", "at", "action", "by"),
        [(one.id, moment(one.at), one.action, one.actor) for one in audit],
    )


def _progress(progress: Any) -> str:
    fraction = None if progress.fraction is None else f"{progress.fraction:.0%}"
    return ", ".join(part for part in (fraction, progress.message) if part)


def _message(error: Any) -> Any:
    if isinstance(error, dict):
        return ": ".join(_line(str(error[name])) or "" for name in ("type", "message") if name in error)
    return error


def _line(text: str | None) -> str | None:
    """The first line of an error, which says most."""
    return None if text is None else text.partition("\n")[0]


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _part(title: str, text: str) -> None:
    write()
    heading(title)
    for line in clean_block(text).rstrip("\n").split("\n"):
        write(f"  {line}".rstrip())


def _rows(title: str, headers: tuple[str, ...], rows: list[Any]) -> None:
    if rows:
        write()
        heading(title)
        table(headers, rows)
