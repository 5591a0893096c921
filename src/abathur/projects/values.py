"""What the registry answers with: projects, and which one is meant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from attrs import field, frozen

Tier = Literal["explicit", "session", "directory", "resolver", "default"]
"""What said which project is meant."""
State = Literal["provisioning", "ready", "missing"]
"""``provisioning``: its store is being made; ``missing``: its store was gone when it was looked for."""


@frozen(kw_only=True)
class Root:
    """A directory that bears a project's configuration."""

    path: str
    """Its real path."""
    seen_at: datetime | None
    """When it was resolved last, to the day."""
    config_persisted: bool
    """Whether its configuration has the project's id."""
    reason: str | None = None
    """If it has not: why."""


@frozen(kw_only=True)
class Project:
    """A project as it was when it was read."""

    id: str
    name: str
    """Not unique."""
    description: str | None
    database_name: str
    """What its store is called: a file beside the registry's, or a schema of the same database."""
    state: str
    """``provisioning``, ``ready`` or ``missing``."""
    created_at: datetime | None
    updated_at: datetime | None
    metadata: Mapping[str, Any] = field(factory=dict)
    """The application's own."""
    roots: tuple[Root, ...] = ()
    """Its directories."""


@frozen(kw_only=True)
class Resolution:
    """Which project is meant, and how that is known."""

    project_id: str
    """Empty if there is none yet, which only `dry_run` answers with."""
    name: str
    database_name: str
    """What its store is called."""
    tier: Tier
    """What said so."""
    root: str | None
    """The real path of the directory that bears its configuration."""
    config_persisted: bool
    """Whether that configuration has the project's id."""
    reason: str | None = None
    """Why it has not; or what would be done, if `dry_run` is set."""


@frozen(kw_only=True)
class ProjectEvent:
    """Something that happened to a project."""

    id: str
    project_id: str
    at: datetime | None
    kind: str
    """``created``, ``adopted``, ``renamed``, ``moved``, ``copied``, ``root_added``, ``superseded`` (its
    directory became another's), ``missing`` or ``repaired``."""
    actor: str
    """Who caused it."""
    detail: Mapping[str, Any]


@frozen(kw_only=True)
class WorkingDirectory:
    """Where a session works."""

    session: str
    directory: str
    """A real path."""
    config_path: str | None
    """The configuration that is nearest to it, if there is any."""
