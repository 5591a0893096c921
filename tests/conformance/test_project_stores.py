"""Projects' stores: whose they are, when they are gone, and who may have which."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import asyncpg
import pytest

from abathur import Database
from abathur.errors import (
    DatabaseClosedError,
    ProjectConfigError,
    ProjectDataMissingError,
    ProjectError,
    StoreTakenError,
    UnknownProjectError,
)
from abathur.ids import new_id
from abathur.projects import claim, names
from tests.conformance.projects import (
    a_store,
    config,
    edit,
    path_of,
    remove_stores,
    repository,
    write,
)


async def test_a_store_is_a_database_of_its_own_and_opened_once(world):
    one = await world.here(world.repository("one"))
    other = await world.here(world.repository("other"))
    store = await world.db.projects.store(one.project_id)
    assert isinstance(store, Database)
    assert await world.db.projects.store("one") is store
    task = await store.tasks.enqueue("of one")
    assert await (await world.db.projects.store(other.project_id)).tasks.list() == []
    assert await world.db.tasks.list() == []
    assert (await store.stamp())["project"] == one.project_id
    assert (await store.stamp())["environment"] == "test"
    await world.db.projects.close()
    with pytest.raises(DatabaseClosedError):
        await store.tasks.get(task.id)
    with pytest.raises(DatabaseClosedError):
        await world.db.projects.store(one.project_id)


async def test_stores_are_closed_with_the_database(world):
    store = await world.db.projects.store((await world.here(world.repository())).project_id)
    if world.in_memory:
        await world.db.close()
    else:
        await world.restarted()
    with pytest.raises(DatabaseClosedError):
        await store.tasks.list()


async def test_many_who_open_one_store_at_once_get_the_same(world):
    found = await world.here(world.repository())
    stores = await asyncio.gather(*(world.db.projects.store(found.project_id) for _ in range(10)))
    assert len({id(store) for store in stores}) == 1


async def test_many_projects_are_made_at_once_without_as_many_connections(world):
    """A server has a hundred of them as it comes from the box."""
    places = [world.repository(f"p{number}") for number in range(12)]
    found = await asyncio.gather(*(world.here(place) for place in places))
    assert len({one.project_id for one in found}) == len(places)
    assert await world.stores() == {one.database_name for one in found}


async def test_an_unknown_project_has_no_store(world):
    with pytest.raises(UnknownProjectError):
        await world.db.projects.store(new_id())


# -- gone ------------------------------------------------------------------------------------------


async def test_a_store_that_was_deleted_is_an_error_here_and_in_a_new_process(world, processes):
    place = world.repository()
    found = await world.here(place)
    store = await world.db.projects.store(found.project_id)
    await store.tasks.enqueue("lost")
    await world.destroy_store(found.database_name)
    for call in (
        lambda: world.here(place),
        lambda: world.resolve(found.project_id),
        lambda: world.db.projects.store(found.project_id),
    ):
        with pytest.raises(ProjectDataMissingError, match=f"abathur projects repair {found.project_id}"):
            await call()
    assert (await world.db.projects.get(found.project_id)).state == "missing"
    await world.restarted()
    with pytest.raises(ProjectDataMissingError):
        await world.resolve(found.project_id)
    assert await world.stores() == set()
    assert [one.code for one in await world.db.projects.doctor()] == ["projects", "project-store"]
    repaired = await world.db.projects.repair(found.project_id)
    assert "made anew, empty" in repaired.done[0]
    assert repaired.project.state == "ready"
    assert (await world.here(place)).database_name == found.database_name
    assert await (await world.db.projects.store(found.project_id)).tasks.list() == []
    kinds = [event.kind for event in await world.db.projects.events(found.project_id)]
    assert kinds == ["repaired", "missing", "created"]
    assert (await world.db.projects.repair(found.project_id)).done == ()
    assert [one.level for one in await world.db.projects.doctor()] == ["ok"]


async def test_a_store_that_another_process_has_made_anew_is_the_one_that_is_written_to(world, processes):
    found = await world.here(world.repository())
    old = await world.db.projects.store(found.project_id)
    await old.tasks.enqueue("lost with the old one")
    other = await world.again()
    await other.projects.store(found.project_id)
    for number in range(2):
        await world.destroy_store(found.database_name)
        await other.projects.repair(found.project_id)
        there = await other.projects.store(found.project_id)
        task = await there.tasks.enqueue(f"kept {number}")
        if number:  # whoever repairs it finds that it is there, and not that which is open
            assert (await world.db.projects.repair(found.project_id)).done == ()
        store = await world.db.projects.store(found.project_id)
        assert store is not old
        assert [one.id for one in await store.tasks.list()] == [task.id]
        await store.tasks.enqueue("also kept")
        assert len(await there.tasks.list()) == 2
        with pytest.raises(DatabaseClosedError):
            await old.tasks.enqueue("to nowhere")
        old = store
        assert await world.db.projects.store(found.project_id) is store


async def test_a_store_in_whose_place_a_backup_was_put_is_opened_anew(world, file):
    found = await world.here(world.repository())
    path = file.with_name(found.database_name)
    store = await world.db.projects.store(found.project_id)
    task = await store.tasks.enqueue("in the backup")
    await store.backup(path.with_suffix(".copy"))
    await store.tasks.enqueue("after it")
    await world.destroy_store(found.database_name)
    path.with_suffix(".copy").rename(path)
    again = await world.db.projects.store(found.project_id)
    assert [one.id for one in await again.tasks.list()] == [task.id]


async def test_a_store_that_was_put_back_is_found_again(world, file):
    found = await world.here(world.repository())
    path = file.with_name(found.database_name)
    path.rename(path.with_suffix(".away"))
    with pytest.raises(ProjectDataMissingError):
        await world.resolve(found.project_id)
    path.with_suffix(".away").rename(path)
    assert (await world.resolve(found.project_id)).database_name == found.database_name
    assert (await world.db.projects.get(found.project_id)).state == "ready"


async def test_a_registry_that_was_lost_finds_the_stores_again(world, file):
    place = world.repository()
    found = await world.here(place)
    task = await (await world.db.projects.store(found.project_id)).tasks.enqueue("kept")
    await world.db.close()
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    world.db = await world.again()
    again = await world.here(place)
    assert (again.project_id, again.database_name) == (found.project_id, found.database_name)
    assert (await (await world.db.projects.store(found.project_id)).tasks.get(task.id)).prompt == "kept"


# -- whose -----------------------------------------------------------------------------------------


async def test_a_store_may_be_asked_for_by_name(world):
    place = world.repository(database_name=(name := a_store()))
    found = await world.here(place)
    assert found.database_name == name
    assert await world.stores() == {name}
    assert (await world.here(place)).database_name == name


async def test_the_second_project_that_asks_for_one_store_is_refused_and_told_whose_it_is(world):
    first = await world.here(world.repository("first", database_name=(name := a_store())))
    second = world.repository("second", database_name=name)
    with pytest.raises(StoreTakenError, match=first.project_id) as raised:
        await world.here(second)
    assert (raised.value.database_name, str(path_of(second)) in str(raised.value)) == (name, True)
    assert len(await world.db.projects.list()) == 1
    assert "id" not in config(second)["project"]
    with pytest.raises(StoreTakenError, match="'first'"):
        await world.db.projects.create("third", database_name=name)
    edit(second, database_name=(other := a_store()))
    assert (await world.here(second)).database_name == other


async def test_a_project_cannot_be_given_another_store_by_its_configuration(world):
    place = world.repository()
    found = await world.here(place)
    edit(place, database_name=a_store())
    with pytest.raises(ProjectConfigError, match=found.database_name) as raised:
        await world.here(place)
    assert raised.value.field == "project.database_name"
    edit(place, database_name=found.database_name)
    assert (await world.here(place)).project_id == found.project_id


async def test_the_registry_itself_is_nobodys_store(world, processes):
    if processes.startswith("postgresql"):
        name = processes.rpartition("=")[2]
    else:  # a name without a dot, as a configuration can ask for it
        name = "registry"
        await world.db.close()
        world.db = await world.again(url=str(Path(processes).with_name(name)))
    with pytest.raises(StoreTakenError, match=name):
        await world.here(world.repository(database_name=name))
    assert await world.db.projects.list() == []


async def test_what_lies_where_a_store_would_go_is_left_alone(world, file):
    """Whatever it is: another is drawn, unless the configuration asks for that one."""
    for number, what in enumerate([b"a text of somebody's", b"SQLite format 3\0" + b"\0" * 4096, b"x"]):
        place = world.repository("Taken", project_id := new_id())
        usual = file.with_name(next(names.stores("Taken", project_id)))
        usual.write_bytes(what)
        found = await world.here(place)
        assert found.database_name != usual.name
        assert found.database_name.startswith("taken_")
        assert (await world.db.projects.get(project_id)).state == "ready"
        assert usual.read_bytes() == what
        asked = file.with_name(a_store())
        asked.write_bytes(what)
        with pytest.raises(StoreTakenError, match="something else lies there"):
            await world.here(world.repository("Asks", database_name=asked.name))
        assert asked.read_bytes() == what
        assert len(await world.db.projects.list()) == number + 1


async def test_a_database_of_another_project_is_never_used(world, file):
    found = await world.here(world.repository("one"))
    path = file.with_name(found.database_name)
    await world.restarted()
    other = world.repository("other", project_id := new_id())
    shutil.copy(path, file.with_name(next(names.stores("other", project_id))))
    drawn = await world.here(other)
    assert drawn.database_name not in (found.database_name, next(names.stores("other", project_id)))
    path.unlink()
    shutil.copy(file.with_name(drawn.database_name), path)
    with pytest.raises(StoreTakenError, match=project_id):
        await world.db.projects.store(found.project_id)


async def test_two_names_that_look_alike_in_a_store_and_end_alike_get_two_stores(world):
    """The names of both are equal: that of the second is drawn."""
    one = "0197c2d4-5b1e-7cc3-98c4-dc0c0c07398f"
    other = "0197c2d4-5b1e-7cc3-aaaa-bbbb0c07398f"
    first = await world.here(world.repository("A b", one))
    second = await world.here(world.repository("a-B", other))
    assert first.database_name == "a_b_0c07398f"
    assert second.database_name.startswith("a_b_")
    assert second.database_name != first.database_name
    assert await world.stores() == {first.database_name, second.database_name}


# -- half made -------------------------------------------------------------------------------------


async def half_made(world, place) -> str:
    """Claim a project as somebody does who dies before its store is made."""
    from abathur.projects import config as configs

    found = configs.place(str(place))
    wish = world.db.projects._registrar._wish(found, may_create=True, new=_new())
    return (await world.db.run(claim.claim, wish)).project_id


def _new():
    from abathur.projects.registrar import New

    return New()


async def test_a_claim_whose_owner_died_is_completed_by_whoever_asks_next(world):
    place = world.repository()
    project_id = await half_made(world, place)
    assert (await world.db.projects.get(project_id)).state == "provisioning"
    assert [one.code for one in await world.db.projects.doctor()][:2] == ["projects", "project-state"]
    found = await world.here(place)
    assert (found.project_id, found.config_persisted) == (project_id, True)
    assert (await world.db.projects.get(project_id)).state == "ready"
    assert len(await world.db.projects.list()) == 1


async def test_a_claim_whose_owner_died_is_completed_by_id_too_and_published(world):
    place = world.repository()
    project_id = await half_made(world, place)
    found = await world.resolve(project_id)
    assert (found.project_id, found.root) == (project_id, str(place))
    assert config(place)["project"]["id"] == project_id
    assert (await world.db.projects.get(project_id)).roots[0].config_persisted


async def test_a_store_that_is_half_made_may_still_be_called_otherwise(world):
    place = world.repository()
    project_id = await half_made(world, place)
    edit(place, database_name=(name := a_store()))
    found = await world.here(place)
    assert (found.project_id, found.database_name) == (project_id, name)


async def test_an_error_while_a_store_is_made_leaves_a_claim_that_is_completed_later(world, monkeypatch):
    place = world.repository()
    stores = world.db.projects._stores
    made = stores._make

    def broken(*arguments):
        store = made(*arguments)

        async def initialize():
            raise ProjectError("the disk is full, say")

        monkeypatch.setattr(store, "initialize", initialize)
        return store

    monkeypatch.setattr(stores, "_make", broken)
    with pytest.raises(ProjectError, match="the disk is full"):
        await world.here(place)
    (half,) = await world.db.projects.list()
    assert half.state == "provisioning"
    assert "id" not in config(place)["project"]
    monkeypatch.undo()
    assert (await world.here(place)).project_id == half.id


async def test_a_description_and_metadata_are_kept(world):
    place = world.directory()
    found = await world.db.projects.create(
        "With words", place, description="what for", metadata={"team": ["a", "b"]}
    )
    project = await world.db.projects.get(found.project_id)
    assert (project.description, project.metadata) == ("what for", {"team": ["a", "b"]})
    assert config(place)["description"] == "what for"
    write(place, {**config(place), "description": None})
    await world.here(place)
    assert (await world.db.projects.get(found.project_id)).description == "what for"


async def test_a_schema_that_the_role_may_not_look_into_is_nobodys_store(postgres_url, tmp_path):
    """On a server: one of the name that would be drawn, and one that is asked for."""
    project_id, asked = new_id(), a_store()
    usual = next(names.stores("Closed", project_id))
    raw = await asyncpg.connect(postgres_url.partition("schema=")[0].rstrip("?&"))
    try:
        for name in (usual, asked):
            await raw.execute(f'CREATE SCHEMA "{name}"')
            await raw.execute(f'CREATE TABLE "{name}".tasks (id text)')
            await raw.execute(f'REVOKE ALL ON SCHEMA "{name}" FROM CURRENT_USER')
        async with Database(postgres_url, environment="test") as db:
            place = repository(tmp_path / "closed", "Closed", project_id)
            found = await db.projects.resolve(directory=place)
            assert found.database_name.startswith("closed_")
            assert found.database_name != usual
            with pytest.raises(StoreTakenError, match="something else lies there"):
                await db.projects.create("Asks", database_name=asked)
            await db.projects.close()
            await remove_stores(db)
    finally:
        for name in (usual, asked):
            await raw.execute(f'GRANT ALL ON SCHEMA "{name}" TO CURRENT_USER')
            await raw.execute(f'DROP SCHEMA "{name}" CASCADE')
        await raw.close()
