"""What a type checker sees of the public API. Never executed: pyright checks it, strictly."""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import assert_type

from abathur import (
    AuditReport,
    BotDatabase,
    Claim,
    Context,
    CriticalPath,
    Database,
    Finding,
    PathTask,
    PrerequisiteState,
    QueueStats,
    Reason,
    Runner,
    Stats,
    Task,
    TaskState,
    Tree,
    TreeTask,
    Why,
    WorkerInfo,
)
from abathur.chat import BotDatabase as FoundInChat
from abathur.chat import Event, Recorded
from abathur.projects import Project, Resolution
from abathur.testing import (
    Crash,
    CrashPoint,
    CrashPoints,
    Drained,
    FakeClock,
    LeftTask,
    TaskFactory,
    assert_cancelled,
    assert_completed,
    assert_enqueued,
    assert_failed,
    assert_status,
    claim_task,
    crash_points,
    drain,
    make_graph,
    make_task,
    make_tasks,
    refute_enqueued,
)


async def use(db: Database) -> None:
    task = await db.tasks.enqueue("Review it", agent_type="reviewer", depends_on=["other"])
    assert_type(task, Task)
    assert_type(await db.tasks.enqueue_many([{"prompt": "one"}]), list[Task])
    claims = await db.tasks.claim(worker="host-1", agent_types=["reviewer"], limit=10, lease=30.0)
    assert_type(claims, list[Claim])
    assert_type(await db.tasks.claim("host-1", caps={"reviewer": 2}), list[Claim])
    await db.tasks.complete(claims[0], result={"ok": True})
    assert_type(await db.tasks.fail(claims[0], ValueError("no"), retry_in=None), str)
    assert_type(await db.tasks.cancel(task, reason="no longer needed"), Task)
    assert_type(await db.tasks.list(status="ready", limit=5), list[Task])
    assert_type(await db.tasks.wait(task.id, timeout=1.0), Task)
    assert_type(await db.tasks.prerequisites(task), list[PrerequisiteState])
    assert_type(await db.audit.verify(), AuditReport)
    assert_type(await db.backup("copy.db", progress=lambda done, total: done / total), Path)
    assert_type(await db.doctor(deep=True), list[Finding])


async def look(db: Database, task: Task) -> None:
    why = await db.tasks.why(task)
    assert_type(why, Why)
    assert_type(why.task, TaskState)
    assert_type(why.reasons, tuple[Reason, ...])
    tree = await db.tasks.tree(task.id, limit=10)
    assert_type(tree, Tree)
    assert_type(tree.tasks, tuple[TreeTask, ...])
    path = await db.tasks.critical_path(task)
    assert_type(path, CriticalPath)
    assert_type(path.tasks, tuple[PathTask, ...])
    stats = await db.tasks.stats()
    assert_type(stats, Stats)
    assert_type(stats.queues, tuple[QueueStats, ...])
    assert_type(await db.tasks.workers(), list[WorkerInfo])


def run(db: Database) -> Runner:
    runner = Runner(db, concurrency=8)

    runner.command("lister", ["ls", "-1"], output="text", env={"LANG": "C"}, concurrency=2)

    @runner.agent("reviewer", timeout=600, max_attempts=3, concurrency=4)
    async def review(ctx: Context) -> dict[str, str]:
        await ctx.progress(0.5, "half way")
        return {"task": ctx.task.id}

    return runner


async def chat(db: Database) -> None:
    event = Event("user.joined", {"username": "alice"}, ("a stream", 7))
    assert_type(await db.chat.record([event]), Recorded)
    assert_type((await db.chat.record([event])).stored, int)
    assert_type(await db.chat.enqueue("hello", max_retries=5), int)
    assert_type(await db.chat.mark_sent(1), bool)


async def bot() -> None:
    db: FoundInChat = BotDatabase("bot.db", durability="normal")
    await db.connect()
    assert_type(db.is_connected, bool)
    assert_type(await db.get_top_chatters(), list[tuple[str, int]])
    await db.close()


def numbered(number: int) -> dict[str, int]:
    return {"n": number}


async def test(db: Database, runner: Runner) -> None:
    clock = FakeClock(datetime(2030, 1, 1, tzinfo=UTC))
    Database(":memory:", environment="test", clock=clock)
    clock.advance(timedelta(hours=1), minutes=5)
    assert_type(clock.time, datetime)
    done = await drain(db, runner, runner, limit=10, timeout=1)
    assert_type(done, Drained)
    assert_type(done.left, tuple[LeftTask, ...])
    task = await make_task(db, status="failed", error=ValueError("no"))
    assert_type(task, Task)
    assert_type(await make_tasks(db, 3, input=numbered), list[Task])
    assert_type(await make_graph(db, "a -> b", tasks={"b": {"priority": 9}}), dict[str, Task])
    assert_type(await TaskFactory(db, agent_type="x").batch(2), list[Task])
    assert_type(await claim_task(db, task), Claim)
    assert_type(await assert_enqueued(db, agent_type="reviewer", input={"path": ...}), Task)
    assert_type(await assert_enqueued(db, count=2), list[Task])
    assert_type(await refute_enqueued(db, prompt=re.compile("no")), None)
    assert_type(await assert_completed(db, task, result=1), Task)
    assert_type(await assert_failed(db, error="timed out"), Task)
    assert_type(await assert_cancelled(db), Task)
    assert_type(await assert_status(db, "ready", task), Task)


async def crash(scenario: Callable[[Database], Awaitable[Runner]]) -> None:
    points = crash_points(scenario, place=lambda: Path("new.db"), inside=[crash], lines=False)
    assert_type(points, CrashPoints)
    for one in points:
        assert_type(one, Crash)
        async with one as db:
            assert_type(db, Database)
        assert_type(one.point, CrashPoint | None)
        assert_type(one.drained, Drained | None)


async def projects(db: Database) -> None:
    found = await db.projects.resolve(directory="work", session="editor-1")
    assert_type(found, Resolution)
    assert_type(found.project_id, str)
    assert_type(await db.projects.store(found.project_id), Database)
    assert_type(await db.projects.list(state="ready"), list[Project])
    assert_type((await db.projects.create("a", metadata={"team": 1})).config_persisted, bool)
    assert_type((await db.projects.repair("a")).done, tuple[str, ...])
    db.projects.configure(resolver=lambda directory, session: directory or session)
    Runner(db, project=[found.project_id])
