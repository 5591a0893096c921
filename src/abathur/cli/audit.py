"""`abathur audit`: check the trail of what was done."""

from __future__ import annotations

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, facts, write, write_json


@click.group()
@common
def audit() -> None:
    """The trail of what was done, and by whom."""


@audit.command(
    epilog="""\b
Examples:
  abathur audit verify
  abathur audit verify --json && echo intact
"""
)
@common
@click.pass_obj
def verify(settings: Settings) -> None:
    """Check every seal and every row of the trail.

    Exits 1 and names the first bad row if one was altered, removed or inserted.
    """
    from abathur.cli.opening import with_database

    report = with_database(settings, lambda db: db.audit.verify())
    if settings.json:
        write_json(report)
    else:
        write("The audit trail is intact." if report.ok else "The audit trail is NOT intact.")
        facts(
            [
                ("first bad row", report.first_bad),
                ("problem", None if report.problem is None else clean(report.problem)),
                ("rows checked", f"{report.rows:,}"),
                ("seals", f"{report.seals:,}"),
                ("writers", f"{report.writers:,}"),
                ("older rows before the trail", f"{report.adopted:,}" if report.adopted else None),
            ]
        )
    if not report.ok:
        raise click.exceptions.Exit(1)
