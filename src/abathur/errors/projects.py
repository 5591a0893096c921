"""Errors about projects: which one is meant, its configuration, and its store."""

from __future__ import annotations

from collections.abc import Sequence

from abathur.errors.base import AbathurError


class ProjectError(AbathurError):
    """A project could not be resolved, created or changed. The registry is as it was."""


class NoProjectError(ProjectError, LookupError):
    """Nothing says which project is meant; `tried` lists what was looked at, and what was found there."""

    def __init__(self, tried: Sequence[str], remedy: str = "") -> None:
        self.tried = tuple(tried)
        super().__init__(
            f"There is no project here: {'; '.join(tried)}.",
            "Expected an id or name, a directory with `.abathur/config.json` in it or above it, or a "
            "configured resolver or default.",
            remedy
            or "Make one with `abathur projects create DIRECTORY`, or name one (`project=`, `--project`).",
        )


class UnknownProjectError(ProjectError, LookupError):
    """No project has the id or name that was asked for."""

    def __init__(self, project: str) -> None:
        self.project = project
        super().__init__(
            f"There is no project {project!r}.",
            "Expected the id or the name of a project of this registry.",
            "See `abathur projects list`.",
        )


class AmbiguousProjectError(ProjectError, LookupError):
    """Several projects bear the name that was asked for; `ids` lists them."""

    def __init__(self, name: str, bearers: Sequence[tuple[str, Sequence[str]]]) -> None:
        self.name = name
        self.ids = tuple(project_id for project_id, _ in bearers)
        those = "; ".join(
            f"{project_id} in {', '.join(roots) or 'no directory'}" for project_id, roots in bearers
        )
        super().__init__(
            f"The name {name!r} is that of {len(bearers)} projects: {those}.",
            "Expected a name that one project bears, or an id.",
            "Use one of these ids, or rename one of the projects.",
        )


class ProjectDataMissingError(ProjectError):
    """The project is registered, and its store is gone."""

    def __init__(self, project_id: str, name: str, store: str) -> None:
        self.project_id = project_id
        self.store = store
        super().__init__(
            f"The store {store} of project {name!r} ({project_id}) is gone.",
            "Expected it where the project was created with it.",
            f"Put it back from a backup, or make an empty one with `abathur projects repair {project_id}`.",
        )


class ProjectConfigError(ProjectError):
    """A configuration file of a project is unreadable, or a field of it is wrong.

    `path` is the file, `field` the field (such as ``project.id``) or None, `reason` what is wrong.
    """

    def __init__(self, path: str, field: str | None, reason: str, expected: str, remedy: str) -> None:
        self.path = path
        self.field = field
        self.reason = reason
        where = f"{path}: {field}" if field else path
        super().__init__(f"{where}: {reason}.", expected, remedy)


class ProjectDirectoryError(ProjectError):
    """A working directory is not there, is no directory, or may not be entered."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(
            f"{path}: {reason}.",
            "Expected a directory that can be read.",
            "Give another directory, or set the session's with `set_working_directory`.",
        )


class CopiedProjectError(ProjectError):
    """A directory is a copy of a project's, and its configuration says `strict_mode`."""

    def __init__(self, project_id: str, path: str, others: Sequence[str]) -> None:
        self.project_id = project_id
        self.path = path
        self.others = tuple(others)
        super().__init__(
            f"{path} bears the id {project_id}, which belongs to {', '.join(others)}, and is strict.",
            "Expected an id that no other directory has.",
            "Remove `project.id` from the copy's configuration for a project of its own, or set "
            "`strict_mode` to false to share the project.",
        )


class StoreTakenError(ProjectError):
    """The store that a project asks for belongs to another one; `owner` says to which."""

    def __init__(self, database_name: str, owner: str, wanted_by: str) -> None:
        self.database_name = database_name
        self.owner = owner
        super().__init__(
            f"The store {database_name!r}, which {wanted_by} asks for, belongs to {owner}.",
            "Expected a store of its own for each project.",
            "Choose another `project.database_name`, or leave it out.",
        )


class ResolverError(ProjectError):
    """The resolver that the application configured failed, or took too long."""

    def __init__(self, resolver: str, found: str) -> None:
        super().__init__(
            f"The resolver {resolver} gave no answer: {found}.",
            "Expected the id or name of a project, or None, within its time.",
            "Look at the resolver, or name the project yourself.",
        )


class RegistryUnavailableError(ProjectError, ConnectionError):
    """The database that holds the registry cannot be reached now; nothing was created."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"The registry of projects in {name} cannot be reached: {found}",
            "Expected its database to answer.",
            "Call again when it does; no restart is needed.",
        )
