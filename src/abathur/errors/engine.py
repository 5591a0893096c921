"""Errors about transactions that the database refused or lost; nothing of them was applied."""

from __future__ import annotations

from abathur.errors.base import AbathurError


class EngineError(AbathurError):
    """The database refused or lost a transaction. Nothing of it was applied."""


class LockTimeoutError(EngineError, TimeoutError):
    """Another process kept a lock for longer than `lock_timeout`.

    `pid` is the holder of a file's write lock; None where it cannot be told, as for a lock on a server.
    """

    def __init__(self, path: str, seconds: float | None, pid: int | None) -> None:
        self.pid = pid
        holder = f"Process {pid}" if pid else "Another process"
        super().__init__(
            f"{holder} has kept a lock in {path} for too long."
            if seconds is None
            else f"{holder} has held the write lock of {path} for {seconds:g} s.",
            "Expected the lock to be free within `lock_timeout`.",
            "See what that process does (a stopped one holds it for ever; a server lists them in "
            "pg_stat_activity), or raise `lock_timeout`.",
        )


class DiskFullError(EngineError):
    """The disk, or the file's allowed size, is full."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"There is no space left for {path}.",
            "Expected room for the write-ahead log and the database.",
            "Free some space and call again, without a restart; nothing that was acknowledged is lost.",
        )


class DiskIOError(EngineError):
    """The operating system reported an error on the database's files.

    Only if a COMMIT could not be synced, and the disk then took nothing more, may the transaction be found,
    whole, by the first process that opens the database after all have ended.
    """

    def __init__(self, path: str, found: str) -> None:
        super().__init__(
            f"Reading or writing {path} failed: {found}.",
            "Expected a working disk.",
            "Look at the system's log, then call again.",
        )


class OutOfMemoryError(EngineError, MemoryError):
    """SQLite, or the server, could not get the memory that it needs."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"There was too little memory for a transaction on {path}.",
            "Expected memory for all of its rows.",
            "Give the process, or the server, more memory, or make smaller batches.",
        )


class OutcomeUnknownError(EngineError):
    """The connection was lost during COMMIT, and the server has not said since what became of it.

    It is the only EngineError after which the transaction may have been applied.
    """

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(
            f"The connection to {name} was lost during COMMIT, and for {seconds:g} s nobody could say "
            "whether the transaction was applied.",
            "Expected a server that can be asked again soon.",
            "Look at what was to be written before it is written again; idempotency keys make that safe.",
        )


class BackupUnsupportedError(EngineError):
    """The engine makes no copies into files."""

    def __init__(self, name: str, target: str) -> None:
        super().__init__(
            f"No copy of {name} is written to {target}: its server makes its own backups.",
            "Expected a database in a file or in memory.",
            "Use `pg_dump`, or the backups of your server; `abathur move` copies it into a file.",
        )


class ConstraintError(EngineError):
    """A constraint or a trigger of the database refused the change."""

    def __init__(self, statement: str, found: str) -> None:
        self.statement = statement
        super().__init__(
            f"The database refused {statement}: {found}.",
            "Expected values that its constraints allow.",
            "Change the values, or look at the table's constraints and triggers.",
        )


class StatementError(EngineError):
    """The database could not execute a statement."""

    def __init__(self, statement: str, found: str) -> None:
        self.statement = statement
        super().__init__(
            f"The database could not execute {statement}: {found}.",
            "Expected valid SQL for the tables that exist.",
            "If the statement is yours, correct it; if it is abathur's, report it with the version of SQLite "
            "or of the server.",
        )
