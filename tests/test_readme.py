"""Every example of README.md and docs/ runs as it stands: Python, and shell."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.documents import ROOT, Block, blocks, documents, parse

PYTHON = [block for path in documents() for block in blocks(path) if block.language in {"python", "py"}]
EXECUTED = [block for block in PYTHON if block.not_executed is None]
SECONDS = 60
SHELL = {"bash", "sh", "shell"}
ENDS = {"five-minutes.md": {"completed": 3, "failed": 1}, "command-agents.md": {"completed": 3}}
"""What has become of the tasks of a page, where its commands succeed in any case."""

# Reads one block from stdin and runs it as __main__. Empty lines before it make tracebacks show the
# page's own line numbers; a block with top-level `await` becomes a coroutine.
DRIVER = """\
def _run_block():
    import ast, asyncio, inspect, sys
    path, line = sys.argv[1:]
    source = "\\n" * int(line) + sys.stdin.read()
    code = compile(source, path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    sys.argv[1:] = []
    outcome = eval(code, vars(sys.modules["__main__"]))
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)
_run_block()
"""


def execute(block: Block, directory: Path) -> str | None:
    """Run a block in `directory`; return what went wrong, with its output, or None."""
    command = [sys.executable, "-W", "error", "-c", DRIVER, str(block.path), str(block.line)]
    try:
        done = subprocess.run(
            command,
            input=block.text,
            cwd=directory,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return f"did not end within {SECONDS} s\n{late.stdout or ''}{late.stderr or ''}"
    if done.returncode or "ResourceWarning" in done.stderr:
        return f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return None


@pytest.mark.parametrize("block", EXECUTED, ids=lambda block: block.place)
def test_an_example_runs_as_it_stands(block: Block, tmp_path: Path) -> None:
    problem = execute(block, tmp_path)
    if problem is not None:
        pytest.fail(
            f"The example at {block.place} fails: {problem}\n"
            "If it cannot run, say why on the line before it: <!-- not executed: reason -->",
            pytrace=False,
        )


@pytest.mark.parametrize(
    "page",
    [page for page in documents() if any(block.language in SHELL for block in blocks(page))],
    ids=lambda page: page.name,
)
def test_the_shell_examples_of_a_page_work_one_after_the_other(page: Path, tmp_path: Path) -> None:
    """In one directory, after its Python; what begins with `# name.py`, or .toml, becomes that file."""
    program = tmp_path / "bin" / "abathur"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -W error -m abathur "$@"\n')
    program.chmod(0o700)
    directory = tmp_path / "here"
    directory.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ABATHUR_")}
    environment["PATH"] = f"{program.parent}{os.pathsep}{environment['PATH']}"
    for block in blocks(page):
        if block.not_executed is not None:
            continue
        first = block.text.partition("\n")[0]
        if first.startswith("# ") and first.endswith((".py", ".toml")):
            (directory / first.removeprefix("# ")).write_text(block.text, encoding="utf-8")
        elif block.language in {"python", "py"}:
            assert execute(block, directory) is None, block.place
        elif block.language in SHELL:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=directory,
                env=environment,
                capture_output=True,
                encoding="utf-8",
                timeout=SECONDS,
                check=False,
            )
            assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
    if page.name in ENDS:
        listed = subprocess.check_output([program, "list", "--json"], cwd=directory, env=environment)
        assert Counter(task["status"] for task in json.loads(listed)) == ENDS[page.name]


def test_the_readme_has_an_example_that_is_executed() -> None:
    assert any(block.path == ROOT / "README.md" for block in EXECUTED), (
        "README.md has no ```python block that is executed"
    )


def test_this_module_notices_a_failing_example_and_its_line(tmp_path: Path) -> None:
    page = "# Page\n\n```python\nimport asyncio\nawait asyncio.sleep(0)\nraise KeyError('here')\n```\n"
    path = ROOT / "README.md"
    (block,) = parse(path, page)
    problem = execute(block, tmp_path)
    assert problem is not None
    assert "line 6" in problem
    assert "KeyError: 'here'" in problem


def test_this_module_honours_a_reason_and_executes_without_one() -> None:
    page = (
        "<!-- not executed: needs a server -->\n```python\n1 / 0\n```\n"
        "<!-- not executed: -->\n```python\n1 / 0\n```\n"
        "- item\n  ```python\n  x = 1\n  ```\n"
    )
    first, second, third = parse(ROOT / "README.md", page)
    assert first.not_executed == "needs a server"
    assert second.not_executed is None
    assert third.text == "x = 1\n"
