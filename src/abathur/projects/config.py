"""Configuration files: where the nearest one is, and what it says."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import frozen

from abathur.errors import ProjectConfigError, ProjectDirectoryError
from abathur.projects import names

PLACES: Final = (".abathur/config.json", ".codebase-mcp/config.json")
"""Where a directory's configuration may be; the first that is there counts."""
LARGEST: Final = 1024 * 1024
BYTE_ORDER_MARK: Final = "\ufeff"
"""Editors put it in front; it is none of JSON."""
VERSION_CONTROL: Final = (".git", ".hg", ".svn", ".jj", ".bzr", "_darcs", ".fslckout")
_FLAGS: Final = (("auto_switch", True), ("strict_mode", False), ("dry_run", False))
_KINDS: Final = {
    stat.S_IFDIR: "it is a directory",
    stat.S_IFIFO: "it is a named pipe",
    stat.S_IFSOCK: "it is a socket",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
}


@frozen(kw_only=True)
class Config:
    """What a configuration file says, checked."""

    path: str
    name: str
    id: str | None = None
    """In its usual form, however it is written."""
    database_name: str | None = None
    description: str | None = None
    auto_switch: bool = True
    strict_mode: bool = False
    dry_run: bool = False


@frozen(kw_only=True)
class Place:
    """A directory that bears a configuration, or could."""

    root: str
    """Its real path."""
    directory: str
    """``device:inode``: the directory itself, by whatever path."""
    config: Config | None


def identity(path: str) -> str:
    """``device:inode`` of a directory. Raises OSError."""
    found = Path(path).stat()
    return f"{found.st_dev}:{found.st_ino}"


def real(directory: str | os.PathLike[str]) -> str:
    """The real path of a directory. Raises ProjectDirectoryError."""
    text = os.fspath(directory)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ProjectDirectoryError(repr(directory), "it is no path")
    try:
        found = os.path.realpath(text, strict=True)
        is_directory = stat.S_ISDIR(Path(found).stat().st_mode)
        found.encode()
    except UnicodeEncodeError:
        raise ProjectDirectoryError(repr(directory), "its path is no UTF-8") from None
    except OSError as error:
        raise ProjectDirectoryError(text, error.strerror or str(error)) from None
    if not is_directory:
        raise ProjectDirectoryError(text, "it is not a directory")
    return found


def levels(directory: str) -> Iterator[str]:
    """A real directory and those above it, up to where a project ends.

    That is the root of a version control, the home directory, or where another file system begins.
    """
    home = _home()
    at = Path(directory)
    device = _device(at)
    while True:
        yield str(at)
        is_last = at in (at.parent, home) or any(os.path.lexists(at / one) for one in VERSION_CONTROL)
        if is_last or _device(at.parent) != device:
            return
        at = at.parent


def _home() -> Path | None:
    try:
        return Path(os.path.realpath(Path.home()))
    except RuntimeError:  # nobody says where it is
        return None


def _device(directory: Path) -> int | None:
    try:
        return directory.stat().st_dev
    except OSError:
        return None


def place(root: str) -> Place:
    """What one directory, by its real path, bears. Raises ProjectConfigError or ProjectDirectoryError."""
    try:
        directory = identity(root)
    except OSError as error:
        raise ProjectDirectoryError(root, error.strerror or str(error)) from None
    path = path_of(root)
    return Place(root=root, directory=directory, config=None if path is None else read(path))


def path_of(root: str) -> str | None:
    """Where a directory's configuration is, whatever is there; None if there is none."""
    for name in PLACES:
        path = f"{root.rstrip('/')}/{name}"
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError) as error:
            place = Path(path).parent
            if place.is_symlink() and not place.exists():  # else there would seem to be no configuration
                raise _unreadable(path, error) from None
            continue
        except OSError as error:
            raise _unreadable(path, error) from None
        return path
    return None


def read(path: str) -> Config:
    """Read and check one file. It never waits, whatever the file is. Raises ProjectConfigError."""
    return check(path, parse(path, text_of(path)))


