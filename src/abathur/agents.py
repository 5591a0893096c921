"""The agents of a runner: what runs the tasks of each agent type, and how many of them at a time."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from attrs import frozen

from abathur import payload
from abathur.context import Context
from abathur.errors import InvalidInputError
from abathur.models import Claim
from abathur.tasks.new import integer, seconds

Handler = Callable[[Context], Any]

MOST: Final = 1_000
LONGEST_TIMEOUT: Final = 365 * 86_400


@frozen
class Agent:
    """What runs the tasks of one agent type."""

    handler: Handler
    is_async: bool
    timeout: float | None = None
    """Seconds; it and `max_attempts` can only lower what a task asks for."""
    max_attempts: int | None = None
    concurrency: int | None = None
    """Tasks at a time; None leaves it to the runner's own."""


class Agents(Mapping[str, Agent]):
    """Agents by their agent types, and which of them have room for another task."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self._busy: Counter[str] = Counter()

    def __getitem__(self, agent_type: str) -> Agent:
        return self._agents[agent_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._agents)

    def __len__(self) -> int:
        return len(self._agents)

    def add(self, agent_type: str, agent: Agent) -> None:
        """Register an agent. Raises InvalidInputError if the agent type has one."""
        if agent_type in self._agents:
            raise InvalidInputError(
                f"The agent type {agent_type!r} has a handler already.",
                "Expected one handler for each.",
                "Rename one.",
            )
        self._agents[agent_type] = agent

    # -- room ----------------------------------------------------------------------------------

    def room(self, free: int) -> dict[str, int]:
        """How many tasks of each agent type could begin now, where `free` could of any; none has 0."""
        found = {}
        for agent_type, agent in self._agents.items():
            most = free if agent.concurrency is None else agent.concurrency - self._busy[agent_type]
            if (most := min(most, free)) > 0:
                found[agent_type] = most
        return found

    def caps(self, room: Mapping[str, int]) -> dict[str, int] | None:
        """The part of a `room` that a claim has to heed; None when no agent limits itself."""
        capped = {one: most for one, most in room.items() if self._agents[one].concurrency is not None}
        return capped or None

    def begin(self, claim: Claim) -> None:
        """A task was claimed."""
        self._busy[claim.task.agent_type] += 1

    def end(self, claim: Claim) -> None:
        """Its handler has ended."""
        self._busy[claim.task.agent_type] -= 1

    def reset(self) -> None:
        """Nothing is claimed."""
        self._busy.clear()


def checked(
    agent_type: str,
    handler: Handler,
    *,
    timeout: float | None = None,
    max_attempts: int | None = None,
    concurrency: int | None = None,
) -> Agent:
    """An agent with checked settings. Raises InvalidInputError."""
    check(agent_type, timeout, max_attempts, concurrency)
    function = handler.func if isinstance(handler, partial) else handler
    is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  # an object with an async __call__
    )
    return Agent(handler, is_async, timeout, max_attempts, concurrency)


def check(agent_type: str, timeout: float | None, max_attempts: int | None, concurrency: int | None) -> None:
    """Refuse settings that no agent can have, before there is a handler. Raises InvalidInputError."""
    payload.plain(agent_type, "agent_type", longest=200)
    if timeout is not None:
        seconds("timeout", timeout, LONGEST_TIMEOUT)
    if max_attempts is not None:
        integer("max_attempts", max_attempts, 1, MOST)
    if concurrency is not None:
        integer("concurrency", concurrency, 1, MOST)
