"""Errors about databases that are kept from harm."""

from __future__ import annotations

from abathur.errors.base import AbathurError


class ProtectedDatabaseError(AbathurError):
    """A database that is no test's would be destroyed, or a test would touch it. Nothing was done to it."""

    def __init__(self, name: str, environment: str, operation: str, why: str, remedy: str = "") -> None:
        self.name = name
        """The path or URL, without a password."""
        self.environment = environment
        """``production``, ``development`` or ``test``; empty without a stamp that can be read."""
        self.operation = operation
        """``drop``, ``reset``, ``purge``, ``prune --all``; or what a test was about to do: ``opening``."""
        stamp = f"its stamp says {environment}" if environment else "it has no stamp that can be read"
        super().__init__(
            f"Refused: {operation} {name}, because {why} ({stamp}).",
            "Expected a database of the tests: one that is stamped `test` or, for their guard, lies below a "
            "temporary directory or is named in `abathur_allow_databases`.",
            remedy
            or "Let the test use a database of its own, such as the fixture `abathur_db` or a file in "
            "`tmp_path`; see docs/testing.md.",
        )
