"""The documentation is whole: navigation, links, the reference, and what pages repeat of the code."""

from __future__ import annotations

import importlib
import inspect
import re
import tomllib
from itertools import product
from pathlib import Path
from types import FunctionType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from abathur.states import LEGAL, MOVES, STATUSES
from tests.documents import ROOT, documents
from tools import check_site
from tools import prose as prose_of

DOCS = ROOT / "docs"


def none_of(problems: list[str], rule: str) -> None:
    if problems:
        pytest.fail(rule + "\n  " + "\n  ".join(problems), pytrace=False)


# -------------------------------------------------------------------------------------- navigation


def navigation(entries: list[dict[str, Any] | str]) -> list[str]:
    """The pages of a `nav`, in their order."""
    found = []
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            found += navigation(target) if isinstance(target, list) else [target]
    return found


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page():
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    listed = navigation(project["nav"])
    assert len(listed) == len(set(listed))
    none_of(sorted(there - set(listed)), "zensical.toml, nav lacks these pages (are their lines comments?):")
    none_of(sorted(set(listed) - there), "zensical.toml, nav: there are no such pages:")


# ------------------------------------------------------------------------------------------- links

LINK = re.compile(r"(?<!\\)\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1`*\s*$", re.MULTILINE | re.DOTALL)


def prose(path: Path) -> str:
    """A page without its code blocks, and without the marks of code spans."""
    text = CODE.sub("", path.read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]*`", lambda span: span[0].strip("`"), text)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub and the site both give to a page's headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_of_the_readme_and_the_docs_leads_somewhere_on_github_too():
    problems = []
    for page in documents():
        for match in LINK.finditer(prose(page)):
            path, _, anchor = match["target"].partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                problems.append(f"{page.relative_to(ROOT)}: there is no {match['target']}")
            elif anchor and to.suffix == ".md" and anchor not in anchors(to):
                problems.append(f"{page.relative_to(ROOT)}: there is no such heading: {match['target']}")
            if DOCS in page.parents and DOCS not in to.parents:
                problems.append(f"{page.relative_to(ROOT)}: {match['target']} is not part of the site")
    none_of(problems, "Broken links:")


# --------------------------------------------------------------------------------------- reference

DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
PUBLIC = (
    "abathur",
    "abathur.chat",
    "abathur.errors",
    "abathur.moving",
    "abathur.schema",
    "abathur.script",
    "abathur.service",
    "abathur.tasks",
    "abathur.testing",
)
NOT_FOR_USERS = {"abathur.script": {"drive", "drive_async", "start", "takes_now"}}  # for engines and tests


def public(module: str) -> dict[str, Any]:
    """{name: thing}: the classes and functions that a module offers."""
    home = importlib.import_module(module)
    names = getattr(home, "__all__", None) or [
        name
        for name, thing in vars(home).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module
    ]
    things = {name: getattr(home, name) for name in names if name not in NOT_FOR_USERS.get(module, ())}
    kinds = (type, FunctionType)
    return {name: thing for name, thing in things.items() if isinstance(thing, kinds)}


def referred() -> dict[str, Any]:
    """{directive: thing}: everything that a page of the reference shows."""
    found = {}
    for page in sorted((DOCS / "reference").glob("*.md")):
        for path in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            module, _, name = path.rpartition(".")
            found[path] = getattr(importlib.import_module(module), name)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_its_place_in_the_reference(module):
    assert public(module)
    shown = {id(thing) for thing in referred().values()}
    shown |= {id(thing) for thing in public("abathur.errors").values()}  # each has its section in errors.md
    none_of(
        [f"{module}.{name}" for name, thing in public(module).items() if id(thing) not in shown],
        "docs/reference/ shows these nowhere; add a line `::: abathur.Name`:",
    )


def test_public_modules_and_the_version_are_named_in_the_reference():
    text = (DOCS / "reference" / "index.md").read_text(encoding="utf-8")
    home = importlib.import_module("abathur")
    others = [name for name in home.__all__ if name not in public("abathur")]
    none_of([name for name in others if f"`abathur.{name}`" not in text], "docs/reference/index.md lacks:")


