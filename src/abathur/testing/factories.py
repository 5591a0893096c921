"""Tasks for tests: made with defaults, in any status, many at once, or as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, get_args

from abathur import times
from abathur.database import Database
from abathur.errors import InvalidInputError
from abathur.models import Claim, Task
from abathur.script import Script
from abathur.states import READY, RUNNING, check_move
from abathur.tasks import checks, reading
from abathur.tasks.claim import Request, take
from abathur.testing.graphs import Shape, edges_of

Status: TypeAlias = Literal["ready", "scheduled", "blocked", "running", "completed", "failed", "cancelled"]

WORKER: Final = "test"
DEFAULTS: Final[Mapping[str, Any]] = {"prompt": "A task"}


class TaskFactory:
    """Makes tasks in one Database.

    db: an open one. defaults: parameters of `db.tasks.enqueue` for all of its tasks, such as `agent_type`.
    """

    def __init__(self, db: Database, **defaults: Any) -> None:
        self.db = db
        self._defaults = {**DEFAULTS, **defaults}

    async def __call__(
        self,
        prompt: str | None = None,
        *,
        status: Status | None = None,
        result: Any = None,
        error: str | BaseException = "It failed.",
        worker: str = WORKER,
        lease: float = 30.0,
        **parameters: Any,
    ) -> Task:
        """Make one task and bring it to a status, by the moves that it would take in real use.

        prompt: what to do. status: as what it comes, else as what it was enqueued. result: of one that is
        ``completed``. error: of one that is ``failed``. worker, lease: of the claim of one that is
        ``running`` or was. parameters: those of `db.tasks.enqueue`.

        ``scheduled`` is due in an hour unless `run_at` is given, and ``blocked`` waits for a task of the
        agent type ``prerequisite`` unless `depends_on` is. Raises as `db.tasks.enqueue` does, and
        IllegalMoveError where the parameters do not allow the status.
        """
        _known(status)
        given = {**self._defaults, **parameters}
        if prompt is not None:
            given["prompt"] = prompt
        if status == "scheduled" and "run_at" not in given:
            given["run_at"] = await self._in_an_hour()
        if status == "blocked" and not given.get("depends_on"):
            given["depends_on"] = [await self.db.tasks.enqueue("Come first", agent_type="prerequisite")]
        task = await self.db.tasks.enqueue(**given)
        if status in (None, task.status):
            return task
        if status == "cancelled":
            return await self.db.tasks.cancel(task)
        if status not in ("running", "completed", "failed"):
            raise InvalidInputError(
                f"A task with these parameters is {task.status}, not {status}.",
                "Expected parameters that make it so.",
                "Leave out `run_at` and `depends_on`, or the status.",
            )
        held = await self.claim(task, worker=worker, lease=lease)
        if status == "completed":
            await self.db.tasks.complete(held, result)
        elif status == "failed":
            await self.db.tasks.fail(held, error, retry=False)
        return await self.db.tasks.get(task)

    async def batch(self, count: int, **parameters: Any) -> list[Task]:
        """Make many tasks. A parameter that is a function is called with 0, 1, 2, ... for its value.

        With a `status` they are made one by one, else in one transaction. Raises as a single one does.
        """
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise InvalidInputError(
                f"count={count!r} is no number of tasks.", "Expected an integer, 0 or more.", "Give another."
            )
        given = {**self._defaults, "prompt": lambda n: f"Task {n + 1}", **parameters}
        each = [
            {name: value(n) if callable(value) else value for name, value in given.items()}
            for n in range(count)
        ]
        if "status" in given:
            return [await self(**one) for one in each]
        return await self.db.tasks.enqueue_many(each)

    async def graph(
        self,
        shape: Shape,
        *,
        tasks: Mapping[str, Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> dict[str, Task]:
        """Make a graph of tasks in one transaction; returns them by their names.

        shape: ``"fetch -> parse, index -> report"`` (both in the middle wait for the first, and the last for
        both; lines or ``;`` between several chains), or a mapping of each name to the names that it waits
        for. tasks: parameters of single ones, by name. parameters: of all. A task's prompt is its name,
        unless something else is given.
        """
        edges = edges_of(shape)
        more = tasks or {}
        if strange := [name for name in more if name not in edges]:
            raise InvalidInputError(
                f"tasks= names {strange[0]!r}, which the graph does not.",
                f"Expected some of {', '.join(edges)}.",
                "Correct the name, or add it to the graph.",
            )
        defaults = {name: value for name, value in self._defaults.items() if name != "prompt"}
        made = await self.db.tasks.enqueue_many(
            [
                {
                    "prompt": name,
                    **defaults,
                    **parameters,
                    **more.get(name, {}),
                    "ref": name,
                    "depends_on": [*before, *more.get(name, {}).get("depends_on", ())],
                }
                for name, before in edges.items()
            ]
        )
        return dict(zip(edges, made, strict=True))

    async def claim(self, task: str | Task, *, worker: str = WORKER, lease: float = 30.0) -> Claim:
        """Claim this very task, whatever else is ready; lease in seconds.

        Raises UnknownTaskError, or IllegalMoveError for a task that is not ready.
        """
        return await claim_task(self.db, task, worker=worker, lease=lease)

    async def _in_an_hour(self) -> Any:
        return times.EPOCH + timedelta(microseconds=await self.db.engine.clock(), hours=1)


async def make_task(db: Database, prompt: str | None = None, **parameters: Any) -> Task:
    """Make one task with defaults, in any status.

    db: an open Database. prompt: what to do. parameters: `status`, `result` and the rest, as for a
    `TaskFactory` when it is called.
    """
    return await TaskFactory(db)(prompt, **parameters)


async def make_tasks(db: Database, count: int, **parameters: Any) -> list[Task]:
    """Make many tasks.

    db: an open Database. count: how many. parameters: as for `TaskFactory.batch`; a function is called with
    0, 1, 2, ... for its values.
    """
    return await TaskFactory(db).batch(count, **parameters)


async def make_graph(
    db: Database,
    shape: Shape,
    *,
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    **parameters: Any,
) -> dict[str, Task]:
    """Make a graph of tasks in one transaction; returns them by their names.

    db: an open Database. shape: ``"fetch -> parse, index -> report"``, or a mapping of each name to the names
    that it waits for. tasks: parameters of single ones, by name. parameters: of all.
    """
    return await TaskFactory(db).graph(shape, tasks=tasks, **parameters)


async def claim_task(db: Database, task: str | Task, *, worker: str = WORKER, lease: float = 30.0) -> Claim:
    """Claim this very task, whatever else is ready.

    db: an open Database. task: one that is ready. worker: who claims it. lease: seconds.

    Raises UnknownTaskError, or IllegalMoveError for a task that is not ready.
    """
    return await db.run(_claim, checks.id_of(task), checks.request(worker, None, 1, lease))


def _claim(task_id: str, request: Request, now: int) -> Script[Claim]:
    row = yield from reading.brief(task_id)
    if row["status"] != READY:
        check_move(task_id, row["status"], RUNNING)
    (held,) = yield from take((yield from reading.whole([task_id])), [request], now)
    return held


def _known(status: str | None) -> None:
    statuses = get_args(Status)
    if status is not None and status not in statuses:
        raise InvalidInputError(
            f"status={status!r} is unknown.", f"Expected one of {', '.join(statuses)}.", "Choose one."
        )
