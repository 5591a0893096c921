"""The part of `db.projects` that is about the index: jobs that make it, and searches in it."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic

from attrs import evolve

from abathur import payload
from abathur.engines.base import Engine
from abathur.errors import InvalidInputError, NoProjectError, ProjectDirectoryError
from abathur.models import Task
from abathur.projects import config
from abathur.projects.index import jobs, snippets
from abathur.projects.index import query as queries
from abathur.projects.index.values import Hit, IndexingJob, IndexingStatus
from abathur.projects.stores import StoreT
from abathur.projects.values import Project, Resolution
from abathur.script import Row, Script, Statement
from abathur.states import BLOCKED, CANCELLED, COMPLETED, FAILED, RUNNING, SCHEDULED, TERMINAL
from abathur.tasks import control
from abathur.tasks.new import integer

Path = str | os.PathLike[str]


class Indexing(ABC, Generic[StoreT]):
    """What can be done with the index of a project."""

    _engine: Engine
    _actor: str

    @abstractmethod
    async def resolve(
        self, explicit: str | None = None, directory: Path | None = None, session: str | None = None
    ) -> Resolution:
        """Which project is meant."""

    @abstractmethod
    async def get(self, project: str | Project) -> Project:
        """A project by id or name."""

    @abstractmethod
    async def store(self, project: str | Project) -> StoreT:
        """The project's own Database, open."""

    # -- jobs ----------------------------------------------------------------------------------

    async def start_indexing(
        self, path: Path, project: str | None = None, force: bool = False
    ) -> IndexingJob:
        """Ask for a directory or a file to be indexed; returns at once.

        path: in one of the project's directories; all of one, or a part. project: an id or a name, else the
        project that the path is in, which is made if there is a configuration for it. force: index again
        what has not changed.

        The work is done by whoever runs the index's agents, see `abathur.indexer`. A request that is the
        same as one that has not ended answers with that one. Three jobs run at a time, others wait.

        Raises InvalidInputError, ProjectDirectoryError, or what `resolve` raises.
        """
        there, directory = _place(path)
        if project is None:
            project = _made(await self.resolve(directory=directory))
        known = await self.get(project)
        project_id, roots = known.id, [root.path for root in known.roots]
        inside = [root for root in roots if is_inside(there, root)]
        if not inside:
            raise InvalidInputError(
                f"{there} is not in the project {project_id}.",
                f"Expected a path in one of its directories: {', '.join(roots) or 'it has none'}.",
                "Give a path in one of these, or leave the project out.",
            )
        root = max(inside, key=len)
        scope = there[len(root) :].strip("/")
        _check_own(root, scope, project_id)
        asked = jobs.request(project_id, root, scope, force=bool(force), actor=self._actor)
        return await self.indexing(await self._engine.write(jobs.start, asked))

    async def indexing(self, job: str | IndexingJob) -> IndexingJob:
        """How far an indexing job is. Raises InvalidInputError for what is none."""
        return await self._engine.read(status, _id_of(job))

    async def indexings(self, project: str | None = None, *, limit: int = 10) -> list[IndexingJob]:
        """The last indexing jobs of a project, or of all, the newest first. Raises as `resolve` does."""
        integer("limit", limit, 1, 1_000)
        project_id = None if project is None else (await self.get(project)).id
        return await self._engine.read(recent, project_id, limit)

    async def cancel_indexing(self, job: str | IndexingJob, *, reason: str | None = None) -> IndexingJob:
        """Stop an indexing job; what it has indexed stays. One that has ended stays as it is.

        Whoever works on it stops within a second or two. Raises InvalidInputError.
        """
        if reason is not None:
            payload.plain(reason, "reason")
        job_id = _id_of(job)
        await self._engine.write(cancel, job_id, reason, self._actor)
        return await self.indexing(job_id)

    # -- searching -----------------------------------------------------------------------------

    async def search(
        self,
        query: str,
        project: str | None = None,
        *,
        directory: Path | None = None,
        session: str | None = None,
        limit: int = 10,
    ) -> list[Hit]:
        """The parts of a project's indexed files that have all words of a query, the best first.

        query: words; ``"several in quotes"`` follow one another, and ``begin*`` is every word that begins
        so. Case, accents and signs do not matter, and nothing else has a meaning. project, directory,
        session: which project, as for `resolve`. limit: 1 to 1,000.

        Raises InvalidInputError for a query without a word, or what `resolve` raises.
        """
        asked = queries.parse(query)
        integer("limit", limit, 1, 1_000)
        found = _made(await self.resolve(project, directory=directory, session=session))
        store: Any = await self.store(found)
        return await store.read(look, asked, store.engine.dialect, limit)  # type: ignore[no-any-return]


def look(asked: queries.Query, dialect: str, limit: int) -> Script[list[Hit]]:
    """Search in the store of a project."""
    text = asked.fts5 if dialect == "sqlite" else asked.tsquery
    rows = yield Statement("index_words.search", query=text, limit=limit)
    hits = []
    for row in rows:
        shown = snippets.snippet(asked, row["body"], row["first_line"])
        hits.append(
            Hit(
                path=row["path"],
                root=row["root"],
                line=shown.line,
                first_line=row["first_line"],
                last_line=row["last_line"],
                snippet=shown.text,
                score=row["score"],
            )
        )
    return hits


