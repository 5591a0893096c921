"""PostgreSQL: a test gets to no database but those of the tests, by whichever driver."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from abathur import Database
from tests import schemas
from tests.testing.project import Project
from tests.testing.test_guard_ways import names

LOCAL = "postgresql:///postgres?host="


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project", tmp_path / "tmp")


@pytest.fixture
def environment(postgres_server):
    found = {"PLAIN": postgres_server, "SOCKET": parse_qs(urlsplit(postgres_server).query)["host"][0]}
    made = []
    for name, environment in (("DEVELOPMENT", "development"), ("STAMPED", "test")):
        made.append(schemas.a_name())
        found[name] = schemas.place(postgres_server, made[-1])
        asyncio.run(make(found[name], environment))
    yield found
    schemas.drop(postgres_server, *made)


async def make(url, environment):
    async with Database(url, environment=environment):
        pass


def test_only_databases_of_the_tests_are_reached(project, environment):
    project.copy("servers")
    run = project.pytest("-W", "ignore", **environment)
    assert run.outcomes.keys() == names("servers"), run.text
    passed = {test for test, said in run.outcomes.items() if said == {"PASSED"}}
    assert passed == {test for test in names("servers") if not test.startswith("test_no_")}, run.text
    assert "/postgres: it has no stamp; its server is no test's own" in run.text
    assert "it is stamped development" in run.text


def test_the_ini_option_allows_a_server_and_protects_another_one(project, environment):
    project.copy("servers")
    project.ini["abathur_allow_databases"] = f"{LOCAL}{environment['SOCKET']}"
    run = project.pytest("-W", "ignore", "-k", "asyncpg or psycopg", **environment)
    assert run.code == 0, run.text
    project.ini["abathur_protected_databases"] = f"postgresql:///post*?host={environment['SOCKET']}"
    run = project.pytest("-W", "ignore", "-k", "test_no_asyncpg or test_no_psycopg or stamped", **environment)
    assert not [test for test, said in run.outcomes.items() if said == {"PASSED"}], run.text


def test_a_server_whose_socket_lies_in_a_temporary_directory_is_one_of_the_tests(project, environment):
    project.copy("servers")
    run = project.pytest("-W", "ignore", "-k", "asyncpg_by", TMPDIR="/tmp", **environment)
    assert run.code == 0, run.text


def test_the_server_that_is_named_for_the_tests_is_theirs(project, environment):
    project.copy("servers")
    variable = {"ABATHUR_TEST_POSTGRES_URL": environment["PLAIN"]}
    run = project.pytest("-W", "ignore", "-k", "psycopg_by", **variable, **environment)
    assert run.code == 0, run.text
