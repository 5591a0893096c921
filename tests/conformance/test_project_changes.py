"""What is done to projects on purpose: create, rename, adopt, repair; and the application's own answers."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from abathur.errors import (
    AmbiguousProjectError,
    CopiedProjectError,
    InvalidInputError,
    NoProjectError,
    ProjectConfigError,
    ResolverError,
    UnknownProjectError,
)
from abathur.ids import new_id
from abathur.projects import asking
from abathur.projects.tools import set_working_directory
from tests.conformance.projects import config, edit, path_of, write
from tests.readonly import read_only

# -- create ----------------------------------------------------------------------------------------


async def test_a_directory_without_a_configuration_gets_one(world):
    place = world.directory()
    found = await world.db.projects.create(directory=place)
    assert (found.name, found.config_persisted) == (place.name, True)
    assert config(place) == {"version": "1.0", "project": {"id": found.project_id, "name": place.name}}
    assert (await world.db.projects.create(directory=place)).project_id == found.project_id
    assert (await world.here(place)).project_id == found.project_id


async def test_many_who_create_one_directory_at_once_get_one_project(world):
    place = world.directory()
    found = await asyncio.gather(*(world.db.projects.create("one", place) for _ in range(5)))
    assert len({one.project_id for one in found}) == 1
    assert config(place)["project"]["id"] == found[0].project_id
    assert len(await world.db.projects.list()) == 1


async def test_a_project_may_have_no_directory(world):
    found = await world.db.projects.create("by name alone")
    assert (found.root, found.config_persisted, found.reason) == (None, False, "it has no directory")
    assert (await world.resolve("by name alone")).project_id == found.project_id
    assert await (await world.db.projects.store(found.project_id)).tasks.list() == []
    with pytest.raises(InvalidInputError, match="has no name"):
        await world.db.projects.create()


async def test_create_does_not_rename_a_project_that_the_directory_has(world):
    place = world.repository("theirs")
    with pytest.raises(InvalidInputError, match="of the project 'theirs', not 'mine'"):
        await world.db.projects.create("mine", place)
    found = await world.here(place)
    shutil.rmtree(place / ".abathur")
    with pytest.raises(InvalidInputError, match="of the project 'theirs', not 'mine'"):
        await world.db.projects.create("mine", place)
    assert (await world.db.projects.create("theirs", place)).project_id == found.project_id
    assert config(place)["project"]["id"] == found.project_id


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "n" * 256},
        {"name": "x", "database_name": "A"},
        {"name": "x", "metadata": {"a": {1}}},
    ],
)
async def test_create_refuses_what_no_project_can_be(world, wrong):
    with pytest.raises(InvalidInputError):
        await world.db.projects.create(**wrong)
    assert await world.db.projects.list() == []


# -- look ------------------------------------------------------------------------------------------


async def test_projects_are_listed_in_pages_and_by_name_and_state(world):
    made = [await world.db.projects.create(name) for name in ("a", "b", "a")]
    assert [one.id for one in await world.db.projects.list()] == [one.project_id for one in made]
    page = await world.db.projects.list(limit=2)
    assert [one.id for one in await world.db.projects.list(after=page[-1].id)] == [made[2].project_id]
    assert [one.name for one in await world.db.projects.list(name="a")] == ["a", "a"]
    assert await world.db.projects.list(state="missing") == []
    assert len(await world.db.projects.list(state="ready")) == 3
    for wrong in ({"state": "new"}, {"limit": 0}, {"limit": 1001}, {"limit": True}):
        with pytest.raises(InvalidInputError):
            await world.db.projects.list(**wrong)


async def test_one_project_is_got_by_id_or_by_a_name_that_it_alone_has(world):
    found = await world.db.projects.create("a")
    assert (await world.db.projects.get("a")).id == found.project_id
    assert (await world.db.projects.get(found.project_id.upper())).id == found.project_id
    await world.db.projects.create("a")
    with pytest.raises(AmbiguousProjectError):
        await world.db.projects.get("a")
    with pytest.raises(UnknownProjectError):
        await world.db.projects.get("c")


# -- rename ----------------------------------------------------------------------------------------


async def test_a_project_is_renamed_in_the_registry_and_in_its_configurations(world):
    place = world.repository("before")
    found = await world.here(place)
    copy = world.place / "copy"
    shutil.copytree(place, copy)
    await world.here(copy)
    project = await world.db.projects.rename("before", "after")
    assert (project.id, project.name, project.database_name) == (
        found.project_id, "after", found.database_name,
    )  # fmt: skip
    assert config(place)["project"] == config(copy)["project"] == {"id": found.project_id, "name": "after"}
    assert (await world.here(place)).name == "after"
    events = await world.db.projects.events(found.project_id)
    assert [event.kind for event in events] == ["renamed", "copied", "created"]
    assert (await world.db.projects.rename("after", "after")).name == "after"
    assert len(await world.db.projects.events(found.project_id)) == 3
    with pytest.raises(InvalidInputError):
        await world.db.projects.rename("after", "")


async def test_a_new_name_holds_where_the_configuration_cannot_be_written(world, request):
    place = world.repository("before")
    found = await world.here(place)
    with read_only(request, place / ".abathur"):
        project = await world.db.projects.rename(found.project_id, "after")
        assert "cannot be written" in project.roots[0].reason
        assert config(place)["project"]["name"] == "before"
        assert (await world.here(place)).name == "after"
    assert (await world.here(place)).name == "after"
    edit(place, name="third")
    assert (await world.here(place)).name == "third"


# -- adopt -----------------------------------------------------------------------------------------


async def test_a_directory_is_made_one_of_a_projects(world):
    found = await world.db.projects.create("main")
    place, bare = world.repository("clone"), world.directory()
    before = await world.here(place)
    for one in (place, bare):
        assert (await world.db.projects.adopt("main", one)).project_id == found.project_id
        assert config(one)["project"] == {"id": found.project_id, "name": "main"}
        assert (await world.here(one)).project_id == found.project_id
    project = await world.db.projects.get("main")
    assert {root.path for root in project.roots} == {str(place), str(bare)}
    assert (await world.db.projects.get(before.project_id)).roots == ()
    assert (await world.db.projects.events(before.project_id))[0].kind == "superseded"
    with pytest.raises(UnknownProjectError):
        await world.db.projects.adopt("other", place)


async def test_a_strict_directory_is_not_made_a_second_one_of_a_project(world):
    place = world.repository("main")
    found = await world.here(place)
    strict = world.repository("strict", strict_mode=True)
    before = config(strict)
    with pytest.raises(CopiedProjectError):
        await world.db.projects.adopt(found.project_id, strict)
    assert config(strict) == before


async def test_a_directory_that_cannot_be_written_is_adopted_by_its_path(world, request):
    found = await world.db.projects.create("main")
    place, other = world.repository("clone"), world.repository("others", new_id())
    with read_only(request, place / ".abathur"), read_only(request, other / ".abathur"):
        adopted = await world.db.projects.adopt("main", place)
        assert (adopted.project_id, adopted.config_persisted) == (found.project_id, False)
        assert (await world.here(place)).project_id == found.project_id
        with pytest.raises(ProjectConfigError, match="that of another project"):
            await world.db.projects.adopt("main", other)
    assert (await world.here(place)).config_persisted


# -- repair ----------------------------------------------------------------------------------------


async def test_repair_writes_ids_and_forgets_directories_that_are_gone(world):
    place, gone, other = world.repository("main"), world.directory(), world.directory()
    found = await world.here(place)
    for one in (gone, other):
        await world.db.projects.adopt(found.project_id, one)
    shutil.rmtree(gone)
    edit(other, id=(second := new_id()))
    (place / ".abathur" / "config.json").unlink()
    findings = await world.db.projects.doctor()
    assert sorted(one.code for one in findings[1:]) == ["project-config", "project-config", "project-root"]
    repaired = await world.db.projects.repair("main")
    assert sorted(repaired.done) == sorted(
        [
            f"{gone} is gone and was forgotten",
            f"{other} is another project's by now and was forgotten",
            f"the configuration of {place} got its id",
        ]
    )
    assert [root.path for root in repaired.project.roots] == [str(place)]
    assert (await world.here(place)).project_id == found.project_id
    assert (await world.here(other)).project_id == second
    assert [one.level for one in await world.db.projects.doctor()] == ["ok"]


async def test_repair_says_what_it_cannot_do(world, request):
    place = world.repository("main")
    found = await world.here(place)
    write(place, "broken")
    assert [one.code for one in await world.db.projects.doctor()] == ["projects", "project-config"]
    assert "has to be corrected by hand" in (await world.db.projects.repair("main")).done[0]
    write(place, {"project": {"name": "main"}})
    with read_only(request, place / ".abathur"):
        assert "did not get its id" in (await world.db.projects.repair("main")).done[0]
        finding = (await world.db.projects.doctor())[1]
        assert (finding.code, finding.level) == ("project-config", "note")
    assert (await world.db.projects.repair("main")).done == (f"the configuration of {place} got its id",)
    assert config(place)["project"]["id"] == found.project_id


async def test_a_project_whose_configuration_was_removed_is_known_by_its_directory(world):
    place = world.repository()
    found = await world.here(place)
    path_of(place).unlink()
    (place / "src").mkdir()
    again = await world.here(place / "src")
    assert (again.project_id, again.root) == (found.project_id, str(place))


# -- a directory that cannot be written ------------------------------------------------------------


async def test_a_directory_that_cannot_be_written_has_one_project_all_the_same(world, request):
    place = world.repository()
    before = path_of(place).read_bytes()
    with read_only(request, place / ".abathur"):
        found = [await world.here(place) for _ in range(3)]
        assert len({(one.project_id, one.database_name, one.config_persisted) for one in found}) == 1
        assert not found[0].config_persisted
        assert "cannot be written" in found[0].reason
        assert await world.stores() == {found[0].database_name}
        db = await world.restarted()
        assert (await db.projects.resolve(directory=place)) == found[0]
        known = await db.projects.resolve(found[0].project_id)
        assert (known.config_persisted, known.reason) == (False, found[0].reason)
        bare = world.directory()
        with read_only(request, bare):
            made = [await db.projects.create("bare", bare) for _ in range(3)]
            assert len({one.project_id for one in made}) == 1
            assert (await db.projects.resolve(directory=bare)).project_id == made[0].project_id
    assert path_of(place).read_bytes() == before
    again = await world.here(place)
    assert (again.project_id, again.config_persisted, again.reason) == (found[0].project_id, True, None)


async def test_a_file_where_the_directory_of_the_configuration_would_be_is_no_error(world):
    bare = world.directory()
    (bare / ".abathur").write_text("in the way")
    made = [await world.db.projects.create("bare", bare) for _ in range(3)]
    assert len({one.project_id for one in made}) == 1
    assert not made[0].config_persisted
    assert (bare / ".abathur").read_text() == "in the way"


# -- the application's own answers -----------------------------------------------------------------


async def test_a_default_answers_only_when_nothing_else_does_and_was_configured(world):
    found = await world.db.projects.create("usual")
    place = world.repository("other")
    world.db.projects.configure(default="usual")
    assert (await world.resolve()).project_id == found.project_id
    assert (await world.resolve(session="new")).tier == "default"
    assert (await world.here(world.directory())).tier == "default"
    assert (await world.here(place)).name == "other"
    write(place, "broken")
    with pytest.raises(ProjectConfigError):
        await world.here(place)
    write(place, {"project": {"name": "new"}, "auto_switch": False})
    edit(place, id=new_id())
    with pytest.raises(NoProjectError):
        await world.here(place)
    world.db.projects.configure(default="missing")
    with pytest.raises(UnknownProjectError):
        await world.resolve()


async def test_a_resolver_is_asked_with_directory_and_session_and_its_answer_kept(world, monkeypatch):
    found = await world.db.projects.create("answer")
    asked = []

    def resolver(directory, session):
        asked.append((directory, session))
        return {None: None, "s": "answer", "t": "answer"}.get(session)

    async def later(directory, session):
        await asyncio.sleep(0)
        return resolver(directory, session)

    bare = world.directory()
    for one in (resolver, later):
        asked.clear()
        world.db.projects.configure(resolver=one)
        for _ in range(3):
            assert (await world.resolve(session="s")).project_id == found.project_id
        assert (await world.resolve(directory=bare, session="t")).tier == "resolver"
        with pytest.raises(NoProjectError, match="resolver"):
            await world.resolve()
        with pytest.raises(NoProjectError):
            await world.resolve()
        assert asked == [(None, "s"), (str(bare), "t"), (None, None)]
    monkeypatch.setattr(asking, "KEPT", 0.0)
    world.db.projects.configure(resolver=resolver)
    await world.resolve(session="s")
    await world.resolve(session="s")
    assert asked[-2:] == [(None, "s")] * 2


async def test_a_resolver_that_fails_or_is_late_is_an_error_and_no_default(world):
    await world.db.projects.create("usual")
    done = threading.Event()

    def late(directory, session):
        done.wait(10)

    def broken(directory, session):
        raise OSError("no route")

    for resolver, words in (
        (late, "longer than 0.05 s"),
        (broken, "no route"),
        (lambda directory, session: 17, "answered with 17"),
        ("http://127.0.0.1:9/", "refused"),
    ):
        world.db.projects.configure(resolver=resolver, default="usual", timeout=0.05)
        began = time.monotonic()
        with pytest.raises(ResolverError, match=words):
            await world.resolve()
        assert time.monotonic() - began < 5
    done.set()
    for wrong in ("ftp://somewhere", 17):
        with pytest.raises(InvalidInputError, match="no resolver"):
            world.db.projects.configure(resolver=wrong)


@contextmanager
def answering(answers: dict[str, tuple[int, str]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            status, text = answers[query["session"][0]]
            self.send_response(status)
            self.end_headers()
            if status != 204:
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/which?key=secret"
        finally:
            server.shutdown()
            serving.join()


async def test_a_url_is_asked_too(world):
    found = await world.db.projects.create("answer")
    answers = {
        "known": (200, json.dumps({"project": found.project_id})),
        "none": (200, json.dumps({"project": None})),
        "empty": (204, ""),
        "missing": (404, "nothing"),
        "broken": (500, "oops"),
        "odd": (200, "[]"),
    }
    with answering(answers) as url:
        world.db.projects.configure(resolver=url)
        assert (await world.resolve(session="known")).project_id == found.project_id
        for session in ("none", "empty", "missing"):
            with pytest.raises(NoProjectError):
                await world.resolve(session=session)
        for session, words in (("broken", "status 500"), ("odd", "something else than")):
            with pytest.raises(ResolverError, match=words) as raised:
                await world.resolve(session=session)
            assert "secret" not in str(raised.value)


# -- as a tool for agents ------------------------------------------------------------------------------


async def test_an_agent_says_where_it_works_and_learns_which_project_that_is(world):
    place = world.repository("Tool")
    said = await set_working_directory(world.db.projects, str(place / ".abathur"))
    found = await world.here(place)
    assert said == {
        "session_id": said["session_id"],
        "working_directory": str(place / ".abathur"),
        "config_found": True,
        "config_path": str(path_of(place)),
        "project": {
            "id": found.project_id,
            "name": "Tool",
            "database_name": found.database_name,
            "config_persisted": True,
            "reason": None,
        },
    }
    assert len(said["session_id"]) >= 32
    assert (await world.resolve(session=said["session_id"])).project_id == found.project_id
    bare = await set_working_directory(world.db.projects, str(world.directory()), session_id="mine")
    assert (bare["session_id"], bare["config_found"], bare["project"]) == ("mine", False, None)
