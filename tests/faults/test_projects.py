"""Projects made by many processes at once, and by some that are killed: one id, one row, one store.

P2: processes behind a barrier. P7: killed at each statement, and at each system call. P14: in directories
that cannot be written. P19: many processes on one file.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abathur import Database
from abathur.errors import RegistryUnavailableError
from tests.conformance.projects import config, path_of, remove_stores, repository
from tests.faults.budget import SECONDS
from tests.faults.children import Child, Start
from tests.faults.nursery import KILL, Fault
from tests.faults.stepping import Pair
from tests.readonly import read_only

ENGINES = ("file", "postgres")
PROCESSES = 8
STRIDE = 1 if SECONDS in os.environ else 2
"""In the suite one is held after every second of its statements."""


class Registry:
    """A registry that several processes share, and what has become of it."""

    def __init__(self, url: str, place: Path) -> None:
        self.url, self.place = url, place
        self._number = 0

    def repository(self, **more: Any) -> Path:
        self._number += 1
        return repository(self.place / f"work{self._number}", f"Project {self._number}", **more)

    def resolvers(self, start: Start, number: int, *mutant: str) -> list[Child]:
        """Processes that are ready to resolve."""
        made = [start("resolver", self.url, *mutant) for _ in range(number)]
        for child in made:
            assert child.line(0) == "ready"
        return made

    def do(self, what: Callable[[Database], Any]) -> Any:
        async def opened() -> Any:
            async with Database(self.url, environment="test") as db:
                return await what(db)

        return asyncio.run(opened())

    def resolve(self, place: Path) -> Any:
        return self.do(lambda db: db.projects.resolve(directory=place))

    async def _judged(self, db: Database, place: Path, persisted: bool) -> str:
        (project,) = [
            one for one in await db.projects.list(limit=1000) if str(place) in {r.path for r in one.roots}
        ]
        assert project.state == "ready"
        named = await db.projects.list(name=project.name, limit=1000)
        assert [one.id for one in named] == [project.id], "a second project of one directory"
        store = await db.projects.store(project.id)
        assert (await store.stamp())["project"] == project.id
        assert await store.tasks.list() == []
        given = config(place)["project"].get("id")
        assert given == (project.id if persisted else None)
        assert project.roots[0].config_persisted is persisted
        assert [one.name for one in path_of(place).parent.iterdir()] == ["config.json"]
        assert await self._stores(db) == {one.database_name for one in await db.projects.list(limit=1000)}
        return project.id

    async def _stores(self, db: Database) -> set[str]:
        """Every store that there is, also one that no project has."""
        if self.url.startswith("postgresql"):
            listed = await db.projects.list(limit=1000)
            return {one.database_name for one in listed if await db.engine.which_beside(one.database_name)}
        files = {path.name for path in Path(self.url).parent.iterdir() if path.is_file()}
        return {name for name in files if not name.endswith(("-wal", "-shm", "-lock"))} - {"agents.db"}

    def judge(self, place: Path, *, persisted: bool = True) -> str:
        """One row, one store, one id, and that in the configuration; returns the id."""
        return self.do(lambda db: self._judged(db, place, persisted))

    def complete(self, place: Path, at: int) -> None:
        """After a kill: the next one who asks gets the id that was claimed, and all is well."""

        async def completed(db: Database) -> None:
            claimed = [
                one.id
                for one in await db.projects.list(limit=1000)
                if str(place) in {root.path for root in one.roots}
            ]
            published = config(place)["project"].get("id")
            assert published is None or [published] == claimed, f"killed at {at}: published unclaimed"
            found = await db.projects.resolve(directory=place)
            assert claimed in ([], [found.project_id]), f"killed at {at}: another id"
            assert await self._judged(db, place, persisted=True) == found.project_id, f"killed at {at}"

        self.do(completed)


@pytest.fixture(params=ENGINES)
def registry(request: pytest.FixtureRequest, fast: Path) -> Iterator[Registry]:
    """An empty registry on each engine; what it has made is removed after the test."""
    place = Path(os.path.realpath(fast))
    (place / ".git").mkdir()  # nothing above it is looked at
    (place / "registry").mkdir()
    url = str(place / "registry" / "agents.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    made = Registry(url, place)
    made.do(_nothing)
    yield made
    made.do(remove_stores)


async def _nothing(db: Database) -> None:
    assert await db.projects.list() == []


def ask(children: list[Child], place: Path, answers: int) -> list[Any]:
    """Let all resolve one directory at once; returns what they say."""
    for child in children:
        child.tell(place)
    return [json.loads(child.line(answers)) for child in children]


def end(children: list[Child]) -> None:
    for child in children:
        child.tell("end")
    for child in children:
        assert child.end() == 0, child.errors


@pytest.mark.row("P2")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_eight_processes_that_open_a_directory_at_once_get_one_project(registry, start, budget, figure):
    children = registry.resolvers(start, PROCESSES)
    for number in budget(quick=3, long=50):
        place = registry.repository()
        answers = ask(children, place, number + 1)
        assert len({(one["project_id"], one["database_name"]) for one in answers}) == 1, answers
        assert all(one["config_persisted"] for one in answers)
        assert registry.judge(place) == answers[0]["project_id"]
    end(children)
    figure(f"P2: {budget.done} rounds of {PROCESSES} processes: one id, one row, one store each")


@pytest.mark.slow
def test_without_a_look_at_who_was_first_there_is_a_second_project(registry, start):
    """The mutant: this is what the test above would see, so it has teeth."""
    children = registry.resolvers(start, PROCESSES, "mutant")
    place = registry.repository()
    ask(children, place, 1)
    end(children)
    assert len(registry.do(lambda db: db.projects.list())) > 1
    with pytest.raises(AssertionError):
        registry.judge(place)


@pytest.mark.row("P14")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_eight_processes_agree_on_a_directory_that_none_can_write(registry, start, request, budget, figure):
    children = registry.resolvers(start, PROCESSES)
    for number in budget(quick=3, long=50):
        place = registry.repository()
        with read_only(request, path_of(place).parent):
            answers = ask(children, place, number + 1)
            assert len({(one["project_id"], one["database_name"]) for one in answers}) == 1, answers
            assert not any(one["config_persisted"] for one in answers)
            assert registry.judge(place, persisted=False) == answers[0]["project_id"]
    end(children)
    how = "a read-only mount" if os.geteuid() == 0 else "mode 0555"
    figure(f"P14: {budget.done} rounds of {PROCESSES} processes on {how}: one id, one store each")


@pytest.mark.row("P7")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_processes_that_are_killed_while_they_race_leave_one_project(registry, start, budget, figure):
    draw: random.Random = budget.draw()
    killed = 0
    for _ in budget(quick=3, long=100):
        place = registry.repository()
        children = registry.resolvers(start, 5)
        for child in children:
            child.tell(place)
        time.sleep(draw.random() * 0.08)
        for child in draw.sample(children, 3):
            child.send(signal.SIGKILL)
            child.end()
            killed += 1
        left = [child for child in children if not child.ended]
        answers = {json.loads(child.line(1))["project_id"] for child in left}
        end(left)
        assert answers == {registry.resolve(place).project_id}
        assert registry.judge(place) in answers
    figure(f"P7: {budget.done} races with {killed} processes killed: one id, one row, one store each")


@pytest.mark.row("P7")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_project_whose_maker_is_killed_at_any_statement_is_completed_by_the_next(
    registry, children, budget, figure
):
    def run(number: int) -> tuple[Any, Path]:
        place = registry.repository()
        return children.run("resolve_until", registry.url, directory=str(place), statement=number), place

    whole, _ = run(0)
    assert whole.code == 0, whole.errors
    ((statements,),) = whole.of("statements")
    assert statements > 30
    for number in budget(quick=12, long=statements):
        at = 1 + (number * 7919) % statements  # spread, and each once in the long run
        ended, place = run(at)
        assert ended.code == -9, (at, ended)
        registry.complete(place, at)
    figure(f"P7: killed at {budget.done} of {statements} statements: completed with the same id")


@pytest.mark.row("P7")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_project_whose_maker_is_killed_at_any_system_call_is_completed_by_the_next(
    fast, nursery, budget, figure
):
    """On a file: also between the writes, the sync and the rename of its configuration."""
    place = Path(os.path.realpath(fast))
    (place / ".git").mkdir()
    registry = Registry(str(place / "agents.db"), place)
    registry.do(_nothing)

    def run(number: int) -> tuple[Any, Path]:
        for one in place.iterdir():
            if one.name != ".git":
                shutil.rmtree(one) if one.is_dir() else one.unlink()
        registry.do(_nothing)
        work = registry.repository()
        fault = Fault(at=number, what=KILL)
        return nursery.run("resolve", Path(registry.url), fault, directory=str(work)), work

    whole, _ = run(0)
    assert whole.code == 0, whole.errors
    calls = whole.calls
    for number in budget(quick=25, long=calls):
        at = 1 + (number * 7919) % calls
        ended, work = run(at)
        if ended.code == 0:  # of two threads the other one was faster: there were fewer calls
            continue
        assert ended.code == -9, (at, ended)
        registry.complete(work, at)
    figure(f"P7: killed at {budget.done} of {calls} system calls: completed with the same id")


@pytest.mark.row("P19")
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_24_processes_on_one_file_see_no_lock_error(fast, start, budget, figure):
    place = Path(os.path.realpath(fast))
    (place / ".git").mkdir()
    (place / "registry").mkdir()
    registry = Registry(str(place / "registry" / "agents.db"), place)
    registry.do(_nothing)
    children = registry.resolvers(start, 24)
    longest = 0.0
    for number in budget(quick=1, long=20):
        began = time.monotonic()
        places = [registry.repository() for _ in children]
        for child, one in zip(children, places, strict=True):
            child.tell(one)
        answers = [json.loads(child.line(number + 1)) for child in children]
        longest = max(longest, time.monotonic() - began)
        assert len({one["project_id"] for one in answers}) == len(children)
    assert [registry.judge(one) for one in places] == [one["project_id"] for one in answers]
    end(children)
    figure(f"P19: {budget.done} rounds of 24 processes, a project each: {longest:.2f} s at most, no error")


# -- two loops, and a server that goes away --------------------------------------------------------


def test_two_event_loops_of_one_process_get_one_project(registry):
    import threading

    place = registry.repository()
    barrier = threading.Barrier(2)
    found: list[Any] = []

    async def resolved() -> None:
        async with Database(registry.url, environment="test") as db:
            barrier.wait(10)
            found.append(await db.projects.resolve(directory=place))
            found.append(await db.projects.resolve(directory=place))

    threads = [threading.Thread(target=lambda: asyncio.run(resolved())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len({one.project_id for one in found}) == 1
    assert registry.judge(place) == found[0].project_id


async def test_a_registry_that_is_down_creates_nothing_and_works_again_when_it_is_back(victim, fast):
    place = repository(Path(os.path.realpath(fast)) / "work")
    (place / ".git").mkdir()
    before = path_of(place).read_bytes()
    async with Database(victim.url, environment="test", lock_timeout=0.3) as db:
        victim.stop()
        for call in (
            lambda: db.projects.resolve(directory=place),
            lambda: db.projects.create("another"),
            lambda: db.projects.get("any"),
        ):
            with pytest.raises(RegistryUnavailableError, match="no restart"):
                await call()
        assert path_of(place).read_bytes() == before
        victim.start()
        found = await db.projects.resolve(directory=place)
        assert [one.id for one in await db.projects.list()] == [found.project_id]
        assert config(place)["project"]["id"] == found.project_id
        await db.projects.close()
        await remove_stores(db)


async def test_two_who_race_on_a_server_get_one_project_in_every_order_of_their_statements(
    postgres_url, fast, monkeypatch, figure
):
    """One is held after each of its statements in turn, while the other does what it can."""
    place = Path(os.path.realpath(fast))
    (place / ".git").mkdir()
    registry = Registry(postgres_url, place)
    options = {"environment": "test", "durability": "normal"}
    async with Database(postgres_url, **options) as one, Database(postgres_url, **options) as other:
        pair = Pair(one, other, monkeypatch)
        number, reached = 1, True
        while reached:
            work = registry.repository()

            def resolved(db: Database, work: Path = work) -> Any:
                return db.projects.resolve(directory=work)

            first, second, reached = await pair.race(number, resolved, resolved)
            assert first.project_id == second.project_id, number
            assert first.database_name == second.database_name, number
            assert config(work)["project"]["id"] == first.project_id, number
            number += STRIDE
        listed = await one.projects.list(limit=1000)
        assert len(listed) == len({root.path for project in listed for root in project.roots})
        assert all([await one.engine.which_beside(project.database_name) for project in listed])
        await remove_stores(one)
    figure(f"P2: two transactions in {len(listed)} orders of their statements: one project each")
