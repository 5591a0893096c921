"""The static check: which test code imports what no test may import, whatever the form."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from abathur.cli import main
from abathur.errors import ConfigError, InvalidInputError
from abathur.testing.imports import Forbidden, Settings, check_files, read_settings

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).parent / "sample"
NAME = "app.db.database:async_session_maker"


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with the session maker in app/db/database.py, and modules that export it again."""
    for name, text in {
        "app/__init__.py": "",
        "app/db/__init__.py": "from app.db.database import async_session_maker, Base\n",
        "app/db/database.py": "async_session_maker = object()\nclass Base: ...\n_hidden = 1\n",
        "app/relative.py": "from .db.database import async_session_maker as sessions\n",
        "app/everything.py": "from app.db.database import *\n",
        "app/closed.py": "from app.db.database import async_session_maker\n__all__ = ['other']\nother = 1\n",
        "app/renamed.py": "from app.db.database import async_session_maker\nmaker = async_session_maker\n",
        "app/deep.py": "from app.relative import sessions\n",
        "app/guarded.py": "try:\n    from app.db import async_session_maker\nexcept ImportError:\n    pass\n",
        "app/ring_one.py": "from app.ring_two import thing\n",
        "app/ring_two.py": "from app.ring_one import thing\nfrom app.ring_one import *\n",
        "app/broken.py": "def (:\n",
        "tests/__init__.py": "",
        "tests/helpers.py": "from app.db.database import async_session_maker\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(project: Path, source: str, *, forbid: str = NAME, name: str = "tests/test_it.py") -> list[str]:
    """The findings in a file with this source, as `line:column message`."""
    path = project / name
    path.write_text(dedent(source))
    checked = check_files([path], [Forbidden.parse(forbid)], Settings(project))
    assert checked.files == 1
    return [f"{one.line}:{one.column} {one.message}" for one in checked.findings]


FORMS = {
    "direct": "from app.db.database import async_session_maker",
    "aliased": "from app.db.database import async_session_maker as s",
    "among others, in several lines": "from app.db.database import (\n    Base,\n    async_session_maker,\n)",
    "attribute of the module": "from app.db import database\nx = database.async_session_maker()",
    "attribute of an aliased module": "import app.db.database as d\nd.async_session_maker",
    "attribute by the dotted name": "import app.db.database\nprint(app.db.database.async_session_maker)",
    "attribute of a package": "import app.db\napp.db.async_session_maker",
    "attribute, deeper": "from app import db\ndb.database.async_session_maker.kw",
    "attribute in a decorator": "from app.db import database\n@database.async_session_maker\ndef f(): ...",
    "attribute in a default": "from app.db import database\ndef f(x=database.async_session_maker): ...",
    "attribute in a function that comes before the import": (
        "def f():\n    return database.async_session_maker\nfrom app.db import database"
    ),
    "attribute in a nested function": (
        "def f():\n    from app.db import database\n"
        "    async def g():\n        return database.async_session_maker"
    ),
    "attribute of an assigned name": "from app.db import database\nd = database\nd.async_session_maker",
    "re-exported": "from app.db import async_session_maker",
    "re-exported by a relative import under another name": "from app.relative import sessions",
    "re-exported from everything": "from app.everything import async_session_maker",
    "re-exported under an assigned name": "from app.renamed import maker",
    "re-exported twice": "from app.deep import sessions",
    "re-exported below try": "from app.guarded import async_session_maker",
    "re-exported by the tests themselves": "from tests.helpers import async_session_maker",
    "relative": "from .helpers import async_session_maker",
    "relative, with the module": "from . import helpers\nhelpers.async_session_maker",
    "everything": "from app.db.database import *",
    "everything, from one that has everything": "from app.everything import *",
    "patch": 'from unittest.mock import patch\npatch("app.db.database.async_session_maker")',
    "patch as a decorator": (
        'from unittest import mock\n@mock.patch("app.db.database.async_session_maker", new=1)\ndef f(m): ...'
    ),
    "patch under another name": (
        'from unittest.mock import patch as p\nwith p(target="app.db.async_session_maker"): ...'
    ),
    "patch of what the name has": 'patch("app.db.database.async_session_maker.kw")',
    "patch.object": 'from app.db import database\npatch.object(database, "async_session_maker")',
    "patch.multiple": 'patch.multiple("app.db.database", async_session_maker=1)',
    "patch.dict": 'mocker.patch.dict("app.db.database.async_session_maker")',
    "mocker.patch": 'def test_it(mocker):\n    mocker.patch("app.db.database.async_session_maker")',
    "monkeypatch": 'def f(monkeypatch):\n    monkeypatch.setattr("app.db.database.async_session_maker", 1)',
    "monkeypatch of a module": (
        'from app.db import database\ndef f(m):\n    m.setattr(database, "async_session_maker", 1)'
    ),
    "getattr": 'import app.db.database as d\ngetattr(d, "async_session_maker")',
    "import_module": 'from importlib import import_module\nimport_module("app.db.database")',
    "import_module under another name": (
        'from importlib import import_module as load\nm = load(name="app.db.database")'
    ),
    "import_module, relative": 'import importlib\nimportlib.import_module(".database", package="app.db")',
    "import_module of a package": (
        'import importlib\nm = importlib.import_module("app.db")\nm.async_session_maker'
    ),
    "__import__": '__import__("app.db.database")',
    "importorskip": 'import pytest\ndb = pytest.importorskip("app.db.database")',
    "resolve_name": 'import pkgutil\npkgutil.resolve_name("app.db.database:async_session_maker")',
    "in a class": "class TestIt:\n    from app.db.database import async_session_maker",
    "below if": "if True:\n    from app.db.database import async_session_maker",
    "after if TYPE_CHECKING": (
        "if TYPE_CHECKING:\n    pass\nelse:\n    from app.db.database import async_session_maker"
    ),
    "in a lambda": "from app.db import database\nf = lambda: database.async_session_maker",
    "in a comprehension": "from app.db import database\n[database.async_session_maker for _ in 'x']",
}

CLEAN = {
    "a comment": "# from app.db.database import async_session_maker\n",
    "a text that is no import": 'x = "from app.db.database import async_session_maker"',
    "a docstring": '"""import app.db.database; app.db.database.async_session_maker"""',
    "a text given to others": 'print("app.db.database.async_session_maker")\nopen("app.db.database")',
    "another name of the module": "from app.db.database import Base",
    "another name by star": "from app.closed import *",
    "the module alone": "import app.db.database\nfrom app.db import database",
    "another attribute": "import app.db.database as d\nd.Base",
    "the same name of another module": "from other.database import async_session_maker",
    "the name of an own function": "def async_session_maker(): ...\nasync_session_maker()",
    "a parameter with the module's name": (
        "from app.db import database\ndef f(database):\n    database.async_session_maker"
    ),
    "a variable with the module's name": (
        "from app.db import database\n"
        "def f():\n    database = make()\n    return database.async_session_maker"
    ),
    "for type checkers only": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from app.db.database import async_session_maker"
    ),
    "a name like patch of another object": 'dict("app.db.database.async_session_maker")',
    "a text with spaces in patch": 'patch("app.db.database .async_session_maker")',
    "an f-string": 'patch(f"{name}.async_session_maker")',
    "a package of which a part is forbidden": "import app\nfrom app import relative",
    "names that go in a circle": "from app.ring_one import thing\nfrom app.ring_two import *",
    "from what cannot be read": "from app.broken import async_session_maker",
    "relative above all packages": "from .... import async_session_maker",
    "allowed": "from app.db.database import async_session_maker  # isolation: allowed, it is replaced below",
}


