"""The databases of the conformance suite, on each engine.

The sample application is copied and run by the tests here; it is no part of our own suite.
"""

from __future__ import annotations

from tests.conformance.conftest import (
    _prepared,
    _prepared_url,
    dialect,
    initialized,
    make_db,
    processes,
    pytest_generate_tests,
    template,
    unopened,
    url,
)

collect_ignore = ["sample"]

__all__ = [
    "_prepared",
    "_prepared_url",
    "dialect",
    "initialized",
    "make_db",
    "processes",
    "pytest_generate_tests",
    "template",
    "unopened",
    "url",
]
