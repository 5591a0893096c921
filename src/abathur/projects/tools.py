"""The tools that agents are given: plain functions of a Database, with plain values.

A server that serves them (MCP, say) hands over what the agent gave, and sends back what these return.
"""

from __future__ import annotations

from typing import Any

import attrs

from abathur.projects.api import Projects
from abathur.projects.index.values import IndexingJob
from abathur.projects.sessions import set_working_directory

__all__ = ["as_dict", "indexing_status", "search", "set_working_directory", "start_indexing"]

LIMIT = 10
"""Hits of a search, if the agent does not say how many."""


async def start_indexing(
    projects: Projects[Any], path: str, project_id: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Begin to index a directory or file of a project, so that it can be searched; returns at once.

    projects: `db.projects`. path: in one of the project's directories. project_id: its id or name, else
    the project that the path is in. force: index again what has not changed.

    Returns ``{job_id, status, project_id, database_name}``. Raises as `db.projects.start_indexing`.
    """
    job = await projects.start_indexing(path, project_id, force=force)
    return {
        "job_id": job.id,
        "status": job.status,
        "project_id": job.project_id,
        "database_name": job.database_name,
    }


async def indexing_status(projects: Projects[Any], job_id: str) -> dict[str, Any]:
    """How far an indexing job is: its status, a message, and what was found, indexed and skipped.

    Raises InvalidInputError for what is no job.
    """
    return as_dict(await projects.indexing(job_id))


async def search(
    projects: Projects[Any],
    query: str,
    project_id: str | None = None,
    limit: int = LIMIT,
    *,
    directory: str | None = None,
    session_id: str | None = None,
) -> dict[str, Any]:
    """Search the indexed files of a project for words, ``"phrases"`` and ``beginnings*``.

    project_id: an id or a name, else the project of the directory, or of the session's working directory.

    Returns ``{query, hits}``, the best hit first, each ``{path, root, line, first_line, last_line, snippet,
    score}``. Raises as `db.projects.search`.
    """
    hits = await projects.search(query, project_id, directory=directory, session=session_id, limit=limit)
    return {"query": query, "hits": [attrs.asdict(hit) for hit in hits]}


def as_dict(job: IndexingJob) -> dict[str, Any]:
    """A job as plain values."""
    found = attrs.asdict(job)
    return {"job_id": found.pop("id"), **found, "progress": round(job.progress, 4)}
