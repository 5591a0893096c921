"""R24: what a test may leave behind: no thread, no file descriptor, no child process, no asyncio task."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from attrs import define, field

PATIENCE = 3.0
"""Seconds: threads end a moment after they are told to, and garbage may hold a descriptor."""


@define
class Before:
    """What there was before a test."""

    threads: set[threading.Thread] = field(init=False)
    descriptors: set[tuple[int, str]] = field(init=False)
    children: set[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.threads, self.descriptors, self.children = _threads(), _descriptors(), _children()

    def left(self) -> list[str]:
        """What there is more of by now, in words."""
        found = self._left()
        if found:
            gc.collect()
            deadline = time.monotonic() + PATIENCE
            while (found := self._left()) and time.monotonic() < deadline:
                time.sleep(0.01)
        return found

    def _left(self) -> list[str]:
        found = [f"thread {thread.name!r}" for thread in _threads() - self.threads]
        found += [f"file descriptor {n} -> {target}" for n, target in _descriptors() - self.descriptors]
        found += [f"child process {pid}" for pid in _children() - self.children]
        return sorted(found)


def tasks() -> set[asyncio.Task[Any]]:
    """The tasks of the running loop that are not done, without the two in which anyio runs a test."""
    mine = asyncio.current_task()
    return {
        task
        for task in asyncio.all_tasks()
        if task is not mine and "TestRunner." not in getattr(task.get_coro(), "__qualname__", "")
    }


async def tasks_left(before: set[asyncio.Task[Any]]) -> list[str]:
    """The tasks that are there in addition, after they had a moment to end."""
    deadline = time.monotonic() + PATIENCE
    while (left := tasks() - before) and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return sorted(f"task {task.get_name()!r} in {task.get_coro()!r}" for task in left)


def _threads() -> set[threading.Thread]:
    """The threads of this process, without the one that closes forgotten databases at the end."""
    known = ("abathur-closer", "pytest_timeout")
    threads = threading.enumerate()
    return {thread for thread in threads if not (thread.daemon and thread.name.startswith(known))}


def _descriptors() -> set[tuple[int, str]]:
    """The open descriptors with what they refer to; empty where the system does not tell."""
    try:
        links = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return set()
    found = set()
    known = _of_servers("_fd", "_forkserver_alive_fd")
    for link in links:
        number = int(link.name)
        try:
            target = str(link.readlink())
        except OSError:  # the directory's own descriptor, or one closed by another thread meanwhile
            continue
        if target not in {"/dev/null", "/dev/urandom"} and number not in known:
            found.add((number, target))
    return found


def _children() -> set[int]:
    """The processes whose parent we are, also those that nobody has waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # the usual answer, in a microsecond
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found - _of_servers("_pid", "_forkserver_pid")


def _of_servers(*names: str) -> set[int]:
    """Numbers that belong to the two processes that multiprocessing starts once and keeps to the end."""
    found = set()
    for module, attribute in (("resource_tracker", "_resource_tracker"), ("forkserver", "_forkserver")):
        server = getattr(sys.modules.get(f"multiprocessing.{module}"), attribute, None)
        found.update(getattr(server, name, None) for name in names)
    return found - {None}
