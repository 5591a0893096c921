"""The one way to write down that tasks changed their status: checked, audited, counted, announced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from abathur import audit, payload, times
from abathur.script import Emit, Emitted, Script, Statement
from abathur.states import GONE, LEGAL, NEW, STATUSES, check_move

TOPIC: Final = "moves"
RECOUNT: Final = "recount"


class Move(NamedTuple):
    """A task's change of status, and what the audit trail says about it."""

    task_id: str
    agent_type: str
    found: str
    status: str
    actor: str | None
    data: str
    """JSON text for `audit.action_data`; made by `about`."""


_ACTIONS: Final = {status: f"task.{status}" for status in STATUSES}


def about(found: str, fence: int | None = None, attempt: int | None = None, **more: Any) -> str:
    """What the trail says about a move: where from, under which fence, which attempt, and why."""
    return _about(found, fence, attempt, **more) if more else _about_many(found, fence, attempt)


def _about(found: str, fence: int | None, attempt: int | None, **more: Any) -> str:
    numbers = "" if fence is None else f',"fence":{fence},"attempt":{attempt}'
    said = {name: value for name, value in more.items() if value is not None}
    rest = "," + payload.encode(said, "the audit data")[1:-1] if said else ""
    return f'{{"from":"{found}"{numbers}{rest}}}'


_about_many = lru_cache(maxsize=256)(_about)  # of most claims it is the first attempt


def record(moves: Sequence[Move], now: int) -> Script[None]:
    """Check every move against the table of states and append its audit row."""
    if not moves:
        return
    if not {(move[2], move[3]) for move in moves} <= LEGAL:
        for move in moves:
            check_move(move.task_id, move.found, move.status)
    at = times.iso(now)
    yield from audit.append(
        [(at, task_id, _ACTIONS[status], data, actor) for task_id, _, _, status, actor, data in moves]
    )
    yield Emit(TOPIC, moves)


def forget(tasks: Iterable[tuple[str, str, str]]) -> Script[None]:
    """Take tasks that are removed, given as (id, agent type, status), out of the counts."""
    yield Emit(
        TOPIC, [Move(task_id, agent_type, status, GONE, None, "") for task_id, agent_type, status in tasks]
    )


def counts(moves: Iterable[Move]) -> list[Statement]:
    """What brings the kept counts up to date, once per transaction."""
    change: Counter[tuple[str, str]] = Counter()
    for (agent_type, found, status), n in Counter([move[1:4] for move in moves]).items():
        if status != GONE:
            change[agent_type, status] += n
        if found != NEW:
            change[agent_type, found] -= n
    # Sorted, so that two transactions lock the counts in one order.
    rows = [(agent_type, status, n) for (agent_type, status), n in sorted(change.items()) if n]
    return [Statement("tasks.count", rows=rows, columns=("agent_type", "status", "n"))] if rows else []


def recount() -> Script[None]:
    """Count all tasks anew, for a database that another program has written to. Reads every task.

    It is done at the end of the transaction, after everybody else's moves.
    """
    yield Emit(RECOUNT, [True])


def count_again() -> Script[None]:
    """What `recount` asks for."""
    yield Statement("trail.reserve", n=0)  # nobody else changes the counts meanwhile
    yield Statement("tasks.forget_counts")
    yield Statement("tasks.recount")


def observed(emitted: Emitted) -> list[Move]:
    """The moves that a transaction's scripts recorded."""
    return emitted.get(TOPIC, [])


def by_id(rows: Iterable[Any]) -> Mapping[str, Any]:
    """Rows keyed by their `id`; the order in which an engine returns rows means nothing."""
    return {row["id"]: row for row in rows}
