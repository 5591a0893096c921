"""The guards that every test runs under notice what they are there for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest

from abathur import Database
from abathur.engines import files
from tests import leaks, raw_open


async def test_a_raw_open_of_a_live_database_by_the_library_is_caught(tmp_path, monkeypatch):
    path = tmp_path / "agents.db"
    async with Database(path, environment="test") as db:
        await db.tasks.enqueue("x")
        path.read_bytes()  # a test may; the library may not
        assert raw_open.caught == []
        for name in (path, tmp_path / "agents.db-wal"):
            monkeypatch.setattr(files, "create", compiled("def bad(path): path.read_bytes()"))
            with pytest.raises(raw_open.RawOpenError, match="files_of_a_mutant"):
                files.create(name)
        assert len(raw_open.caught) == 2
    raw_open.caught.clear()
    files.create(path)
    assert raw_open.caught == [], "it is closed, so there are no locks to lose"


def compiled(source: str):
    """A function that says it comes from the library."""
    place: dict[str, object] = {}
    exec(compile(source, raw_open.SOURCE + "files_of_a_mutant.py", "exec"), place)
    return place["bad"]


def test_making_a_file_that_is_not_there_is_no_raw_open(tmp_path):
    files.create(tmp_path / "agents.db")
    assert raw_open.caught == []


def test_threads_descriptors_and_children_that_are_left_behind_are_named(monkeypatch):
    monkeypatch.setattr(leaks, "PATIENCE", 0.05)
    before = leaks.Before()
    go_on = threading.Event()
    thread = threading.Thread(target=go_on.wait, name="forgotten")
    thread.start()
    reading, writing = os.pipe()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = before.left()
    go_on.set()
    thread.join()
    os.close(reading)
    os.close(writing)
    child.communicate()
    assert "thread 'forgotten'" in left
    assert f"child process {child.pid}" in left
    assert sum("pipe:" in one for one in left) == 3
    assert before.left() == []


async def test_a_task_that_is_left_behind_is_named(monkeypatch):
    monkeypatch.setattr(leaks, "PATIENCE", 0.05)
    before = leaks.tasks()
    task = asyncio.create_task(asyncio.sleep(60), name="forgotten")
    left = await leaks.tasks_left(before)
    task.cancel()
    assert [name for name in left if "task 'forgotten'" in name] == left != []
    assert await leaks.tasks_left(before) == []
