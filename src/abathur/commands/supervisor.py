"""Runs one command in a process group of its own, and ends the whole group when its time has come.

    python -I -S supervisor.py CONTROL PROGRESS KILL_AFTER PROGRAM [ARGUMENT...]

A process of its own between runner and command, one per attempt, because only that does all of it:

- The command needs the progress pipe as exactly fd 3 and a process group. Both are done between
  fork and exec, where a process with threads, as a runner is, must run no Python (`preexec_fn`);
  this one has no threads.
- The group has to end when the runner is killed with -9. CONTROL is a socket to the runner; when
  the runner's end is closed, by the runner or by its death, the group is ended.

CONTROL carries lines to the runner: `group PID` once it runs, `error ERRNO` when it cannot be
started, `exit CODE` at the end, negative for a signal. It costs 15 to 25 ms and 8 MB. It is started
without site-packages and imports nothing but a few standard modules, never abathur.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing `typing` would take half as long again
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

PROGRESS_FD = 3
POLL = 0.01
LEFT_ALONE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Start the command, and see to its end."""
    # The runner decides when it ends, not who signals everybody. Blocked, not ignored: what is sent to
    # the command between its fork and its exec would be lost, and waits for it like this.
    signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_ALONE)
    control, progress = int(sys.argv[1]), int(sys.argv[2])
    kill_after, command = float(sys.argv[3]), sys.argv[4:]
    # Out of the way of 0 to 3, and closed by exec: the command inherits nothing but those.
    control, progress = _moved(control), _moved(progress)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    die_with_parent = _die_with_parent()
    me = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(command, control, progress, die_with_parent, me)
    with contextlib.suppress(OSError):  # it may have done so itself, and be another program already
        os.setpgid(pid, pid)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2, progress):  # else its readers would wait for us, too
        os.dup2(null, descriptor)
    _tell(control, f"group {pid}")
    _tell(control, f"exit {_supervise(pid, control, wake, kill_after)}")


def _moved(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


def _die_with_parent() -> Callable[..., int] | None:
    """What lets the command die with this process, should somebody kill that; None where it cannot be."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


def _become(
    command: list[str],
    control: int,
    progress: int,
    die_with_parent: Callable[..., int] | None,
    parent: int,
) -> NoReturn:
    """Turn into the command; what fails on the way is told to the runner."""
    try:
        os.setpgid(0, 0)
        if die_with_parent is not None:
            die_with_parent(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        for number in (*LEFT_ALONE, *IGNORED_BY_PYTHON):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(progress, PROGRESS_FD)
        os.execvp(command[0], command)  # noqa: S606  # no shell: that is what is promised
    except OSError as error:
        _tell(control, f"error {error.errno}")
    finally:
        os._exit(127)


def _supervise(pid: int, control: int, wake: int, kill_after: float) -> int:
    """Wait for the command's end, or end its group when the runner asks for it or is gone."""
    code: int | None = None
    killed_at: float | None = None
    while True:
        if code is None:
            code = _reaped(pid, os.WNOHANG)
        if code is not None and (killed_at is None or not _is_alive(pid)):
            break  # it ended by itself, or all of its group have ended when they were told to
        pause = None if killed_at is None else max(killed_at - time.monotonic(), 0)
        if pause == 0:
            break
        if code is not None:
            # Its children may still tidy up. The group's id is not given to anybody else meanwhile:
            # it is in use, and after that the system goes through all other ids first.
            pause = min(pause or 0, POLL)
        watched = [wake] if killed_at is not None else [wake, control]
        ready, _, _ = select.select(watched, [], [], pause)
        if wake in ready:
            os.read(wake, 1024)
        if control in ready and not _read(control):
            killed_at = time.monotonic() + kill_after
            _signal(pid, signal.SIGTERM)
    _signal(pid, signal.SIGKILL)  # also what a command that has ended well left in the background
    while code is None:
        code = _reaped(pid, 0)
    return code


def _reaped(pid: int, options: int) -> int | None:
    found, status = os.waitpid(pid, options)
    return os.waitstatus_to_exitcode(status) if found else None


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else's, such as after sudo
        return True
    return True


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _read(control: int) -> bytes:
    try:
        return os.read(control, 1024)
    except ConnectionError:
        return b""


def _tell(control: int, line: str) -> None:
    with contextlib.suppress(OSError):  # the runner is gone
        os.write(control, line.encode() + b"\n")


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to tidy up, and the runner waits for it
