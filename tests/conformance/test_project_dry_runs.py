"""Where a configuration has `dry_run`, whatever would change something only says so."""

from __future__ import annotations

import pytest

from abathur.errors import InvalidInputError, NoProjectError
from tests.conformance.projects import config, edit, path_of, write


async def test_a_dry_run_is_heeded_by_whatever_changes_projects(world):
    main, dry = await world.db.projects.create("main"), world.repository("dry", dry_run=True)
    before = path_of(dry).read_bytes()
    would = await world.db.projects.adopt("main", dry)
    assert (would.project_id, would.root, would.config_persisted) == (main.project_id, str(dry), False)
    assert would.reason.startswith("dry_run: ")
    assert (await world.db.projects.get("main")).roots == ()
    assert path_of(dry).read_bytes() == before
    write(dry, {**config(dry), "dry_run": False})
    await world.db.projects.adopt("main", dry)
    edit(dry, id=None)
    write(dry, {**config(dry), "dry_run": True})
    before = path_of(dry).read_bytes()
    assert (await world.db.projects.rename("main", "other")).roots[0].reason == "its dry_run is on"
    (said,) = (await world.db.projects.repair("other")).done
    assert said == f"the configuration of {dry} did not get its id: its dry_run is on"
    assert path_of(dry).read_bytes() == before
    assert (await world.here(dry)).project_id == main.project_id


async def test_a_dry_run_makes_no_project_for_an_index_or_a_search(world):
    dry = world.repository("dry", dry_run=True)
    for call in (
        lambda: world.db.projects.start_indexing(dry),
        lambda: world.db.projects.search("word", directory=dry),
    ):
        with pytest.raises(NoProjectError, match="would be created"):
            await call()
    found = await world.db.projects.create("main", world.directory())
    edit(dry, id=found.project_id)
    with pytest.raises(InvalidInputError, match="is not in the project"):
        await world.db.projects.start_indexing(dry)
    assert await world.db.tasks.list() == []
    assert len((await world.db.projects.get("main")).roots) == 1