def text_of(path: str) -> str:
    """The text of a file, with its byte order mark if it has one. Raises ProjectConfigError."""
    try:
        # A named pipe that nobody writes to would be waited for.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            _wrong(path, None, _KINDS.get(stat.S_IFMT(mode), "it is no regular file"), "Expected a file.")
        raw = b""
        while len(raw) <= LARGEST and (more := os.read(fd, LARGEST + 1 - len(raw))):
            raw += more
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(fd)
    if len(raw) > LARGEST:
        _wrong(path, None, f"it has more than {LARGEST:,} bytes", "Expected a small file.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        _wrong(path, None, f"it is no UTF-8 ({error.reason} at byte {error.start})", "Expected UTF-8 text.")


def parse(path: str, text: str) -> dict[str, Any]:
    """The JSON object of a file. Raises ProjectConfigError."""

    def no_number(found: str) -> NoReturn:
        raise ValueError(f"{found} is no JSON")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
        return found

    try:
        text = text.removeprefix(BYTE_ORDER_MARK)
        value = json.loads(text, parse_constant=no_number, object_pairs_hook=once)
    except RecursionError:
        _wrong(path, None, "it is nested too deep", "Expected a JSON object.")
    except ValueError as error:
        _wrong(path, None, f"it is no JSON: {error}", "Expected a JSON object.")
    if not isinstance(value, dict):
        _wrong(path, None, f"it holds {_kind(value)}", "Expected a JSON object.")
    return value


def check(path: str, value: dict[str, Any]) -> Config:
    """What a file's object says. Keys that we do not know are the user's. Raises ProjectConfigError."""
    version = value.get("version", "1.0")
    if not isinstance(version, str) or version.split(".")[0] != "1":
        _wrong(path, "version", f"it is {_shown(version)}", 'Expected "1.0".')
    project = value.get("project")
    if not isinstance(project, dict):
        found = f"it is {_kind(project)}" if "project" in value else "it is missing"
        _wrong(path, "project", found, 'Expected an object with a "name".')
    name = project.get("name")
    if not isinstance(name, str):
        found = f"it is {_kind(name)}" if "name" in project else "it is missing"
        _wrong(path, "project.name", found, "Expected text.")
    _check_text(path, "project.name", name, names.LONGEST)
    given = project.get("id")
    project_id = None
    if given is not None:
        project_id = names.as_id(given) if isinstance(given, str) else None
        if project_id is None:
            _wrong(
                path,
                "project.id",
                f"it is {_shown(given)}, which is no UUID",
                "Expected one such as 0197c2d4-5b1e-7cc3-98c4-dc0c0c07398f.",
                "Correct it, or remove it for an id of its own.",
            )
    store = project.get("database_name")
    if store is not None and not (isinstance(store, str) and names.is_store(store)):
        _wrong(
            path,
            "project.database_name",
            f"it is {_shown(store)}",
            "Expected at most 63 lower-case letters, digits and underscores, no digit first, and not `pg_`.",
            "Choose another name, or leave it out.",
        )
    description = value.get("description")
    if description is not None:
        if not isinstance(description, str):
            _wrong(path, "description", f"it is {_kind(description)}", "Expected text.")
        _check_text(path, "description", description, 10_000, empty=True)
    flags = {}
    for flag, default in _FLAGS:
        flags[flag] = found = value.get(flag, default)
        if not isinstance(found, bool):
            _wrong(path, flag, f"it is {_kind(found)}", "Expected true or false.")
    return Config(path=path, name=name, id=project_id, database_name=store, description=description, **flags)


def _check_text(path: str, field: str, text: str, longest: int, *, empty: bool = False) -> None:
    if not text.strip() and not empty:
        _wrong(path, field, "it is empty", f"Expected 1 to {longest:,} characters.")
    if len(text) > longest:
        _wrong(path, field, f"it has {len(text):,} characters", f"Expected {longest:,} at most.")
    if "\0" in text:
        _wrong(path, field, "it holds a NUL character", "Expected text without it.")
    try:
        text.encode()
    except UnicodeEncodeError:
        _wrong(path, field, "it holds a lone surrogate", "Expected text that UTF-8 can hold.")


def _wrong(path: str, field: str | None, reason: str, expected: str, remedy: str = "") -> NoReturn:
    raise ProjectConfigError(path, field, reason, expected, remedy or "Correct it; nothing was changed.")


def _unreadable(path: str, error: OSError) -> ProjectConfigError:
    reason = error.strerror or str(error)
    if error.errno == errno.ENOENT:
        links = (Path(path), Path(path).parent)
        reason = "it is a link to nothing" if any(one.is_symlink() for one in links) else "it is gone"
    elif error.errno == errno.ELOOP:
        reason = "its links go in circles"
    elif error.errno == errno.ENXIO:  # of a socket
        reason = "it is no regular file"
    return ProjectConfigError(
        path, None, reason, "Expected a file that can be read.", "Make it readable, or remove it."
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:79]}…"


def is_directory(path: str) -> bool:
    """Whether there is a directory; True where nobody can say."""
    try:
        return stat.S_ISDIR(Path(path).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def find(directory: str) -> Place | None:
    """The nearest directory with a configuration, from a real path upward.

    Raises ProjectConfigError: one that is wrong hides those above it.
    """
    for root in levels(directory):
        if path_of(root) is not None:
            return place(root)
    return None


def default_path(root: str) -> Path:
    """Where a new configuration goes."""
    return Path(root, PLACES[0])
