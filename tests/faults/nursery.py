"""A process that has imported the library and forks a child for each fault: 20 ms in place of 400.

`Nursery` is the test's side. `python -m tests.faults.nursery` is the other: it reads one request in
each line, forks a child that runs a program of `tests.faults.programs`, and answers with how it ended
and what it said. With a shim (tests/faults/shim.c) the child's calls on the files of one directory can
be counted, made to fail, or recorded.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import faulthandler
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from attrs import asdict, define, field

ROOT: Final = Path(__file__).parents[2]
FAIL, KILL, SHORT = 1, 2, 3
KINDS: Final = {
    "open": 1, "read": 2, "write": 4, "sync": 8, "size": 16, "name": 32, "look": 64, "lock": 128, "map": 256,
    "close": 512,
}  # fmt: skip
"""Kinds of calls, as in shim.c."""
ALL: Final = tuple(KINDS)


@define(frozen=True)
class Fault:
    """What happens at the `at`-th call of one of these kinds, counted from 1 after `arm()`; 0: never."""

    at: int = 0
    what: int = FAIL
    error: int = errno.EIO
    for_ever: bool = False
    kinds: tuple[str, ...] = ALL


@define
class End:
    """How a child ended: its exit code (negative: the signal), what it said, what it wrote to stderr."""

    code: int
    said: list[list[Any]] = field(factory=list)
    errors: str = ""

    def of(self, word: str) -> list[list[Any]]:
        """What was said with this first word, without it."""
        return [rest for first, *rest in self.said if first == word]

    @property
    def calls(self) -> int:
        """How many calls there were while the shim was armed."""
        return int(self.of("calls")[0][0])

    @property
    def hit(self) -> str:
        """The first call that failed, such as "fdatasync agents.db-wal"; empty if none did."""
        return str(self.of("calls")[0][1])


class Nursery:
    """The test's side: starts the process, asks it for children, ends it."""

    def __init__(self, shim: Path | None = None) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        more = {} if shim is None else {"LD_PRELOAD": str(shim), "ABATHUR_SHIM": str(shim)}
        self._popen = subprocess.Popen(
            [sys.executable, "-W", "default", "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **more},
        )

    def run(self, program: str, path: Path, fault: Fault | None = None, /, **arguments: Any) -> End:
        """Run a program on the database at `path`, in a child of its own, to its end."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        request = {
            "program": program,
            "path": str(path),
            "fault": None if fault is None else asdict(fault),
            "arguments": arguments,
        }
        self._popen.stdin.write(json.dumps(request) + "\n")
        self._popen.stdin.flush()
        answer = self._popen.stdout.readline()
        assert answer, "the nursery is gone"
        return End(**json.loads(answer))

    def close(self) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        self._popen.stdout.close()
        self._popen.wait(30)


# -- the other side ----------------------------------------------------------------------------


class Child:
    """What a program is given: the database's path, the fault, and a way to say what it knows."""

    def __init__(self, path: str, fault: dict[str, Any] | None, out: int) -> None:
        self.path = path
        self._fault = Fault(**fault) if fault else Fault()
        self._out = out
        shim = os.environ.get("ABATHUR_SHIM")
        self._shim = ctypes.CDLL(shim) if shim else None
        if self._shim is not None:
            self._shim.shim_hit.restype = ctypes.c_char_p
            self._shim.shim_calls.restype = ctypes.c_long
            self._shim.shim_watch(os.path.dirname(path).encode())  # noqa: PTH120  # the shim compares text

    def say(self, *words: object) -> None:
        """Tell the test, and the recording; what was said has happened before the next call."""
        line = json.dumps(words)
        if self._shim is not None:
            self._shim.shim_mark(line.encode())
        os.write(self._out, line.encode() + b"\n")

    def arm(self) -> None:
        """From here on calls are counted, and the fault happens."""
        assert self._shim is not None
        fault = self._fault
        mask = sum(KINDS[kind] for kind in fault.kinds)
        self._shim.shim_fault(
            ctypes.c_long(fault.at), fault.what, fault.error, int(fault.for_ever), ctypes.c_uint(mask)
        )

    def disarm(self) -> None:
        """No more faults; say how many calls there were."""
        if self._shim is None:
            return
        self.say("calls", self._shim.shim_calls(), self._shim.shim_hit().decode())
        self._shim.shim_fault(ctypes.c_long(0), 0, 0, 0, ctypes.c_uint(0))

    def record(self, path: str) -> None:
        """Record what is written, synced and said from here on."""
        assert self._shim is not None
        self._shim.shim_record(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))

    def left(self) -> list[str]:
        """Threads and descriptors of the database that are still there."""
        deadline = time.monotonic() + 2
        while True:
            found = [
                thread.name
                for thread in threading.enumerate()
                if thread is not threading.main_thread() and not thread.name.startswith("abathur-closer")
            ]
            for link in os.listdir("/proc/self/fd"):  # noqa: PTH208  # a few microseconds, in each child
                try:
                    target = os.readlink(f"/proc/self/fd/{link}")  # noqa: PTH115
                except OSError:
                    continue
                found += [target] if target.startswith(self.path) else []
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.002)


def _child(request: dict[str, Any], out: int) -> None:
    from tests.faults import programs

    child = Child(request["path"], request["fault"], out)
    code = 1
    try:
        asyncio.run(getattr(programs, request["program"])(child, **request["arguments"]))
        code = 0
    except BaseException:  # noqa: BLE001  # this is the end of the process
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


SECONDS: Final = 30
"""A child that takes longer hangs; it is ended, and its threads are shown."""


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    said, errors = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(errors[1], 2)
        os.dup2(errors[1], 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for fd in (said[0], *errors):
            os.close(fd)
        faulthandler.enable()  # SIGABRT shows the threads
        _child(request, said[1])
    os.close(said[1])
    os.close(errors[1])
    texts = {said[0]: b"", errors[0]: b""}
    waiting = set(texts)
    deadline = time.monotonic() + SECONDS
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], max(deadline - time.monotonic(), 0.01))
        if not ready:
            os.kill(pid, signal.SIGABRT)
            deadline = time.monotonic() + 5
        for fd in ready:
            found = os.read(fd, 65536)
            texts[fd] += found
            if not found:
                waiting.discard(fd)
    for fd in texts:
        os.close(fd)
    _, status = os.waitpid(pid, 0)
    lines = texts[said[0]].decode().splitlines()
    return {
        "code": os.waitstatus_to_exitcode(status),
        "said": [json.loads(line) for line in lines],
        "errors": texts[errors[0]].decode(errors="replace"),
    }


def main() -> None:
    from tests.faults import programs

    programs.warm()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_serve(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
