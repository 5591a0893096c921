"""Errors about a database that cannot be opened as it is; nothing in it was changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abathur.errors.base import AbathurError


class OpenError(AbathurError):
    """The database cannot be opened as it is. Nothing in it was changed."""


class InvalidUrlError(OpenError, ValueError):
    """The URL names no database that this library can open."""


class MissingDatabaseError(OpenError, FileNotFoundError):
    """There is no database, and it is not to be made: by a command that looks, or on a server by anybody."""

    def __init__(self, path: str, *, on_server: bool = False) -> None:
        super().__init__(
            f"There is no database at {path}.",
            "Expected one that exists on the server: abathur makes a schema in it, and no database."
            if on_server
            else "Expected one that `abathur init` or a program of yours has made.",
            "Check the name at the end of the URL, or make it with `createdb`; then run `abathur init`."
            if on_server
            else "Run `abathur init` to make it, or name another one with --database or ABATHUR_DATABASE.",
        )


class MissingDirectoryError(OpenError, FileNotFoundError):
    """The directory that should hold the database does not exist."""

    def __init__(self, directory: str) -> None:
        super().__init__(
            f"The directory {directory} does not exist.",
            "Expected an existing directory for the database file.",
            f"Create it (`mkdir -p {directory}`) or give another path.",
        )


class NotADatabaseError(OpenError):
    """The path holds something that is not an SQLite database."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f"{path} is not an SQLite database: {found}.",
            "Expected a database file, an empty file, or no file.",
            "Check the path; nothing was written to it.",
        )


class CorruptDatabaseError(OpenError):
    """SQLite, or the server, found the database damaged."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f"{path} is damaged: {found}.",
            "Expected a sound database.",
            "Keep a copy, then restore a backup; beside a file there may be `*.before-*.db`, "
            "and `sqlite3 FILE .recover` saves what can be read.",
        )


class ReadOnlyDatabaseError(OpenError):
    """The database has to be written to, and cannot be."""

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f"{path} cannot be written: {found}.",
            "Expected a file and a directory that this user may write to, or a server that is no standby.",
            "Change the permissions, or use another place; a script that writes is run by `db.run`.",
        )


class ForeignDatabaseError(OpenError):
    """The file belongs to another application."""

    def __init__(self, path: str, application_id: int) -> None:
        self.application_id = application_id
        super().__init__(
            f"{path} belongs to another application (its application_id is {application_id:#010x}).",
            "Expected a new file, one of abathur's, or one without an application_id.",
            "Give another path, or pass `adopt=True` (`--adopt`) to put abathur's tables into this one.",
        )


class UnrelatedDatabaseError(OpenError):
    """The file holds tables, and none of abathur's, so a command that looks will not add any."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} holds tables, and none of abathur's.",
            "Expected a database that abathur made.",
            "Check --database and ABATHUR_DATABASE, or run `abathur init` to add its tables to this one.",
        )


class MissingExtraError(OpenError, ImportError):
    """What was asked for needs a package that is not installed."""

    def __init__(self, extra: str, package: str, what: str) -> None:
        super().__init__(
            f"{what} needs the package {package}, which is not installed.",
            f"Expected abathur with its extra `{extra}`.",
            f"Install it: `pip install 'abathur[{extra}]'`.",
        )


class ServerUnavailableError(OpenError, ConnectionError):
    """The server could not be reached, or was lost and did not come back in time. Nothing was applied."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"The server of {name} cannot be reached: {found.removesuffix('.')}.",
            "Expected a PostgreSQL server that answers, within `lock_timeout` once it was reached.",
            "See whether it runs, and whether host, port and `max_connections` are right.",
        )


class AccessDeniedError(OpenError, PermissionError):
    """The server does not know the role, or does not let it do this."""

    def __init__(self, name: str, found: str) -> None:
        super().__init__(
            f"Access to {name} was refused: {found}.",
            "Expected a role that may connect and that owns the schema, or may create it.",
            "Check user and password, or let an administrator run "
            "`CREATE SCHEMA <schema> AUTHORIZATION <role>`; no superuser is needed.",
        )


class NetworkFileSystemError(OpenError):
    """The file lies on a network file system, where SQLite's WAL mode can lose data."""

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(
            f"{path} lies on a network file system ({kind}).",
            "Expected a local file system: WAL mode needs shared memory between all its users.",
            "Move the file to a local disk, or let the other machines ask one process that has it open.",
        )


class UnsupportedVersionError(OpenError):
    """The database software is older than this library needs."""

    def __init__(self, software: str, found: str, needed: str) -> None:
        super().__init__(
            f"{software} is {found}.",
            f"Expected {needed} or newer.",
            "Use a Python that was built with a newer one."
            if software == "SQLite"
            else "Use a newer server.",
        )


class MissingModuleError(OpenError):
    """The SQLite of this Python lacks a module that a virtual table needs; `module` names it."""

    def __init__(self, path: str, module: str) -> None:
        self.module = module
        super().__init__(
            f"{path} needs the SQLite module {module}, which this Python's SQLite was built without.",
            f"Expected an SQLite with {module}.",
            "Use a Python whose SQLite has it, as those of python.org and of most distributions do, "
            "or a PostgreSQL server.",
        )


class NewerSchemaError(OpenError):
    """A newer abathur wrote this database and says that this one cannot read it."""

    def __init__(self, path: str, needed: str, ours: str) -> None:
        self.needed = needed
        self.ours = ours
        super().__init__(
            f"{path} needs abathur {needed} or newer, and this is {ours}.",
            "Expected a database that this version can read.",
            f"Upgrade: `pip install 'abathur>={needed}'`.",
        )


class EnvironmentMismatchError(OpenError):
    """The database is stamped for another environment than the one asked for."""

    def __init__(self, path: str, found: str, wanted: str) -> None:
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{path} is a {found} database, and {wanted} was asked for.",
            "Expected the environment that is stamped in the database.",
            f"Open another database, or this one with environment={found!r} "
            f"(`--environment {found}`, or ABATHUR_ENVIRONMENT={found}).",
        )


class UnfinishedMoveError(OpenError):
    """A database is being moved to this one, or its move was interrupted."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"{path} is the target of a move that is not finished.",
            "Expected a database that was moved as a whole.",
            "Let the move end, or start it again with the same source: it goes on where it was. "
            "To give it up, remove this database; its source is as it was.",
        )


class SchemaConflictError(OpenError):
    """What is in the database cannot hold what the schema declares. `conflicts` has each one."""

    def __init__(self, path: str, conflicts: Sequence[Any]) -> None:
        self.conflicts = list(conflicts)
        listed = "; ".join(str(conflict) for conflict in self.conflicts)
        super().__init__(
            f"{path} cannot be brought to the declared schema: {listed}",
            "Expected tables and columns that can hold what is declared.",
            "Nothing was changed. Follow the remedy of each conflict, then call `initialize()` "
            "(`abathur migrate`) again.",
        )


class MigrationError(OpenError):
    """A step, or the check after the steps, failed; all of them were undone."""

    def __init__(self, path: str, step: str, found: str) -> None:
        super().__init__(
            f"Bringing {path} to today's schema failed at {step}: {found.removesuffix('.')}.",
            "Expected every step to work, and a task to be enqueued, claimed and completed after them.",
            "Everything was undone. `abathur migrate --plan` shows the steps; "
            "a CHECK or trigger of your own on abathur's tables is the usual cause.",
        )
