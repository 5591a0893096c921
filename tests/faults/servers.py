"""A PostgreSQL server of a test's own, that faults can be done to: restarted, its processes killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from tests import schemas
from tests.postgres import Server

DURABLE: Final = {"fsync": "on", "full_page_writes": "on", "log_min_messages": "warning"}
"""As a server is by default. What was committed must be there whatever is done to its processes."""


class Victim(Server):
    """A server that is restarted and whose processes are killed."""

    def make(self, settings: Mapping[str, str] = DURABLE) -> None:
        super().make()
        with (self._data / "postgresql.conf").open("a") as config:
            config.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def new_url(self) -> str:
        """The URL of a database in a schema that does not exist yet."""
        return schemas.place(self.url, schemas.a_name())

    def restart(self, mode: str) -> None:
        """Stop it, `fast` or `immediate`, and start it again."""
        # One that is just recovering does not always stop: seen on 18, which then waits for ever.
        while not self.ask("SELECT 1"):
            time.sleep(0.02)
        self.stop(mode)
        self.start()

    def backends(self) -> list[int]:
        """The processes that serve connections of this library."""
        return [
            row["pid"]
            for row in self.ask("SELECT pid FROM pg_stat_activity WHERE application_name = 'abathur'")
        ]

    def terminate_one(self, draw: random.Random) -> bool:
        """pg_terminate_backend on one of them; returns whether there was one."""
        pids = self.backends()
        if pids:
            self.ask("SELECT pg_terminate_backend($1)", draw.choice(pids))
        return bool(pids)

    def kill_one(self, draw: random.Random) -> bool:
        """Kill -9 one of them; the server then ends all others, recovers and goes on."""
        pids = self.backends()
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(draw.choice(pids), signal.SIGKILL)
        return bool(pids)

    def ask(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a statement; [] from a server that is just recovering."""

        async def connected() -> list[Any]:
            try:
                connection = await asyncpg.connect(self.url)
            except (OSError, asyncpg.PostgresError):
                return []
            try:
                return list(await connection.fetch(sql, *values))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return []
            finally:
                connection.terminate()

        return asyncio.run(connected())

    @property
    def log(self) -> str:
        """What it has said."""
        return (self._data / "log").read_text(errors="replace")
