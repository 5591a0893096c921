"""Errors about using a Database at the wrong time or place."""

from __future__ import annotations

from abathur.errors.base import AbathurError


class LifecycleError(AbathurError):
    """The Database is used at a time or place where it cannot work."""


class NotInitializedError(LifecycleError):
    """The Database was used before `initialize()`."""

    def __init__(self) -> None:
        super().__init__(
            "This Database is not open yet.",
            "Expected `await db.initialize()` first.",
            "Call it once, or write `async with Database(...) as db:`.",
        )


class DatabaseClosedError(LifecycleError):
    """The Database was used after `close()`."""

    def __init__(self) -> None:
        super().__init__(
            "This Database is closed.",
            "Expected an open one.",
            "Make a new `Database(...)`; one that is closed cannot be opened again.",
        )


class WrongEventLoopError(LifecycleError):
    """The Database is used under trio, outside of a loop, or from another loop than its own."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"This Database is used {found}.",
            "Expected the asyncio event loop in which `initialize()` ran (the drivers are asyncio only).",
            "Run the program with asyncio, and make one Database per event loop.",
        )


class ForkedProcessError(LifecycleError):
    """The Database was opened before a fork; connections must not cross it."""

    def __init__(self, opened_in: int, used_in: int) -> None:
        super().__init__(
            f"This Database was opened in process {opened_in} and is used in its fork {used_in}.",
            "Expected the process that opened it.",
            "Open a new `Database(...)` in the child, or start children with spawn.",
        )
