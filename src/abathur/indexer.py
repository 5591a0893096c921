"""The agents that index: they walk through a project, read its files in batches, and sum up.

    abathur run abathur.indexer:runner          # indexes whatever is asked for, until it is stopped

An application that has a Runner gives it these agents with `agents(runner)`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import anyio
from attrs import define, field

from abathur import payload
from abathur.context import Context, DoNotRetry
from abathur.database import Database
from abathur.projects.index import jobs, storing
from abathur.projects.index.api import is_inside
from abathur.projects.index.reading import Reading, open_files, read
from abathur.projects.index.storing import Entry, Known
from abathur.projects.index.walking import Candidate, Walk
from abathur.runner import Runner
from abathur.states import COMPLETED, TERMINAL

LEASE: Final = 6.0
"""Seconds after which the work of a process that died goes on elsewhere."""
FILES: Final = 100
"""Files of a batch: so many at most are looked into again after a crash."""
PATHS: Final = 64 * 1024
"""Bytes that the paths of a batch have at most, because a task's input is limited."""
LOOKS: Final = 2_000
"""Files that a walk finds between two moments at which it can be stopped."""
SLICE: Final = 2 * 1024 * 1024
"""Characters of text that are written in one transaction, and between two moments to be stopped."""


def agents(runner: Runner, *, concurrency: int = 2) -> None:
    """Give a runner the agents that index.

    concurrency: batches at a time; more than two or three gain nothing, because all write to one store.

    When a process dies, its part is done by another one after the runner's `lease`, or by itself when it
    is started again: with `Runner(db, lease=6)` that takes less than ten seconds.
    """
    runner.agent(jobs.PLAN, concurrency=jobs.AT_A_TIME)(plan)
    runner.agent(jobs.BATCH, concurrency=concurrency)(batch)
    runner.agent(jobs.JOB, concurrency=jobs.AT_A_TIME)(finish)


def runner(db: Database) -> Runner:
    """A runner that does nothing but index."""
    made = Runner(db, concurrency=4, lease=LEASE, grace=5)
    agents(made)
    return made


# -- the plan --------------------------------------------------------------------------------------


async def plan(ctx: Context) -> dict[str, Any]:
    """Find what has changed below a path, take what is gone out of the index, and make the batches."""
    given = ctx.input
    job_id = str(ctx.task.parent)
    if await ctx.db.read(jobs.has_ended, job_id):
        return {}
    root, scope = given["root"], given["scope"]
    current = await _check(ctx.db, given)
    if not os.path.isdir(root):  # noqa: ASYNC240  # else all of it would be taken for removed
        raise FileNotFoundError(f"{root} is not there. Expected the directory of the project.")
    store = await ctx.db.projects.store(given["project_id"])
    for gone in await store.run(storing.settle_root, root, current):
        while not await store.run(storing.forget_root, gone):
            pass
    root_id = await store.run(storing.root, root)
    known = await store.read(storing.known, root_id, scope)
    walk = Walk(root, scope)
    seen, changed = await _walked(walk, known, force=given["force"])
    removed = [path for path in known if path not in seen and walk.has_seen(path)]
    for at in range(0, len(removed), storing.PAGE):
        await store.run(storing.remove, root_id, removed[at : at + storing.PAGE])
    found = {
        "found": len(seen),
        "changed": len(changed),
        "removed": len(removed),
        "skipped": dict(walk.skipped),
    }
    parts = jobs.batches(given, job_id, list(_parts(changed)))
    await ctx.db.run(jobs.spread, job_id, found, parts)
    return found


async def _check(db: Database, given: Mapping[str, Any]) -> list[str]:
    """The directories of the project. Raises DoNotRetry for a task that is about none of them.

    A task says which files are read, and whoever may enqueue one must not read others by it.
    """
    project = await db.projects.get(given["project_id"])
    roots = [root.path for root in project.roots]
    if given["root"] not in roots:
        raise DoNotRetry(
            f"{given['root']} is no directory of the project {project.id} any more. "
            f"It has {', '.join(roots) or 'none'}; start the indexing anew."
        )
    return roots


async def _walked(walk: Walk, known: Mapping[str, Known], *, force: bool) -> tuple[set[str], list[str]]:
    """All paths, and those of them whose files have to be looked into."""
    seen: set[str] = set()
    changed: list[str] = []
    found = walk.found()

    def look() -> int:
        some = list(islice(found, LOOKS))
        seen.update(one.path for one in some)
        changed.extend(one.path for one in some if force or _has_changed(one, known.get(one.path)))
        return len(some)

    while await anyio.to_thread.run_sync(look):
        pass
    return seen, changed


