"""Every error that abathur raises, each saying what was wrong, what was expected and what to do.

    AbathurError
    ├── InvalidInputError (ValueError)      an argument is wrong; nothing was changed
    │   ├── InvalidPayloadError             not JSON, too large, too deep, or it holds NUL
    │   ├── UnknownTaskError (LookupError)  no task has that id
    │   ├── DependencyCycleError            the tasks would wait for each other for ever
    │   ├── IdempotencyConflictError        the key exists with different content
    │   ├── TargetExistsError (FileExistsError)   a backup overwrites nothing
    │   ├── ConfigError                     abathur.toml has a wrong value, an unknown key, or is no TOML
    │   └── UnknownStatementError           a script named a statement that nobody defined
    ├── IllegalMoveError                    the table of moves does not allow this change of status
    ├── CommandError                        a command agent's program failed, or could not be started
    ├── LeaseLostError                      the claim's fence is no longer the task's
    ├── WaitTimeoutError (TimeoutError)     the task did not end in the time given
    ├── RowsError                           a call on a plugin's rows or keys was refused; it has a `code`
    │   ├── RowValidationError (ValueError)   a name, value, filter or operation is not allowed
    │   │   └── UnknownTableError (LookupError)
    │   ├── MissingFieldError (ValueError)
    │   ├── RowSchemaConflictError          rows that are stored would not fit the schema
    │   ├── RowConflictError                a unique value, or a request id, is taken
    │   └── ValueTooLargeError (ValueError)
    ├── MoveError                           a database could not be moved; it is as it was
    │   ├── TargetNotEmptyError             the target of a move holds rows
    │   ├── SourceInUseError                workers are at work on what is to be moved
    │   ├── LeftBehindError                 tables or columns would not be copied
    │   ├── UnmovableValueError             the target cannot hold a value
    │   ├── MoveDiffersError                something wrote to the source meanwhile
    │   └── MoveConflictError               two moves to one target
    ├── ProtectedDatabaseError              it is no test's, and would be destroyed, or touched by a test
    ├── ServiceError                        the database service cannot work on this NATS server
    │   ├── NatsUnavailableError (ConnectionError)
    │   ├── NatsRefusedError (PermissionError)         it does not let this user in, or not do this
    │   ├── UnprotectedServerError (PermissionError)   it lets anybody in, from other machines too
    │   └── StreamConflictError             a stream of our name has other settings
    ├── ProjectError                        about projects; the registry is as it was
    │   ├── NoProjectError (LookupError)    nothing says which project is meant
    │   ├── UnknownProjectError (LookupError)
    │   ├── AmbiguousProjectError (LookupError)   several projects bear that name
    │   ├── ProjectConfigError              a configuration file is unreadable or wrong
    │   ├── ProjectDirectoryError           a working directory is none
    │   ├── ProjectDataMissingError         its store is gone
    │   ├── CopiedProjectError              a copy of a directory that is strict
    │   ├── StoreTakenError                 the store that it asks for is another one's
    │   ├── ResolverError                   the application's resolver failed
    │   └── RegistryUnavailableError (ConnectionError)   nothing was created
    ├── LifecycleError                      the Database is used at the wrong time or place
    │   ├── NotInitializedError
    │   ├── DatabaseClosedError
    │   ├── WrongEventLoopError
    │   └── ForkedProcessError
    ├── OpenError                           this database cannot be opened as it is
    │   ├── InvalidUrlError (ValueError)
    │   ├── MissingDatabaseError (FileNotFoundError)   the command line makes none where one is asked about
    │   ├── MissingDirectoryError (FileNotFoundError)
    │   ├── NotADatabaseError
    │   ├── CorruptDatabaseError
    │   ├── ReadOnlyDatabaseError
    │   ├── MissingExtraError (ImportError)            its driver is not installed
    │   ├── ServerUnavailableError (ConnectionError)   the server is not there, or has gone away
    │   ├── AccessDeniedError (PermissionError)        the server does not let this role in
    │   ├── ForeignDatabaseError
    │   ├── UnrelatedDatabaseError          it holds tables, and none of abathur's; only `init` adds them
    │   ├── NetworkFileSystemError
    │   ├── UnsupportedVersionError
    │   ├── MissingModuleError              SQLite was built without full-text search, say
    │   ├── NewerSchemaError
    │   ├── EnvironmentMismatchError
    │   ├── UnfinishedMoveError             it is the target of a move that is not finished
    │   ├── SchemaConflictError
    │   └── MigrationError
    └── EngineError                         the database refused or lost a transaction; nothing was applied
        ├── LockTimeoutError (TimeoutError)
        ├── OutcomeUnknownError             the connection was lost during COMMIT: look before you repeat it
        ├── BackupUnsupportedError          the server makes its own backups
        ├── DiskFullError
        ├── DiskIOError
        ├── OutOfMemoryError (MemoryError)
        ├── ConstraintError
        └── StatementError

``str(error)`` is one message of three sentences: the problem, what was expected, the remedy.
The parts are also attributes: ``problem``, ``expected``, ``remedy``.
"""

