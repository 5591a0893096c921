"""`abathur projects`: which project a directory is, and what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from abathur.cli.completing import PROJECT
from abathur.cli.options import Settings, common
from abathur.cli.output import clean, facts, heading, is_terminal, moment, note, table, write, write_json

if TYPE_CHECKING:
    from abathur.database import Database
    from abathur.models import Finding
    from abathur.projects.changing import Repaired
    from abathur.projects.values import Project, ProjectEvent, Resolution


@click.group()
@common
def projects() -> None:
    """The projects of this database: a directory's configuration says which one it is."""


@projects.command(
    "list",
    epilog="""\b
Examples:
  abathur projects list
  abathur projects list --state missing
  abathur projects list --json --limit 1000
""",
)
@click.option("--name", metavar="TEXT", help="Only projects of this name.")
@click.option(
    "--state", type=click.Choice(["provisioning", "ready", "missing"]), help="Only projects in this state."
)
@click.option("--after", default="", metavar="PROJECT_ID", help="The next page: the last one of this one.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000), default=100, show_default=True, help="So many at most."
)
@common
@click.pass_obj
def list_(settings: Settings, /, **filters: Any) -> None:
    """List projects in the order in which they were made."""
    from abathur.cli.opening import with_database

    found = with_database(settings, lambda db: db.projects.list(**filters))
    if settings.json:
        write_json(found)
        return
    if not found:
        note("No projects.")
        return
    table(
        ("id", "state", "name", "store", "directories"),
        [
            (one.id, one.state, one.name, one.database_name, ", ".join(root.path for root in one.roots))
            for one in found
        ],
    )
    if is_terminal() and len(found) == filters["limit"]:
        note(f"There may be more: --after {found[-1].id}")


@projects.command(
    short_help="Show one project with its directories and what happened to it.",
    epilog="""\b
Examples:
  abathur projects show "My Project"
  abathur projects show 0199a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b --json
""",
)
@click.argument("project", type=PROJECT, metavar="PROJECT")
@common
@click.pass_obj
def show(settings: Settings, project: str) -> None:
    """Show one project: its store, its directories, and what happened to it.

    PROJECT is an id, or a name that only one project has.
    """
    from abathur.cli.opening import with_database

    async def look(db: Database) -> tuple[Project, list[ProjectEvent]]:
        return await db.projects.get(project), await db.projects.events(project)

    found, events = with_database(settings, look)
    if settings.json:
        write_json({"project": found, "events": events})
        return
    _tell(found)
    if events:
        heading("Events")
        table(
            ("at", "what", "by", "detail"),
            [
                (
                    moment(one.at),
                    one.kind,
                    one.actor,
                    ", ".join(f"{key}: {value}" for key, value in one.detail.items() if value is not None),
                )
                for one in events
            ],
        )


def _tell(project: Project) -> None:
    heading(project.name)
    facts(
        (
            ("id", project.id),
            ("state", project.state),
            ("store", project.database_name),
            ("description", project.description),
            ("metadata", dict(project.metadata) or None),
            ("created", moment(project.created_at)),
            ("changed", moment(project.updated_at)),
        )
    )
    if project.roots:
        heading("Directories")
        facts(
            (
                root.path,
                "has the id" if root.config_persisted else f"without the id: {root.reason or 'not yet'}",
            )
            for root in project.roots
        )


@projects.command(
    short_help="Say which project is meant; make it if need be.",
    epilog="""\b
Examples:
  abathur projects resolve
  abathur projects resolve --directory ~/src/app --json
  abathur projects resolve "My Project"
""",
)
@click.argument("project", required=False, type=PROJECT, metavar="PROJECT")
@click.option("--directory", type=click.Path(), metavar="DIRECTORY", help="Where one works; else here.")
@click.option("--session", metavar="ID", help="The session whose working directory counts.")
@common
@click.pass_obj
def resolve(settings: Settings, project: str | None, directory: str | None, session: str | None) -> None:
    """Say which project is meant: the one that is named, else the one of a directory or of a session.

    The nearest configuration from the directory upward counts. If it is of no project yet, the project
    is made, unless its auto_switch is off.
    """
    from abathur.cli.opening import with_database

    where = "." if (project, directory, session) == (None, None, None) else directory
    _answer(
        settings,
        with_database(settings, lambda db: db.projects.resolve(project, where, session), must_exist=False),
    )


