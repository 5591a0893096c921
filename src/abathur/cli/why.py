"""`abathur why`: why a task is not running."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from abathur.cli.completing import TASK
from abathur.cli.options import Settings, common
from abathur.cli.output import clean, heading, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.tasks.views import Why


@click.command(
    short_help="Say why a task is not running.",
    epilog="""\b
Examples:
  abathur why 0199a1b2-c3d4
  abathur why 0199a1b2-c3d4 --json
""",
)
@click.argument("task_id", metavar="ID", type=TASK)
@common
@click.pass_obj
def why(settings: Settings, task_id: str) -> None:
    """Say why a task is not running, or who runs it, or how it ended.

    What it waits for is followed to the root: the task that failed, the time that has not come, the
    worker that is not there. ID is a task's id or any beginning of it that no other task's id has.
    """
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def read(db: Database) -> Why:
        return await db.tasks.why(await full_id(db, task_id))

    found = with_database(settings, read)
    if settings.json:
        write_json(found)
        return
    first, *reasons = str(found).split("\n- ")
    heading(first)
    for reason in reasons:
        write(clean(f"- {reason}"))  # with whole ids, to be copied into the next command
