"""What the fault tests share."""

from __future__ import annotations

import pytest

from tests.faults.budget import Budget


@pytest.fixture
def budget() -> Budget:
    """How many rounds this test is to do; see `tests.faults.budget`."""
    return Budget.from_environment()
