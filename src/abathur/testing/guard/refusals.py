"""What the guard has refused: kept for the test that did it, whatever its code does with the error."""

from __future__ import annotations

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))
_BESIDE = (_HERE, os.path.dirname(os.__file__) + os.sep, "<frozen")


class Refusal:
    """One refusal, in words."""

    def __init__(self, operation: str, name: str, environment: str, why: str, place: str, test: str) -> None:
        self.operation = operation
        """What was refused: ``opening``, ``removing`` and so on."""
        self.name = name
        """The path or URL."""
        self.environment = environment
        """What the database is stamped with; empty without a stamp."""
        self.why = why
        """Why no test may do that."""
        self.place = place
        """Where in the code, and in which thread or process, if it was another one."""
        self.test = test
        """The test that ran."""

    def __str__(self) -> str:
        at = f"\n    at {self.place}" if self.place else ""
        return f"{self.operation} {self.name}: {self.why}{at}"

    def to_line(self) -> str:
        """The refusal as one line of a report."""
        parts = (self.operation, self.name, self.environment, self.why, self.place, self.test)
        return "\t".join(part.encode("unicode_escape", "surrogatepass").decode() for part in parts) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Refusal:
        """The refusal that `to_line` has written."""
        parts = [part.encode().decode("unicode_escape") for part in line.rstrip("\n").split("\t")]
        return cls(*parts[:6])


class Refusals:
    """The refusals that nobody has answered for yet, of this process and of its children."""

    def __init__(self, report: str, owner: str) -> None:
        self._report = report
        self._owner = owner
        self._own: list[Refusal] = []
        self._read = 0

    def add(self, refusal: Refusal) -> None:
        """Keep a refusal. A process that is not pytest's own writes it into the report."""
        if str(os.getpid()) == self._owner:
            self._own.append(refusal)
            return
        descriptor = os.open(self._report, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, refusal.to_line().encode())
        finally:
            os.close(descriptor)

    def take(self) -> list[Refusal]:
        """Those since the last call."""
        taken: list[Refusal] = []
        while self._own:
            taken.append(self._own.pop(0))
        try:
            with open(self._report, "rb") as report:
                report.seek(self._read)
                lines = report.read()
        except OSError:  # no child has refused anything
            return taken
        whole = lines[: lines.rfind(b"\n") + 1]
        self._read += len(whole)
        return taken + [Refusal.from_line(line) for line in whole.decode().splitlines()]

    def remove_report(self) -> None:
        """Leave nothing behind."""
        try:
            os.unlink(self._report)
        except OSError:
            return


def place_of_call(root: str) -> str:
    """Where in the project, or else where outside of the standard library, this call comes from."""
    frame = sys._getframe(1)  # noqa: SLF001
    fallback = ""
    found = ""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_BESIDE) or "site-packages" in name:
            here = f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"
            fallback = fallback or here
            if root and name.startswith(root) and "site-packages" not in name:
                found = here
                break
        frame = frame.f_back  # type: ignore[assignment]
    return (found or fallback) + _thread()


def _thread() -> str:
    threading = sys.modules.get("threading")
    if threading is None:
        return ""
    current = threading.current_thread()
    return "" if current is threading.main_thread() else f", thread {current.name}"
