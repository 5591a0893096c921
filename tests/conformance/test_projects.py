"""Which project a directory is: resolving, creating, and the same answer ever after."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from pathlib import Path

import pytest

from abathur import Statement
from abathur.errors import (
    AmbiguousProjectError,
    CopiedProjectError,
    InvalidInputError,
    NoProjectError,
    ProjectDirectoryError,
    UnknownProjectError,
)
from abathur.ids import new_id
from abathur.projects.config import identity
from tests.conformance.projects import World, config, edit, files, path_of, repository, write
from tests.readonly import mounted, read_only


async def kinds(world: World, project_id: str) -> list[str]:
    """What happened to a project, the first thing first."""
    return [event.kind for event in await world.db.projects.events(project_id)][::-1]


# -- the first time, and ever after ----------------------------------------------------------------


async def test_a_directory_with_a_configuration_becomes_a_project_with_a_store(world):
    place = world.repository("My Project", description="What it is for", mine={"kept": [1, 2.50]})
    found = await world.here(place)
    assert config(place)["project"] == {"id": found.project_id, "name": "My Project"}
    assert config(place)["mine"] == {"kept": [1, 2.50]}
    project = await world.db.projects.get(found.project_id)
    assert (project.id, project.name, project.state) == (found.project_id, "My Project", "ready")
    assert project.description == "What it is for"
    assert project.database_name == found.database_name == f"my_project_{found.project_id[-8:]}"
    assert [root.path for root in project.roots] == [str(place)]
    assert (found.tier, found.root, found.config_persisted, found.reason) == (
        "directory", str(place), True, None,
    )  # fmt: skip
    assert await world.stores() == {found.database_name}
    db = await world.restarted()
    again = await db.projects.resolve(found.project_id)
    assert (again.project_id, again.name, again.database_name, again.root, again.config_persisted) == (
        found.project_id, found.name, found.database_name, found.root, True,
    )  # fmt: skip
    assert again.tier == "explicit"


async def test_the_id_is_written_and_nothing_else_of_the_file_is_touched(world):
    place = world.repository()
    write(place, '{"version":"1.0",\r\n\t"project" : {"name":"Ünï \\u00e9"  }, "n": 1.10, "e": 1e400}\r\n')
    before = path_of(place).read_bytes()
    path_of(place).chmod(0o640)
    found = await world.here(place)
    assert path_of(place).read_bytes() == before.replace(
        b'{"name"', b'{"id": "' + found.project_id.encode() + b'", "name"'
    )
    assert path_of(place).stat().st_mode & 0o777 == 0o640
    assert files(place) == ["config.json"]


async def test_five_sessions_at_once_get_one_project(world):
    place = world.repository()
    for number in range(5):
        await world.db.projects.set_working_directory(f"s{number}", place)
    found = await asyncio.gather(*(world.resolve(session=f"s{number}") for number in range(5)))
    assert len({one.project_id for one in found}) == 1
    assert len(await world.db.projects.list()) == 1
    assert await world.stores() == {found[0].database_name}
    assert config(place)["project"]["id"] == found[0].project_id


async def test_the_directory_of_a_session_is_known_after_a_restart(world):
    place = world.repository()
    made = await world.db.projects.set_working_directory("editor-1", place / ".abathur" / "..")
    assert (made.directory, made.config_path) == (str(place), str(path_of(place)))
    found = await world.resolve(session="editor-1")
    assert found.tier == "session"
    db = await world.restarted()
    assert await db.projects.resolve(session="editor-1") == found
    assert (await db.projects.working_directory("editor-1")).directory == str(place)
    assert (await db.projects.resolve(found.project_id)).project_id == found.project_id
    await db.projects.set_working_directory("editor-1", None)
    assert await db.projects.working_directory("editor-1") is None


async def test_an_id_asks_the_registry_and_neither_session_nor_directory(world):
    first, second = world.repository("first"), world.repository("second")
    one, other = await world.here(first), await world.here(second)
    await world.db.projects.set_working_directory("s", second)
    world.db.projects.configure(default=other.project_id)
    found = await world.resolve(one.project_id, directory=second, session="s")
    assert (found.project_id, found.tier) == (one.project_id, "explicit")
    with pytest.raises(UnknownProjectError, match="no project 'third'"):
        await world.resolve("third", directory=second, session="s")


async def test_five_projects_are_made_one_after_another_quickly(world, figure):
    took = []
    for number in range(5):
        place = world.repository(f"project {number}")
        began = time.perf_counter()
        await world.here(place)
        took.append(time.perf_counter() - began)
    assert max(took) < 5
    assert len(await world.stores()) == 5
    figure(f"{world.db.engine.dialect}: {sum(took) / 5 * 1000:.0f} ms to create a project on average")


async def test_a_directory_whose_configuration_has_an_id_is_opened_twice_and_left_as_it_is(world):
    place = world.repository("Known", project_id := new_id())
    before, stat = path_of(place).read_bytes(), path_of(place).stat()
    found = [await world.here(place), await world.here(place)]
    assert [one.project_id for one in found] == [project_id, project_id]
    assert [one.id for one in await world.db.projects.list()] == [project_id]
    assert path_of(place).read_bytes() == before
    assert path_of(place).stat().st_ino == stat.st_ino
    assert await kinds(world, project_id) == ["adopted"]


async def test_looking_again_writes_nothing(world):
    place = world.repository()
    await world.here(place)
    before = await world.db.audit.head()
    projects = await world.db.projects.list()
    await world.here(place)
    assert await world.db.projects.list() == projects
    assert await world.db.audit.head() == before


async def test_one_name_in_two_directories_is_two_projects(world):
    one, other = await world.here(world.repository("same")), await world.here(world.repository("same"))
    assert one.project_id != other.project_id
    assert one.database_name != other.database_name
    with pytest.raises(AmbiguousProjectError) as raised:
        await world.resolve("same")
    assert set(raised.value.ids) == {one.project_id, other.project_id}
    assert one.root in str(raised.value)
    assert other.project_id in str(raised.value)


# -- directories that move -------------------------------------------------------------------------


async def test_a_directory_that_was_moved_is_the_same_project(world):
    place = world.repository()
    found = await world.here(place)
    store = await world.db.projects.store(found.project_id)
    task = await store.tasks.enqueue("kept")
    moved = place.rename(world.place / "moved")
    again = await world.here(moved)
    assert (again.project_id, again.root) == (found.project_id, str(moved))
    project = await world.db.projects.get(found.project_id)
    assert [root.path for root in project.roots] == [str(moved)]
    assert (await (await world.db.projects.store(found.project_id)).tasks.get(task.id)).prompt == "kept"
    event = (await world.db.projects.events(found.project_id))[0]
    assert event.kind == "moved"
    assert event.detail == {"root": str(moved), "before": str(place)}


async def test_a_copy_shares_the_project_and_both_directories_are_listed(world):
    place = world.repository()
    found = await world.here(place)
    copy = Path(shutil.copytree(place, world.place / "copy"))
    assert (await world.here(copy)).project_id == found.project_id
    assert (await world.here(place)).project_id == found.project_id
    project = await world.db.projects.get(found.project_id)
    assert {root.path for root in project.roots} == {str(place), str(copy)}
    assert await kinds(world, found.project_id) == ["created", "copied"]


async def test_a_strict_copy_is_refused_and_the_original_is_not(world):
    place = world.repository(strict_mode=True)
    found = await world.here(place)
    copy = Path(shutil.copytree(place, world.place / "copy"))
    with pytest.raises(CopiedProjectError, match="strict") as raised:
        await world.here(copy)
    assert raised.value.others == (str(place),)
    assert (await world.here(place)).project_id == found.project_id
    edit(copy, id=None)
    assert (await world.here(copy)).project_id != found.project_id


async def test_a_copy_of_which_the_original_was_moved_away_is_told_from_a_move(world):
    place = world.repository()
    found = await world.here(place)
    copy = Path(shutil.copytree(place, world.place / "copy"))
    await world.here(copy)
    moved = place.rename(world.place / "moved")
    await world.here(moved)
    project = await world.db.projects.get(found.project_id)
    assert {root.path for root in project.roots} == {str(copy), str(moved)}
    assert await kinds(world, found.project_id) == ["created", "copied", "moved"]


# -- names that change -----------------------------------------------------------------------------


async def test_a_project_is_renamed_in_its_configuration(world):
    place = world.repository("before")
    found = await world.here(place)
    edit(place, name="after")
    again = await world.here(place)
    assert (again.project_id, again.name, again.database_name) == (
        found.project_id, "after", found.database_name,
    )  # fmt: skip
    assert (await world.resolve("after")).project_id == found.project_id
    with pytest.raises(UnknownProjectError):
        await world.resolve("before")
    assert (await world.db.projects.events(found.project_id))[0].detail["before"] == "before"


async def test_a_project_that_takes_anothers_name_keeps_its_id_and_so_does_the_other(world):
    first, second = world.repository("first"), world.repository("second")
    one, other = await world.here(first), await world.here(second)
    edit(second, name="first")
    assert (await world.here(second)).project_id == other.project_id
    assert (await world.here(first)).project_id == one.project_id
    with pytest.raises(AmbiguousProjectError):
        await world.resolve("first")


async def test_copies_with_two_names_do_not_rename_the_project_to_and_fro(world):
    place = world.repository("one")
    found = await world.here(place)
    copy = Path(shutil.copytree(place, world.place / "copy"))
    edit(copy, name="other")
    assert (await world.here(copy)).name == "other"
    assert (await world.here(place)).name == "other"
    assert (await world.here(copy)).name == "other"
    assert (await kinds(world, found.project_id)).count("renamed") == 1


# -- ids that the registry does not know -----------------------------------------------------------


async def test_an_id_that_the_registry_does_not_know_is_adopted(world):
    place = world.repository("Known elsewhere", project_id := str(uuid.uuid4()))
    assert (await world.here(place)).project_id == project_id
    assert await kinds(world, project_id) == ["adopted"]


async def test_an_id_that_replaces_another_one_is_a_second_project_and_the_first_stays(world):
    place = world.repository()
    first = await world.here(place)
    edit(place, id=(project_id := new_id()))
    second = await world.here(place)
    assert second.project_id == project_id
    assert {one.id for one in await world.db.projects.list()} == {first.project_id, project_id}
    assert (await world.resolve(first.project_id)).database_name == first.database_name
    assert await world.stores() == {first.database_name, second.database_name}
    assert await kinds(world, first.project_id) == ["created", "superseded"]
    assert (await world.here(place)).project_id == project_id


@pytest.mark.parametrize(
    "form", [str.upper, "{{{}}}".format, lambda text: text.replace("-", ""), lambda text: f" {text.upper()} "]
)
async def test_an_id_is_one_id_in_whatever_form_it_is_written(world, form):
    place = world.repository("Forms", form(project_id := new_id()))
    before = path_of(place).read_bytes()
    found = await world.here(place)
    assert type(found.project_id) is str
    assert found.project_id == project_id
    assert (await world.here(place)).project_id == project_id
    assert (await world.resolve(form(project_id))).project_id == project_id
    assert path_of(place).read_bytes() == before


NAMES = [
    "v1.2.x",
    "naïve café",
    "проект",
    "名前",
    "n" * 255,
    "9 lives",
    "pg_catalog",
    "a/b",
    "…",
    "A-B",
    "a b",
]


async def test_names_of_any_kind_work_and_their_stores_are_unique(world):
    found = {name: await world.here(world.repository(name)) for name in NAMES}
    assert len({one.database_name for one in found.values()}) == len(NAMES)
    assert await world.stores() == {one.database_name for one in found.values()}
    for name, one in found.items():
        assert (await world.resolve(name)).project_id == one.project_id
        store = await world.db.projects.store(one.project_id)
        assert store.name.endswith(":memory:" if world.in_memory else one.database_name)


# -- where it looks --------------------------------------------------------------------------------


async def test_every_way_to_a_directory_leads_to_one_project(world):
    place = world.repository()
    link = world.place / "link"
    link.symlink_to(place)
    (place / "deep" / "er").mkdir(parents=True)
    ways = [place, f"{place}/", link, link / "deep", place / "deep" / ".." / "deep" / "er", f"{place}//deep"]
    found = [await world.here(way) for way in ways]
    assert {(one.project_id, one.root) for one in found} == {(found[0].project_id, str(place))}
    assert len(await world.db.projects.list()) == 1


async def test_a_directory_that_is_mounted_twice_is_one_project(world, request):
    place, second = world.repository(), world.directory()
    with mounted(request, place, second):
        found = await world.here(place)
        again = await world.here(second)
        assert (again.project_id, again.root) == (found.project_id, found.root)
        assert [root.path for root in (await world.db.projects.get(found.project_id)).roots] == [str(place)]


async def test_a_read_only_directory_that_is_mounted_twice_is_one_project_too(world, request):
    place, second = world.repository(), world.directory()
    with mounted(request, place, second), read_only(request, place / ".abathur"):
        with read_only(request, second / ".abathur"):
            found = [await world.here(one) for one in (second, place, second)]
        assert len({one.project_id for one in found}) == 1
        assert len(await world.db.projects.list()) == 1


async def test_a_directory_whose_number_was_another_ones_before_is_its_own_project(world):
    """A file system gives the number of a directory that was removed to the next one that is made."""
    place = world.repository()
    found = await world.here(place)
    shutil.rmtree(place)
    moved = world.repository()

    def numbered():
        yield Statement(
            "projects.see_root", root=str(place), project_id=found.project_id, name="Some Project",
            persisted=1, reason=None, directory=identity(str(moved)), now=1,
        )  # fmt: skip

    await world.db.run(numbered)
    assert (await world.here(moved)).project_id != found.project_id


async def test_the_nearest_configuration_wins_from_the_next_call_on(world):
    place = world.repository("outer")
    outer = await world.here(place / ".abathur")
    inner = repository(place / "inner", "inner")
    assert (await world.here(inner)).name == "inner"
    assert (await world.here(place)).project_id == outer.project_id
    shutil.rmtree(inner / ".abathur")
    assert (await world.here(inner)).name == "outer"


async def test_the_older_place_of_the_configuration_is_read_and_written_too(world):
    place = world.repository("older")
    path_of(place).parent.rename(place / ".codebase-mcp")
    found = await world.here(place)
    assert found.project_id in (place / ".codebase-mcp" / "config.json").read_text()
    assert not (place / ".abathur").exists()


@pytest.mark.parametrize("marker", [".git", ".hg", ".jj"])
async def test_it_does_not_look_above_the_root_of_a_version_control(world, marker):
    outer = world.repository("outer")
    (outer / "clone" / "src").mkdir(parents=True)
    (outer / "clone" / marker).mkdir()
    with pytest.raises(NoProjectError, match="no configuration in"):
        await world.here(outer / "clone" / "src")


async def test_it_does_not_look_above_the_home_directory(world, monkeypatch):
    outer = world.repository("outer")
    (outer / "user" / "src").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(outer / "user"))
    with pytest.raises(NoProjectError):
        await world.here(outer / "user" / "src")


@pytest.mark.parametrize("wrong", ["missing", "file", "loop", "nul", ""])
async def test_a_working_directory_that_is_none_is_refused(world, wrong):
    (world.place / "file").write_text("x")
    (world.place / "loop").symlink_to(world.place / "loop")
    where = {"nul": "a\0b", "": ""}.get(wrong, str(world.place / wrong))
    with pytest.raises(ProjectDirectoryError):
        await world.here(where)
    with pytest.raises(ProjectDirectoryError):
        await world.db.projects.set_working_directory("s", where)
    assert await world.db.projects.working_directory("s") is None


async def test_a_session_whose_directory_is_gone_says_so_and_nothing_else_answers(world):
    place = world.repository()
    other = await world.here(world.repository("other"))
    await world.db.projects.set_working_directory("s", place)
    shutil.rmtree(place)
    world.db.projects.configure(default=other.project_id)
    with pytest.raises(ProjectDirectoryError, match="No such file"):
        await world.resolve(session="s")


async def test_with_nothing_to_go_by_it_says_what_was_tried(world):
    with pytest.raises(NoProjectError, match="neither a project, nor a directory"):
        await world.resolve()
    with pytest.raises(NoProjectError, match="session 'new' has no working directory"):
        await world.resolve(session="new")
    with pytest.raises(NoProjectError) as raised:
        await world.here(world.directory())
    assert raised.value.tried[0].startswith("there is no configuration in")
    assert await world.db.projects.list() == []
    with pytest.raises(InvalidInputError):
        await world.resolve("")


# -- the flags -------------------------------------------------------------------------------------


async def test_without_auto_switch_nothing_is_created_and_what_exists_is_found(world):
    place = world.repository(auto_switch=False)
    world.db.projects.configure(resolver=lambda *_: "another", default="another")  # which are not asked
    with pytest.raises(NoProjectError, match="auto_switch is off"):
        await world.here(place)
    assert await world.db.projects.list() == []
    assert "id" not in config(place)["project"]
    made = await world.db.projects.create(directory=place)
    assert (await world.here(place)).project_id == made.project_id
    assert config(place)["project"]["id"] == made.project_id


async def test_a_dry_run_says_what_would_happen_and_changes_nothing(world):
    place = world.repository("Tried", dry_run=True)
    before = path_of(place).read_bytes()
    found = await world.here(place)
    assert (found.project_id, found.name, found.config_persisted) == ("", "Tried", False)
    assert "would be created" in found.reason
    assert str(path_of(place)) in found.reason
    assert await world.db.projects.list() == []
    assert await world.stores() == set()
    assert path_of(place).read_bytes() == before
    with pytest.raises(NoProjectError):
        write(place, {**config(place), "auto_switch": False})
        await world.here(place)


async def test_a_dry_run_of_a_project_that_exists_tells_of_a_rename_and_does_not_do_it(world):
    place = world.repository("before")
    made = await world.here(place)
    write(place, {**config(place), "dry_run": True})
    assert "nothing would be done" in (await world.here(place)).reason
    edit(place, name="after")
    found = await world.here(place)
    assert (found.project_id, found.config_persisted) == (made.project_id, True)
    assert "would be renamed" in found.reason
    assert (await world.resolve(made.project_id)).name == "before"