@pytest.mark.parametrize("form", FORMS)
def test_it_is_found(form, project):
    found = check(project, FORMS[form])
    assert found, FORMS[form]
    assert all(NAME in one for one in found)
    assert len(found) == 1 or form == "everything, from one that has everything"


@pytest.mark.parametrize("form", CLEAN)
def test_it_is_left_alone(form, project):
    assert check(project, CLEAN[form]) == []


def test_a_finding_says_where_and_how(project):
    assert check(project, FORMS["among others, in several lines"]) == [f"3:5 imports {NAME}"]
    assert check(project, FORMS["re-exported"]) == [f"1:20 imports {NAME} by way of app.db"]
    assert check(project, FORMS["re-exported twice"]) == [
        f"1:22 imports {NAME} by way of app.deep, app.relative"
    ]
    assert check(project, FORMS["attribute by the dotted name"]) == [f"2:7 takes {NAME}"]
    assert check(project, FORMS["import_module"]) == [f"2:1 imports, by a text, the module of {NAME}"]
    allowed = "from app.db.database import async_session_maker  # isolation: allowed"
    assert check(project, allowed) == [f"1:29 imports {NAME}; say why after `# isolation: allowed`"]


def test_a_whole_module_can_be_forbidden(project):
    for source in (
        "import app.db.database",
        "from app.db.database import Base",
        "from app.db import database",
        "import app.db.database as x",
        "from app.db.database import *",
        'import_module("app.db.database")',
        'patch("app.db.database.Base")',
        "import app\napp.db.database",
    ):
        assert check(project, source, forbid="app.db.database"), source
        assert check(project, source, forbid="app.db.database:*"), source
        assert check(project, source, forbid="app.db"), source
    assert check(project, "from app.dbs import database", forbid="app.db") == []


