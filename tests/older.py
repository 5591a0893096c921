"""Databases as older versions of abathur made them, built here so that every clone can test with them.

The first version had `template_name` in place of a prompt and a NOT NULL `audit.task_id` with a
foreign key. A later one had edges in a table of their own. `crashed` is the first version after a
migration of that time died between renaming `audit` and copying its rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

FIRST = """
CREATE TABLE tasks (
    id TEXT PRIMARY KEY, template_name TEXT NOT NULL, priority INTEGER NOT NULL DEFAULT 5,
    status TEXT NOT NULL, input_data TEXT NOT NULL, result_data TEXT, error_message TEXT,
    retry_count INTEGER DEFAULT 0, max_retries INTEGER DEFAULT 3, submitted_at TIMESTAMP NOT NULL,
    started_at TIMESTAMP, completed_at TIMESTAMP, created_by TEXT, parent_task_id TEXT, dependencies TEXT,
    FOREIGN KEY (parent_task_id) REFERENCES tasks(id)
);
CREATE INDEX idx_tasks_status_priority ON tasks(status, priority DESC, submitted_at ASC);
CREATE TABLE agents (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, task_id TEXT NOT NULL, FOREIGN KEY (task_id) REFERENCES tasks(id)
);
CREATE TABLE state (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    UNIQUE(task_id, key), FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE
);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TIMESTAMP NOT NULL, agent_id TEXT, task_id TEXT NOT NULL,
    action_type TEXT NOT NULL, action_data TEXT, result TEXT,
    FOREIGN KEY (agent_id) REFERENCES agents(id), FOREIGN KEY (task_id) REFERENCES tasks(id)
);
CREATE INDEX idx_audit_task ON audit(task_id, timestamp DESC);
CREATE VIEW broken AS SELECT a_column FROM a_table_that_is_gone;
CREATE TABLE users_own (a TEXT, b BLOB, c);
CREATE TRIGGER users_trigger AFTER UPDATE ON tasks BEGIN
    INSERT INTO users_own VALUES ('stray', NULL, new.id);
END;
"""

EDGES = """
ALTER TABLE tasks ADD COLUMN agent_type TEXT NOT NULL DEFAULT 'general';
CREATE TABLE task_dependencies (
    id TEXT PRIMARY KEY, dependent_task_id TEXT NOT NULL, prerequisite_task_id TEXT NOT NULL,
    dependency_type TEXT NOT NULL DEFAULT 'sequential', created_at TIMESTAMP NOT NULL, resolved_at TIMESTAMP,
    FOREIGN KEY (dependent_task_id) REFERENCES tasks(id) ON DELETE CASCADE,
    FOREIGN KEY (prerequisite_task_id) REFERENCES tasks(id) ON DELETE CASCADE,
    CHECK(dependency_type IN ('sequential', 'parallel')),
    CHECK(dependent_task_id != prerequisite_task_id),
    UNIQUE(dependent_task_id, prerequisite_task_id)
);
INSERT INTO task_dependencies VALUES ('e1', 't5', 't4', 'parallel', '2025-10-02T00:00:00+00:00', NULL);
UPDATE tasks SET status = 'blocked' WHERE id = 't5';
"""

STATUSES = ("completed", "failed", "cancelled", "running", "pending", "pending", "pending")


def first(path: Path) -> None:
    """The first version, with a task in each status and rows in every table."""
    with _opened(path) as connection:
        _run(connection, FIRST)
        _run(connection, "DROP TRIGGER users_trigger")
        for number, status in enumerate(STATUSES):
            waits_for = ["t0", "t4"] if number == 6 else []  # the last one
            connection.execute(
                "INSERT INTO tasks (id, template_name, status, input_data, submitted_at, dependencies,"
                " priority) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    f"t{number}",
                    f"template {number} — ünïcode",
                    status,
                    json.dumps({"n": number}),
                    f"2025-10-0{number + 1}T08:30:00.000000+00:00",
                    json.dumps(waits_for),
                    number,
                ),
            )
            connection.execute("INSERT INTO agents VALUES (?, 'agent', ?)", (f"a{number}", f"t{number}"))
            connection.execute(
                "INSERT INTO state (task_id, key, value) VALUES (?, 'k', 'v')", (f"t{number}",)
            )
            connection.execute(
                "INSERT INTO audit (timestamp, agent_id, task_id, action_type)"
                " VALUES (?, ?, ?, 'task_submitted')",
                ("2025-10-01T08:30:00+00:00", f"a{number}", f"t{number}"),
            )
        connection.execute("DELETE FROM audit WHERE id = 3")  # ids have gaps in real files
        connection.execute("INSERT INTO users_own VALUES ('text', x'00ff', 1.5)")
        _run(connection, FIRST[FIRST.index("CREATE TRIGGER") :])


def edges(path: Path) -> None:
    """A later version, with one open edge in its own table."""
    first(path)
    with _opened(path) as connection:
        _run(connection, "DROP TRIGGER users_trigger")
        for statement in EDGES.split(";"):
            _run(connection, statement)


def crashed(path: Path) -> None:
    """The first version after an older migration died: `audit` is empty, `audit_old` has its rows."""
    first(path)
    with _opened(path) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("PRAGMA legacy_alter_table=ON")  # the broken view would stop it
        connection.execute("ALTER TABLE audit RENAME TO audit_old")
        connection.execute(
            "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, timestamp TIMESTAMP NOT NULL,"
            " agent_id TEXT, task_id TEXT, action_type TEXT NOT NULL, action_data TEXT, result TEXT)"
        )


def empty(path: Path) -> None:
    """No file at all."""


ALL: dict[str, Callable[[Path], None]] = {"first": first, "edges": edges, "crashed": crashed}


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that SQLite can read here, by (table, columns)."""
    with _opened(path) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                " AND sql NOT LIKE 'create virtual%'"  # of an extension that may not be here
            )
        ]
        return {
            f"{name}({','.join(columns)})": sorted(
                connection.execute(f"SELECT {','.join(columns)} FROM {name}").fetchall(), key=repr
            )
            for name in names
            for columns in [[row[1] for row in connection.execute(f"PRAGMA table_info({name})")]]
        }


def lost(before: dict[str, list[tuple[object, ...]]], path: Path) -> list[str]:
    """What of `before` is no longer in the database at `path`."""
    problems = []
    with _opened(path) as connection:
        for table, rows in before.items():
            name, _, columns = table.rstrip(")").partition("(")
            found = sorted(connection.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr)
            problems += [f"{name}: {row} is gone" for row in rows if row not in found]
    return problems


def schema(path: Path) -> list[tuple[object, ...]]:
    """What `sqlite_master` says, in an order that does not depend on how it came about."""
    with _opened(path) as connection:
        found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
        return sorted(found, key=repr)


class _opened:  # noqa: N801  # reads as a verb
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Execute statements one by one; a trigger's body keeps its semicolons."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" ;\n"):
                connection.execute(statement)
            statement = ""
