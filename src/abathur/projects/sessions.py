"""Where a session works, as a tool for agents: they say it once, and are understood from then on."""

from __future__ import annotations

import secrets
from typing import Any

from abathur.errors import NoProjectError
from abathur.projects.api import Projects


async def set_working_directory(
    projects: Projects[Any], directory: str, *, session_id: str | None = None
) -> dict[str, Any]:
    """Say where a session works, and learn which project that is; it is made if its configuration says so.

    projects: `db.projects`. directory: a path. session_id: who says it; None begins a new session, whose
    id is in the answer, and cannot be guessed.

    Returns ``{session_id, working_directory, config_found, config_path, project}``; `project` is None, or
    ``{id, name, database_name, config_persisted, reason}``. Raises ProjectDirectoryError,
    ProjectConfigError and the other errors of `db.projects.resolve`.
    """
    session = secrets.token_urlsafe(24) if session_id is None else session_id
    made = await projects.set_working_directory(session, directory)
    assert made is not None  # noqa: S101  # a directory was given
    try:
        found = await projects.resolve(session=session)
    except NoProjectError:
        project = None
    else:
        project = {
            "id": found.project_id,
            "name": found.name,
            "database_name": found.database_name,
            "config_persisted": found.config_persisted,
            "reason": found.reason,
        }
    return {
        "session_id": session,
        "working_directory": made.directory,
        "config_found": made.config_path is not None,
        "config_path": made.config_path,
        "project": project,
    }
