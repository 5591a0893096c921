"""`abathur enqueue`: make a task."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from abathur.cli.completing import AGENT_TYPE, PROJECT, TASK
from abathur.cli.options import Settings, common, duration, json_value, moment
from abathur.cli.output import clean, is_terminal, note, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.models import Task


@click.command(
    short_help="Make a task, and print its id.",
    epilog="""\b
Examples:
  abathur enqueue "Review the change" --agent-type reviewer --priority 7
  abathur enqueue "Summarise" --input '{"path": "README.md"}' --run-at +10m
  abathur enqueue "Publish" --depends-on 0199a1b2-c3d4 --key publish-42
  git diff | abathur enqueue - --agent-type reviewer
""",
)
@click.argument("prompt")
@click.option(
    "--agent-type",
    type=AGENT_TYPE,
    metavar="NAME",
    default="general",
    show_default=True,
    help="Who may claim it.",
)
@click.option("--priority", type=int, default=5, show_default=True, help="0 to 10; a step is worth a day.")
@click.option(
    "--input", type=json_value, metavar="JSON", help="JSON, or @FILE that holds it, or @- for standard input."
)
@click.option(
    "--depends-on", type=TASK, metavar="ID", multiple=True, help="A task that comes first; repeatable."
)
@click.option(
    "--on-failure",
    type=click.Choice(["block", "fail", "cancel", "ignore"]),
    default="block",
    show_default=True,
    help="What becomes of it when one of those fails or is cancelled.",
)
@click.option("--key", metavar="TEXT", help="Idempotency key: repeated, it answers with the existing task.")
@click.option(
    "--run-at", type=moment, metavar="TIME", help="Not before: ISO 8601 with a time zone, or +10m, +2h, +1d."
)
@click.option(
    "--deadline", type=moment, metavar="TIME", help="Near it, the task goes first; written like --run-at."
)
@click.option("--max-attempts", type=int, default=3, show_default=True, help="Attempts before it fails.")
@click.option(
    "--timeout",
    type=duration,
    metavar="DURATION",
    default=3600.0,
    show_default="1h",
    help="What an attempt may take: 90s, 10m.",
)
@click.option(
    "--estimated-duration", type=duration, metavar="DURATION", help="Counted back from the deadline."
)
@click.option("--parent", type=TASK, metavar="ID", help="The task that this one is a part of.")
@click.option(
    "--project",
    type=PROJECT,
    metavar="ID",
    help="The project that it belongs to: its id or name, or a label.",
)
@click.option("--summary", metavar="TEXT", help="A line for lists; else the first line of the prompt.")
@click.option("--session", metavar="ID", help="The session that it belongs to.")
@common
@click.pass_obj
def enqueue(
    settings: Settings,
    /,
    prompt: str,
    depends_on: tuple[str, ...],
    on_failure: Any,
    parent: str | None,
    run_at: datetime | None,
    project: str | None,
    **parameters: Any,
) -> None:
    """Make a task with this PROMPT, and print its id. "-" reads the prompt from standard input.

    An ID is a task's id or any beginning of it that no other task's id has.
    """
    from abathur.cli.ids import full_id, project_id
    from abathur.cli.opening import with_database
    from abathur.models import Prerequisite

    if prompt == "-":
        try:
            prompt = sys.stdin.read()
        except UnicodeDecodeError as error:
            raise click.UsageError(f"Standard input is not UTF-8: {error}.") from None

    async def make(db: Database) -> Task:
        before = [await full_id(db, one, "prerequisite") for one in depends_on]
        above = None if parent is None else await full_id(db, parent, "parent task")
        return await db.tasks.enqueue(
            prompt,
            depends_on=[Prerequisite(one, on_failure) for one in before],
            parent=above,
            run_at=run_at,
            project=await project_id(db, project),
            **parameters,
        )

    task = with_database(settings, make, must_exist=False)
    if settings.json:
        write_json(task)
        return
    write(clean(task.id))
    if is_terminal():
        waits = f", waits for {task.unmet}" if task.unmet else ""
        note(f"{task.status}{waits}; for agents of type {task.agent_type}")
