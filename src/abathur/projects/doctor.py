"""What is wrong with the projects of a registry: stores and roots that are gone, ids never written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from abathur.engines.base import Engine
from abathur.errors import ProjectConfigError
from abathur.models import Finding
from abathur.projects import config, reading
from abathur.projects.stores import Stores
from abathur.projects.values import Project, Root

PAGE = 500


async def examine(engine: Engine, stores: Stores[Any]) -> list[Finding]:
    """Look at every project, its store and its roots."""
    findings: list[Finding] = []
    after, number = "", 0
    while page := await engine.read(reading.page, after, None, None, PAGE):
        for project in page:
            findings += await _of_store(project, stores)
            for root in project.roots:
                findings += _of_root(project, root)
        number += len(page)
        after = page[-1].id
    said = f"{number} registered" if not findings else f"{number} registered, {len(findings)} findings"
    return [Finding(code="projects", level="ok", what="projects", found=said), *findings]


async def _of_store(project: Project, stores: Stores[Any]) -> list[Finding]:
    what = f"the store of {project.name!r} ({project.id})"
    if project.state == "provisioning":
        return [
            Finding(
                code="project-state",
                level="note",
                what=what,
                found="it is being made, or who made it died",
                remedy=f"Whoever asks for it next completes it: abathur projects repair {project.id}",
            )
        ]
    if await stores.exists(project.database_name):
        return []
    return [
        Finding(
            code="project-store",
            level="problem",
            what=what,
            found=f"{stores.place(project.database_name)} is gone",
            remedy=f"Put it back from a backup, or make an empty one: abathur projects repair {project.id}",
        )
    ]


def _of_root(project: Project, root: Root) -> Iterator[Finding]:
    what = f"{root.path}, a directory of {project.name!r} ({project.id})"
    remedy = f"abathur projects repair {project.id}"
    if not config.is_directory(root.path):
        yield Finding(
            code="project-root",
            level="note",
            what=what,
            found="it is not there",
            remedy=f"If it was moved, resolve it where it is now; to forget it: {remedy}",
        )
        return
    try:
        path = config.path_of(root.path)
        found = None if path is None else config.read(path)
    except ProjectConfigError as error:
        yield Finding(
            code="project-config", level="warning", what=what, found=error.problem, remedy="Correct the file."
        )
        return
    if found is None or found.id is None:
        missing = "has no configuration" if found is None else "has a configuration without the id"
        why = f" ({root.reason})" if root.reason else ""
        yield Finding(
            code="project-config",
            level="note",
            what=what,
            found=f"{missing}{why}; it is known by its path alone",
            remedy=f"When it can be written: {remedy}",
        )
    elif found.id != project.id:
        yield Finding(
            code="project-config",
            level="warning",
            what=what,
            found=f"its configuration has the id {found.id}",
            remedy=f"To forget it: {remedy}",
        )