def _has_changed(one: Candidate, known: Known | None) -> bool:
    return known is None or (one.size, one.mtime_ns) != (known.size, known.mtime_ns)


def _parts(paths: Sequence[str]) -> Iterator[list[str]]:
    """The batches: neither too many files, nor too long names."""
    part: list[str] = []
    size = 0
    for path in paths:
        length = len(payload.batch(path))
        if part and (len(part) >= FILES or size + length > PATHS):
            yield part
            part, size = [], 0
        part.append(path)
        size += length
    if part:
        yield part


# -- a batch ---------------------------------------------------------------------------------------


@define
class _Slice:
    """Some files of a batch that were read, and what is to become of them."""

    looked: int = 0
    entries: list[Entry] = field(factory=list)
    touched: dict[str, Reading] = field(factory=dict)
    removed: list[str] = field(factory=list)
    counts: Counter[str] = field(factory=Counter)


async def batch(ctx: Context) -> dict[str, Any]:
    """Read some files, and write those to the index whose content is new."""
    given = ctx.input
    if await ctx.db.read(jobs.has_ended, str(ctx.task.parent)):
        return {}
    await _check(ctx.db, given)
    store = await ctx.db.projects.store(given["project_id"])
    root, paths, force = given["root"], given["paths"], given["force"]
    root_id = await store.run(storing.root, root)
    known = await store.read(storing.hashes, root_id, paths)
    counts: Counter[str] = Counter()
    at = 0
    while at < len(paths):
        part = await anyio.to_thread.run_sync(_read_some, root, paths[at:], known, force)
        at += part.looked
        counts += part.counts
        counts["chunks"] += await store.run(_write, root, part)
    return {"files": len(paths), **counts}


def _read_some(root: str, paths: Sequence[str], known: Mapping[str, tuple[int, str]], force: bool) -> _Slice:
    """Read files until there is enough for one transaction."""
    part = _Slice()
    live = open_files()
    size = 0
    for path in paths:
        part.looked += 1
        found = read(os.path.join(root, path), live=live) if _is_below(root, path) else Reading(None, "gone")
        before = known.get(path)
        if found.skipped == "unreadable":  # nobody knows what is in it, so what is known stays
            part.counts["unreadable"] += 1
            continue
        if not found.sha256:
            part.counts["other"] += found.skipped != "gone"
            if before is not None:
                part.removed.append(path)
                part.counts["removed"] += 1
            continue
        part.counts["binary"] += found.text is None
        if before is not None and before[1] == found.sha256 and not force:
            part.touched[path] = found
            part.counts["unchanged"] += 1
            continue
        part.entries.append(Entry.of(path, found))
        part.counts["indexed"] += found.text is not None
        size += len(found.text or "")
        if size >= SLICE:
            break
    return part


def _is_below(root: str, path: str) -> bool:
    """Whether a path leads to a place in the root, whatever links there are on the way now."""
    if os.path.isabs(path) or ".." in path.split("/"):
        return False
    directory = os.path.dirname(os.path.join(root, path))
    return is_inside(os.path.realpath(directory), root)


def _write(root: str, part: _Slice, now: int) -> Any:
    """Write what was read a while ago: numbers of roots and of files may be others' by now."""
    root_id = yield from storing.root(root)
    yield from storing.touch(root_id, part.touched)
    yield from storing.remove(root_id, part.removed)
    return (yield from storing.put(root_id, part.entries, now))


# -- the end ---------------------------------------------------------------------------------------


async def finish(ctx: Context) -> dict[str, Any]:
    """Sum up what the batches have done. Raises DoNotRetry if some of them have failed."""
    done = await ctx.db.read(jobs.done, ctx.task.id)
    failed = {status: row for status, row in done.items() if status in TERMINAL and status != COMPLETED}
    store = await ctx.db.projects.store(ctx.input["project_id"])
    if not failed and not ctx.input["scope"]:
        await store.run(storing.date_root, ctx.input["root"])
    files, chunks = await store.read(storing.totals)
    await ctx.db.run(jobs.close, ctx.task.id)
    if failed:
        count = sum(row["batches"] for row in failed.values())
        why = next((row["error"] for row in failed.values() if row["error"]), "they were cancelled")
        raise DoNotRetry(
            f"{count} of {sum(row['batches'] for row in done.values())} batches were not indexed: {why} "
            "What was indexed can be found; start the indexing again for the rest."
        )
    return {"files": files, "chunks": chunks}
