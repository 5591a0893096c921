"""Several directories of one project, some of which cannot say so: none is forgotten while it is there."""

from __future__ import annotations

import shutil

import pytest

from abathur.errors import CopiedProjectError
from tests.conformance.projects import config, edit, path_of, write
from tests.readonly import read_only


async def roots(world, project_id: str) -> set[str]:
    return {root.path for root in (await world.db.projects.get(project_id)).roots}


async def test_a_directory_that_could_never_be_written_stays_when_a_copy_has_the_id(world, request):
    place = world.repository()
    with read_only(request, place / ".abathur"):
        found = await world.here(place)
        copy = world.repository(project_id=found.project_id)
        assert (await world.here(copy)).project_id == found.project_id
        assert await roots(world, found.project_id) == {str(place), str(copy)}
        assert (await world.db.projects.events(found.project_id))[0].kind == "copied"
        assert (await world.here(place)).project_id == found.project_id
    assert len(await world.db.projects.list()) == 1


async def test_a_directory_whose_id_or_configuration_was_removed_stays_when_a_copy_has_it(world):
    for how in ("id", "file"):
        place = world.repository()
        found = await world.here(place)
        copy = world.place / f"copy-{how}"
        shutil.copytree(place, copy)
        if how == "id":
            edit(place, id=None)
        else:
            path_of(place).unlink()
        assert (await world.here(copy)).project_id == found.project_id
        assert await roots(world, found.project_id) == {str(place), str(copy)}
        assert (await world.here(place)).project_id == found.project_id


async def test_a_directory_without_the_id_stays_when_another_one_is_adopted(world, request):
    place, other = world.repository(), world.directory()
    with read_only(request, place / ".abathur"):
        found = await world.here(place)
        assert (await world.db.projects.adopt(found.project_id, other)).config_persisted
        assert await roots(world, found.project_id) == {str(place), str(other)}
        assert (await world.here(place)).project_id == found.project_id


async def test_a_directory_without_the_id_is_the_original_of_a_strict_one(world, request):
    place = world.repository()
    with read_only(request, place / ".abathur"):
        found = await world.here(place)
        strict = world.repository("Some Project", found.project_id, strict_mode=True)
        with pytest.raises(CopiedProjectError, match=str(place)):
            await world.here(strict)
        adopted = world.repository("adopted", strict_mode=True)
        before = config(adopted)
        with pytest.raises(CopiedProjectError, match=str(place)):
            await world.db.projects.adopt(found.project_id, adopted)
        assert config(adopted) == before
        assert await roots(world, found.project_id) == {str(place)}


async def test_a_directory_in_whose_place_another_one_is_by_now_was_moved(world):
    place = world.repository()
    found = await world.here(place)
    there = place.rename(world.place / "moved")
    (place / ".abathur").mkdir(parents=True)
    write(place, {"project": {"name": "Another"}})
    assert (await world.here(there)).project_id == found.project_id
    assert await roots(world, found.project_id) == {str(there)}
    assert (await world.here(place)).project_id != found.project_id