def test_nothing_is_shown_twice():
    pages = [page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")]
    paths = [path for page in pages for path in DIRECTIVE.findall(page)]
    assert len(paths) == len(set(paths))


def undescribed(path: str, thing: Any) -> list[str]:
    """A thing, and those of its public methods and properties, that have no docstring."""
    things = {path: thing}
    if inspect.isclass(thing):
        things |= {
            f"{path}.{name}": one
            for name, one in vars(thing).items()
            if not name.startswith("_") and (inspect.isfunction(one) or isinstance(one, property))
        }
    return [name for name, one in things.items() if not inspect.getdoc(one)]


def test_everything_in_the_reference_says_what_it_is():
    problems = [problem for path, thing in referred().items() for problem in undescribed(path, thing)]
    none_of(problems, "These have no docstring:")


HANDED_OUT = {"Task", "Claim", "Attempt", "Progress", "AuditEntry", "AuditReport", "PrerequisiteState"}
FIELDS = HANDED_OUT | {"Report", "Plan", "Conflict", "Key", "Recorded", "Refused"}


def test_every_field_of_a_value_that_is_handed_out_says_what_it_means():
    problems = []
    for path, thing in referred().items():
        if thing.__name__ not in FIELDS:
            continue
        source = inspect.getsource(thing)
        problems += [
            f"{path}.{name}"
            for name in thing.__annotations__
            if not re.search(rf'^    {name}: [^\n]*\n    """\S', source, flags=re.MULTILINE)
        ]
    none_of(problems, "Write a docstring below these fields:")


@pytest.mark.parametrize("name", ["BotDatabase", "Database", "Runner", "Statement", "Prerequisite"])
def test_every_argument_of_what_users_make_is_explained(name):
    path = f"abathur.{name}"
    _explained(path, referred()[path])


def test_every_argument_of_what_a_schema_is_declared_with_is_explained():
    for name, thing in public("abathur.schema").items():
        _explained(f"abathur.schema.{name}", thing)


def test_every_argument_of_an_event_of_the_chat_is_explained():
    _explained("abathur.chat.Event", importlib.import_module("abathur.chat").Event)


def test_every_argument_of_what_tests_are_written_with_is_explained():
    for name, thing in public("abathur.testing").items():
        if name not in ("Crash", "CrashPoints", "CrashPoint", "Drained", "LeftTask"):  # nobody makes these
            _explained(f"abathur.testing.{name}", thing)


def test_every_argument_of_enqueue_is_explained():
    tasks = importlib.import_module("abathur.tasks")
    _explained("abathur.tasks.Tasks.enqueue", tasks.Tasks.enqueue)


def _explained(path: str, thing: Any) -> None:
    text = inspect.getdoc(thing) or ""
    names = [name for name in inspect.signature(thing).parameters if name != "self"]
    none_of(
        [name for name in names if not re.search(rf"(?:^|\s){name}:\s|`{name}`", text)],
        f"The docstring of {path} does not explain:",
    )


# ------------------------------------------------------------------------------------ the statuses

NEW = "new"


def test_the_diagram_has_exactly_the_moves_of_the_code():
    root = ET.parse(DOCS / "states.svg").getroot()  # a file of ours
    groups = [group for group in root.iter("{http://www.w3.org/2000/svg}g") if group.get("class") == "move"]
    drawn = [
        move
        for group in groups
        for move in product((group.get("data-from") or "").split(), (group.get("data-to") or "").split())
    ]
    assert sorted(drawn) == sorted(set(drawn)), "a move is drawn twice"
    assert set(drawn) == set(LEGAL)
    texts = {"".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= set(STATUSES)


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = re.split(rf"^## {heading}$", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE)[1]
    lines = [line for line in section.split("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_on_the_page_has_exactly_the_moves_of_the_code():
    table = {
        cells[0].strip("()"): frozenset(word.strip() for word in cells[1].split(",") if word.strip())
        for cells in rows("states-and-leases.md", "The moves")
    }
    assert table == MOVES


def test_each_move_on_the_page_has_its_reason():
    for found, wanted, when in rows("states-and-leases.md", "The moves"):
        reasons = when.split("; ")
        same = {"the same", "reserved", "nothing"}
        joint = "with or without" in when
        assert reasons[0] in same or joint or len(reasons) == len(wanted.split(", ")), found


def test_every_status_is_explained_on_the_page():
    assert {cells[0].strip("`") for cells in rows("states-and-leases.md", "The statuses")} == set(STATUSES)


# ----------------------------------------------------------------------------------- our own tools


def test_a_broken_site_is_noticed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "good.html").write_text(
        '<h1 id="top">x</h1><a href="sub/page.html#here">x</a><a href="#top">x</a>'
    )
    (tmp_path / "sub" / "page.html").write_text(
        '<p id="here"><a href="../good.html#top">x</a><a href="https://example.org/">out</a>'
        '<link rel="canonical" href="https://example.org/"><img src="data:image/png;base64,AA">'
    )
    assert check_site.problems(tmp_path) == []
    (tmp_path / "bad.html").write_text(
        '<a href="none.html">\n<a href="good.html#nowhere">\n<a href="#nowhere">\n<img src="none.png">\n'
        '<script src="https://cdn.example.org/x.js"></script>\n'
        '<link rel="stylesheet" href="//example.org/x.css">'
    )
    found = check_site.problems(tmp_path)
    assert [int(line.split(":")[1]) for line in found] == [5, 6, 1, 2, 3, 4]
    assert check_site.problems(tmp_path / "sub" / "nothing") != []


def test_sentences_about_parameters_are_found():
    text = "Do it.\n\nname: what it\nis called. rows: many. Others too.\n\nRaises LeaseLostError or KeyError."
    before, found, after = prose_of.split(text, ["name", "rows", "other"])
    assert (before, after) == ("Do it.", "Raises LeaseLostError or KeyError.")
    assert prose_of.split(text, []) == (text, {}, "")
    assert found == {"name": "what it is called.", "rows": "many. Others too."}
    linked = prose_of.with_links("Raises LeaseLostError or `KeyError`.", prose_of.public_errors())
    assert linked == "Raises [`LeaseLostError`][leaselosterror] or `KeyError`."
    assert prose_of.public_errors() == frozenset(importlib.import_module("abathur.errors").__all__)
