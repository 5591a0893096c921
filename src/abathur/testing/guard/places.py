"""Which file is meant, by whatever name it is called."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = ":memory:"
SIDECARS = ("-wal", "-shm", "-journal")
MAGIC = b"SQLite format 3\x00"
HEADER = 72
"""Bytes from the beginning of a file up to the end of its application_id."""


def text_of(name: object) -> str | None:
    """A path as text, from str, bytes or a path object; None for anything else, a descriptor say."""
    if isinstance(name, (str, bytes)) or hasattr(name, "__fspath__"):
        try:
            return os.fsdecode(name)
        except (TypeError, UnicodeError):
            return None
    return None


def file_of(name: str) -> str | None:
    """The file that SQLite opens for a name or a URI; None for memory and for its own temporary files.

    A URI counts as one whether or not the connection takes URIs: a file that is really called `file:...`
    is no database that anybody has.
    """
    if name.startswith("file:"):
        return _file_of_uri(name[5:])
    return None if name in ("", MEMORY) else name


def _file_of_uri(rest: str) -> str | None:
    rest = rest.partition("#")[0]
    path, _, query = rest.partition("?")
    if path.startswith("//"):
        path = "/" + path[2:].partition("/")[2]  # the authority is empty or `localhost`
    options = {}  # SQLite goes by the last one, if there are two of a name
    for option in query.split("&"):
        name, _, value = option.partition("=")
        options[_decoded(name)] = _decoded(value)
    path = _decoded(path).partition("\0")[0]
    if options.get("mode") == "memory" or options.get("vfs") == "memdb" or path in ("", MEMORY):
        return None
    return path


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    first, *parts = os.fsencode(text).split(b"%")
    for part in parts:
        try:
            first += bytes.fromhex(part[:2].decode("ascii")) + part[2:]
        except ValueError:
            first += b"%" + part
    return os.fsdecode(first)


def beside(name: str, directory: int) -> str:
    """A path as seen from the directory of a descriptor; -1 stands for the current one."""
    if directory < 0 or os.path.isabs(name):
        return name
    place = f"/proc/self/fd/{directory}"
    if not os.path.exists(place):  # macOS has another way to ask
        import fcntl

        asks = getattr(fcntl, "F_GETPATH", None)
        if asks is not None:
            place = os.fsdecode(fcntl.fcntl(directory, asks, bytes(1024)).rstrip(b"\0"))
    return os.path.join(place, name)


def main_file(path: str) -> str:
    """The database that a log or a journal belongs to; any other path as it is."""
    for ending in SIDECARS:
        if path.endswith(ending):
            return path[: -len(ending)]
    return path


def first_bytes(path: str, found: os.stat_result, *, may_be_open: bool) -> bytes | None:
    """The first bytes of a file, empty if there are none to be read.

    Where this process has it open they are read by the descriptor that there is: SQLite's locks on a file
    are gone as soon as the process closes any other. None for one that may be open, where the system does
    not tell.
    """
    descriptors = _descriptors_of(found)
    if descriptors is None and may_be_open:
        return None
    try:
        if descriptors:
            return os.pread(descriptors[0], HEADER, 0)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        first = b""
        try:
            first = os.read(descriptor, HEADER)
        finally:
            # Another thread may have opened the database since we looked; then this one stays open, too.
            if not (first.startswith(MAGIC) and len(_descriptors_of(found) or ()) > 1):
                os.close(descriptor)
    except OSError:
        return b""
    else:
        return first


def _descriptors_of(found: os.stat_result) -> list[int] | None:
    """The descriptors by which this process has a file open; None if the system does not tell."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            numbers = os.listdir(directory)
        except OSError:
            continue
        descriptors = []
        for number in numbers:
            try:
                other = os.fstat(int(number))
            except OSError:  # closed meanwhile, as the one that listed the directory
                continue
            if (other.st_dev, other.st_ino) == (found.st_dev, found.st_ino):
                descriptors.append(int(number))
        return descriptors
    return None


def files_below(directory: str, *, most: int = 2_000) -> Iterator[str]:
    """The files below a directory, of which no more than `most` entries are looked at."""
    for place, _, names in os.walk(directory):
        for name in names:
            most -= 1
            if most < 0:
                return
            yield os.path.join(place, name)


def databases_below(root: str, *, depth: int = 3, most: int = 2_000) -> list[str]:
    """The files below a project's directory whose names say that they are databases.

    It looks `depth` levels deep and at no more than `most` entries: a test session has to begin soon.
    """
    found: list[str] = []
    level = [root]
    for _ in range(depth):
        deeper: list[str] = []
        for directory in level:
            try:
                entries = list(os.scandir(directory))
            except OSError:
                continue
            most -= len(entries)
            if most < 0:
                return found
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith((".", "__")) and entry.name not in _SKIPPED:
                            deeper.append(entry.path)
                    elif entry.name.endswith(_ENDINGS) and entry.is_file():
                        found.append(os.path.realpath(entry.path))
                except OSError:
                    continue
        level = deeper
    return found


_ENDINGS = (".db", ".db3", ".sqlite", ".sqlite3")
_SKIPPED = frozenset({"node_modules", "site-packages", "venv", "env", "build", "dist"})
