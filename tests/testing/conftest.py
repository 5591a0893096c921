"""The databases of the conformance suite, on each engine."""

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
