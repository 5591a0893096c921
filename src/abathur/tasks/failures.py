"""A failed attempt: its error as it is kept, with the pause before the next attempt."""

from __future__ import annotations

import random
import traceback
from typing import Final

from abathur import payload
from abathur.errors import CommandError, InvalidInputError

LONGEST_BACKOFF: Final = 3_600.0
LONGEST_MESSAGE: Final = 2_000
LONGEST_TRACEBACK: Final = 20_000


def backoff(attempt: int) -> float:
    """Seconds before the next attempt: 1, 2, 4, ... up to an hour, each times 0.5 to 1.5."""
    return min(2.0 ** min(attempt - 1, 20), LONGEST_BACKOFF) * random.uniform(0.5, 1.5)  # noqa: S311  # jitter


def described(error: str | BaseException) -> tuple[str, str]:
    """An error as a short message and as JSON with its type and more about it. NUL is left out.

    Raises InvalidInputError for what is neither text nor an exception.
    """
    if isinstance(error, BaseException):
        kind = type(error).__name__
        try:
            message = str(error) or kind
        except Exception as broken:  # noqa: BLE001  # the error of an error: its name must do
            message = f"{kind} (its text cannot be made: {type(broken).__name__})"
        detail = {"type": kind, "message": message, **_more(error)}
    elif isinstance(error, str):
        detail = {"type": "error", "message": error}
    else:
        raise InvalidInputError(
            f"error is a {type(error).__name__}.", "Expected text or an exception.", "Pass str(error)."
        )
    clean = {name: _printable(value) for name, value in detail.items()}
    return clean["message"][:LONGEST_MESSAGE], payload.encode(clean, "error")


def _more(error: BaseException) -> dict[str, str]:
    """Where it comes from: a traceback, or for a program, which has none that is of use, its stderr."""
    if isinstance(error, CommandError):
        return {"stderr": error.stderr} if error.stderr else {}
    return {"traceback": "".join(traceback.format_exception(error))[-LONGEST_TRACEBACK:]}


def _printable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:LONGEST_TRACEBACK]
