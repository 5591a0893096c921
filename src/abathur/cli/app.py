"""The command `abathur`: its commands, and what it does with their errors."""

from __future__ import annotations

from typing import Any, Final

import click

from abathur._version import __version__
from abathur.cli import (
    audit,
    backup,
    check_isolation,
    completion,
    decide,
    demo,
    destroy,
    doctor,
    enqueue,
    index,
    look,
    move,
    projects,
    prune,
    run,
    schema,
    search,
    serve,
    stats,
    tree,
    why,
)
from abathur.cli.options import Settings, common
from abathur.cli.output import write_error
from abathur.errors import AbathurError

EPILOG: Final = """\b
Examples:
  abathur init
  abathur enqueue "Review the change" --agent-type reviewer
  abathur --database agents.db list --status ready
  abathur run                        the agents of abathur.toml
  abathur run agents.py:runner

\b
Exit codes:
  0    done
  1    refused or failed, and stderr says why; or the answer is bad news,
       such as a broken audit trail, or a problem that doctor found
  2    the command line is wrong
  130  stopped by Ctrl-C

\b
Environment:
  ABATHUR_DATABASE     the database, when --database is not given; without
                       either it is the one of abathur.toml, or abathur.db
  ABATHUR_ENVIRONMENT  production, development or test; must agree with
                       what is stamped in the database
  NO_COLOR             no colours
"""


class App(click.Group):
    """The group of all commands. Errors of the library end here, as three sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's own
        return list(self.commands)  # in the order in which they are needed, not by letter

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AbathurError as error:
            _fail(ctx, error)
        except BaseExceptionGroup as group:
            # A task group wraps what ended it. Anything but our own errors is a bug and is shown whole.
            ours, others = group.split(AbathurError)
            if ours is None or others is not None:
                raise
            _fail(ctx, _first(ours))
        except KeyboardInterrupt:
            ctx.exit(130)


def _fail(ctx: click.Context, error: AbathurError) -> None:
    write_error(error, as_json=ctx.ensure_object(Settings).json)
    ctx.exit(1)


def _first(group: BaseExceptionGroup[AbathurError]) -> AbathurError:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


@click.group(cls=App, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@common
@click.version_option(__version__, message="abathur %(version)s")
def main() -> None:
    """Durable tasks for agent runners, in one SQLite file or on a PostgreSQL server.

    --database and --json may stand before or after a command.
    """


for command in (
    schema.init,
    schema.migrate,
    enqueue.enqueue,
    look.list_,
    look.show,
    why.why,
    tree.tree,
    tree.critical_path,
    decide.cancel,
    decide.retry,
    stats.stats,
    run.run,
    serve.serve,
    index.index,
    search.search,
    audit.audit,
    projects.projects,
    prune.prune,
    destroy.purge,
    destroy.reset,
    destroy.drop,
    backup.backup,
    move.move,
    doctor.doctor,
    check_isolation.check_isolation,
    completion.completion,
    demo.demo,
    demo.demo_worker,
):
    main.add_command(command)
