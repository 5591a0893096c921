"""A command's process group ends with its task: in time, on each way out, and nothing is left of it."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from abathur import Database, Runner

needs_proc = pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc tells which processes run")

STUBBORN = """
trap '' TERM
(trap '' TERM; echo $$ > grandchild; exec sleep 300) &
(setsid true; trap '' TERM; exec sleep 301) &
echo "working on it" >&2
touch started
sleep 302
"""
"""Neither it nor its children end on SIGTERM. It starts no process that leaves its group."""

GENTLE = """
trap 'echo tidy > tidied; exit 1' TERM
touch started
while :; do sleep 0.05; done
"""


@pytest.fixture
async def db(tmp_path):
    async with Database(tmp_path / "agents.db", environment="test") as db:
        yield db


@pytest.fixture
def runner(db, tmp_path):
    return Runner(db, concurrency=4, grace=0.1, lease=2)


def processes_in(directory: Path) -> list[str]:
    """The command lines of the processes that work in this directory, zombies included."""
    return list(commands_in(directory).values())


def commands_in(directory: Path) -> dict[int, str]:
    """The same, by process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == directory:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended meanwhile, or is not ours
            continue
    return found


def zombies() -> list[int]:
    """The children of this process that have ended and were not waited for."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] == "Z" and int(fields[1]) == os.getpid():
            found.append(int(entry.name))
    return found


def pipes() -> list[str]:
    """The pipes and sockets that this process has open."""
    targets = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(target for target in targets if target.startswith(("pipe:", "socket:")))


async def until(condition, what: str, seconds: float = 20) -> float:
    """Wait for a condition; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        await asyncio.sleep(0.01)
    return time.monotonic() - began


@pytest.fixture
def place(tmp_path) -> Path:
    """Where the command runs, which tells its processes from all others."""
    path = tmp_path / "place"
    path.mkdir()
    return path


def script(place: Path, text: str) -> list[str]:
    (place.parent / "agent.sh").write_text(text)
    return ["sh", str(place.parent / "agent.sh")]


@needs_proc
async def test_a_time_out_ends_the_whole_group_even_those_who_do_not_want_to(db, runner, place, figure):
    runner.command("a", script(place, STUBBORN), cwd=place, timeout=1, max_attempts=1, kill_after=0.5)
    task = await db.tasks.enqueue("x", agent_type="a")
    began = time.monotonic()
    await asyncio.wait_for(runner.run(until_idle=True), 20)
    took = time.monotonic() - began
    assert (place / "started").exists()
    assert processes_in(place) == []
    assert zombies() == []
    (attempt,) = await db.tasks.attempts(task)
    assert attempt.outcome == "timed_out"
    assert (
        attempt.error["message"] == "The attempt took longer than 1 s. The end of its stderr: working on it"
    )
    assert 1.5 <= took < 10
    figure(f"1 s of time-out and 0.5 s of patience: all gone after {took:.2f} s")


@needs_proc
async def test_a_command_may_tidy_up_when_its_task_is_cancelled_and_its_children_too(db, runner, place):
    text = "(trap 'sleep 0.3; echo child > child; exit' TERM; while :; do sleep 0.05; done) &\n" + GENTLE
    runner.command("a", script(place, text), cwd=place)
    task = await db.tasks.enqueue("x", agent_type="a")
    running = asyncio.ensure_future(runner.run())
    await until((place / "started").exists, "it has started")
    await db.tasks.cancel(task)
    took = await until(lambda: not processes_in(place), "it has ended")
    assert took < 4.5  # before SIGKILL would have come
    assert (place / "tidied").read_text() == "tidy\n"
    assert (place / "child").read_text() == "child\n"
    runner.stop()
    await asyncio.wait_for(running, 10)
    assert (await db.tasks.get(task)).status == "cancelled"


@needs_proc
async def test_a_lost_lease_ends_the_command_and_its_result_is_dropped(db, runner, place):
    runner.command("a", script(place, f"{STUBBORN}\necho 1"), cwd=place, kill_after=0.2)
    task = await db.tasks.enqueue("x", agent_type="a")
    running = asyncio.ensure_future(runner.run())
    await until((place / "started").exists, "it has started")

    def take(now):
        from abathur.script import Statement

        yield Statement("test.take", id=task.id)

    # As if the lease had ended and another worker had the task: its fence has risen.
    async with Database(
        db.name,
        environment="test",
        queries={"test.take": "UPDATE tasks SET fence = fence + 1 WHERE id = :id"},
    ) as other:
        await other.run(take)
    await until(lambda: not processes_in(place), "it has ended")
    assert (await db.tasks.get(task)).result is None
    runner.stop()
    await asyncio.wait_for(running, 10)


@needs_proc
async def test_a_stopped_runner_ends_its_commands_and_gives_their_tasks_back(db, runner, place):
    runner.command("a", script(place, STUBBORN), cwd=place, max_attempts=1, kill_after=0.2)
    task = await db.tasks.enqueue("x", agent_type="a", max_attempts=1)
    running = asyncio.ensure_future(runner.run())
    await until((place / "started").exists, "it has started")
    runner.stop()
    await asyncio.wait_for(running, 10)
    assert processes_in(place) == []
    found = await db.tasks.get(task)
    assert (found.status, found.attempt, found.fence) == ("ready", 0, 1)


