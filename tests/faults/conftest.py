"""What the fault tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.faults.budget import Budget
from tests.faults.nursery import Nursery


@pytest.fixture
def budget() -> Budget:
    """How many rounds this test is to do; see `tests.faults.budget`."""
    return Budget.from_environment()


@pytest.fixture(scope="session")
def shim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled tests/faults/shim.c."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        require(request, "cc", "there is no C compiler to compile tests/faults/shim.c with")
    source = Path(__file__).with_name("shim.c")
    target = tmp_path_factory.mktemp("shim") / "shim.so"
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", target, source, "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        require(request, "cc", f"it does not compile tests/faults/shim.c here:\n{done.stderr}")
    return target


@pytest.fixture(scope="session")
def nursery(shim: Path) -> Iterator[Nursery]:
    """Forks children whose calls on the files of a database can be made to fail."""
    nursery = Nursery(shim)
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def children() -> Iterator[Nursery]:
    """Forks children without a shim."""
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def fast(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: for what dies with its process, not with the power."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="abathur-", dir=memory) as place:
        yield Path(place)
