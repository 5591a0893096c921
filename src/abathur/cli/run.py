"""`abathur run`: run a worker until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from abathur.cli.completing import PROJECT, files
from abathur.cli.options import Settings, common
from abathur.cli.output import clean, note, write_json
from abathur.errors import InvalidInputError

if TYPE_CHECKING:
    from abathur.config import Config
    from abathur.runner import Runner


@click.command(
    short_help="Run a worker until it is stopped.",
    epilog="""\b
Examples:
  abathur run
  abathur run --config ops/agents.toml --concurrency 4
  abathur run agents.py:runner
  abathur run myapp.agents:make_runner --database agents.db --concurrency 16
  abathur run agents.py:runner --until-idle

\b
abathur.toml:
  [agents.counter]
  command = ["./count.sh", "--fast"]
  concurrency = 2
  timeout = "10m"

\b
agents.py:
  from abathur import Runner

\b
  def runner(db):
      runner = Runner(db)
      @runner.agent("reviewer")
      async def review(ctx):
          return {"seen": ctx.task.prompt}
      return runner
""",
)
@click.argument("target", required=False, shell_complete=files)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that declares command agents; else abathur.toml here, when there is no TARGET.",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), help="Handlers at a time; else the Runner's own."
)
@click.option(
    "--until-idle", is_flag=True, help="Stop when none of its tasks is ready, scheduled or running."
)
@click.option(
    "--project",
    type=PROJECT,
    multiple=True,
    metavar="ID",
    help="Run only tasks of this project: its id or name, or a label. Repeatable.",
)
@click.option("--worker", metavar="NAME", help="The worker's name in the database; else host and process.")
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error what the runner does.")
@common
@click.pass_obj
def run(
    settings: Settings,
    target: str | None,
    config: Path | None,
    concurrency: int | None,
    until_idle: bool,
    project: tuple[str, ...],
    worker: str | None,
    verbose: bool,
) -> None:
    """Run the command agents of abathur.toml, or the handlers of TARGET, until it is stopped.

    Without TARGET the agents are those that abathur.toml in this directory declares, or the file
    of --config. With TARGET they are its handlers alone; with both, both.

    TARGET is MODULE:ATTRIBUTE or PATH.py:ATTRIBUTE. The attribute is a function that takes a
    Database and returns a Runner, or it is a Runner; then that one's own database is used,
    $ABATHUR_DATABASE does not matter, and --database is an error. Modules are looked for in this
    directory too.

    Ctrl-C or SIGTERM stops it: handlers get the Runner's grace period, then their tasks are given
    back. A second one ends the process at once; its tasks run elsewhere when their leases are over.
    """
    import asyncio
    import logging

    from abathur.cli.ids import project_id
    from abathur.cli.serving import Served, load

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    settings.config = config
    served = Served(target, None if target is None else load(target), _config(target, config))

    async def prepare(runner: Runner) -> None:
        if concurrency is not None:
            runner.concurrency = concurrency
        if worker is not None:
            runner.worker = _name(worker)
        if project:
            runner.projects = tuple(sorted({str(await project_id(runner.db, one)) for one in project}))

    def tell(runner: Runner) -> None:
        if not settings.json:
            types = ", ".join(runner.agent_types) or "no agent types"
            note(f"{runner.worker}: {types}; {runner.concurrency} at a time; {runner.db.name}")

    answer = asyncio.run(served.serve(settings, prepare, tell, until_idle=until_idle))
    if settings.json:
        write_json(answer)
    else:
        note(clean(f"Stopped: {answer['ended']}."))


def _config(target: str | None, path: Path | None) -> Config | None:
    """The configuration that is meant: the one that is named, or without a TARGET that of this directory."""
    from abathur.config import FILE, read

    if path is None and target is not None:
        return None
    if path is None and not Path(FILE).is_file():
        raise InvalidInputError(
            f"There is no TARGET, and no {FILE} in this directory.",
            "Expected one of them to say what is to be run.",
            f"Write `abathur run agents.py:runner`, or make {FILE}; `abathur run --help` has examples.",
        )
    return read(path or Path(FILE))


def _name(worker: str) -> str:
    if not worker.strip():
        raise InvalidInputError(
            "The worker's name is empty.", "Expected a name.", "Leave --worker out for host and process."
        )
    return worker