@needs_proc
async def test_a_runner_that_is_cancelled_from_outside_leaves_no_process_behind(db, place):
    for delay in (0, 0.02, 0.05, 0.1, 0.2):
        runner = Runner(db, concurrency=4)
        runner.command("a", ["sleep", "300"], cwd=place)
        await db.tasks.enqueue_many([{"prompt": "x", "agent_type": "a"}] * 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runner.run(), delay)
        await until(lambda: not processes_in(place), "all have ended")
        assert not (await db.tasks.counts()).get("running")
    assert zombies() == []


@needs_proc
async def test_hundred_megabytes_of_output_take_no_memory_and_little_of_it_is_kept(db, runner, place, figure):
    text = (
        "head -c 100000000 /dev/zero | tr '\\0' e >&2\n"
        "head -c 100000000 /dev/zero | tr '\\0' o\n"
        "echo not reached\n"
    )
    runner.command("a", script(place, text), cwd=place, max_attempts=1, kill_after=1)
    await db.tasks.enqueue("x", agent_type="a")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    await asyncio.wait_for(runner.run(until_idle=True), 60)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    (task,) = await db.tasks.list()
    assert "more than 524,288 bytes" in task.error
    assert grown < 30
    assert processes_in(place) == []
    figure(f"200 MB of output in {time.monotonic() - began:.1f} s; {grown:.1f} MB of memory more")


@needs_proc
async def test_hundreds_of_commands_leave_no_descriptor_and_no_process(db, place, figure):
    runner = Runner(db, concurrency=8)
    runner.command("a", ["true"], cwd=place)
    runner.command("b", ["false"], cwd=place, max_attempts=1)
    before = pipes()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    await db.tasks.enqueue_many([{"prompt": "x", "agent_type": kind} for kind in "aaaab" * 40])
    await asyncio.wait_for(runner.run(until_idle=True), 60)
    took = time.monotonic() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert await db.tasks.counts() == {"completed": 160, "failed": 40}
    assert pipes() == before
    assert processes_in(place) == []
    assert zombies() == []
    cost = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / 200 * 1000
    figure(f"200 commands in {took:.1f} s; {cost:.0f} ms of CPU each in supervisor and command")


@needs_proc
async def test_a_supervisor_that_is_killed_takes_its_command_along_and_fails_the_attempt(db, runner, place):
    runner.command("a", script(place, STUBBORN), cwd=place, max_attempts=1)
    task = await db.tasks.enqueue("x", agent_type="a")
    running = asyncio.ensure_future(runner.run(until_idle=True))
    await until((place / "started").exists, "it has started")
    (supervisor,) = [pid for pid, command in commands_in(place).items() if "supervisor.py" in command]
    os.kill(supervisor, signal.SIGTERM)  # it does not heed this one
    await asyncio.sleep(0.1)
    os.kill(supervisor, signal.SIGKILL)
    await asyncio.wait_for(running, 10)
    assert processes_in(place) == []
    assert "somebody has killed its supervisor" in (await db.tasks.get(task)).error


CONFIG = """
database = "agents.db"
[runner]
lease = 1
[agents.a]
command = ["sh", "../agent.sh"]
cwd = "place"
kill_after = 0.5
"""


@needs_proc
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_commands_end_when_abathur_run_is_killed_and_another_runs_them(place, how, figure):
    here = place.parent
    first = 'if [ "$ABATHUR_ATTEMPT" = 1 ] && [ ! -e started ]; then' + STUBBORN + "fi; echo '\"done\"'\n"
    script(place, first)
    (here / "abathur.toml").write_text(CONFIG)
    environment = {**os.environ, "ABATHUR_ENVIRONMENT": "test"}
    program = [sys.executable, "-W", "error", "-m", "abathur"]

    def abathur(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    task = abathur("enqueue", "x", "--agent-type", "a").stdout.strip()
    worker = subprocess.Popen([*program, "run"], cwd=here, env=environment, stderr=subprocess.PIPE)
    try:
        await until((place / "started").exists, "it has started")
        assert len(processes_in(place)) >= 4
        worker.send_signal(how)
        if how == signal.SIGTERM:  # twice: it does not wait for its grace
            await asyncio.sleep(0.3)
            worker.send_signal(how)
        await asyncio.to_thread(worker.wait, 10)
        took = await until(lambda: not processes_in(place), "all have ended", 5)
    finally:
        worker.kill()
        worker.communicate()
    figure(f"{how.name} of `abathur run`: its commands were gone {took:.2f} s later")
    abathur("run", "--until-idle")
    found = json.loads(abathur("show", task, "--json").stdout)["task"]
    assert (found["status"], found["result"], found["attempt"]) == ("completed", "done", 2)
