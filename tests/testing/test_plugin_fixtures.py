"""The fixtures, in a project of somebody's own, with whichever plugin runs its asynchronous tests."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import asyncpg
import pytest

from tests.testing.project import Project

PLUGINS = ("anyio.pytest_plugin", "pytest_asyncio.plugin", "xdist")
OPTIONS = ("-o", "asyncio_default_fixture_loop_scope=function")


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path / "project", tmp_path / "tmp")
    made.copy("fixtures")
    (made.root / "seen").mkdir()
    return made


async def schemas(server):
    connection = await asyncpg.connect(server)
    try:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'test%'")
        return {row["nspname"] for row in rows}
    finally:
        await connection.close()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_test_has_a_new_database_on_each_engine_and_nothing_is_left(project, postgres_server, workers):
    environment = {"ABATHUR_TEST_POSTGRES_URL": postgres_server, "SEEN": str(project.root / "seen")}
    run = project.pytest(*OPTIONS, f"-n{workers}", plugins=PLUGINS, **environment)
    left_open = run.outcomes.pop("test_left_open")
    assert left_open == {"PASSED", "ERROR"}, run.text
    assert run.text.count("has left a connection open") == 3
    assert set.union(*run.outcomes.values()) == {"PASSED"}, run.text
    for engine in ("memory", "path", "postgres"):
        assert run.text.count(f"PASSED test_fixtures.py::test_plain[{engine}-") == 2, run.text
    seen = [set(path.read_text().splitlines()) for path in (project.root / "seen").iterdir()]
    if workers != "0":
        assert len(seen) == 2
        assert set.intersection(*seen) <= {":memory:"}, "no two workers have had the same"
    places = set.union(*seen)
    assert len([place for place in places if place.endswith(".db")]) == 7
    taken = {place.rpartition("schema=")[2] for place in places if "schema=" in place}
    assert taken
    assert not {name.partition("_kept")[0] for name in asyncio.run(schemas(postgres_server))} & taken
    assert not [path for path in project.temporary.rglob("*.db*") if "template" not in str(path)]


def test_without_a_server_that_parameter_is_not_there_and_the_fixture_says_why(project):
    nowhere = {"ABATHUR_TEST_POSTGRES_BIN": str(project.temporary), "ABATHUR_TEST_POSTGRES_URL": ""}
    run = project.pytest(
        *OPTIONS, "-k", "plain or by_its_name", plugins=PLUGINS, SEEN=str(project.root / "seen"), **nowhere
    )
    assert run.code == 0, run.text
    assert "test_plain[memory-0]" in run.text
    assert "test_plain[postgres-0]" not in run.text
    assert "SKIPPED [1]" in run.text
    assert "abathur_postgres: there is no PostgreSQL" in run.text


def test_a_server_is_started_for_the_session_and_ends_with_it(project):
    # Run by root, the server is another user's, who must be able to get there.
    place = Path(tempfile.mkdtemp(prefix="abathur-", dir="/tmp"))
    place.chmod(0o755)
    run = project.pytest(
        *OPTIONS,
        "-k",
        "by_its_name",
        plugins=PLUGINS,
        SEEN=str(project.root / "seen"),
        ABATHUR_TEST_POSTGRES_URL="",
        ABATHUR_TEST_POSTGRES_RUN="",
        TMPDIR=str(place),
    )
    left = {path.name.partition("-of-")[0] for path in place.iterdir()}
    shutil.rmtree(place)
    assert run.outcomes == {"test_each_by_its_name": {"PASSED"}}, run.text
    assert left == {"pytest"}
