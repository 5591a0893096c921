"""Configuration files of projects: what is refused, and what cannot be written."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abathur.errors import ProjectConfigError
from abathur.projects import config as configs
from abathur.projects import publish, registrar
from tests.conformance.projects import config, files, path_of, repository, write

GOOD = {"version": "1.0", "project": {"name": "x"}}

WRONG = {
    "no JSON": ('{"version": "1.0", "project": {"name": "x"}', None, "no JSON"),
    "empty": ("", None, "no JSON"),
    "a list": ("[]", None, "holds a list"),
    "NaN": ('{"version": "1.0", "project": {"name": "x"}, "n": NaN}', None, "NaN is no JSON"),
    "twice": ('{"project": {"name": "x", "name": "y"}}', None, "the key 'name' is there twice"),
    "too deep": ("[" * 100_000, None, "deep"),
    "too large": (json.dumps({**GOOD, "x": "y" * 1024 * 1024}), None, "more than 1,048,576 bytes"),
    "version": ({**GOOD, "version": "2.0"}, "version", '"2.0"'),
    "version number": ({**GOOD, "version": 1}, "version", "it is 1"),
    "no project": ({"version": "1.0"}, "project", "missing"),
    "project text": ({"project": "x"}, "project", "it is text"),
    "no name": ({"project": {}}, "project.name", "missing"),
    "name number": ({"project": {"name": 3}}, "project.name", "a number"),
    "name empty": ({"project": {"name": " "}}, "project.name", "empty"),
    "name long": ({"project": {"name": "n" * 256}}, "project.name", "256 characters"),
    "name NUL": ({"project": {"name": "a\0b"}}, "project.name", "NUL"),
    "name surrogate": ({"project": {"name": "\ud800"}}, "project.name", "surrogate"),
    "id": ({"project": {"name": "x", "id": "not-a-uuid"}}, "project.id", "no UUID"),
    "id number": ({"project": {"name": "x", "id": 12}}, "project.id", "no UUID"),
    "id hyphens": (
        {"project": {"name": "x", "id": "0197c2d4-5b1e7cc3-98c4-dc0c0c07398f"}}, "project.id", "no UUID",
    ),
    "store": ({"project": {"name": "x", "database_name": "../up"}}, "project.database_name", "../up"),
    "store pg_": ({"project": {"name": "x", "database_name": "pg_x"}}, "project.database_name", "pg_x"),
    "store public": (
        {"project": {"name": "x", "database_name": "public"}}, "project.database_name", "public",
    ),
    "flag": ({**GOOD, "auto_switch": "yes"}, "auto_switch", "text"),
    "strict": ({**GOOD, "strict_mode": 1}, "strict_mode", "a number"),
    "dry": ({**GOOD, "dry_run": None}, "dry_run", "null"),
    "description": ({**GOOD, "description": []}, "description", "a list"),
}  # fmt: skip


async def test_what_is_wrong_in_a_configuration_is_named_with_file_and_field(world):
    place = world.repository()
    for what, (value, field, reason) in WRONG.items():
        write(place, value)
        before = path_of(place).read_bytes()
        with pytest.raises(ProjectConfigError) as raised:
            await world.here(place)
        error = raised.value
        assert (error.path, error.field) == (str(path_of(place)), field), what
        assert reason in error.reason, what
        assert str(path_of(place)) in str(error)
        assert path_of(place).read_bytes() == before
    assert await world.db.projects.list() == []
    write(place, GOOD)
    assert (await world.here(place)).name == "x"


async def test_a_configuration_that_is_no_readable_file_is_refused_at_once(world):
    place = world.repository()
    path = path_of(place)

    def pipe() -> None:
        os.mkfifo(path)

    def bound() -> None:
        with socket.socket(socket.AF_UNIX) as one:
            here = Path.cwd()
            os.chdir(path.parent)  # the path of a socket may not be long
            try:
                one.bind(path.name)
            finally:
                os.chdir(here)

    makers = {
        "it is a directory": path.mkdir,
        "it is a named pipe": pipe,
        "it is a link to nothing": lambda: path.symlink_to(path.with_name("nothing")),
        "its links go in circles": lambda: path.symlink_to(path),
        "it is a device": lambda: path.symlink_to("/dev/null"),
        "it is no regular file": bound,
        "it is no UTF-8": lambda: path.write_bytes(b'{"project": {"name": "\xff"}}'),
    }
    for reason, make in makers.items():
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        make()
        with pytest.raises(ProjectConfigError) as raised:
            await world.here(place)
        assert reason in raised.value.reason
        assert raised.value.path == str(path)
    shutil.rmtree(path.parent)
    path.parent.symlink_to("nowhere")
    with pytest.raises(ProjectConfigError, match="it is a link to nothing"):
        await world.here(place)
    assert await world.db.projects.list() == []


@contextmanager
def as_nobody(place: Path) -> Iterator[None]:
    """As root, be somebody whom modes hold up, and who may reach `place`."""
    if os.geteuid() != 0:
        yield
        return
    opened = [(one, one.stat().st_mode) for one in (place, *place.parents) if not one.stat().st_mode & 1]
    for one, mode in opened:
        one.chmod(mode | 0o11)
    try:
        os.seteuid(65534)
        yield
    finally:
        os.seteuid(0)
        for one, mode in opened:
            one.chmod(mode)


async def test_a_configuration_that_may_not_be_read_is_refused(tmp_path):
    """Whom modes do not hold up, as root, goes on as somebody whom they do."""
    place = repository(tmp_path / "work")
    (path := path_of(place)).chmod(0)
    with as_nobody(tmp_path), pytest.raises(ProjectConfigError, match="Permission denied") as raised:
        configs.place(str(place))
    assert raised.value.path == str(path)
    path.parent.chmod(0)
    with as_nobody(tmp_path), pytest.raises(ProjectConfigError, match="Permission denied"):
        configs.place(str(place))
    path.parent.chmod(0o755)


async def test_a_link_as_configuration_stays_a_link_and_its_file_gets_the_id(world):
    place = world.repository()
    shared = world.place / "shared.json"
    path_of(place).rename(shared)
    path_of(place).symlink_to(shared)
    found = await world.here(place)
    assert path_of(place).is_symlink()
    assert json.loads(shared.read_text())["project"]["id"] == found.project_id
    assert found.config_persisted


async def test_a_byte_order_mark_is_no_error_and_stays(world):
    place = world.repository()
    text = path_of(place).read_text()
    path_of(place).write_text("\ufeff" + text)
    found = await world.here(place)
    after = path_of(place).read_text()
    assert after.startswith("\ufeff{")
    assert json.loads(after[1:])["project"]["id"] == found.project_id
    assert (await world.here(place)).project_id == found.project_id
    await world.db.projects.rename(found.project_id, "another")
    assert path_of(place).read_text().startswith("\ufeff{")


async def test_what_a_user_writes_meanwhile_is_kept(world, monkeypatch):
    """The user's editor saves after the configuration was read, and again just before the rename."""
    place = world.repository()
    original = publish.edit.with_value
    edits = iter(["first", "second"])

    def edited(text: str, *arguments: str) -> str:
        changed = original(text, *arguments)
        if (word := next(edits, None)) is not None:
            write(place, {**config(place), "mine": word, "description": f"the {word} edit"})
        return changed

    monkeypatch.setattr(publish.edit, "with_value", edited)
    found = await world.here(place)
    assert config(place)["mine"] == "second"
    assert config(place)["project"]["id"] == found.project_id
    assert files(place) == ["config.json"]


