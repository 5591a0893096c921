"""`abathur audit`: read and check the trail of what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from abathur.cli.completing import TASK
from abathur.cli.options import Settings, common
from abathur.cli.output import clean, facts, is_terminal, moment, note, table, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.models import AuditEntry


@click.group()
@common
def audit() -> None:
    """The trail of what was done, and by whom."""


@audit.command(
    "list",
    epilog="""\b
Examples:
  abathur audit list
  abathur audit list --task 0199a1b2-c3d4
  abathur audit list --action task.failed --after 1000 --json
""",
)
@click.option("--task", metavar="ID", type=TASK, help="Only rows about this task.")
@click.option("--action", metavar="ACTION", help="Only rows of this action, such as task.failed.")
@click.option("--after", type=click.IntRange(0), default=0, help="The next page: the last row of this one.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="So many at most."
)
@common
@click.pass_obj
def list_(settings: Settings, task: str | None, action: str | None, after: int, limit: int) -> None:
    """List the rows of the trail in the order in which they were written."""
    from abathur.cli.ids import full_id
    from abathur.cli.opening import with_database

    async def page(db: Database) -> list[AuditEntry]:
        about = None if task is None else await full_id(db, task)
        return await db.audit.list(task_id=about, action=action, after=after, limit=limit)

    entries = with_database(settings, page)
    if settings.json:
        write_json(entries)
        return
    if not entries:
        note("No rows.")
        return
    table(
        ("row", "at", "action", "task", "by", "data"),
        [(one.id, moment(one.at), one.action, one.task_id, one.actor, _told(one.data)) for one in entries],
    )
    if is_terminal() and len(entries) == limit:
        note(f"There may be more: --after {entries[-1].id}")


def _told(data: Any) -> str:
    if not isinstance(data, dict):
        return "" if data is None else str(data)
    return ", ".join(f"{name} {value}" for name, value in data.items())


@audit.command(
    epilog="""\b
Examples:
  abathur audit head
  abathur audit head >> /somewhere/else/trail-heads.txt
""",
)
@common
@click.pass_obj
def head(settings: Settings) -> None:
    """Print where the trail stands now, to keep where nobody who can write the database can.

    `abathur audit verify --head` proves later that everything up to this moment is still there.
    """
    from abathur.cli.opening import with_database

    found = with_database(settings, lambda db: db.audit.head())
    if settings.json:
        write_json({"head": str(found), "last_seal": found.last_seal, "last_row": found.last_row})
    else:
        write(str(found))


@audit.command(
    epilog="""\b
Examples:
  abathur audit verify
  head=$(tail -n 1 /somewhere/else/trail-heads.txt)
  abathur audit verify --head "$head"
  abathur audit verify --json && echo intact
"""
)
@click.option("--head", metavar="HEAD", help="What `abathur audit head` printed at an earlier time.")
@common
@click.pass_obj
def verify(settings: Settings, head: str | None) -> None:
    """Check every seal and every row of the trail.

    Exits 1 and names the first bad row if one was altered, removed or inserted.
    """
    from abathur.cli.opening import with_database
    from abathur.cli.progress import progress

    with progress("Checking the trail") as bar:
        report = with_database(settings, lambda db: db.audit.verify(head=head, progress=bar))
    if settings.json:
        write_json(report)
    else:
        write("The audit trail is intact." if report.ok else "The audit trail is NOT intact.")
        facts(
            [
                ("first bad row", report.first_bad),
                ("problem", None if report.problem is None else clean(report.problem)),
                ("rows checked", f"{report.rows:,}"),
                ("rows pruned", f"{report.pruned:,}" if report.pruned else None),
                ("seals", f"{report.seals:,}"),
                ("writers", f"{report.writers:,}"),
                ("checkpoints", f"{report.checkpoints:,}"),
                ("pinned head", "it is in the history" if head is not None and report.ok else None),
                ("starts after row", report.starts_after or None),
                ("older rows before the trail", f"{report.adopted:,}" if report.adopted else None),
            ]
        )
    if not report.ok:
        raise click.exceptions.Exit(1)
