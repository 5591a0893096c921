"""Goes through a project's directory and says what there is to index, without opening a file.

Links are not followed, so there are no loops and nothing outside of the project. Directories are visited
in the order of their names. What is left out is counted by its reason.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from abathur.projects.index import ignoring, reading
from abathur.projects.index.ignoring import Ignoring

CONFIGS: Final = (".abathur/config.json", ".codebase-mcp/config.json")
"""What makes a directory another project's root."""


@frozen
class Candidate:
    """A file that may be indexed."""

    path: str
    """From the root, with slashes."""
    size: int
    mtime_ns: int


@define
class Walk:
    """One walk: `found` yields the files, and `skipped` counts what was left out until then.

    root: the real path of the project's root. scope: a directory or file below it, empty for all.
    """

    root: str
    scope: str = ""
    largest: int = reading.LARGEST
    unread: list[str] = field(factory=list)
    """What could not be read, mostly directories: nothing is known about what is in them."""
    skipped: Counter[str] = field(factory=Counter)
    """``ignored`` (a directory counts as one), ``binary``, ``oversized``, ``link``, ``special``,
    ``unreadable``, ``nested`` (another project) and ``unnameable`` (a name that is no UTF-8)."""

    def found(self) -> Iterator[Candidate]:
        """The files, directory by directory."""
        start = os.path.join(self.root, self.scope) if self.scope else self.root
        try:
            seen = os.lstat(start)
        except OSError:
            return  # it is gone: whatever the index has of it goes as well
        if stat.S_ISDIR(seen.st_mode):
            if not self._is_left_out(start):
                yield from self._directories(start)
        else:
            parent = os.path.dirname(start)
            rules = ignoring.above(self.root, parent)
            name = os.path.basename(start)
            if not self._is_left_out(parent):
                yield from self._file(start, name, seen, rules)

    def has_seen(self, path: str) -> bool:
        """Whether a file with this path would have been found: not where something could not be read."""
        return not any(not one or path == one or path.startswith(f"{one}/") for one in self.unread)

    def _is_left_out(self, directory: str) -> bool:
        """Whether a directory that was asked for lies in one that the project leaves out."""
        below = os.path.relpath(directory, self.root)
        place = self.root
        for name in () if below == "." else below.split("/"):
            rules = ignoring.above(self.root, place)
            place = os.path.join(place, name)
            if name in ignoring.NEVER or rules.ignores(place, is_directory=True):
                self.skipped["ignored"] += 1
                return True
        return False

    def _directories(self, start: str) -> Iterator[Candidate]:
        todo = [(start, ignoring.above(self.root, start))]
        while todo:
            directory, rules = todo.pop()
            try:
                with os.scandir(directory) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except FileNotFoundError:  # it was removed meanwhile
                continue
            except OSError:
                self.skipped["unreadable"] += 1
                self.unread.append(self._below(directory))
                continue
            if directory != start:
                names = {entry.name for entry in entries}
                if not ignoring.MARKS.isdisjoint(names):
                    self.skipped["ignored"] += 1
                    continue
                if any(os.path.lexists(os.path.join(directory, config)) for config in CONFIGS):
                    self.skipped["nested"] += 1
                    continue
                rules = rules.below(directory, has_file=ignoring.NAME in names)
            below = []
            for entry in entries:
                try:
                    seen = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except OSError:
                    self.skipped["unreadable"] += 1
                    self.unread.append(self._below(entry.path))
                    continue
                if not stat.S_ISDIR(seen.st_mode):
                    yield from self._file(entry.path, entry.name, seen, rules)
                elif entry.name in ignoring.NEVER or rules.ignores(entry.path, is_directory=True):
                    self.skipped["ignored"] += 1
                else:
                    below.append((entry.path, rules))
            todo.extend(reversed(below))

    def _file(self, path: str, name: str, seen: os.stat_result, rules: Ignoring) -> Iterator[Candidate]:
        reason = self._reason(path, name, seen, rules)
        if reason is not None:
            self.skipped[reason] += 1
        else:
            yield Candidate(self._below(path), seen.st_size, seen.st_mtime_ns)

    def _below(self, path: str) -> str:
        return path[len(self.root) :].lstrip("/")

    def _reason(self, path: str, name: str, seen: os.stat_result, rules: Ignoring) -> str | None:
        if name in ignoring.NEVER or rules.ignores(path, is_directory=False):
            return "ignored"
        if stat.S_ISLNK(seen.st_mode):
            return "link"
        if not stat.S_ISREG(seen.st_mode):
            return "special"
        if not _is_text(path):
            return "unnameable"
        if ignoring.is_binary_by_name(name):
            return "binary"
        return "oversized" if seen.st_size > self.largest else None


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
