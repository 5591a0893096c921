"""The tests that docs/testing-agents.md shows are run, and what it says that they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

PAGE = ROOT / "docs" / "testing-agents.md"
SHOWN = {
    name: block.text
    for block in blocks(PAGE)
    if block.language == "python"
    and (name := block.text.partition("\n")[0].removeprefix("# ")).endswith(".py")
}


def run(directory: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run one file with pytest in a directory of its own, as somebody who copies it does."""
    (directory / name).write_text(text, encoding="utf-8")
    plugin = [] if entry_points(group="pytest11", name="abathur") else ["-p", "abathur.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-pno:cacheprovider", "-pno:asyncio"]
    return subprocess.run(
        [*command, *plugin, "-k", "not postgres", name],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )


@pytest.mark.parametrize("name", SHOWN)
def test_a_test_that_is_shown_passes(name, tmp_path):
    done = run(tmp_path, name, SHOWN[name])
    assert done.returncode == 0, done.stdout
    assert re.search(r"[1-9] passed", done.stdout)


def test_the_mailer_without_a_key_is_caught_where_the_page_says(tmp_path):
    text = SHOWN["test_mailer.py"].replace("key=ctx.task.id", "key=len(server.sent)")
    done = run(tmp_path, "test_mailer.py", text)
    assert done.returncode == 1
    (note,) = re.findall(r"^E\s+(In crash .*)$", done.stdout, re.MULTILINE)
    page = PAGE.read_text(encoding="utf-8")
    assert note in page
    line = int(note.partition("test_mailer.py:")[2].split()[0])
    assert text.splitlines()[line - 1].strip() == 'return "sent"'
    assert f"Line {line} is the `return`" in page
