"""`abathur cancel` and `abathur retry`: decide about tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from abathur.cli.completing import TASK
from abathur.cli.options import Settings, common
from abathur.cli.output import table, write_error, write_json
from abathur.errors import AbathurError, IllegalMoveError, InvalidInputError

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.models import Task


@click.command(
    short_help="Cancel tasks.",
    epilog="""\b
Examples:
  abathur cancel 0199a1b2-c3d4
  abathur cancel 0199a1b2-c3d4 0199a1b2-c3d5 --reason "no longer needed"
  abathur cancel 0199a1b2-c3d4 --tree
""",
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True, type=TASK)
@click.option("--reason", metavar="TEXT", help="Why, for the trail.")
@click.option("--tree", is_flag=True, help="Cancel their parts too, and the parts of these.")
@common
@click.pass_obj
def cancel(settings: Settings, task_ids: tuple[str, ...], reason: str | None, tree: bool) -> None:
    """Cancel tasks. A running handler is stopped, and a late result is refused.

    What depends on them follows the policy of its edge. Each ID is a task's id or any beginning of it
    that no other task's id has. Each is answered; exits 1 if one was refused.
    """
    _decide(settings, task_ids, lambda db, task_id: db.tasks.cancel(task_id, reason=reason, tree=tree))


@click.command(
    short_help="Let failed or cancelled tasks run again.",
    epilog="""\b
Examples:
  abathur retry 0199a1b2-c3d4
  abathur list --status failed --json | jq -r '.[].id' | xargs -r abathur retry
""",
)
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True, type=TASK)
@common
@click.pass_obj
def retry(settings: Settings, task_ids: tuple[str, ...]) -> None:
    """Let failed or cancelled tasks run again, each with a new set of attempts.

    Each ID is a task's id or any beginning of it that no other task's id has. Each is answered; exits 1
    if one was refused.
    """
    _decide(settings, task_ids, lambda db, task_id: db.tasks.retry(task_id))


def _decide(
    settings: Settings, given: tuple[str, ...], decide: Callable[[Database, str], Awaitable[Task]]
) -> None:
    """Do it with one task after the other, each in a transaction of its own, and answer for each."""
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def each(db: Database) -> list[Task | AbathurError]:
        answers: list[Task | AbathurError] = []
        for one in given:
            try:
                answers.append(await decide(db, await full_id(db, one)))
            except (InvalidInputError, IllegalMoveError) as error:
                answers.append(error)
        return answers

    answers = with_database(settings, each)
    refused = [answer for answer in answers if isinstance(answer, AbathurError)]
    if settings.json:
        write_json([_as_json(one, answer) for one, answer in zip(given, answers, strict=True)])
    else:
        done = [answer for answer in answers if not isinstance(answer, AbathurError)]
        if done:
            _tell(done)
        for error in refused:
            write_error(error, as_json=False)
    if refused:
        raise click.exceptions.Exit(1)


def _as_json(given: str, answer: Task | AbathurError) -> dict[str, Any]:
    if not isinstance(answer, AbathurError):
        return {"given": given, "task": answer}
    parts = {"problem": answer.problem, "expected": answer.expected, "remedy": answer.remedy}
    return {"given": given, "error": {"type": type(answer).__name__, "message": str(answer), **parts}}


def _tell(tasks: list[Task]) -> None:
    from abathur.cli.ids import shortened
    from abathur.cli.output import is_terminal

    ids = [task.id for task in tasks]
    table(
        ("id", "status", "agent type", "summary"),
        [
            (shown, task.status, task.agent_type, task.summary)
            for shown, task in zip(shortened(ids) if is_terminal() else ids, tasks, strict=True)
        ],
    )