def test_the_module_need_not_be_at_hand(tmp_path):
    """Where the application is installed elsewhere, or not at all, its name is enough."""
    path = tmp_path / "test_it.py"
    path.write_text("from far.away import maker\nfrom far import away\naway.maker\nfrom far.away import *\n")
    checked = check_files([path], [Forbidden.parse("far.away:maker")], Settings(tmp_path))
    assert [one.line for one in checked.findings] == [1, 3, 4]


@pytest.mark.parametrize("text", ["", "app.db:", ":name", "app db:x", "app.db:a.b", "app/db.py:x", "app..db"])
def test_what_is_no_name_is_refused(text):
    with pytest.raises(InvalidInputError, match="no name that could be imported"):
        Forbidden.parse(text)


# -- the sample application --------------------------------------------------------------------


def test_nine_of_the_ten_ways_of_the_sample_application_are_found():
    """The tenth calls the application over the web: only running it shows what that does."""
    settings = read_settings([SAMPLE / "tests"])
    checked = check_files(settings.tests, settings.forbidden, settings)
    tests = {path.name for path in (SAMPLE / "tests").glob("test_*.py")}
    found = {one.path.name for one in checked.findings}
    assert len(tests) == 10
    assert tests - found == {"test_web_client.py"}
    assert found <= tests


# -- the configuration -------------------------------------------------------------------------

