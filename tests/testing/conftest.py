"""The sample application is copied and run by the tests here; it is no part of our own suite."""

from __future__ import annotations

collect_ignore = ["sample"]
