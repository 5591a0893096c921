"""What shells complete: the ids and agent types of the database that the command line is about.

A completion is quick, bounded and silent: where there is nothing to look into, it offers nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from abathur.cli.options import Settings, url_of

if TYPE_CHECKING:
    from abathur.script import Script

MOST: Final = 50
"""So many are offered at most."""
SAFE: Final = re.compile(r"[A-Za-z0-9_][\w.:@%+=/-]*", re.ASCII)
"""What is offered: bash puts it on the command line as it is, so a stored `$(rm -rf ~)` must never be."""


class TaskId(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A task's id or any beginning of it that no other task's id has."""

    name = "id"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(task_id, help=about) for task_id, about in _look(ctx, _newest, incomplete)]


class AgentType(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """An agent type; those of the database's tasks are offered."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(found) for found, _ in _look(ctx, _agent_types, incomplete)]


class ProjectName(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """The id or the name of a project; of those whose names shells can take, the names are offered."""

    name = "project"

    def shell_complete(
        self, ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(found, help=about) for found, about in _look(ctx, _projects, incomplete)]


PROJECT: Final = ProjectName()
TASK: Final = TaskId()
AGENT_TYPE: Final = AgentType()


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For `shell_complete=`: the files that the shell finds."""
    return [CompletionItem(incomplete, type="file")]


def _look(
    ctx: click.Context, script: Callable[..., Script[list[tuple[str, str]]]], incomplete: str
) -> list[tuple[str, str]]:
    from abathur.engines.peek import peek
    from abathur.errors import AbathurError

    try:
        found = peek(url_of(ctx.find_object(Settings) or Settings()), script, incomplete)
    except (AbathurError, OSError, ValueError):
        return []  # a prompt is no place for an error; the command itself will tell
    return [(value, about) for value, about in found if SAFE.fullmatch(value)]


def _newest(prefix: str) -> Script[list[tuple[str, str]]]:
    from abathur.cli.output import clean
    from abathur.script import Statement

    rows: list[Any] = yield Statement("tasks.newest", prefix=prefix, beyond=prefix + "\U0010ffff", limit=MOST)
    return [(row["id"], clean(f"{row['status']}: {row['summary']}")[:80]) for row in rows]


def _agent_types(prefix: str) -> Script[list[tuple[str, str]]]:
    from abathur.script import Statement

    rows: list[Any] = yield Statement("tasks.counts")
    found = sorted({row["agent_type"] for row in rows if row["agent_type"].startswith(prefix)})
    return [(agent_type, "") for agent_type in found[:MOST]]


def _projects(prefix: str) -> Script[list[tuple[str, str]]]:
    from abathur.cli.output import clean
    from abathur.script import Statement

    rows: list[Any] = yield Statement("projects.page", after="", name=None, state=None, limit=1_000)
    pairs = ((row["name"] if SAFE.fullmatch(row["name"]) else row["id"], row) for row in rows)
    found = {shown: clean(row["name"])[:80] for shown, row in pairs if shown.startswith(prefix)}
    return list(found.items())[:MOST]