async def test_an_id_that_a_user_writes_meanwhile_counts(world, monkeypatch):
    place = world.repository()
    given = "0197c2d4-5b1e-7cc3-98c4-dc0c0c07398f"
    original = publish._publish

    async def late(*arguments):
        if "id" not in config(place)["project"]:
            write(place, {"project": {"name": "theirs", "id": given}})
        return await original(*arguments)

    monkeypatch.setattr(publish, "_publish", late)
    found = await world.here(place)
    assert (found.project_id, found.name) == (given, "theirs")
    assert config(place)["project"]["id"] == given
    first = next(one for one in await world.db.projects.list() if one.id != given)
    assert first.state == "ready"


async def test_a_configuration_that_is_spoiled_meanwhile_is_left_alone(world, monkeypatch):
    place = world.repository()
    original = publish._publish

    async def late(*arguments):
        write(place, '{"half')
        return await original(*arguments)

    monkeypatch.setattr(publish, "_publish", late)
    found = await world.here(place)
    assert not found.config_persisted
    assert "changed meanwhile" in found.reason
    assert path_of(place).read_text() == '{"half'
    monkeypatch.undo()
    write(place, GOOD)
    again = await world.here(place)
    assert (again.project_id, again.config_persisted) == (found.project_id, True)


async def test_a_lock_that_somebody_keeps_is_not_waited_for_for_ever(world, monkeypatch):
    import fcntl

    place = world.repository()
    monkeypatch.setattr(publish, "PATIENCE", 0.05)
    held = os.open(path_of(place).parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = await world.here(place)
    finally:
        os.close(held)
    assert not found.config_persisted
    assert "locked" in found.reason
    assert (await world.here(place)).config_persisted


async def test_a_disk_that_takes_its_time_keeps_nobody_else_waiting(world, monkeypatch):
    """Whatever waits for a disk, or for another's lock, does so on a thread."""
    place = world.repository()
    waits, goes_on = threading.Event(), threading.Event()
    for module, name in ((publish, "_sync"), (registrar, "fact")):
        original = getattr(module, name)

        def slow(*arguments, original=original):
            waits.set()
            assert goes_on.wait(20), "the event loop is waiting for the disk as well"
            return original(*arguments)

        monkeypatch.setattr(module, name, slow)
    found = []
    for one in (place, world.place / "copy"):  # where the copy's original is has to be looked at
        if found:
            shutil.copytree(place, one)
        waits.clear()
        goes_on.clear()
        resolving = asyncio.create_task(world.here(one))
        while not waits.is_set():
            await asyncio.sleep(0.01)
        goes_on.set()
        found.append((await resolving).project_id)
    assert len(set(found)) == 1


async def test_what_a_writer_has_left_that_died_is_swept_away_by_the_next(world):
    place = world.repository()
    left = path_of(place).with_name(f".config.json.{secrets.token_hex(8)}.abathur")
    other = path_of(place).with_name(".config.json.swp")
    left.write_text("half")
    other.write_text("an editor's")
    await world.here(place)
    assert files(place) == [".config.json.swp", "config.json"]


async def test_a_null_id_is_none_and_is_replaced(world):
    place = world.repository()
    write(place, '{"project": {"name": "x", "id": null}, "after": [1]}')
    found = await world.here(place)
    assert path_of(place).read_text() == (
        f'{{"project": {{"name": "x", "id": "{found.project_id}"}}, "after": [1]}}'
    )


async def test_an_id_that_was_removed_from_a_configuration_is_written_again(world):
    place = world.repository()
    found = await world.here(place)
    write(place, GOOD)
    again = await world.here(place)
    assert (again.project_id, again.config_persisted) == (found.project_id, True)
    assert config(place)["project"]["id"] == found.project_id
