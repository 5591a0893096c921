"""abathur.toml: the agents of a directory, its runner and its database, declared."""

from __future__ import annotations

from abathur.config.file import FILE, Config, database_of, read

__all__ = ["FILE", "Config", "database_of", "read"]
