"""`abathur drop`, `reset` and `purge`: what destroys a database, by its own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, facts, write, write_json

if TYPE_CHECKING:
    from abathur.destroying import Destroyed

allow = click.option(
    "--allow-destructive",
    metavar="OWN_NAME",
    help="The database's own name, without which only one that is stamped `test` is destroyed: the name of "
    "the file, or on a server the database's.",
)


def _described(function: Callable[..., None]) -> Callable[..., None]:
    return allow(common(click.pass_obj(function)))


@click.command(
    short_help="Remove the database.",
    epilog="""\b
Examples:
  abathur drop --database test.db
  abathur drop --database agents.db --allow-destructive agents.db
""",
)
@_described
def drop(settings: Settings, allow_destructive: str | None) -> None:
    """Remove the database: the file with its logs; on a server the schema, with everything in it.

    It must not be in use. Of a database that is not stamped `test` a copy is kept: the file
    NAME.before-drop-TIME.db beside it; on a server the schema itself, as SCHEMA_before_drop_TIME.
    """
    _tell(settings, _run(settings, "drop", allow_destructive), "was removed")


@click.command(
    short_help="Remove the database and make it anew.",
    epilog="""\b
Examples:
  abathur reset --database test.db
  abathur reset --database agents.db --allow-destructive agents.db
""",
)
@_described
def reset(settings: Settings, allow_destructive: str | None) -> None:
    """Remove the database and make it anew, empty, with the environment that it had.

    What `abathur drop` says of names and copies holds here too.
    """
    _tell(settings, _run(settings, "reset", allow_destructive), "was made anew")


@click.command(
    short_help="Delete all rows; the schema stays.",
    epilog="""\b
Examples:
  abathur purge --database test.db
  abathur purge --database agents.db --allow-destructive agents.db
""",
)
@_described
def purge(settings: Settings, allow_destructive: str | None) -> None:
    """Delete all tasks, with everything that belongs to them, and the audit trail; the schema stays.

    Other processes may work meanwhile. The new trail begins with an entry that says so. What
    `abathur drop` says of names and copies holds here too.
    """
    _tell(settings, _run(settings, "purge", allow_destructive), "was emptied")


def _run(settings: Settings, operation: str, allowed: str | None) -> Destroyed:
    """Call the method of the Database, which opens it itself: `drop` brings nothing up to date before."""
    import asyncio

    from abathur.cli.opening import database, refuse_strangers
    from abathur.errors import MissingDatabaseError

    db = database(settings, must_exist=True)

    async def called() -> Destroyed:
        try:
            if not await db.exists():
                raise MissingDatabaseError(db.name)
            if operation != "drop":
                await refuse_strangers(db)
            done: Destroyed = await getattr(db, operation)(allow_destructive=allowed)
            return done
        finally:
            await db.close()

    return asyncio.run(called())


def _tell(settings: Settings, done: Destroyed, what: str) -> None:
    if settings.json:
        write_json(
            {
                "operation": done.operation,
                "database": done.name,
                "environment": done.environment,
                "backup": done.backup,
            }
        )
        return
    write(clean(f"{done.name} ({done.environment or 'without a stamp'}) {what}."))
    facts([("the copy from before", done.backup)])
