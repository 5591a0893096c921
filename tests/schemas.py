"""Places on a server for one test each, which the library brings, under the name that our own tests know."""

from __future__ import annotations

from abathur.testing.schemas import Prepared, a_name, drop, place, run

__all__ = ["Prepared", "a_name", "drop", "place", "run"]
