"""What the errors of asyncpg and of PostgreSQL mean, as errors of this library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import asyncpg

from abathur.engines.faults import wrong_value
from abathur.errors import (
    AbathurError,
    AccessDeniedError,
    ConstraintError,
    CorruptDatabaseError,
    DiskFullError,
    DiskIOError,
    InvalidInputError,
    LockTimeoutError,
    MissingDatabaseError,
    OutOfMemoryError,
    ReadOnlyDatabaseError,
    ServerUnavailableError,
    StatementError,
)

DRIVER: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    asyncio.TimeoutError,
)
"""What asyncpg raises; OSError is a connection that could not be made, or was lost, and InternalClientError
one that was lost in the midst of something."""

_AGAIN: Final = frozenset({"40001", "40P01"})
"""A serialization failure and a deadlock: the same transaction, begun anew, may well succeed."""
_LOST: Final = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "53300"})
"""The server stops, starts, has ended an idle session, or has too many: it can be asked again later."""


class Transient(Exception):  # noqa: N818  # a signal between the modules of this engine
    """The transaction was not applied, and a new one may well succeed. `error` is why, if none does."""

    def __init__(self, error: AbathurError, *, lost: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.lost = lost
        """Whether the connection is gone."""


def translate(error: BaseException, name: str, doing: str) -> AbathurError | Transient:
    """The typed error for what was raised while `doing` something with the database `name`."""
    if isinstance(error, AbathurError):  # some are an OSError too, and pass by here again
        return error
    if isinstance(error, (KeyError, OverflowError, UnicodeError)):
        return wrong_value(error, doing)
    if isinstance(error, asyncpg.PostgresError):
        return _of_server(error, name, doing)
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):  # a wrong argument
        return InvalidInputError(
            f"A value given to {doing} does not fit: {error}.",
            "Expected values of the types that the statement takes.",
            "Convert it; numbers are no text, and text is no number.",
        )
    if isinstance(error, OSError) and isinstance(error.__context__, asyncpg.PostgresError):
        return _of_server(error.__context__, name, doing)
    return Transient(ServerUnavailableError(name, str(error) or type(error).__name__), lost=True)


def _of_server(error: asyncpg.PostgresError, name: str, doing: str) -> AbathurError | Transient:
    state = error.sqlstate or ""
    found = str(error)
    if state in _AGAIN:
        return Transient(StatementError(doing, found), lost=False)
    if isinstance(error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)):
        return Transient(StatementError(doing, found), lost=False)
    if state in _LOST or state.startswith("08"):
        return Transient(ServerUnavailableError(name, found), lost=True)
    if state[:2] == "22":
        return InvalidInputError(
            f"A value given to {doing} cannot be stored: {found}.",
            "Expected text without NUL, and numbers that fit.",
            "Change the value.",
        )
    make = _MEANING.get(state) or _MEANING.get(state[:2], StatementError)
    return make(doing if make in (StatementError, ConstraintError) else name, found)


_MEANING: Final[Mapping[str, Callable[[str, str], AbathurError]]] = {
    # By the whole code, or by its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
    "23": ConstraintError,
    "P0": ConstraintError,  # what a trigger raises
    "25006": ReadOnlyDatabaseError,
    "28": AccessDeniedError,
    "3D000": lambda name, _: MissingDatabaseError(name, on_server=True),
    "42501": AccessDeniedError,
    "53100": lambda name, _: DiskFullError(name),
    "53200": lambda name, _: OutOfMemoryError(name),
    "55P03": lambda name, _: LockTimeoutError(name, None, None),
    "58030": DiskIOError,
    "XX001": CorruptDatabaseError,
    "XX002": CorruptDatabaseError,
}


def is_duplicate(error: BaseException | None) -> bool:
    """Whether another transaction has made a row with the same key, perhaps since ours began to look."""
    return isinstance(error, asyncpg.UniqueViolationError)


def is_orderly(error: BaseException) -> bool:
    """Whether the server ended the connection by itself, and went on or shut down with all that it knew."""
    said = error if isinstance(error, asyncpg.PostgresError) else error.__context__
    return isinstance(said, asyncpg.AdminShutdownError)
