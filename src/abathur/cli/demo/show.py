"""Conducts the demo: starts workers, kills one in the middle of a task, waits until all is done."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

import abathur
from abathur.cli.demo.agents import ANALYSE, CONCURRENCY, ENVIRONMENT, SCAN, runner
from abathur.cli.demo.crew import Crew, DemoError
from abathur.cli.demo.figures import Figures, Held, Killed, read_figures
from abathur.cli.demo.place import DATABASE, prepared
from abathur.cli.demo.screen import Moment, Screen, screen
from abathur.cli.demo.sources import sources
from abathur.database import Database
from abathur.models import Task
from abathur.states import TERMINAL

FEW: Final = 5
LOOK_EVERY: Final = 0.1
KILL_AFTER: Final = 0.3
"""The share of the files that is analysed before a worker is killed."""
STUCK: Final = 60.0
"""Seconds without any change after which the demo gives up."""


@frozen(kw_only=True)
class Plan:
    """What the demo is to do: the options of the command."""

    directory: Path
    output: Path
    workers: int
    pace: float | None
    files: int


def show(plan: Plan, *, quiet: bool) -> Figures:
    """Run the demo. Raises DemoError, or InvalidInputError for an output directory that is not ours."""
    # The name of the output stays as it was given: it is printed, and read by people.
    with prepared(plan.output) as lock, screen(quiet=quiet) as view:
        return asyncio.run(_Demo(_with_files(plan, view), view, lock).run())


def _with_files(plan: Plan, view: Screen) -> Plan:
    """The plan, with a directory in which there is something to analyse."""
    root = plan.directory.resolve()
    found = [path.as_posix() for path in islice(sources(root, skip=plan.output), plan.files)]
    if not found:
        view.say(f"There are no source files in {root}; these are abathur's own instead.")
        root = Path(abathur.__file__).parent
        found = [path.as_posix() for path in islice(sources(root), plan.files)]
    names = f": {', '.join(found)}" if len(found) < FEW else ""
    limit = " (--files)" if len(found) == plan.files else ""
    files = "1 source file" if len(found) == 1 else f"{len(found)} source files"
    view.say(f"{files}{limit} in {root}{names}")
    return evolve(plan, directory=root)


class _Demo:
    """One run."""

    def __init__(self, plan: Plan, view: Screen, lock: int) -> None:
        self._plan = plan
        self._view = view
        self._path = plan.output / DATABASE
        self._crew = Crew(self._path.absolute(), plan.output, lock)
        self._killed: list[Killed] = []
        self._began = time.monotonic()

    async def run(self) -> Figures:
        async with Database(self._path, environment=ENVIRONMENT, actor="demo") as db:
            await self._submit(db)
            try:
                for _ in range(self._plan.workers):
                    self._crew.start()
                self._began = time.monotonic()
                await self._watch(db)
            finally:
                await asyncio.to_thread(self._crew.stop)
            return await read_figures(db, self._plan.output, self._killed, self._crew.refused())

    async def _submit(self, db: Database) -> None:
        await db.tasks.enqueue(
            f"Find the source files of {self._plan.directory.name or self._plan.directory}",
            agent_type=SCAN,
            input={
                "directory": str(self._plan.directory),
                "output": str(self._plan.output.absolute()),
                "pace": self._plan.pace,
                "files": self._plan.files,
                "slots": self._plan.workers * CONCURRENCY,
            },
            key="scan",
            max_attempts=5,
            source="demo",
        )

    async def _watch(self, db: Database) -> None:
        """Show how things stand until nothing is left to do; kill a worker on the way."""
        changed = time.monotonic()
        before: dict[tuple[str, str], int] = {}
        agent_types = runner(db, "demo").agent_types
        while True:
            counts = await db.tasks.counts(by_agent_type=True)
            running = await db.tasks.list(status="running", limit=1_000)
            ended = sum(n for (_, status), n in counts.items() if status in TERMINAL)
            total = sum(counts.values())
            self._view.update(
                Moment(ended, total, running, self._crew.pids(), time.monotonic() - self._began)
            )
            if ended == total:
                return
            self._crew.check()
            if counts != before:
                changed, before = time.monotonic(), counts
            elif time.monotonic() - changed > STUCK:
                raise DemoError(
                    f"Nothing has changed for {STUCK:g} s; {total - ended} of {total} tasks have not ended.",
                    f"Expected the workers to run the tasks of {', '.join(agent_types)}.",
                    f"Their logs and the database are in {self._plan.output}.",
                )
            if not self._killed and self._is_time(counts, running):
                await self._kill(db, running)
            await asyncio.sleep(LOOK_EVERY)

    def _is_time(self, counts: dict[tuple[str, str], int], running: list[Task]) -> bool:
        """Whether to kill a worker now: some files are done, and others are being worked on."""
        total = sum(n for (agent_type, _), n in counts.items() if agent_type == ANALYSE)
        done = counts.get((ANALYSE, "completed"), 0)
        is_last = not counts.get((ANALYSE, "ready"), 0)
        held = any(task.agent_type == ANALYSE for task in running)
        return held and (done >= KILL_AFTER * total or is_last)

    async def _kill(self, db: Database, running: list[Task]) -> None:
        """Kill the worker that has begun its task last, and look what it was in the middle of."""
        hired = self._crew.pids()
        begun = sorted((task.started_at, task.worker) for task in running if task.worker in hired)
        if not begun:
            return
        name = begun[-1][1]
        pid = self._crew.kill(name)
        # It is dead, so a task that it still holds is one that it can no longer end.
        left = await db.tasks.list(status="running", limit=1_000)
        held = tuple(
            Held(task=task.id, fence=task.fence, summary=task.summary) for task in left if task.worker == name
        )
        replacement = self._crew.start()
        if not held:
            return  # it had just finished; the next look finds another
        self._killed.append(Killed(worker=name, pid=pid, held=held))
        tasks = " and ".join(f'"{one.summary}"' for one in held)
        self._view.say(f"kill -9 {pid}: {name}, in the middle of {tasks}. {replacement} takes its place.")
