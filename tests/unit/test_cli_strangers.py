"""A command that looks at a database of somebody else's adds nothing to it."""

from __future__ import annotations

import sqlite3

import pytest
from click.testing import CliRunner

from abathur.cli import main


@pytest.mark.parametrize(
    "command", [["list"], ["show", "x"], ["audit", "verify"], ["enqueue", "x"], ["stats"], ["cancel", "x"]]
)
def test_a_file_with_tables_and_none_of_ours_is_refused_and_not_changed(command, tmp_path):
    path = tmp_path / "plain.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE t (a)")
    raw.close()
    before = path.read_bytes()
    found = CliRunner().invoke(main, ["--database", str(path), *command])
    assert found.exit_code == 1
    assert "none of abathur's" in found.stderr
    assert path.read_bytes() == before


def test_init_adds_the_tables_to_it(tmp_path):
    path = tmp_path / "plain.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE t (a)")
    raw.close()
    assert CliRunner().invoke(main, ["--database", str(path), "init"]).exit_code == 0
    assert CliRunner().invoke(main, ["--database", str(path), "list"]).exit_code == 0
