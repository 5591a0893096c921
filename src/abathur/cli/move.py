"""`abathur move`: copy a database to another place or engine, while nothing writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from abathur.cli.options import Settings, json_only
from abathur.cli.output import clean, facts, note, table, write, write_json

if TYPE_CHECKING:
    from abathur.moving import Moved


@click.command(
    short_help="Copy the database to another place or engine.",
    epilog="""\b
Examples:
  abathur move agents.db postgresql://abathur@localhost/agents
  abathur move agents.db "postgresql://abathur@localhost/agents?schema=crew"
  abathur move postgresql://abathur@localhost/agents agents.db
  abathur move old.db new.db --only-abathur
""",
)
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "--only-abathur",
    is_flag=True,
    help="Leave behind what abathur does not declare: tables of an application, columns of your own.",
)
@click.option(
    "--while-running",
    is_flag=True,
    help="Move although workers were seen a moment ago: they were killed.",
)
@json_only
@click.pass_obj
def move(settings: Settings, source: str, target: str, only_abathur: bool, while_running: bool) -> None:
    """Copy a database as a whole: from SOURCE to the empty TARGET, both a path or a URL.

    Stop everything that uses SOURCE first. Tasks keep their ids, claims, attempts and their trail, so a
    claim that is held on SOURCE can be completed on TARGET. At the end every table is read again on both
    sides and compared; what was written meanwhile is found. SOURCE is not changed, except that an older
    database is brought to today's schema.

    If it is interrupted, run it again: it goes on where it was. Until it is done, nothing else can open
    TARGET.
    """
    import asyncio

    from abathur import moving
    from abathur.cli.opening import database, initialize, refuse_strangers
    from abathur.cli.progress import progress
    from abathur.projects.tables import STORE, is_store

    async def moved() -> Moved:
        look = database(_at(source), must_exist=True)
        try:
            schema = STORE if is_store(await look.stamp() or {}) else ()
        finally:
            await look.close()
        here = database(_at(source), must_exist=True, schema=schema)
        there = database(_at(target), must_exist=False, schema=schema)
        try:
            await refuse_strangers(here, must_exist=True)
            await initialize(here)
            with progress(f"Moving {here.name}") as bar:
                return await moving.move(
                    here, there, progress=bar, only_declared=only_abathur, while_running=while_running
                )
        finally:
            await there.close()
            await here.close()

    try:
        done = asyncio.run(moved())
    except KeyboardInterrupt:
        note("Interrupted. Run it again with the same SOURCE and TARGET, and it goes on where it was.")
        raise
    if settings.json:
        write_json(_as_json(done))
        return
    write(clean(f"Moved {done.source} to {done.target}, and compared them: they are equal."))
    table(
        ("table", "rows", "digest"),
        [(one.name, f"{one.rows:,}", one.digest[:16]) for one in done.tables],
    )
    left = ", ".join(map(str, done.left_behind)) or None
    facts([("left behind", left), ("took", f"{done.took_ms / 1000:,.1f} s")])
    write(clean(f"Everything is at {done.target} now: start your workers with it. The source is as it was."))


def _at(url: str) -> Settings:
    """The settings of a command that is about this database."""
    settings = Settings()
    settings.database = url
    return settings


def _as_json(done: Moved) -> dict[str, object]:
    return {
        "source": done.source,
        "target": done.target,
        "database_id": done.database_id,
        "environment": done.environment,
        "tables": [{"name": one.name, "rows": one.rows, "digest": one.digest} for one in done.tables],
        "left_behind": [{"name": one.name, "rows": one.rows} for one in done.left_behind],
        "resumed": done.resumed,
        "took_ms": round(done.took_ms, 3),
    }
