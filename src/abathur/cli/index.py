"""`abathur index`: index the files of a project, here and now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from abathur.cli.options import Settings, common
from abathur.cli.output import clean, facts, note, table, write, write_json

if TYPE_CHECKING:
    from abathur.cli.progress import Bar
    from abathur.database import Database
    from abathur.projects.index.values import IndexingJob
    from abathur.runner import Runner


@click.command(
    short_help="Index the files of a project, so that they can be searched.",
    epilog="""\b
Examples:
  abathur index
  abathur index src
  abathur index --background
  abathur index --jobs
  abathur index --cancel 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b
""",
)
@click.argument("path", type=click.Path(), default=".", required=False)
@click.option("--project", metavar="ID", help="The project's id or name; else the one that PATH is in.")
@click.option("--force", is_flag=True, help="Index again what has not changed.")
@click.option(
    "--background",
    is_flag=True,
    help="Only ask for it: a runner of abathur.indexer does it.",
)
@click.option("--jobs", is_flag=True, help="Show the last jobs, of --project or of all, and do nothing.")
@click.option("--cancel", metavar="JOB", help="Stop this job, and do nothing else.")
@common
@click.pass_obj
def index(
    settings: Settings,
    path: str,
    project: str | None,
    force: bool,
    background: bool,
    jobs: bool,
    cancel: str | None,
) -> None:
    """Index PATH, a directory or file of a project, and what else waits to be indexed.

    PATH is this directory if it is not given. Only what has changed is read. What .gitignore names is
    left out, as are binary files and those over 1 MiB. If it is interrupted, run it again: it goes on
    where it was. Other runners may help, and nothing is done twice.

    The project has to be known, or have a configuration: `abathur projects create` makes one.
    """
    from abathur.cli.opening import with_database

    if jobs:
        _show(settings, with_database(settings, lambda db: db.projects.indexings(project)))
        return
    if cancel is not None:
        job = with_database(settings, lambda db: db.projects.cancel_indexing(cancel))
    else:

        async def indexed(db: Database) -> IndexingJob:
            asked = await db.projects.start_indexing(path, project, force=force)
            return asked if background else await _followed(db, asked)

        job = with_database(settings, indexed, must_exist=False)
    if settings.json:
        write_json(_as_json(job))
    else:
        _tell(job)
    if cancel is None and job.status in ("failed", "cancelled"):
        click.get_current_context().exit(1)


async def _followed(db: Database, job: IndexingJob) -> IndexingJob:
    """Run the job, and show how far it is, until it has ended or this process is told to stop."""
    import anyio

    from abathur import indexer
    from abathur.cli.progress import progress
    from abathur.cli.serving import Stop

    runner, stop = indexer.runner(db), Stop()
    async with stop.on_signals():
        with progress(f"Indexing {job.path}") as bar:
            async with anyio.create_task_group() as group:
                group.start_soon(_watch, db, job, runner, bar)
                await stop.serve(runner)
                group.cancel_scope.cancel()
    found = await db.projects.indexing(job)
    if not found.ended:
        note("Interrupted. Run it again, and it goes on where it was.")
        click.get_current_context().exit(130)
    return found


async def _watch(db: Database, job: IndexingJob, runner: Runner, bar: Bar) -> None:
    import anyio

    found = await db.projects.indexing(job)
    while not found.ended:
        if found.changed is not None:
            bar(found.done, found.changed)
        with anyio.move_on_after(0.25):
            await db.tasks.wait(job.id)
        found = await db.projects.indexing(job)
    runner.stop()


def _tell(job: IndexingJob) -> None:
    said = {"completed": "Indexed", "queued": "Asked for"}.get(job.status, job.status.capitalize())
    write(clean(f"{said} {job.path}: {job.message}."))
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(job.skipped.items())) or None
    facts([("job", job.id), ("project", job.project_id), ("chunks", f"{job.chunks:,}"), ("skipped", skipped)])


def _show(settings: Settings, jobs: list[IndexingJob]) -> None:
    if settings.json:
        write_json([_as_json(job) for job in jobs])
    elif jobs:
        rows = [(job.id, job.status, f"{job.progress:.0%}", job.path, job.message) for job in jobs]
        table(("job", "status", "done", "path", "message"), rows)
    else:
        note("No indexing jobs.")


def _as_json(job: IndexingJob) -> dict[str, Any]:
    from abathur.projects.tools import as_dict

    return as_dict(job)
