"""The server for tests that the library brings, under the name by which our own tests know it."""

from __future__ import annotations

from abathur.testing.postgres import ROLE, RUN, URL, Server, UnavailableError, run, url

__all__ = ["ROLE", "RUN", "URL", "Server", "UnavailableError", "run", "url"]
