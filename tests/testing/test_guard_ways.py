"""Every way to a development database that we know of, and everything that must go on working."""

from __future__ import annotations

import ast
import os

import pytest

from tests.testing.project import PROJECTS, Project, make_database


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project", tmp_path / "tmp")


def names(project: str) -> set[str]:
    tree = ast.parse((PROJECTS / f"{project}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[:5] == "test_"}


DECISIVE = (
    "aiosqlite", "async", "attach", "computed", "grandchild", "hard_link", "remove", "shell", "str",
    "swallowed", "symbolic_link", "xfail",
)  # fmt: skip
"""Parts of the names of those that are run by four workers at once, too."""


@pytest.mark.parametrize("workers", [0, 4])
def test_no_way_leads_to_the_development_database(project, workers):
    project.copy("refused")
    link = project.temporary / "link.db"
    os.link(project.database, link)
    (project.root / "dev.db-wal").write_bytes(b"")
    make_database(project.root / "data" / "other.db")
    make_database(project.root / "development.db", "development")
    make_database(project.root / "allowed" / "production.db", "production")
    project.ini["abathur_allow_databases"] = "allowed/"
    others = [path for path in project.root.rglob("*.db") if path != project.database]
    before = {path: path.read_bytes() for path in others}
    extra = (f"-n{workers}", "-k", " or ".join(DECISIVE)) if workers else ()
    run = project.pytest("--tb=line", *extra, plugins=("xdist",) if workers else (), LINK=str(link))
    wanted = {name for name in names("refused") if not workers or any(part in name for part in DECISIVE)}
    assert run.outcomes.keys() == wanted, run.text
    through = {test for test, said in run.outcomes.items() if not said & {"FAILED", "ERROR"}}
    assert not through, run.text
    assert project.is_untouched()
    assert {path: path.read_bytes() for path in others} == before
    assert not (project.root / "new.db").exists()
    assert (project.root / "dev.db-wal").exists()


def test_what_tests_do_all_day_is_not_refused(project):
    project.copy("allowed")
    make_database(project.root / "stamped.db", "test")
    project.ini["abathur_allow_databases"] = "\n  allowed/\n  pattern-*.db"
    (project.root / "allowed").mkdir()
    run = project.pytest("-W", "error")
    assert run.outcomes == {test: {"PASSED"} for test in names("allowed")}, run.text
    assert run.code == 0, run.text
    assert project.is_untouched()
