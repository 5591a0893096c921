"""Makes the development database: `python -m app.seed`. It holds 3 users and 40 dancers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from app.settings import DATABASE

USERS, DANCERS = 3, 40
LEVELS = ("beginner", "intermediate", "advanced")


def seed(path: Path) -> None:
    """Make the database at `path`."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        connection.execute(
            "CREATE TABLE dancers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, level TEXT NOT NULL)"
        )
        connection.executemany(
            "INSERT INTO users (name) VALUES (?)", [(f"user {n}",) for n in range(1, USERS + 1)]
        )
        connection.executemany(
            "INSERT INTO dancers (name, level) VALUES (?, ?)",
            [(f"dancer {n}", LEVELS[n % len(LEVELS)]) for n in range(1, DANCERS + 1)],
        )


if __name__ == "__main__":
    seed(DATABASE)