CONFIGURATIONS = {
    "pyproject.toml": (
        f'[tool.pytest.ini_options]\nabathur_forbidden_imports = ["{NAME}"]\ntestpaths = ["tests"]\n'
    ),
    "pytest.toml": f'[pytest]\nabathur_forbidden_imports = ["{NAME}"]\ntestpaths = ["tests"]\n',
    "pytest.ini": f"[pytest]\nabathur_forbidden_imports =\n    {NAME}\ntestpaths = tests\n",
    ".pytest.ini": f"[pytest]\nabathur_forbidden_imports = {NAME}\ntestpaths = tests\n",
    "tox.ini": (
        f"[tox]\n[pytest]\naddopts = %(none)s\nabathur_forbidden_imports =\n  {NAME}\ntestpaths = tests\n"
    ),
    "setup.cfg": f"[tool:pytest]\nabathur_forbidden_imports =\n    {NAME}\ntestpaths = tests\n",
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_is_forbidden_is_read_from_where_pytest_reads(name, project):
    (project / name).write_text(CONFIGURATIONS[name])
    (project / "tests" / "unit").mkdir()
    for paths in ([], [project / "tests" / "unit"], [project / "tests" / "helpers.py"]):
        settings = read_settings(paths)
        assert settings.forbidden == (Forbidden("app.db.database", "async_session_maker"),)
        assert settings.tests == (project / "tests",)
        assert settings.root == project


def test_the_first_file_in_the_order_of_pytest_decides(project):
    (project / "setup.cfg").write_text(CONFIGURATIONS["setup.cfg"])
    (project / "pyproject.toml").write_text("[tool.other]\n")
    assert read_settings([]).file == project / "setup.cfg"
    (project / "pytest.ini").write_text("")
    assert (read_settings([]).file, read_settings([]).forbidden) == (project / "pytest.ini", ())
    assert read_settings([], project / "setup.cfg").forbidden != ()


def test_a_source_directory_of_pythonpath_is_searched(project):
    (project / "lib").mkdir()
    shutil.move(project / "app", project / "lib" / "app")
    (project / "pytest.ini").write_text(f"[pytest]\nabathur_forbidden_imports = {NAME}\npythonpath = lib\n")
    (project / "tests" / "test_it.py").write_text("from app.renamed import maker\n")
    settings = read_settings([project / "tests"])
    found = check_files([project / "tests"], settings.forbidden, settings).findings
    assert [one.path.name for one in found] == ["helpers.py", "test_it.py"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("pyproject.toml", "[tool.pytest", "cannot be read"),
        ("pytest.ini", "abathur", "cannot be read"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nabathur_forbidden_imports = 3", "no list of texts"),
        ("pyproject.toml", '[tool.pytest.ini_options]\nabathur_forbidden_imports = ["a b"]', "no name"),
        ("pytest.ini", "[pytest]\nabathur_forbidden_imports = a:b:c", "no name"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_with_its_place(name, text, words, project):
    (project / name).write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_settings([])
    assert str(project / name) in str(caught.value)


# -- the command -------------------------------------------------------------------------------


@pytest.fixture
def configured(project) -> Path:
    (project / "pyproject.toml").write_text(CONFIGURATIONS["pyproject.toml"])
    (project / "tests" / "test_it.py").write_text("import os\nfrom app.db import async_session_maker\n")
    return project


def abathur(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check-isolation", *arguments])


def test_the_command_prints_what_a_linter_would(configured):
    done = abathur()
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"tests/helpers.py:1:29: forbidden-import: imports {NAME}",
        f"tests/test_it.py:2:20: forbidden-import: imports {NAME} by way of app.db",
    ]
    assert done.stderr == "2 findings in 3 files\n"
    assert abathur("tests/__init__.py").exit_code == 0
    assert abathur("--exclude", "tests/helpers.py", "--exclude", "test_*.py").exit_code == 0


def test_the_command_prints_annotations_for_github(configured):
    done = abathur("--format=github", "tests/test_it.py")
    assert done.exit_code == 1
    assert done.stdout == (
        "::error file=tests/test_it.py,line=2,col=20,title=abathur check-isolation::"
        f"imports {NAME} by way of app.db\n"
    )
    (configured / "tests" / "a,b%.py").write_text("from app.db import async_session_maker\n")
    assert "file=tests/a%2Cb%25.py,line=1" in abathur("--format=github", "tests/a,b%.py").stdout


@pytest.mark.parametrize("option", ["--format=json", "--json"])
def test_the_command_answers_with_json(option, configured):
    done = abathur(option, "tests/test_it.py")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {
        "ok": False,
        "files": 1,
        "findings": [
            {
                "path": "tests/test_it.py",
                "line": 2,
                "column": 20,
                "code": "forbidden-import",
                "message": f"imports {NAME} by way of app.db",
                "forbidden": NAME,
            }
        ],
    }


def test_names_of_the_command_line_are_added_to_those_of_the_configuration(configured):
    (configured / "tests" / "test_it.py").write_text("import app.db.database as d\nd.Base\n")
    assert abathur("tests/test_it.py").exit_code == 0
    done = abathur("tests/test_it.py", "--forbid", "app.db.database:Base")
    assert "2:1: forbidden-import: takes app.db.database:Base" in done.stdout


def test_a_file_that_is_no_python_is_a_finding(configured):
    (configured / "tests" / "test_it.py").write_text("def test_it(:\n")
    done = abathur("tests/test_it.py")
    assert (done.exit_code, done.stdout) == (
        1, "tests/test_it.py:1:13: unreadable: cannot be checked: invalid syntax\n",
    )  # fmt: skip


def test_a_check_that_could_find_nothing_is_no_success(project):
    done = abathur("tests")
    assert done.exit_code == 1
    assert "Nothing is forbidden" in done.stderr
    assert "does not exist" in abathur("nowhere", "--forbid", NAME).stderr
    assert "no name that could be imported" in abathur("tests", "--forbid", "a b").stderr


def test_nothing_that_is_checked_is_imported(configured):
    (configured / "tests" / "conftest.py").write_text("raise SystemExit('imported')\n")
    (configured / "app" / "db" / "__init__.py").write_text("raise SystemExit('imported')\n")
    assert abathur().exit_code == 1


def test_hidden_directories_and_environments_are_passed_over(configured):
    for name in (".venv/x.py", "env/x.py", "node_modules/x.py", "__pycache__/x.py"):
        (configured / "tests" / name).parent.mkdir()
        (configured / "tests" / name).write_text("from app.db.database import async_session_maker\n")
    (configured / "tests" / "env" / "pyvenv.cfg").write_text("")
    assert abathur().stderr == "2 findings in 3 files\n"


def test_the_hook_of_pre_commit_runs_the_command(configured):
    """The entry of .pre-commit-hooks.yaml, called as pre-commit calls it: with the names of changed files."""
    hooks = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    values = dict(
        line.lstrip("- ").split(": ", 1) for line in hooks.splitlines() if ": " in line and line[0] in "- "
    )
    assert values["id"] == "abathur-check-isolation"
    assert values["language"] == "python"
    command = values["entry"].split()
    assert command[0] == "abathur"
    done = subprocess.run(
        [sys.executable, "-m", *command, "tests/test_it.py", "tests/__init__.py"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 1
    assert "tests/test_it.py:2:20" in done.stdout


def test_our_own_tests_are_checked_by_make():
    lines = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "abathur check-isolation" in lines
