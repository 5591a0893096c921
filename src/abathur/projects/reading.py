"""Reading the registry: projects, with their roots, by id or name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abathur import payload, times
from abathur.projects import names
from abathur.projects.values import Project, ProjectEvent, Root
from abathur.script import Script, Statement

MOST: int = 1_000
"""Projects of one name that are told apart in a message."""


def roots_of(project_id: str) -> Script[list[Any]]:
    """The rows of a project's directories, the last seen first."""
    return (yield Statement("projects.roots_of", project_id=project_id))


def by_id(project_id: str) -> Script[Project | None]:
    """A project with its roots."""
    rows = yield Statement("projects.get", id=project_id)
    if not rows:
        return None
    return project(rows[0], (yield from roots_of(project_id)))


def matching(text: str) -> Script[list[Project]]:
    """The projects that an id or a name means: none, one, or several of one name."""
    project_id = names.as_id(text)
    if project_id is not None:
        found = yield from by_id(project_id)
        if found is not None:
            return [found]
    rows = yield Statement("projects.named", name=text, limit=MOST)
    return (yield from _with_roots(rows))


def page(after: str, name: str | None, state: str | None, limit: int) -> Script[list[Project]]:
    """Projects in the order of their ids, which is that in which they were made."""
    rows = yield Statement("projects.page", after=after, name=name, state=state, limit=limit)
    return (yield from _with_roots(rows))


def nearest(paths: Sequence[str]) -> Script[tuple[str, Project] | None]:
    """The first of some paths that is a root, with its project."""
    for path in paths:
        rows = yield Statement("projects.root", root=path)
        if rows:
            found = yield from by_id(rows[0]["project_id"])
            if found is not None:
                return path, found
    return None


def _with_roots(rows: Sequence[Any]) -> Script[list[Project]]:
    roots = {}
    for row in rows:
        roots[row["id"]] = yield from roots_of(row["id"])
    return [project(row, roots[row["id"]]) for row in rows]


def events(project_id: str, limit: int) -> Script[list[ProjectEvent]]:
    """What happened to a project, the last first."""
    rows = yield Statement("projects.events", project_id=project_id, limit=limit)
    return [
        ProjectEvent(
            id=row["id"],
            project_id=row["project_id"],
            at=times.moment(row["at"]),
            kind=row["kind"],
            actor=row["actor"],
            detail=_object(row["detail"]),
        )
        for row in rows
    ]


def working_directory(session: str) -> Script[str | None]:
    """Where a session works, if that was said."""
    rows = yield Statement("projects.working_directory", session=session)
    return rows[0]["directory"] if rows else None


def project(row: Any, roots: Sequence[Any]) -> Project:
    """The value of a row."""
    return Project(
        id=row["id"],
        name=row["name"],
        description=row["description"],
        database_name=row["database_name"],
        state=row["state"],
        created_at=times.moment(row["created_at"]),
        updated_at=times.moment(row["updated_at"]),
        metadata=_object(row["metadata"]),
        roots=tuple(
            Root(
                path=root["root"],
                seen_at=times.moment(root["seen_at"]),
                config_persisted=bool(root["persisted"]),
                reason=root["reason"],
            )
            for root in roots
        ),
    )


def _object(text: Any) -> Mapping[str, Any]:
    found = payload.decode_stored(text)
    return found if isinstance(found, dict) else {}