@projects.command(
    short_help="Make a project of a directory, or one without a directory.",
    epilog="""\b
Examples:
  abathur projects create
  abathur projects create ~/src/app --name "My App"
  abathur projects create --no-directory --name ideas
""",
)
@click.argument("directory", default=".", type=click.Path(), metavar="DIRECTORY")
@click.option("--no-directory", is_flag=True, help="A project that is known by its name alone.")
@click.option("--name", metavar="TEXT", help="Its name; else that of the directory.")
@click.option("--description", metavar="TEXT", help="What it is, in words.")
@click.option("--database-name", metavar="TEXT", help="What its store is called; else it is drawn.")
@common
@click.pass_obj
def create(settings: Settings, /, directory: str, no_directory: bool, **given: Any) -> None:
    """Make a project of DIRECTORY, which is this one if none is named, and write its configuration.

    If the directory is a project's already, that is the answer.
    """
    from abathur.cli.opening import with_database

    where = None if no_directory else directory
    _answer(
        settings,
        with_database(settings, lambda db: db.projects.create(directory=where, **given), must_exist=False),
    )


@projects.command(
    epilog="""\b
Examples:
  abathur projects rename "My Project" "Our Project"
""",
)
@click.argument("project", type=PROJECT, metavar="PROJECT")
@click.argument("name", metavar="NEW_NAME")
@common
@click.pass_obj
def rename(settings: Settings, project: str, name: str) -> None:
    """Give a project another name, in its configurations too; its id and its store stay."""
    from abathur.cli.opening import with_database

    found = with_database(settings, lambda db: db.projects.rename(project, name))
    if settings.json:
        write_json(found)
    else:
        _tell(found)


@projects.command(
    short_help="Make a directory one of a project's.",
    epilog="""\b
Examples:
  abathur projects adopt "My Project"
  abathur projects adopt "My Project" ~/src/clone
""",
)
@click.argument("project", type=PROJECT, metavar="PROJECT")
@click.argument("directory", default=".", type=click.Path(), metavar="DIRECTORY")
@common
@click.pass_obj
def adopt(settings: Settings, project: str, directory: str) -> None:
    """Make DIRECTORY, or this one, a directory of PROJECT: its configuration gets the project's id and name.

    A project that the directory had before keeps its store and its other directories.
    """
    from abathur.cli.opening import with_database

    _answer(settings, with_database(settings, lambda db: db.projects.adopt(project, directory)))


@projects.command(
    short_help="Make good what can be: a store that is gone, ids that were not written.",
    epilog="""\b
Examples:
  abathur projects repair "My Project"
""",
)
@click.argument("project", type=PROJECT, metavar="PROJECT")
@common
@click.pass_obj
def repair(settings: Settings, project: str) -> None:
    """Make good what can be made good.

    A store that is gone is made anew, empty: put it back from a backup first, if there is one. Directories
    that are gone are forgotten, and configurations without the project's id get it.
    """
    from abathur.cli.opening import with_database

    found: Repaired = with_database(settings, lambda db: db.projects.repair(project))
    if settings.json:
        write_json(found)
        return
    for line in found.done or ("Nothing had to be done.",):
        write(clean(line))


@projects.command(
    short_help="Look at every project's store and directories.",
    epilog="""\b
Examples:
  abathur projects doctor
  abathur projects doctor --json

\b
Exit codes:
  0  there may be notes and warnings, but no problem
  1  there is a problem
""",
)
@common
@click.pass_obj
def doctor(settings: Settings) -> None:
    """Look at every project's store and directories, and say what to do. Changes nothing.

    Exits 1 if a store is gone; warnings and notes are no failure.
    """
    from abathur.cli.doctor import tell
    from abathur.cli.opening import with_database

    async def look(db: Database) -> tuple[str, list[Finding]]:
        return db.name, await db.projects.doctor()

    name, findings = with_database(settings, look)
    ok = not any(finding.level == "problem" for finding in findings)
    if settings.json:
        write_json({"database": name, "ok": ok, "findings": findings})
    else:
        tell(name, findings)
    if not ok:
        raise click.exceptions.Exit(1)


def _answer(settings: Settings, found: Resolution) -> None:
    if settings.json:
        write_json(found)
        return
    write(clean(found.project_id or "(none yet)"))
    if is_terminal():
        facts((("name", found.name), ("store", found.database_name), ("directory", found.root)))
    if found.reason and found.root is not None:
        is_dry = found.reason.startswith("dry_run")
        note(found.reason if is_dry else f"Its configuration has no id: {found.reason}.")
