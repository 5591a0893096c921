"""What the guard of one test session goes by, in a form that its child processes find in the environment."""

from __future__ import annotations

import os

VARIABLE = "ABATHUR_GUARD"
"""The environment variable by which child processes get the settings."""
URL = "://"

_ESCAPES = (("%", "%25"), ("\t", "%09"), ("\n", "%0A"))


class Settings:
    """What is guarded, and how. Paths are absolute and without symbolic links; some may be patterns.

    Plain text in, plain text out: a child that uses no abathur must be able to read it in a millisecond.
    """

    FIELDS = ("mode", "root", "report", "owner", "temporary", "allowed", "protected", "known", "marked")

    def __init__(
        self,
        *,
        mode: str = "block",
        root: str = "",
        report: str = "",
        owner: str = "",
        temporary: tuple[str, ...] = (),
        allowed: tuple[str, ...] = (),
        protected: tuple[str, ...] = (),
        known: tuple[str, ...] = (),
        marked: tuple[str, ...] = (),
    ) -> None:
        self.mode = mode
        """``block`` refuses, ``record`` only writes down what it would refuse."""
        self.root = root
        """The directory of the project. It counts as no temporary one, even if it lies in one."""
        self.report = report
        """The file in which other processes than pytest's own write down their refusals."""
        self.owner = owner
        """The process id of pytest's own process."""
        self.temporary = temporary
        """The directories below which a test may do as it likes."""
        self.allowed = allowed
        """The databases of `abathur_allow_databases`, directories and URLs of servers included."""
        self.protected = protected
        """Those of `abathur_protected_databases`."""
        self.known = known
        """Databases that were found in the project and are no test's: refused under every other name too."""
        self.marked = marked
        """What the marker of the running test allows."""

    def to_text(self) -> str:
        """The settings as the value of an environment variable."""
        lines = []
        for name in self.FIELDS:
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            lines.append("\t".join([name, *map(_escaped, values)]))
        return "\n".join(lines)

    @classmethod
    def from_text(cls, text: str) -> Settings:
        """The settings that `to_text` has written; what it does not know is left out."""
        found = cls()
        for line in text.split("\n"):
            name, *values = (_unescaped(part) for part in line.split("\t"))
            if name in cls.FIELDS:
                is_many = isinstance(getattr(found, name), tuple)
                setattr(found, name, tuple(values) if is_many else "".join(values))
        return found

    def absolute(self, entry: str) -> str:
        """An entry of an ini file or a marker: a path from the project's directory, or a URL as it is."""
        for scheme in ("sqlite+aiosqlite:///", "sqlite:///"):
            entry = entry.removeprefix(scheme)
        if URL in entry:
            return entry
        path = os.path.join(self.root, os.path.expanduser(entry))
        is_directory = entry.endswith("/") or os.path.isdir(path)
        head, tail = os.path.split(path.rstrip("/"))
        # The directory's links are resolved, the last name's not: it may be a pattern.
        real = os.path.realpath(path) if os.path.lexists(path) else os.path.join(os.path.realpath(head), tail)
        return real.rstrip("/") + "/" if is_directory else real


def _escaped(text: str) -> str:
    for character, code in _ESCAPES:
        text = text.replace(character, code)
    return text


def _unescaped(text: str) -> str:
    for character, code in reversed(_ESCAPES):
        text = text.replace(code, character)
    return text
