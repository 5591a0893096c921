"""The agents of the demo: they scan, analyse, merge, report and count. One worker process runs them."""

from __future__ import annotations

import asyncio
import logging
import os
from itertools import islice
from pathlib import Path
from typing import Any, Final

from abathur.cli.demo.analyse import analyse
from abathur.cli.demo.report import add_up, render
from abathur.cli.demo.sources import sources
from abathur.cli.serving import Stop
from abathur.database import Database
from abathur.models import Prerequisite
from abathur.runner import Context, DoNotRetry, Runner

SCAN: Final = "demo.scan"
ANALYSE: Final = "demo.analyse"
MERGE: Final = "demo.merge"
REPORT: Final = "demo.report"
COUNT: Final = "demo.count"
COUNTER: Final = Path(__file__).with_name("count.sh")
"""A command agent: the others are functions."""

FILE: Final = "report.md"

LEASE: Final = 3.0
"""Seconds; short, so that a killed worker's tasks are soon somebody else's."""
CONCURRENCY: Final = 2
GRACE: Final = 2.0
LENGTH: Final = 17.0
"""Seconds that all thinking together may take."""
LONGEST_THOUGHT: Final = 3.0
ENVIRONMENT: Final = "development"


async def scan(ctx: Context) -> dict[str, Any]:
    """Find the files; make a task for each, one that adds up, one that reports, and one that counts.

    All of them are made in one transaction, and each has a key: when this worker dies, before it or
    after it, the next attempt leaves each task there exactly once.
    """
    root, output = Path(ctx.input["directory"]), ctx.input["output"]
    await ctx.progress(0, "walking the tree")
    paths = [
        path.as_posix()
        for path in islice(sources(root, skip=Path(output)), ctx.input["files"])
        if _is_utf8(path)
    ]
    pace = ctx.input["pace"]
    if pace is None:
        pace = min(LENGTH * ctx.input["slots"] / max(len(paths), 1), LONGEST_THOUGHT)
    common = {"max_attempts": 5, "timeout": 120, "source": "demo"}
    tasks: list[dict[str, Any]] = [
        {
            "prompt": f"Analyse {path}",
            "agent_type": ANALYSE,
            "input": {"directory": str(root), "path": path, "pace": pace},
            "ref": path,
            "key": f"{ctx.task.id}:{path}",
            **common,
        }
        for path in paths
    ]
    tasks += [
        {
            "prompt": f"Add up what was found in {len(paths)} files",
            "agent_type": MERGE,
            # A file that cannot be analysed must not keep the others from being reported.
            "depends_on": [Prerequisite(path, on_failure="ignore") for path in paths],
            "ref": MERGE,
            "key": f"{ctx.task.id}:merge",
            **common,
        },
        {
            "prompt": f"Write a report on {root.name or root}",
            "agent_type": REPORT,
            "input": {"directory": str(root), "output": output},
            "depends_on": [Prerequisite(MERGE, on_failure="fail")],
            "ref": REPORT,
            "key": f"{ctx.task.id}:report",
            **common,
        },
        {
            "prompt": "Count the words of the report",
            "agent_type": COUNT,
            "depends_on": [Prerequisite(REPORT, on_failure="fail")],
            "key": f"{ctx.task.id}:count",
            **common,
        },
    ]
    await ctx.enqueue_many(tasks)
    return {"files": len(paths), "pace": pace}


async def analyse_file(ctx: Context) -> dict[str, Any]:
    """Read a file and say what is in it, after some thought."""
    path = Path(ctx.input["path"])
    await think(ctx, ctx.input["pace"], f"reading {path.name}")
    try:
        return await asyncio.to_thread(analyse, Path(ctx.input["directory"]), path)
    except OSError as error:  # it was there when the tree was walked
        raise DoNotRetry(f"{path} cannot be read: {error}") from error


async def merge(ctx: Context) -> dict[str, Any]:
    """Add up the results of all the analyses."""
    parts = await ctx.db.tasks.list(parent=ctx.task.parent, agent_type=ANALYSE, limit=10_000)
    await ctx.progress(0.5, f"adding up {len(parts)} results")
    failed = [part.input["path"] for part in parts if part.status != "completed"]
    return add_up([part.result for part in parts if part.status == "completed"], failed)


async def report(ctx: Context) -> dict[str, Any]:
    """Write the report for people to read."""
    (merged,) = await ctx.db.tasks.list(parent=ctx.task.parent, agent_type=MERGE)
    await ctx.progress(0.5, "writing")
    path = Path(ctx.input["output"]) / FILE
    text = render(merged.result, ctx.input["directory"])
    # Under another name first, so that no half of a report is ever left behind.
    half = path.with_suffix(f".{ctx.claim.fence}.tmp")
    half.write_text(text, encoding="utf-8")
    half.replace(path)
    return {"path": str(path), "lines": text.count("\n")}


async def think(ctx: Context, seconds: float, message: str) -> None:
    """Take a while, and say how far it is, as an agent would that waits for a model."""
    steps = max(1, min(4, round(seconds / 0.2)))
    for step in range(steps):
        await ctx.progress(step / steps, message)
        await asyncio.sleep(seconds / steps)


def _is_utf8(path: Path) -> bool:
    """Whether a file's name is text; Linux allows any bytes."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def runner(db: Database, name: str) -> Runner:
    """The runner of one worker process."""
    made = Runner(db, concurrency=CONCURRENCY, worker=name, lease=LEASE, grace=GRACE)
    made.agent(SCAN)(scan)
    made.agent(ANALYSE)(analyse_file)
    made.agent(MERGE)(merge)
    made.agent(REPORT)(report)
    path = Path(db.name).with_name(FILE)
    made.command(COUNT, ["sh", str(COUNTER)], concurrency=1, env={"REPORT": str(path)})
    return made


async def work(at: str, name: str, parent: int) -> None:
    """Work until a signal, or until the demo is gone."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = Stop()

    async def watch_parent() -> None:
        while os.getppid() == parent:  # noqa: ASYNC110  # no event tells of a parent's death
            await asyncio.sleep(0.5)
        stop.ask("the demo is gone")

    async with stop.on_signals(), Database(at, environment=ENVIRONMENT) as db, asyncio.TaskGroup() as group:
        watching = group.create_task(watch_parent())
        await stop.serve(runner(db, name))
        watching.cancel()
