"""What a walk through a project finds, and what it leaves out."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from abathur.projects.index import ignoring
from abathur.projects.index.walking import Walk


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return Path(os.path.realpath(made))


def put(root: Path, *paths: str, text: str = "x\n") -> None:
    for path in paths:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def found(root: Path, scope: str = "") -> list[str]:
    return [one.path for one in Walk(str(root), scope).found()]


def skipped(root: Path, scope: str = "", **options: int) -> dict[str, int]:
    walk = Walk(str(root), scope, **options)
    list(walk.found())
    return dict(walk.skipped)


def test_files_are_found_in_the_order_of_their_names_with_size_and_time(root):
    put(root, "b.py", "a/z.py", "a/b/c.py", "c.md", text="four")
    walked = list(Walk(str(root)).found())
    assert [one.path for one in walked] == ["b.py", "c.md", "a/z.py", "a/b/c.py"]
    assert {one.size for one in walked} == {4}
    assert walked[0].mtime_ns == (root / "b.py").stat().st_mtime_ns


def test_gitignore_files_count_where_they_lie_and_below(root):
    put(root, "a.log", "keep.log", "sub/b.log", "sub/c.txt", "sub/deep/d.txt", "sub/deep/e.txt", "build/x.py")
    put(root, ".gitignore", text="*.log\n!keep.log\n/build/\n# a comment\n\n")
    put(root, "sub/.gitignore", text="c.txt\ndeep/*\n!deep/e.txt\n!b.log\n")
    assert found(root) == [".gitignore", "keep.log", "sub/.gitignore", "sub/b.log", "sub/deep/e.txt"]
    assert skipped(root) == {"ignored": 4}  # a.log, build, c.txt, d.txt


@pytest.mark.parametrize("line", ["!", "a\\", "\\", "[z-a].txt", "b[", "!\\"])
def test_a_line_that_is_no_pattern_matches_nothing_and_the_others_count(root, line):
    put(root, "a", "a\\", "z.txt", "x.log")
    put(root, ".gitignore", text=f"*.log\n{line}\n/z.txt\n")
    assert found(root) == [".gitignore", "a", "a\\"]


def test_an_ignored_directory_is_not_entered_so_nothing_in_it_comes_back(root):
    put(root, "out/keep.py", "out/.gitignore", text="!keep.py\n")
    put(root, ".gitignore", text="out/\n!out/keep.py\n")
    assert found(root) == [".gitignore"]


def test_a_pattern_with_a_slash_at_its_end_means_directories_only(root):
    put(root, ".gitignore", text="things/\n")
    put(root, "things", "sub/things/a.py")
    assert found(root) == [".gitignore", "things"]


def test_the_repository_above_has_a_say_in_what_its_project_leaves_out(root):
    (root / ".git").mkdir()
    put(root, ".gitignore", text="*.tmp\n/app/local\n")
    put(root, "app/a.tmp", "app/local", "app/b.py")
    assert found(root / "app") == ["b.py"]


def test_a_root_that_the_repository_ignores_is_walked_nevertheless(root):
    (root / ".git").mkdir()
    put(root, ".gitignore", text="vendor/\n*.tmp\n")
    put(root, "vendor/lib/a.py", "vendor/lib/b.tmp")
    assert found(root / "vendor" / "lib") == ["a.py", "b.tmp"]


def test_a_part_is_walked_by_the_rules_of_the_whole(root):
    put(root, ".gitignore", text="*.log\n/src/gen/\n")
    put(root, "src/a.py", "src/a.log", "src/gen/x.py", "src/gen/deep/y.py", "other.py")
    assert found(root, "src") == ["src/a.py"]
    assert found(root, "src/a.py") == ["src/a.py"]
    assert found(root, "src/a.log") == []
    assert found(root, "src/gen/deep") == []
    assert found(root, "nothing") == []


@pytest.mark.parametrize("name", sorted(ignoring.NEVER - {".DS_Store"}))
def test_what_tools_keep_for_themselves_is_left_out(root, name):
    put(root, f"{name}/a.py", f"sub/{name}/b.py", "sub/c.py")
    assert found(root) == ["sub/c.py"]
    assert skipped(root) == {"ignored": 2}


def test_a_directory_that_is_marked_as_made_by_a_tool_is_left_out(root):
    put(root, "cache/CACHEDIR.TAG", "cache/a.py", "env/pyvenv.cfg", "env/lib/b.py", "CACHEDIR.TAG", "c.py")
    assert found(root) == ["CACHEDIR.TAG", "c.py"]  # of the root itself it does not count


def test_another_project_inside_is_left_to_itself(root):
    put(root, ".abathur/config.json", "a.py", "inner/.abathur/config.json", "inner/b.py")
    put(root, "older/.codebase-mcp/config.json", "older/c.py")
    assert found(root) == ["a.py"]
    assert skipped(root) == {"ignored": 1, "nested": 2}
    assert found(root, "inner") == ["inner/b.py"]  # but not if somebody asks for it


def test_links_are_not_followed_so_there_are_no_loops_and_nothing_outside(root, tmp_path):
    put(root, "a/b.py")
    put(tmp_path, "outside/secret.py")
    (root / "a" / "loop").symlink_to(root)
    (root / "itself").symlink_to("itself")
    (root / "outside").symlink_to(tmp_path / "outside")
    (root / "file.py").symlink_to(root / "a" / "b.py")
    (root / "dangling").symlink_to("nowhere")
    assert found(root) == ["a/b.py"]
    assert skipped(root) == {"link": 5}


def test_pipes_and_sockets_are_left_out_without_being_opened(root):
    os.mkfifo(root / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(root / "socket.py"))
        assert found(root) == []
        assert skipped(root) == {"special": 2}
    os.mkfifo(root / ".gitignore")  # neither is it waited for
    put(root, "a.py")
    assert found(root) == ["a.py"]


def test_large_and_binary_files_are_known_without_being_opened(root):
    put(root, "exact.txt", text="x" * 100)
    put(root, "large.txt", text="x" * 101)
    put(root, "picture.PNG", "agents.db", "agents.db-wal", "png", "notes.png.txt")
    walk = Walk(str(root), largest=100)
    assert [one.path for one in walk.found()] == ["exact.txt", "notes.png.txt", "png"]
    assert dict(walk.skipped) == {"oversized": 1, "binary": 3}


def test_strange_names_are_names(root):
    names = ["new\nline.py", "sp ace.py", "quo'te\".py", "ünï.py", "-rf", "*.py", "\ttab", "a\\b.py"]
    put(root, *names)
    put(root, "dir\nwith/*.txt")
    assert sorted(found(root)) == sorted([*names, "dir\nwith/*.txt"])


def test_a_name_that_is_no_utf_8_is_left_out_and_said(root):
    try:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff.py")).write_text("x")
    except OSError:
        pytest.skip("this file system has no such names")
    put(root, "a.py")
    assert found(root) == ["a.py"]
    assert skipped(root) == {"unnameable": 1}


def test_a_tree_that_is_deeper_than_a_path_may_be_long_ends_where_it_cannot_be_read(root):
    put(root, "a.py")
    here = os.getcwd()
    try:
        os.chdir(root)
        for _ in range(30):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(here)
    walk = Walk(str(root))
    assert [one.path for one in walk.found()] == ["a.py"]
    assert dict(walk.skipped) == {"unreadable": 1}
    (unread,) = walk.unread
    assert not walk.has_seen(f"{unread}/x.py")  # so it is not taken for removed
    assert not walk.has_seen(unread)
    assert walk.has_seen("b.py")
    assert walk.has_seen(f"{unread}x.py")
    assert not Walk(str(root), unread=[""]).has_seen("b.py")


def test_a_directory_that_is_removed_during_the_walk_is_gone(root):
    put(root, "a/x.py", "b/y.py", "c/z.py")
    walk = Walk(str(root)).found()
    first = next(walk)
    (root / "b" / "y.py").unlink()
    (root / "b").rmdir()
    assert [first.path, *(one.path for one in walk)] == ["a/x.py", "c/z.py"]
