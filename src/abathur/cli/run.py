"""`abathur run`: run a worker until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from abathur.cli.completing import files
from abathur.cli.options import Settings, common
from abathur.cli.output import clean, note, write_json
from abathur.errors import InvalidInputError

if TYPE_CHECKING:
    from abathur.runner import Runner


@click.command(
    short_help="Run a worker until it is stopped.",
    epilog="""\b
Examples:
  abathur run agents.py:runner
  abathur run myapp.agents:make_runner --database agents.db --concurrency 16
  abathur run agents.py:runner --until-idle

\b
agents.py:
  from abathur import Runner

  def runner(db):
      runner = Runner(db)

      @runner.agent("reviewer")
      async def review(ctx):
          return {"seen": ctx.task.prompt}

      return runner
""",
)
@click.argument("target", shell_complete=files)
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), help="Handlers at a time; else the Runner's own."
)
@click.option(
    "--until-idle", is_flag=True, help="Stop when none of its tasks is ready, scheduled or running."
)
@click.option("--worker", metavar="NAME", help="The worker's name in the database; else host and process.")
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error what the runner does.")
@common
@click.pass_obj
def run(
    settings: Settings,
    target: str,
    concurrency: int | None,
    until_idle: bool,
    worker: str | None,
    verbose: bool,
) -> None:
    """Run the handlers of TARGET, which is MODULE:ATTRIBUTE or PATH.py:ATTRIBUTE.

    The attribute is a function that takes a Database and returns a Runner, or it is a Runner; then
    that one's own database is used, $ABATHUR_DATABASE does not matter, and --database is an error.
    Modules are looked for in this directory too.

    Ctrl-C or SIGTERM stops it: handlers get the Runner's grace period, then their tasks are given
    back. A second one ends the process at once; its tasks run elsewhere when their leases are over.
    """
    import asyncio
    import logging

    from abathur.cli.serving import Target, load

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(message)s"
    )
    found = load(target)

    def prepare(runner: Runner) -> None:
        if concurrency is not None:
            runner.concurrency = concurrency
        if worker is not None:
            runner.worker = _name(worker)

    def tell(runner: Runner) -> None:
        if not settings.json:
            types = ", ".join(runner.agent_types) or "no agent types"
            note(f"{runner.worker}: {types}; {runner.concurrency} at a time; {runner.db.name}")

    served = asyncio.run(Target(found, target).serve(settings, prepare, tell, until_idle=until_idle))
    if settings.json:
        write_json(served)
    else:
        note(clean(f"Stopped: {served['ended']}."))


def _name(worker: str) -> str:
    if not worker.strip():
        raise InvalidInputError(
            "The worker's name is empty.", "Expected a name.", "Leave --worker out for host and process."
        )
    return worker
