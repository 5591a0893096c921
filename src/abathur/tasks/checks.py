"""What the arguments of `db.tasks` must be. Each check raises InvalidInputError."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from abathur import payload
from abathur.errors import InvalidInputError
from abathur.models import Claim, Task
from abathur.tasks.claim import Request
from abathur.tasks.new import seconds

LONGEST_LEASE: Final = 7 * 86_400.0
MOST_CLAIMS: Final = 1_000


def claim(held: Any) -> None:
    """A claim, and nothing else."""
    if not isinstance(held, Claim):
        raise InvalidInputError(
            f"{type(held).__name__} is no claim.", "Expected a Claim.", "Pass what `db.tasks.claim` returned."
        )


def id_of(task: str | Task) -> str:
    """The id of a task that is given as itself or by its id."""
    return task.id if isinstance(task, Task) else payload.plain(task, "a task's id")


def types_of(agent_types: Iterable[str]) -> tuple[str, ...]:
    """Agent types, each once, in order."""
    if not isinstance(agent_types, (tuple, list, Iterable)):
        raise InvalidInputError(
            f"agent_types={agent_types!r} is no list.", "Expected texts.", 'Write agent_types=["reviewer"].'
        )
    wanted = (agent_types,) if isinstance(agent_types, str) else tuple(agent_types)
    try:
        return _types(wanted)
    except TypeError:  # one cannot be hashed, so it is no good
        return _types.__wrapped__(wanted)


@lru_cache(maxsize=256, typed=True)  # a worker asks for the same again and again
def _types(wanted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({payload.plain(one, "agent_type", longest=200) for one in wanted}))


def projects_of(projects: Iterable[str] | None) -> tuple[str, ...] | None:
    """Projects, each once, in order; None stays None, and means any."""
    if projects is None:
        return None
    if not isinstance(projects, Iterable):
        raise InvalidInputError(
            f"projects={projects!r} is no list.", "Expected ids of projects.", "Write projects=[project_id]."
        )
    wanted = (projects,) if isinstance(projects, str) else tuple(projects)
    return tuple(sorted({payload.plain(one, "a project", longest=512) for one in wanted}))


def some_projects(projects: Iterable[str] | None) -> tuple[str, ...] | None:
    """The same, for one who works for them: at least one, or None."""
    found = projects_of(projects)
    if found == ():
        raise InvalidInputError(
            "There are no projects to work for.",
            "Expected at least one, or None.",
            "Leave `project` out for any task.",
        )
    return found


@lru_cache(maxsize=256, typed=True)  # a worker asks for the same again and again
def request(
    worker: str,
    agent_types: tuple[str, ...] | None,
    limit: int,
    lease: float,
    caps: tuple[tuple[str, int], ...] = (),
    projects: tuple[str, ...] | None = None,
) -> Request:
    """A wish for work."""
    payload.plain(worker, "worker", longest=200)
    seconds("lease", lease, LONGEST_LEASE)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_CLAIMS:
        raise InvalidInputError(
            f"limit={limit!r} is out of range.",
            f"Expected an integer from 1 to {MOST_CLAIMS}.",
            "Claim again for more.",
        )
    return Request(worker, agent_types, limit, lease, caps, projects)


def caps_of(caps: Mapping[str, int], agent_types: tuple[str, ...] | None) -> tuple[tuple[str, int], ...]:
    """The most tasks to take of some agent types, in order."""
    if not isinstance(caps, Mapping):
        raise InvalidInputError(
            f"caps={caps!r} is no mapping.",
            "Expected numbers by agent types.",
            'Write caps={"reviewer": 2}.',
        )
    for agent_type, most in caps.items():
        payload.plain(agent_type, "an agent type of caps", longest=200)
        if agent_types is not None and agent_type not in agent_types:
            raise InvalidInputError(
                f"caps names {agent_type!r}, which agent_types does not.",
                f"Expected some of {', '.join(agent_types)}.",
                "Leave it out of caps, or ask for it.",
            )
        if not isinstance(most, int) or isinstance(most, bool) or not 0 <= most <= MOST_CLAIMS:
            raise InvalidInputError(
                f"caps[{agent_type!r}]={most!r} is out of range.",
                f"Expected an integer from 0 to {MOST_CLAIMS}.",
                "Leave the agent type out for no cap.",
            )
    return tuple(sorted(caps.items()))
