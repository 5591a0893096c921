"""Decides whether a test may open a database file, or change it by other means."""

from __future__ import annotations

import os
import stat
import sys

from . import places
from .settings import URL, Settings

PRODUCTION, DEVELOPMENT, TEST = 0x41425401, 0x41425402, 0x41425403
ENVIRONMENTS = {PRODUCTION: "production", DEVELOPMENT: "development", TEST: "test"}
"""The application_ids of `abathur.schema.stamp`, which a child process may be unable to import."""

_TOOLS = ("coverage.sqldata", "coverage.sqlitedb", "testmon.db", "_hypothesis_database")
"""Modules that keep a database about the tests themselves, such as `.coverage`."""
_TOOL_FILES = (".coverage", ".testmondata")
"""How the names of such databases begin, for programs that are started with them."""

_OF_TESTS = ("pytest-of-", "abathur-postgres-", "tmp")
"""How the names begin of what pytest, our fixtures and `tempfile` make in a temporary directory."""

Identity = tuple[int, int]


class Reason:
    """Why something is refused."""

    def __init__(self, name: str, environment: str, why: str) -> None:
        self.name = name
        self.environment = environment
        self.why = why


class Judge:
    """Goes by a session's settings. It remembers what it has seen, so that most answers cost two `stat`s."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        areas = {path.rstrip("/") + "/": True for path in settings.temporary}
        root = settings.root.rstrip("/") + "/"
        if root in areas:  # tests were started in it, or lie in it themselves
            areas.update((root + beginning, True) for beginning in _OF_TESTS)
        areas[root] = False
        self._areas = sorted(areas.items(), key=lambda area: -len(area[0]))
        self._marked: tuple[str, ...] = settings.marked
        self._known = set(settings.known)
        self._ids = {_identity(path): path for path in (*settings.known, *settings.protected)}
        """Which file is which: other names of one are refused as well, while it is still there."""
        self._fine: set[tuple[str, int, int]] = set()
        self._parents: dict[tuple[str, int, int], str] = {}
        self._stamps: dict[Identity, int] = {}
        self._linked: set[Identity] = set()

    def mark(self, marked: tuple[str, ...]) -> None:
        """What the marker of the test that runs now allows."""
        self._marked = marked

    # -- opening -------------------------------------------------------------------------------

    def opening(self, name: str) -> Reason | None:
        """Why a test may not open this file as a database; None if it may."""
        found = _stat(name)
        if found is None:
            return self._new(name)
        if found.st_nlink == 1 and (name, found.st_dev, found.st_ino) in self._fine:
            return None
        path = os.path.realpath(name)
        reason = self._opening(path, found)
        if reason is None:
            if os.path.isabs(name) and not self._is_marked(path):
                self._fine.add((name, found.st_dev, found.st_ino))
            self._remember(path, found)
        return reason

    def _new(self, name: str) -> Reason | None:
        """A file that is not there yet: most are in directories that were asked about before."""
        parent, _, last = name.rpartition("/")
        directory = _stat(parent) if os.path.isabs(name) and last and not os.path.islink(name) else None
        key = (parent, directory.st_dev, directory.st_ino) if directory else None
        path = f"{self._parents[key]}/{last}" if key in self._parents else os.path.realpath(name)
        if key is not None and os.path.basename(path) == last:
            self._parents[key] = os.path.dirname(path)
        return self._opening(path, None)

    def _opening(self, path: str, found: os.stat_result | None) -> Reason | None:
        if self._is_marked(path):
            return None
        if self._is_protected(path, found):
            return self._named(path, found)
        if self.is_temporary(path) and (found is None or found.st_nlink == 1):
            return None
        environment = self._environment(path, found)
        if self.is_temporary(path):
            return self._linked_elsewhere(path, found, environment)
        if environment == "test" or self._is_tool(path):
            return None
        if matches(path, self._settings.allowed):
            return _although_allowed(path) if environment == "production" else None
        is_there = found is not None and found.st_size
        what = f"is stamped {environment}" if environment else "has no stamp" if is_there else "would be made"
        where = "is not below a temporary directory nor in `abathur_allow_databases`"
        return Reason(path, environment, f"it {what}, and {where}")

    def _linked_elsewhere(self, path: str, found: os.stat_result | None, environment: str) -> Reason | None:
        """A file in a temporary directory may be a hard link to one that is not."""
        if found is None or environment == "test" or not stat.S_ISREG(found.st_mode):
            return None
        if (found.st_dev, found.st_ino) in self._linked:
            return None
        why = "it is a hard link, and its other name is not known to be below a temporary directory"
        return Reason(path, environment, why)

    # -- changing by other means ---------------------------------------------------------------

    def overwriting(self, name: str) -> Reason | None:
        """Why a test may not write into this file, which is opened without SQLite."""
        found = _stat(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        if found.st_nlink == 1 and (name, found.st_dev, found.st_ino) in self._fine:
            return None
        return self._changing(os.path.realpath(name), found)

    def removing(self, name: str) -> Reason | None:
        """Why a test may not take away this name, or what is below it. A link is not what it leads to."""
        path = _without_last_link(name)
        try:
            found = os.lstat(path)
        except OSError:
            return None
        if stat.S_ISDIR(found.st_mode):
            return self._below(path)
        if not stat.S_ISREG(found.st_mode) or self.is_temporary(path):
            # By its name only: to take away another name of a protected file does nothing to that.
            return self._by_name(path, found)
        return self._changing(path, found)

    def naming(self, name: str) -> Reason | None:
        """Why another program may not be given this file's name."""
        found = _stat(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        return self._changing(os.path.realpath(name), found)

    def linking(self, source: str) -> None:
        """A hard link is made: to a file of the tests, or to one whose new name is refused as well."""
        found = _stat(source)
        if found is None:
            return
        if self.is_temporary(os.path.realpath(source)) and not self._is_protected(source, found):
            self._linked.add((found.st_dev, found.st_ino))
        elif self._changing(os.path.realpath(source), found):
            self._ids[found.st_dev, found.st_ino] = os.path.realpath(source)

    def _by_name(self, path: str, found: os.stat_result) -> Reason | None:
        """Why a name may not be taken away, whatever it leads to: it is protected, or its database is."""
        for name in (path, places.main_file(path)):
            if self._is_protected(name, None) and not self._is_marked(name):
                return self._named(name, found if name == path else _stat(name))
        return None

    def renaming(self, name: str) -> Reason | None:
        """The same for a new name: unlike removing a directory, that takes along what nobody has named."""
        reason = self.removing(name)
        path = _without_last_link(name)
        if (
            reason is not None
            or self.is_temporary(path + "/")
            or os.path.islink(path)
            or not os.path.isdir(path)
        ):
            return reason
        for below in places.files_below(path):
            found = _stat(below)
            if found is not None and stat.S_ISREG(found.st_mode):
                reason = self._changing(os.path.realpath(below), found)
                if reason is not None:
                    return reason
        return None

    def _below(self, directory: str) -> Reason | None:
        """Whether a protected database, or the whole of a protected directory, is below a directory."""
        directory = directory.rstrip("/") + "/"
        for path in (*self._settings.known, *self._settings.protected):
            if path.startswith(directory) and not self._is_marked(path):
                found = _stat(path)
                if found is not None:
                    return self._named(path, found)
        if any(_may_be_below(directory, entry) for entry in self._settings.protected):
            for path in places.files_below(directory):
                found = _stat(path)
                reason = None if found is None else self._by_name(path, found)
                if reason is not None:
                    return reason
        return None

    def _changing(self, path: str, found: os.stat_result) -> Reason | None:
        if self._is_marked(path):
            return None
        main = places.main_file(path)
        if main != path:
            beside = _stat(main)
            if beside is not None and not self._is_marked(main):
                path, found = main, beside
        if self._is_protected(path, found):
            return self._named(path, found)
        if self.is_temporary(path) or self._is_tool(path) or not self._is_database(path, found):
            return None
        environment = self._environment(path, found)
        if environment == "test":
            return None
        if matches(path, self._settings.allowed):
            return _although_allowed(path) if environment == "production" else None
        what = f"is stamped {environment}" if environment else "is a database without a stamp"
        return Reason(path, environment, f"it {what}, and is not below a temporary directory")

    # -- what is known of a file ---------------------------------------------------------------

    def _is_marked(self, path: str) -> bool:
        return bool(self._marked) and matches(path, self._marked)

    def _is_protected(self, path: str, found: os.stat_result | None) -> bool:
        if path in self._known or matches(path, self._settings.protected):
            return True
        if found is None:
            return False
        # The number of a file that is gone is soon another one's.
        identity = (found.st_dev, found.st_ino)
        return identity in self._ids and _identity(self._ids[identity]) == identity

    def _named(self, path: str, found: os.stat_result | None) -> Reason:
        environment = self._environment(path, found)
        if matches(path, self._settings.protected):
            return Reason(path, environment, "`abathur_protected_databases` names it")
        stamp = f"stamped {environment}" if environment else "without a stamp"
        why = f"it is a database of the project, {stamp}"
        return Reason(path, environment, why if path in self._known else f"{why}, under another name")

    def is_temporary(self, path: str) -> bool:
        for area, is_temporary in self._areas:
            if path.startswith(area):
                return is_temporary
        return False

    def _is_tool(self, path: str) -> bool:
        """Whether it is a tool of the test run that keeps its own database."""
        name = os.path.basename(path)
        if name.startswith(_TOOL_FILES):
            return True
        frame = sys._getframe(1)  # noqa: SLF001
        while frame is not None:
            if frame.f_globals.get("__name__") in _TOOLS:
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return False

    def _is_database(self, path: str, found: os.stat_result) -> bool:
        if found.st_size < 512:
            return False
        may_be_open = (found.st_dev, found.st_ino) in self._stamps
        first = places.first_bytes(path, found, may_be_open=may_be_open)
        return may_be_open if first is None else first.startswith(places.MAGIC)

    def _environment(self, path: str, found: os.stat_result | None) -> str:
        """What a file is stamped with; empty without a stamp, or where it may not be looked at."""
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size < places.HEADER:
            return ""
        return ENVIRONMENTS.get(self._application_id(path, found), "")

    def _application_id(self, path: str, found: os.stat_result) -> int:
        remembered = self._stamps.get((found.st_dev, found.st_ino))
        first = places.first_bytes(path, found, may_be_open=remembered is not None)
        if first is None:
            return remembered or 0
        return int.from_bytes(first[68:72], "big") if first.startswith(places.MAGIC) else 0

    def _remember(self, path: str, found: os.stat_result) -> None:
        """It is about to be opened: where the system tells no descriptors, it is not looked into again."""
        if not self.is_temporary(path) and stat.S_ISREG(found.st_mode):
            self._stamps[found.st_dev, found.st_ino] = self._application_id(path, found)


def _stat(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except (OSError, ValueError):
        return None


def _without_last_link(name: str) -> str:
    """A path without links, except that its last part may be one."""
    head, tail = os.path.split(name.rstrip("/"))
    return os.path.join(os.path.realpath(head), tail)


def _identity(path: str) -> Identity | None:
    found = None if URL in path else _stat(path)
    return None if found is None or not stat.S_ISREG(found.st_mode) else (found.st_dev, found.st_ino)


def _although_allowed(path: str) -> Reason:
    why = "it is stamped production; `abathur_allow_databases` names it, but a stamp tells more"
    return Reason(path, "production", why)


def _may_be_below(directory: str, entry: str) -> bool:
    """Whether an entry for many files, a directory or a pattern, may name some below a directory."""
    if entry.endswith("/"):
        return directory.startswith(entry)
    plain = entry
    for character in "*?[":
        plain = plain.partition(character)[0]
    return plain != entry and (plain.startswith(directory) or directory.startswith(plain))


def matches(path: str, entries: tuple[str, ...]) -> bool:
    """Whether one of these names a path: by itself, as a directory above it, or as a pattern."""
    for entry in entries:
        if path == entry or (entry.endswith("/") and path.startswith(entry)):
            return True
        if any(character in entry for character in "*?["):
            from fnmatch import fnmatchcase

            if fnmatchcase(path, entry):
                return True
    return False