# -- jobs as values ------------------------------------------------------------------------------


def status(job_id: str) -> Script[IndexingJob]:
    """A job as it is now."""
    row = yield from jobs.one(job_id)
    done = yield from jobs.done(job_id)
    return _job(row, done)


def recent(project_id: str | None, limit: int) -> Script[list[IndexingJob]]:
    """The last jobs of a project, or of all."""
    wanted = yield from jobs.recent(project_id, limit)
    found = []
    for one in wanted:
        found += [(yield from status(one))]
    return found


def cancel(job_id: str, reason: str | None, actor: str, now: int) -> Script[None]:
    """Cancel a job with everything that is left of it, and let the next one begin."""
    yield Statement("batches.lock_edges")  # first, as whoever asks for a job does
    row = yield from jobs.one(job_id)
    if row["status"] not in TERMINAL:
        yield from control.cancel(job_id, reason, True, actor, now)
    yield from jobs.close(job_id, now)


def _job(row: Row, done: Mapping[str, Row]) -> IndexingJob:
    plan: Mapping[str, Any] = payload.decode(row["plan"]) or {}
    over = done.get(COMPLETED)
    skipped = dict(plan.get("skipped", {}))
    if over:
        for reason in jobs.REASONS:
            if over[reason]:
                skipped[reason] = skipped.get(reason, 0) + over[reason]
    made = IndexingJob(
        id=row["id"],
        status=_status(row),
        project_id=row["project_id"],
        database_name=row["database_name"],
        path=os.path.join(row["root"], row["scope"]).rstrip("/") or "/",
        force=bool(row["force"]),
        found=plan.get("found"),
        changed=plan.get("changed"),
        done=over["files"] if over else 0,
        indexed=over["indexed"] if over else 0,
        removed=plan.get("removed", 0) + (over["removed"] if over else 0),
        chunks=over["chunks"] if over else 0,
        skipped=skipped,
        message="",
    )
    return evolve(made, message=_message(made, row))


def _status(row: Row) -> IndexingStatus:
    if row["status"] in (COMPLETED, FAILED, CANCELLED):
        return row["status"]  # type: ignore[no-any-return]
    if row["plan_status"] in jobs.UNDONE:  # it was retried without its plan
        return "failed"
    begun = row["plan"] is not None or row["plan_status"] in (RUNNING, COMPLETED)
    return "running" if begun else "queued"


def _message(job: IndexingJob, row: Row) -> str:
    counted = [f"{job.found or 0:,} files, {job.indexed:,} of them new or changed"]
    if job.removed:
        counted.append(f"{job.removed:,} removed")
    if job.skipped:
        counted.append(f"{sum(job.skipped.values()):,} skipped")
    match job.status:
        case "queued" if row["plan_status"] == SCHEDULED:
            return f"trying again: {row['plan_error']}"
        case "queued":
            return "waiting for another job" if row["plan_status"] == BLOCKED else "waiting for a runner"
        case "running" if job.changed is None:
            return "looking for files"
        case "running":
            return f"{job.done:,} of {job.changed:,} files looked into"
        case "failed":
            if row["plan_status"] in jobs.UNDONE:
                return row["plan_error"]  # type: ignore[no-any-return]
            return row["error_message"] or "failed"
        case "cancelled":
            return f"{row['error_message'] or 'cancelled'}; {', '.join(counted)}"
        case _:
            return ", ".join(counted)


# -- arguments -----------------------------------------------------------------------------------


def _made(found: Resolution) -> str:
    """The id of a resolved project. Raises NoProjectError where `dry_run` kept it from being made."""
    if not found.project_id:
        raise NoProjectError([str(found.reason)], "Switch `dry_run` off in its configuration.")
    return found.project_id


def _check_own(root: str, scope: str, project_id: str) -> None:
    """Refuse what lies in a directory that has a configuration below the root: it is another project's."""
    place = root
    for name in scope.split("/") if scope else ():
        place = os.path.join(place, name)
        if config.path_of(place) is not None:
            raise InvalidInputError(
                f"{place} is in a project of its own.",
                f"Expected a path of the project {project_id}.",
                f"Leave the project out to index that one, or add its directory with `adopt`: {place}",
            )


def is_inside(path: str, root: str) -> bool:
    """Whether a real path is a root, or in it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def _place(path: Path) -> tuple[str, str]:
    """The real path of a directory or file, and the directory that it is or is in."""
    text = os.fspath(path)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ProjectDirectoryError(repr(path), "it is no path")
    try:
        there = os.path.realpath(text, strict=True)
        mode = os.stat(there).st_mode
        there.encode()
    except UnicodeEncodeError:
        raise ProjectDirectoryError(repr(path), "its path is no UTF-8") from None
    except OSError as error:
        raise ProjectDirectoryError(text, error.strerror or str(error)) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise ProjectDirectoryError(text, "it is neither a directory nor a file")
    return there, there if stat.S_ISDIR(mode) else os.path.dirname(there)


def _id_of(job: str | IndexingJob | Task) -> str:
    return payload.plain(job.id if isinstance(job, (IndexingJob, Task)) else job, "the job")
