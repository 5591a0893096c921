"""`abathur init` and `abathur migrate`: bring a database to today's schema, or show what that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, clean_block, facts, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.migrate import Report
    from abathur.schema.plan import Plan

_environment = click.option(
    "--environment",
    type=click.Choice(["production", "development", "test"]),
    help="What the database is for; it is written in it and checked ever after.",
)
_adopt = click.option(
    "--adopt", is_flag=True, help="Put abathur's tables into another application's SQLite file."
)


@click.command(
    epilog="""\b
Examples:
  abathur init
  abathur init --database /var/lib/agents/agents.db --environment production
  abathur init --database postgresql://agents@db.example.org/agents
"""
)
@_environment
@_adopt
@common
@click.pass_obj
def init(settings: Settings, environment: str | None, adopt: bool) -> None:
    """Make the database, or bring one that exists to today's schema.

    Run again, it changes nothing. Its directory must exist, and on a server the database; there,
    abathur makes its schema in it.
    """
    _initialize(settings, verify=False, environment=environment, adopt=adopt)


@click.command(
    epilog="""\b
Examples:
  abathur migrate --plan
  abathur migrate --plan --json
  abathur migrate
"""
)
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Only show the steps, with their SQL, rows and locks. Changes nothing; exits 1 on a conflict.",
)
@click.option("--no-backup", is_flag=True, help="Do not copy a file that holds rows before it is changed.")
@click.option("--verify", is_flag=True, help="Compare every table, even if the stamp says that all is well.")
@_environment
@_adopt
@common
@click.pass_obj
def migrate(
    settings: Settings, only_plan: bool, no_backup: bool, verify: bool, environment: str | None, adopt: bool
) -> None:
    """Bring the database to today's schema, in one transaction.

    A file that holds rows is copied first, to NAME.before-VERSION-TIME.db beside it. A database that
    does not exist is made; on a server, only its schema is.
    """
    if only_plan:
        _show_plan(settings, environment=environment, adopt=adopt)
        return
    _initialize(settings, verify=verify, environment=environment, adopt=adopt, backup=not no_backup)


def _initialize(settings: Settings, *, verify: bool, **arguments: Any) -> None:
    db, report = _call(settings, lambda db: db.initialize(verify=verify), arguments)
    if settings.json:
        steps = [step.to_json() for step in report.steps]
        write_json(
            {
                "database": db.name,
                "created": report.created,
                "steps": steps,
                "notes": list(report.notes),
                "backup": report.backup,
                "environment": report.environment,
                "database_id": report.database_id,
                "took_ms": round(report.took_ms, 3),
            }
        )
        return
    _tell(db.name, report)


def _tell(name: str, report: Report) -> None:
    if report.created:
        write(clean(f"Made {name} ({report.environment})."))
    elif not report.steps:
        write(clean(f"{name} ({report.environment}) is up to date."))
    else:
        write(clean(f"Brought {name} ({report.environment}) to today's schema:"))
        for step in report.steps:
            write(clean(f"  {step.describe()}"))
    for line in report.notes:
        write(clean(f"Note: {line}"))
    facts([("backup", report.backup)])


def _show_plan(settings: Settings, **arguments: Any) -> None:
    db, plan = _call(settings, lambda db: db.plan(), arguments)
    if settings.json:
        write_json({"database": db.name, **plan.to_json()})
    else:
        write(clean_block(plan.to_text()))
    if plan.conflicts:
        raise click.exceptions.Exit(1)


def _call(settings: Settings, call: Any, arguments: dict[str, Any]) -> tuple[Database, Any]:
    """Call a method of the Database that opens it itself, and close it."""
    import asyncio

    from abathur.cli.opening import database

    db = database(settings, must_exist=False, **arguments)

    async def called() -> Report | Plan:
        try:
            return await call(db)  # type: ignore[no-any-return]
        finally:
            await db.close()

    return db, asyncio.run(called())
