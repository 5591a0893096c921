"""The registry's tables: projects, their roots, sessions' working directories, and what happened to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from abathur.projects.index.tables import INDEX, JOBS
from abathur.schema.declare import Column, Index, Schema, Table

PROJECTS: Final = Table(
    "projects",
    (
        Column("id", "TEXT", primary_key=True),
        Column("name", "TEXT", not_null=True),
        Column("description", "TEXT"),
        Column("database_name", "TEXT", not_null=True),
        Column("state", "TEXT", not_null=True, check="state IN ('provisioning', 'ready', 'missing')"),
        Column("created_at", "INTEGER", not_null=True),
        Column("updated_at", "INTEGER", not_null=True),
        Column("metadata", "TEXT", not_null=True, default="'{}'"),
    ),
    unique=(("database_name",),),
    without_rowid=True,
)

ROOTS: Final = Table(
    "project_roots",
    (
        Column("root", "TEXT", primary_key=True),  # a real path
        Column("project_id", "TEXT", not_null=True),
        Column("seen_at", "INTEGER", not_null=True),
        # The name that its config had last: a rename is a change of that, whatever the project is named.
        Column("name", "TEXT", not_null=True),
        # Whether its config has the id; NULL until that was tried. If it has not: why.
        Column("persisted", "INTEGER"),
        Column("reason", "TEXT"),
        # The directory itself, "device:inode": one that is mounted twice has two paths.
        Column("directory", "TEXT", not_null=True),
    ),
    without_rowid=True,
)

SESSIONS: Final = Table(
    "project_sessions",
    (
        Column("session", "TEXT", primary_key=True),
        Column("directory", "TEXT", not_null=True),
        Column("seen_at", "INTEGER", not_null=True),
    ),
    without_rowid=True,
)

EVENTS: Final = Table(
    "project_events",
    (
        Column("id", "TEXT", primary_key=True),
        Column("project_id", "TEXT", not_null=True),
        Column("at", "INTEGER", not_null=True),
        Column("kind", "TEXT", not_null=True),
        Column("actor", "TEXT", not_null=True),
        Column("detail", "TEXT", not_null=True),  # JSON
    ),
    without_rowid=True,
)

REGISTRY: Final = Schema(
    owner="abathur_projects",
    tables=(PROJECTS, ROOTS, SESSIONS, EVENTS),
    indexes=(
        # resolve by name
        Index("projects_by_name", "projects", ("name", "id")),
        # the roots of a project
        Index("project_roots_of", "project_roots", ("project_id", "root")),
        # a directory by another path
        Index("project_roots_directory", "project_roots", ("directory",)),
        # what happened to a project
        Index("project_events_of", "project_events", ("project_id", "id")),
    ),
)

FEATURE: Final = (REGISTRY, JOBS)
"""What every database has for its projects."""

STORE: Final[tuple[Schema, ...]] = (INDEX,)
"""What a project's store has beside the library's own tables."""


def is_store(stamp: Mapping[str, str]) -> bool:
    """Whether a database is a project's store, from its stamp."""
    return all(f"declaration:{schema.owner}" in stamp for schema in STORE)
