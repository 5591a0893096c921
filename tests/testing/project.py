"""A project of somebody's own, with a development database, in which pytest runs as it does there."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from attrs import define, field

from abathur.schema.stamp import APPLICATION_IDS

PROJECTS = Path(__file__).parent / "projects"
USERS, DANCERS = 3, 40
PLUGIN = "abathur.testing.plugin"
OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|XFAIL) [^ :]*::(\w+)(?:\[.*?\])?", re.MULTILINE)


@define
class Run:
    """How a run of pytest ended."""

    code: int
    text: str
    outcomes: dict[str, set[str]] = field(init=False)
    """`{test: what it says of it}`, FAILED for instance."""

    def __attrs_post_init__(self) -> None:
        self.outcomes = {}
        for outcome, test in OUTCOME.findall(self.text):
            self.outcomes.setdefault(test, set()).add(outcome)


def make_database(path: Path, environment: str | None = None) -> None:
    """A database with 3 users and 40 dancers, stamped if an environment is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        if environment:
            connection.execute(f"PRAGMA application_id = {APPLICATION_IDS[environment]}")
        for table, rows in (("users", USERS), ("dancers", DANCERS)):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT)")
            connection.executemany(f"INSERT INTO {table} (name) VALUES (?)", [(f"{n}",) for n in range(rows)])


@define
class Project:
    """Its directory lies below the temporary one, as everything in a test does, and is none for its tests."""

    root: Path
    temporary: Path
    database: Path = field(init=False)
    ini: dict[str, object] = field(factory=dict)
    before: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.root.mkdir()
        self.temporary.mkdir()
        self.database = self.root / "dev.db"
        make_database(self.database)
        self.before = self.database.read_bytes()

    def add(self, name: str, text: str) -> None:
        """A file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def copy(self, name: str) -> None:
        """The tests of `tests/testing/projects/<name>.py`."""
        shutil.copy(PROJECTS / f"{name}.py", self.root / f"test_{name}.py")

    def pytest(self, *arguments: str, plugins: tuple[str, ...] = (), **environment: str) -> Run:
        """Run its tests, with the plugin and no others than those that are named."""
        lines = ["[pytest]", *(f"{name} = {value}" for name, value in self.ini.items())]
        (self.root / "pytest.ini").write_text("\n".join(lines) + "\n")
        loaded = [word for plugin in (PLUGIN, *plugins) for word in ("-p", plugin)]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "CI", "COV"))}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rA", "--tb=short", *loaded, *arguments],
            cwd=self.root,
            env={
                **inherited,
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                "TMPDIR": str(self.temporary),
                **environment,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr)

    def is_untouched(self) -> bool:
        """Whether the development database is what it was, byte for byte."""
        return self.database.read_bytes() == self.before
