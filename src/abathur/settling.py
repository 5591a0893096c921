"""Writes down how the attempts of a runner ended, and tries again when the database cannot."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias

import anyio

from abathur.agents import Agent
from abathur.context import DoNotRetry
from abathur.database import Database
from abathur.errors import InvalidPayloadError, LeaseLostError
from abathur.keeper import Running
from abathur.maintenance import TROUBLE
from abathur.models import Claim

log = logging.getLogger("abathur.runner")

Outcome: TypeAlias = Literal["failed", "timed_out"]
Ending: TypeAlias = Callable[[], Awaitable[Any]]
"""What is to be written down."""

TRIES: Final = 5


class Settling:
    """The endings of one runner's claims."""

    def __init__(self, db: Database, lease: float) -> None:
        self._db = db
        self._lease = lease

    async def release(self, claim: Claim) -> None:
        """Give the task back without using up an attempt."""
        await self._db.tasks.release(claim)

    async def complete(self, agent: Agent, claim: Claim, result: Any) -> None:
        """The handler has returned this."""
        try:
            await self._db.tasks.complete(claim, result)
        except InvalidPayloadError as error:
            # The next attempt would return something of the same kind.
            await self.fail(agent, claim, DoNotRetry(str(error)))

    async def fail(self, agent: Agent, claim: Claim, error: Exception, outcome: Outcome = "failed") -> None:
        """The handler has raised this, or took too long."""
        used_up = agent.max_attempts is not None and claim.task.attempt >= agent.max_attempts
        retry = not used_up and not isinstance(error, DoNotRetry)
        status = await self._db.tasks.fail(claim, error, retry=retry, outcome=outcome)
        log.info("task %s attempt %d: %s, now %s", claim.task.id, claim.task.attempt, outcome, status)

    async def write_down(self, running: Running, ending: Ending, *, is_stopping: Callable[[], bool]) -> None:
        """Settle a claim; try again when the database cannot, for as long as the claim is ours."""
        claim = running.claim
        for left in reversed(range(TRIES)):
            try:
                await ending()
            except LeaseLostError as error:
                log.warning(
                    "task %s fence %d: its claim was over already, so nothing was written: %s",
                    claim.task.id,
                    claim.fence,
                    error.problem,
                )
            except TROUBLE as error:
                log.warning("task %s: not settled yet: %s", claim.task.id, error)
                if left and not is_stopping() and time.monotonic() < running.held_until:
                    await anyio.sleep(self._lease / TRIES)
                    continue
            except Exception:
                # Its lease will end, and it runs again; the other tasks are none the worse.
                log.exception("task %s fence %d could not be settled", claim.task.id, claim.fence)
            return