from __future__ import annotations

from abathur.errors.arguments import (
    ConfigError,
    DependencyCycleError,
    IdempotencyConflictError,
    InvalidInputError,
    InvalidPayloadError,
    TargetExistsError,
    UnknownStatementError,
    UnknownTaskError,
)
from abathur.errors.base import AbathurError
from abathur.errors.engine import (
    BackupUnsupportedError,
    ConstraintError,
    DiskFullError,
    DiskIOError,
    EngineError,
    LockTimeoutError,
    OutcomeUnknownError,
    OutOfMemoryError,
    StatementError,
)
from abathur.errors.lifecycle import (
    DatabaseClosedError,
    ForkedProcessError,
    LifecycleError,
    NotInitializedError,
    WrongEventLoopError,
)
from abathur.errors.moving import (
    LeftBehindError,
    MoveConflictError,
    MoveDiffersError,
    MoveError,
    SourceInUseError,
    TargetNotEmptyError,
    UnmovableValueError,
)
from abathur.errors.opening import (
    AccessDeniedError,
    CorruptDatabaseError,
    EnvironmentMismatchError,
    ForeignDatabaseError,
    InvalidUrlError,
    MigrationError,
    MissingDatabaseError,
    MissingDirectoryError,
    MissingExtraError,
    MissingModuleError,
    NetworkFileSystemError,
    NewerSchemaError,
    NotADatabaseError,
    OpenError,
    ReadOnlyDatabaseError,
    SchemaConflictError,
    ServerUnavailableError,
    UnfinishedMoveError,
    UnrelatedDatabaseError,
    UnsupportedVersionError,
)
from abathur.errors.projects import (
    AmbiguousProjectError,
    CopiedProjectError,
    NoProjectError,
    ProjectConfigError,
    ProjectDataMissingError,
    ProjectDirectoryError,
    ProjectError,
    RegistryUnavailableError,
    ResolverError,
    StoreTakenError,
    UnknownProjectError,
)
from abathur.errors.protected import ProtectedDatabaseError
from abathur.errors.rows import (
    MissingFieldError,
    RowConflictError,
    RowSchemaConflictError,
    RowsError,
    RowValidationError,
    UnknownTableError,
    ValueTooLargeError,
)
from abathur.errors.service import (
    NatsRefusedError,
    NatsUnavailableError,
    ServiceError,
    StreamConflictError,
    UnprotectedServerError,
)
from abathur.errors.tasks import CommandError, IllegalMoveError, LeaseLostError, WaitTimeoutError

__all__ = [
    "AbathurError",
    "AccessDeniedError",
    "AmbiguousProjectError",
    "BackupUnsupportedError",
    "CommandError",
    "ConfigError",
    "ConstraintError",
    "CopiedProjectError",
    "CorruptDatabaseError",
    "DatabaseClosedError",
    "DependencyCycleError",
    "DiskFullError",
    "DiskIOError",
    "EngineError",
    "EnvironmentMismatchError",
    "ForeignDatabaseError",
    "ForkedProcessError",
    "IdempotencyConflictError",
    "IllegalMoveError",
    "InvalidInputError",
    "InvalidPayloadError",
    "InvalidUrlError",
    "LeaseLostError",
    "LeftBehindError",
    "LifecycleError",
    "LockTimeoutError",
    "MigrationError",
    "MissingDatabaseError",
    "MissingDirectoryError",
    "MissingExtraError",
    "MissingFieldError",
    "MissingModuleError",
    "MoveConflictError",
    "MoveDiffersError",
    "MoveError",
    "NatsRefusedError",
    "NatsUnavailableError",
    "NetworkFileSystemError",
    "NewerSchemaError",
    "NoProjectError",
    "NotADatabaseError",
    "NotInitializedError",
    "OpenError",
    "OutOfMemoryError",
    "OutcomeUnknownError",
    "ProjectConfigError",
    "ProjectDataMissingError",
    "ProjectDirectoryError",
    "ProjectError",
    "ProtectedDatabaseError",
    "ReadOnlyDatabaseError",
    "RegistryUnavailableError",
    "ResolverError",
    "RowConflictError",
    "RowSchemaConflictError",
    "RowValidationError",
    "RowsError",
    "SchemaConflictError",
    "ServerUnavailableError",
    "ServiceError",
    "SourceInUseError",
    "StatementError",
    "StoreTakenError",
    "StreamConflictError",
    "TargetExistsError",
    "TargetNotEmptyError",
    "UnfinishedMoveError",
    "UnknownProjectError",
    "UnknownStatementError",
    "UnknownTableError",
    "UnknownTaskError",
    "UnmovableValueError",
    "UnprotectedServerError",
    "UnrelatedDatabaseError",
    "UnsupportedVersionError",
    "ValueTooLargeError",
    "WaitTimeoutError",
    "WrongEventLoopError",
]
