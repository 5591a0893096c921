"""Publishing: a project's id is written into its configuration, whole or not at all.

The directory is locked, the file is read again so that what a user has changed meanwhile is kept, and
the new text gets its name by a rename, after it has reached the disk. All of that is done on a thread, for a
disk may take its time, and so may another process that holds the lock. Who is cancelled meanwhile leaves it
to itself: it is done whole, as if it had been done before.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import random
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from abathur.errors import ProjectConfigError
from abathur.projects import config, edit

PATIENCE: Final = 5.0
"""Seconds to wait for another process that writes to the same directory."""
TRIES: Final = 10
_PARTIAL: Final = re.compile(r"\.config\.json\.[0-9a-f]{16}\.abathur")


@frozen(kw_only=True)
class Published:
    """What became of it."""

    persisted: bool
    """Whether the configuration has the id."""
    reason: str | None = None
    """If it has not: why."""
    other_id: str | None = None
    """The id that it has instead."""


Change = Callable[[str], str | Published]
"""Makes another text of a configuration's, or says why not."""
DRY: Final = Published(persisted=False, reason="its dry_run is on")


async def publish_id(path: str, project_id: str) -> Published:
    """Write an id into a configuration that has none. Nothing that goes wrong with the file is an error."""

    def change(text: str) -> str | Published:
        found = config.check(path, config.parse(path, text))
        if found.id == project_id:
            return Published(persisted=True)
        if found.id is not None:
            return Published(persisted=False, reason=f"it has the id {found.id} by now", other_id=found.id)
        if found.dry_run:
            return DRY
        return edit.with_value(text, "project", "id", project_id)

    return await _publish(path, change)


async def publish_name(path: str, project_id: str, name: str) -> Published:
    """Write a name into the configuration of a project, unless it is another project's by now."""

    def change(text: str) -> str | Published:
        found = config.check(path, config.parse(path, text))
        if found.id not in (None, project_id):
            return Published(persisted=False, reason=f"it has the id {found.id} by now", other_id=found.id)
        if found.dry_run:
            return DRY
        if found.id is None:
            text = edit.with_value(text, "project", "id", project_id)
        return edit.with_value(text, "project", "name", name)

    return await _publish(path, change)


async def replace_id(path: str, project_id: str, name: str) -> Published:
    """Make a configuration that of a project, whatever id it has."""

    def change(text: str) -> str | Published:
        if config.check(path, config.parse(path, text)).dry_run:
            return DRY
        text = edit.with_value(text, "project", "id", project_id)
        return edit.with_value(text, "project", "name", name)

    return await _publish(path, change)


async def publish_new(root: str, project_id: str, name: str, more: Mapping[str, Any]) -> Published:
    """Write the first configuration of a directory."""
    path = config.default_path(root)
    project = {
        "id": project_id,
        "name": name,
        **{key: more[key] for key in ("database_name",) if key in more},
    }
    value = {
        "version": "1.0",
        "project": project,
        **{key: more[key] for key in ("description",) if key in more},
    }
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    made = await asyncio.to_thread(_made, path, text)
    return made or await publish_id(str(path), project_id)  # somebody was faster


def _made(path: Path, text: str) -> Published | None:
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(0o755)
        with _locked(path.parent):
            return Published(persisted=True) if _write_new(path, text) else None
    except TimeoutError as error:
        return Published(persisted=False, reason=str(error))
    except OSError as error:
        return Published(persisted=False, reason=_why(error))


async def _publish(path: str, change: Change) -> Published:
    return await asyncio.to_thread(_changed, path, change)


def _changed(path: str, change: Change) -> Published:
    target = _target(path)
    try:
        with _locked(target.parent):
            for _ in range(TRIES):
                if not os.access(target, os.W_OK):  # a rename would not mind
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                before = _seen(target)
                text = config.text_of(str(target))
                changed = change(text)
                if isinstance(changed, Published):
                    return changed
                if changed == text:
                    return Published(persisted=True)
                if _write(target, changed, before):
                    return Published(persisted=True)
    except ProjectConfigError as error:
        return Published(persisted=False, reason=f"it was changed meanwhile: {error.reason}")
    except TimeoutError as error:
        return Published(persisted=False, reason=str(error))
    except OSError as error:
        return Published(persisted=False, reason=_why(error))
    return Published(persisted=False, reason="it is changed again and again")


def _why(error: OSError) -> str:
    return f"it cannot be written ({(error.strerror or str(error)).lower()})"


def _target(path: str) -> Path:
    """The file itself: of a link, what it leads to is changed."""
    return Path(os.path.realpath(path))


def _seen(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _write_new(target: Path, text: str) -> bool:
    """Make the file; False if there is one. Only with the directory locked, as below."""
    if os.path.lexists(target):
        return False
    partial = _partial(target, 0o666, text)
    try:
        os.link(partial, target)  # unlike a rename it replaces nothing
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    _sync(target.parent)
    return True


def _write(target: Path, text: str, before: tuple[int, ...]) -> bool:
    """Give the file a new content; False if it is not as it was `before`."""
    partial = _partial(target, 0o600, text)
    try:
        if _seen(target) != before:
            return False
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    _sync(target.parent)
    return True


def _partial(target: Path, mode: int, text: str) -> Path:
    """The new content under a name of its own, on the disk."""
    _sweep(target.parent)
    partial = target.with_name(f".config.json.{secrets.token_hex(8)}.abathur")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            if target.exists():
                _take_after(fd, target)
            file.flush()
            os.fsync(fd)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return partial


def _take_after(fd: int, target: Path) -> None:
    """Give the new file the mode, and where that is allowed the owner, of the old one."""
    old = target.stat()
    with contextlib.suppress(OSError):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, stat.S_IMODE(old.st_mode))


def _sweep(directory: Path) -> None:
    """Remove what those have left who died while they wrote; nobody else writes now."""
    for path in directory.iterdir():
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems sync no directories
            raise
    finally:
        os.close(fd)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, which leaves no file behind. Raises TimeoutError or OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another process keeps its directory locked") from None
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.ENOLCK, errno.EBADF):
                    raise
                break  # a file system without locks: the rename alone is whole, too
            time.sleep(random.uniform(0.001, 0.01))  # noqa: S311
        yield
    finally:
        os.close(fd)
