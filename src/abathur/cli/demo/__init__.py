"""`abathur demo`: real agents on real files, a killed worker, and figures that the database proves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from abathur.cli.options import Settings, json_only
from abathur.cli.output import write_json
from abathur.errors import InvalidInputError


@click.command(
    short_help="See abathur at work: real tasks, and a worker killed amid them.",
    epilog="""\b
Examples:
  abathur demo
  abathur demo ~/src/project --workers 8
  abathur demo --output /tmp/demo --json
""",
)
@click.argument("directory", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--workers", type=click.IntRange(2, 32), default=4, show_default=True, help="Worker processes.")
@click.option(
    "--pace",
    type=click.FloatRange(0, 60),
    help="Seconds of thought for each file; else as many as make it about 20 s in all.",
)
@click.option(
    "--files", type=click.IntRange(1, 2000), default=400, show_default=True, help="Source files at most."
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("abathur-demo"),
    show_default=True,
    help="Where database and report are left. What an earlier demo left there is replaced.",
)
@json_only
@click.pass_obj
def demo(
    settings: Settings, directory: Path, workers: int, pace: float | None, files: int, output: Path
) -> None:
    """See abathur at work, on the source files of DIRECTORY (else of this directory).

    One task finds the files and makes a task for each; another waits for all of them and adds up; the
    next one writes a report, and a shell script counts its words. Several worker processes share the
    work, and one is killed in the middle of it, with kill -9. At the end the database is asked what
    became of every task.

    Nothing is changed but what is in the output directory. Exits 1 if a task was lost or completed
    twice, if the audit trail is not intact, or if there is no report.
    """
    from abathur.cli.demo.show import Plan, show
    from abathur.cli.demo.words import tell

    if settings.database is not None:
        raise InvalidInputError(
            "The demo makes a database of its own, and --database was given.",
            "Expected no database.",
            "Say with --output where it is to be left.",
        )
    plan = Plan(directory=directory, output=output, workers=workers, pace=pace, files=files)
    figures = show(plan, quiet=settings.json)
    if settings.json:
        write_json(figures.to_json())
    else:
        tell(figures)
    if not figures.good:
        raise click.exceptions.Exit(1)


@click.command("demo-worker", hidden=True)
@click.option("--at", required=True, help="The demo's database.")
@click.option("--name", required=True, help="The worker's name.")
@click.option("--parent", type=int, required=True, help="The demo's process; without it the worker ends.")
def demo_worker(**arguments: Any) -> None:
    """One worker process of the demo."""
    import asyncio

    from abathur.cli.demo.agents import work

    asyncio.run(work(**arguments))
