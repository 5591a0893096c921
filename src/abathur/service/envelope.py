"""Answers: flat for success, a code and a message for every error, and nothing that should stay inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from abathur import errors, ids

log = logging.getLogger("abathur.service")

CODES: Final = (
    "INVALID_JSON", "INVALID_SUBJECT", "MISSING_FIELD", "VALIDATION_ERROR", "SCHEMA_CONFLICT", "CONFLICT",
    "VALUE_TOO_LARGE", "PERMISSION_DENIED", "RATE_LIMITED", "LOCK_TIMEOUT", "TIMEOUT", "UNAVAILABLE",
    "DATABASE_ERROR", "INTERNAL_ERROR",
)  # fmt: skip
"""Every code that an error may have."""

_encode = msgspec.json.Encoder().encode


class Refused(Exception):  # noqa: N818  # it is an answer
    """A request that is answered with an error, raised where that is seen."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


_BUGS: Final = (errors.UnknownStatementError, errors.TargetExistsError, errors.ConfigError)
"""Wrong input of the service itself, not of whoever asks."""
# The first that fits. The words of these errors are ours: they hold no SQL and no path.
_OURS: Final[tuple[tuple[type[errors.AbathurError], str], ...]] = (
    (errors.WaitTimeoutError, "TIMEOUT"),
    (errors.IllegalMoveError, "CONFLICT"),
    (errors.IdempotencyConflictError, "CONFLICT"),
    (errors.DependencyCycleError, "VALIDATION_ERROR"),
    (errors.InvalidInputError, "VALIDATION_ERROR"),
)
# Those of these name files, servers and statements: the log has them, under the id that the answer gives.
_INSIDE: Final[tuple[tuple[type[BaseException], str, str], ...]] = (
    (errors.LockTimeoutError, "LOCK_TIMEOUT", "Another process holds the database for too long. Try again."),
    (
        errors.ServerUnavailableError,
        "UNAVAILABLE",
        "The database cannot be reached at the moment. Try again.",
    ),
    (errors.DatabaseClosedError, "UNAVAILABLE", "The service is stopping. Try again."),
    (
        errors.OutcomeUnknownError,
        "UNAVAILABLE",
        "Whether it was done is not known: the database was lost. Look, or repeat it with its request_id.",
    ),
    (errors.DiskFullError, "DATABASE_ERROR", "The database's disk is full. Nothing was changed."),
    (errors.ConstraintError, "CONFLICT", "It contradicts what is stored. Nothing was changed."),
    (errors.EngineError, "DATABASE_ERROR", "The database refused it. Nothing was changed."),
    (errors.OpenError, "DATABASE_ERROR", "The database refused it. Nothing was changed."),
    (errors.LifecycleError, "UNAVAILABLE", "The service is not ready. Try again."),
)


def success(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a request is answered with when it was done."""
    return {"success": True, **answer}


def failure(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a request is answered with when it was not."""
    error: dict[str, Any] = {"code": code, "message": message}
    if details:
        error["details"] = dict(details)
    return {"success": False, "error": error}


def refusal(error: BaseException, about: str) -> dict[str, Any]:
    """The answer that an error gives. What the caller may not see goes into the log, about a subject."""
    if isinstance(error, Refused):
        return failure(error.code, error.message, error.details)
    code = getattr(error, "code", None)
    if isinstance(error, errors.AbathurError) and code in CODES:
        return failure(str(code), _words(error), _details(error))
    for ours, code in () if isinstance(error, _BUGS) else _OURS:
        if isinstance(error, ours):
            return failure(code, str(error))
    for inside, code, message in _INSIDE:
        if isinstance(error, inside):
            number = ids.new_id()
            log.warning("%s: %s (%s, error_id %s)", about, error, type(error).__name__, number)
            return failure(code, message, {"error_id": number})
    number = ids.new_id()
    log.error("%s: an error of the service itself (error_id %s)", about, number, exc_info=error)
    return failure("INTERNAL_ERROR", "The service failed; its log says how.", {"error_id": number})


def _details(error: errors.AbathurError) -> dict[str, Any]:
    """What a program wants to know of it, without reading the message."""
    return {name: vars(error)[name] for name in ("table", "field", "old", "new") if name in vars(error)}


def _words(error: errors.AbathurError) -> str:
    """What a typed error of a feature says to whoever asked over NATS."""
    return str(getattr(error, "message", None) or error.problem or error)


def encode(answer: Mapping[str, Any], most: int, *, wrote: bool = False) -> bytes:
    """An answer as bytes; one that the server would not take becomes an error that it takes.

    wrote: whether it says that something was changed; then it stays a success, cut short.
    """
    raw = _encode(answer)
    if len(raw) <= most:
        return raw
    if wrote and answer.get("success"):
        raw = _encode(_short(answer))
        if len(raw) <= most:
            return raw
    return _encode(
        failure(
            "VALUE_TOO_LARGE",
            f"The answer has {len(raw):,} bytes, and the NATS server takes {most:,} at most. "
            "Ask for less, with a smaller `limit`, or for one row.",
            {"bytes": len(raw), "limit": most},
        )
    )


def _short(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What is small of an answer: that it was done, ids and numbers."""
    found: dict[str, Any] = {
        name: value for name, value in answer.items() if isinstance(value, (bool, int, float))
    }
    if isinstance(answer.get("id"), str):
        found["id"] = answer["id"]
    if isinstance(answer.get("task"), dict):
        found["task"] = {name: answer["task"][name] for name in ("id", "status")}
    return {**found, "truncated": True}
