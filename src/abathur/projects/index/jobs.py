"""Indexing jobs in the registry: a task, whose parts are one that walks and one for each batch of files.

    job (agent type abathur.index) waits for
    ├── plan (abathur.index.plan): walks, and makes the batches
    └── batch (abathur.index.batch): reads some files, and writes their chunks

At most three jobs run at a time; any other follows some of these, as dependencies of its plan, so that
whichever way they end, the next begins by the same commit. Nothing polls, and nothing is in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, evolve, frozen

from abathur import payload, times
from abathur.errors import InvalidInputError
from abathur.models import Prerequisite
from abathur.script import Row, Script, Statement
from abathur.states import CANCELLED, COMPLETED, FAILED, TERMINAL
from abathur.tasks import NewTask, dependencies, new_task, reading, submit
from abathur.tasks.new import Edge

JOB: Final = "abathur.index"
PLAN: Final = "abathur.index.plan"
BATCH: Final = "abathur.index.batch"

REASONS: Final = ("binary", "unreadable", "other")
"""Why files of a batch were skipped, as its result counts them."""
AT_A_TIME: Final = 3
"""Jobs that run at the same time; the others are queued."""
UNDONE: Final = (FAILED, CANCELLED)
"""How a plan ends without batches."""
ATTEMPTS: Final = 5
"""Of a plan or a batch: a process that is killed has used one."""


@frozen
class Request:
    """What is to be indexed, and the tasks for it."""

    project_id: str
    root: str
    scope: str
    """Below the root; empty for all of it."""
    force: bool
    job: NewTask
    plan: NewTask


def request(project_id: str, root: str, scope: str, *, force: bool, actor: str) -> Request:
    """Make the tasks of a job, before any transaction."""
    place = f"{root}/{scope}" if scope else root
    given = {"project_id": project_id, "root": root, "scope": scope, "force": force}
    common: dict[str, Any] = {"project": project_id, "created_by": actor, "source": JOB, "input": given}
    plan = new_task(
        f"Find what to index in {place}",
        agent_type=PLAN,
        ref="plan",
        parent="job",
        max_attempts=ATTEMPTS,
        **common,
    )
    job = new_task(
        f"Index {place}",
        agent_type=JOB,
        ref="job",
        depends_on=[Prerequisite("plan", "fail")],
        max_attempts=ATTEMPTS,
        **common,
    )
    return Request(project_id, root, scope, force, job, plan)


def batches(given: Mapping[str, Any], job_id: str, parts: Sequence[Sequence[str]]) -> list[NewTask]:
    """The tasks for the files of a job."""
    return [
        new_task(
            f"Index {len(paths)} files of {given['root']}, from {paths[0]}"[:1_000],
            agent_type=BATCH,
            input={**given, "paths": list(paths)},
            parent=job_id,
            project=given["project_id"],
            created_by=f"task:{job_id}",
            source=JOB,
            max_attempts=ATTEMPTS,
        )
        for paths in parts
    ]


# -- which jobs run ----------------------------------------------------------------------------


@define
class _Job:
    """A job that has not ended."""

    id: str
    plan_id: str
    root: str
    scope: str
    follows: tuple[str, ...]
    """Those before it in its chain: with one of them cancelled, it still waits for the others."""


@define
class Lanes:
    """The open jobs in chains: each waits for all those before it, so as many run as there are chains.

    Chains join where a job is about files of several; they never part.
    """

    jobs: list[_Job]
    """The oldest first."""

    def __attrs_post_init__(self) -> None:
        there = {job.id for job in self.jobs}
        for job in self.jobs:
            job.follows = tuple(one for one in job.follows if one in there)

    @property
    def running(self) -> int:
        """How many jobs do not wait for another one."""
        return sum(not job.follows for job in self.jobs)

    def place(self, root: str, scope: str) -> tuple[str, ...]:
        """Whom a new job follows, if anybody: the chains of its own files, or the shortest."""
        before = {one for job in self.jobs for one in job.follows}
        chains = [(*job.follows, job.id) for job in self.jobs if job.id not in before]
        same = {job.id for job in self.jobs if job.root == root and overlap(job.scope, scope)}
        if same:
            return tuple(dict.fromkeys(one for chain in chains if same & {*chain} for one in chain))
        return () if self.running < AT_A_TIME else min(chains, key=len)

    def next(self) -> _Job | None:
        """The job that may begin although those before it have not ended, because there is room."""
        if self.running >= AT_A_TIME:
            return None
        return next((job for job in self.jobs if job.follows and not self._is_bound(job)), None)

    def release(self, job: _Job) -> list[tuple[_Job, frozenset[str]]]:
        """Let a job begin, as if those before it had ended, and let those behind it follow it alone.

        Returns whom that makes wait for fewer, and for whom not any more. Who is behind it goes on waiting
        for those about the same files, and for their chain: if chains parted, more than three might run.
        """
        before, freed = job.follows, []
        behind = [one for one in self.jobs if job.id in one.follows]
        kept: dict[str, set[str]] = {}
        for one in sorted([job, *behind], key=lambda one: len(one.follows)):  # each after those it follows
            ahead = [other for other in self.jobs if other.id in before]
            same = {other.id for other in ahead if _is_about(other, one)}
            chain = [other for other in ahead if other.id in same or same.intersection(other.follows)]
            still = {other.id for other in chain}.union(*(other.follows for other in chain))
            still.update(*(kept[other] for other in one.follows if other in kept))
            kept[one.id] = still
            gone = frozenset(before) - still
            one.follows = tuple(other for other in one.follows if other not in gone)
            freed.append((one, gone))
        return freed

    def _is_bound(self, job: _Job) -> bool:
        """Whether one of those before it is about the same files."""
        return any(_is_about(one, job) for one in self.jobs if one.id in job.follows)


def _is_about(one: _Job, other: _Job) -> bool:
    return one.root == other.root and overlap(one.scope, other.scope)


def overlap(one: str, other: str) -> bool:
    """Whether one of two scopes lies in the other."""
    shorter, longer = sorted((one, other), key=len)
    return not shorter or shorter == longer or longer.startswith(shorter + "/")


def start(asked: Request, now: int) -> Script[str]:
    """Make a job, or find the one that does the same already; returns its id."""
    yield Statement("batches.lock_edges")  # two requests at once must see each other
    jobs = yield from _open_jobs()
    for job in jobs:
        if (job["project_id"], job["root"], job["scope"]) == (
            asked.project_id,
            asked.root,
            asked.scope,
        ) and job["force"] >= asked.force:
            return str(job["id"])
    lanes = _lanes(jobs)
    yield from _let_go(lanes, now)
    follows = lanes.place(asked.root, asked.scope)
    plan = evolve(asked.plan, edges=_edges(asked.plan.id, follows))
    yield from submit.enqueue([asked.job, plan], now)
    yield Statement(
        "index_jobs.insert",
        id=asked.job.id,
        plan_id=asked.plan.id,
        project_id=asked.project_id,
        root=asked.root,
        scope=asked.scope,
        force=int(asked.force),
        follows=payload.batch(follows),
    )
    return asked.job.id


def close(job_id: str, now: int) -> Script[None]:
    """A job is done, and another one may begin."""
    yield Statement("batches.lock_edges")
    yield Statement("index_jobs.close", id=job_id)
    yield from _let_go(_lanes((yield from _open_jobs())), now)


def _open_jobs() -> Script[list[Row]]:
    """Those that have not ended; of the others it is written down that they have.

    A job whose plan has failed ends with it. One that is retried alone waits for ever, and nobody for it.
    """
    rows = yield Statement("index_jobs.open")
    ended = [
        row["id"]
        for row in rows
        if row["status"] is None or row["status"] in TERMINAL or row["plan_status"] in UNDONE
    ]
    if ended:
        yield Statement("index_jobs.close", rows=[{"id": one} for one in ended])
        yield Statement("index_jobs.forget")
    return [row for row in rows if row["id"] not in ended]


def _lanes(rows: Sequence[Row]) -> Lanes:
    return Lanes(
        [
            _Job(row["id"], row["plan_id"], row["root"], row["scope"], tuple(payload.decode(row["follows"])))
            for row in rows
        ]
    )


def _let_go(lanes: Lanes, now: int) -> Script[None]:
    """Let queued jobs begin as long as there is room for them."""
    while job := lanes.next():
        for one, gone in lanes.release(job):
            yield from dependencies.unblock(
                [(other, COMPLETED) for other in sorted(gone)], now, only={one.plan_id}
            )
            yield Statement("index_jobs.set_follows", id=one.id, follows=payload.batch(one.follows))


# -- what a job does ---------------------------------------------------------------------------


def spread(job_id: str, plan: Mapping[str, Any], parts: Sequence[NewTask], now: int) -> Script[bool]:
    """Make the batches of a job, once; False if the job has ended or has its batches already."""
    job = yield from reading.brief(job_id)  # nobody else cancels it or makes its batches meanwhile
    if (yield from one(job_id))["plan"] is not None or job["status"] in TERMINAL:
        return False
    yield Statement("index_jobs.set_plan", id=job_id, plan=payload.encode(dict(plan), "the plan"))
    if parts:
        yield from submit.enqueue(parts, now)
        yield from _wait_for(job, [part.id for part in parts], now)
    return True


def _wait_for(job: Row, ids: Sequence[str], now: int) -> Script[None]:
    """Let a job, which is blocked by its plan, wait for tasks that were just made: there can be no circle."""
    at = times.iso(now)
    yield Statement(
        "dependencies.add",
        rows=[
            {
                "id": edge.id,
                "dependent": job["id"],
                "prerequisite": edge.prerequisite,
                "created_at": at,
                "resolved_at": None,
                "on_failure": edge.on_failure,
            }
            for edge in _edges(job["id"], ids)
        ],
    )
    yield from dependencies.weigh(Counter(ids))
    yield Statement("tasks.meet", id=job["id"], unmet=job["unmet"] + len(ids), status=job["status"], at=at)


def _edges(dependent: str, prerequisites: Sequence[str]) -> tuple[Edge, ...]:
    """Edges that wait for the end of tasks, whichever it is; a script makes no random ids."""
    return tuple(Edge(f"{dependent}:{one}", one, "ignore") for one in prerequisites)


def one(job_id: str) -> Script[Row]:
    """A job. Raises InvalidInputError for what is none."""
    rows = yield Statement("index_jobs.one", id=job_id)
    if not rows:
        raise InvalidInputError(
            f"There is no indexing job with the id {job_id!r}.",
            "Expected one that `start_indexing` has returned, and that was not pruned since.",
            "List them with `db.projects.indexings()` or `abathur index --jobs`.",
        )
    return rows[0]  # type: ignore[no-any-return]


def has_ended(job_id: str) -> Script[bool]:
    """Whether a job has ended, so that there is no use in doing its batches."""
    return (yield from one(job_id))["status"] in TERMINAL


def done(job_id: str) -> Script[dict[str, Row]]:
    """What the batches of a job have done so far, by their status."""
    rows = yield Statement("index_words.done", id=job_id)
    return {row["status"]: row for row in rows}


def recent(project_id: str | None, limit: int) -> Script[list[str]]:
    """The last jobs of a project, or of all, the newest first."""
    if project_id is None:
        rows = yield Statement("index_jobs.last", limit=limit)
    else:
        rows = yield Statement("index_jobs.recent", project_id=project_id, limit=limit)
    return [row["id"] for row in rows]
