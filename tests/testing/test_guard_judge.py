"""What the judge of the guard says of files, without a session around it."""

from __future__ import annotations

import pytest
from attrs import frozen

from abathur.testing.guard.judge import Judge
from abathur.testing.guard.settings import Settings
from tests.testing.project import make_database


@frozen
class Place:
    """A project, and a temporary directory beside it."""

    root: object
    temporary: object

    def judge(self, **options):
        """A judge of this place."""
        for name in ("allowed", "protected", "known"):
            options[name] = tuple(map(str, options.get(name, ())))
        temporary = (str(self.temporary), *options.pop("temporary", ()))
        return Judge(Settings(root=str(self.root), temporary=temporary, **options))


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path.resolve() / "project", tmp_path.resolve() / "tmp")
    place.root.mkdir()
    place.temporary.mkdir()
    return place


# -- what is protected in a temporary directory -------------------------------------------------


@pytest.mark.parametrize("entry", ["kept/", "kept/*.db", "kept/a.db", "k*"])
def test_nothing_that_is_protected_is_taken_away_below_a_temporary_directory(place, entry):
    kept = place.temporary / "kept"
    make_database(kept / "a.db")
    (kept / "a.db-wal").write_bytes(b"")
    judge = place.judge(protected=[f"{place.temporary}/{entry}"])
    for name in (kept / "a.db", kept / "a.db-wal", kept):
        refused = judge.removing(str(name))
        assert refused is not None, name
        assert "`abathur_protected_databases` names it" in refused.why


def test_a_directory_in_a_protected_one_is_not_taken_away(place):
    make_database(place.temporary / "kept" / "deep" / "a.db")
    judge = place.judge(protected=[f"{place.temporary}/kept/"])
    assert judge.removing(str(place.temporary / "kept" / "deep"))


def test_what_is_beside_a_protected_pattern_is_taken_away(place):
    make_database(place.temporary / "free" / "a.db")
    judge = place.judge(protected=[f"{place.temporary}/kept/*.db", f"{place.temporary}/f*.sqlite"])
    assert judge.removing(str(place.temporary / "free" / "a.db")) is None
    assert judge.removing(str(place.temporary / "free")) is None


# -- what is stamped production -----------------------------------------------------------------


@pytest.mark.parametrize("environment", ["production", "development", None])
def test_in_an_allowed_directory_only_what_is_stamped_production_is_kept_as_it_is(place, environment):
    path = place.root / "allowed" / "a.db"
    make_database(path, environment)
    judge = place.judge(allowed=[f"{place.root}/allowed/"])
    for asks in (judge.opening, judge.overwriting, judge.removing, judge.naming):
        refused = asks(str(path))
        assert (refused is not None) == (environment == "production"), asks
        assert refused is None or "a stamp tells more" in refused.why


# -- where the temporary directory itself is the project ----------------------------------------


def test_in_a_temporary_directory_that_is_the_project_only_what_tests_make_is_theirs(place):
    judge = place.judge(temporary=[str(place.root)])
    make_database(place.root / "dev.db")
    assert judge.opening(str(place.root / "dev.db"))
    assert judge.removing(str(place.root / "dev.db"))
    assert judge.opening(str(place.root / "new.db"))
    for name in ("pytest-of-me/pytest-0/a.db", "tmp1234/a.db", "abathur-postgres-1/a.db"):
        assert judge.opening(str(place.root / name)) is None
    assert judge.opening(str(place.temporary / "a.db")) is None


# -- what goes along with a directory -----------------------------------------------------------


def test_a_directory_takes_no_database_along_that_nobody_knew_of(place):
    make_database(place.root / "data" / "deep" / "deeper" / "deepest" / "rows.bin")
    make_database(place.root / "tests" / "fixture.bin", "test")
    (place.root / "tests" / "text.txt").write_text("a" * 1000)
    make_database(place.temporary / "data" / "a.db")
    judge = place.judge()
    refused = judge.renaming(f"{place.root}/data/")
    assert refused is not None
    assert refused.name.endswith("rows.bin")
    for free in (place.root / "tests", place.temporary / "data", place.root / "not there"):
        assert judge.renaming(str(free)) is None


def test_a_link_to_a_directory_takes_nothing_along(place):
    make_database(place.root / "data" / "rows.bin")
    (place.root / "link").symlink_to(place.root / "data")
    assert place.judge().renaming(str(place.root / "link")) is None


# -- the number of a file that is gone, which is soon another one's -----------------------------


def in_place_of(path, identity):
    """Write a text file of which the system says that it is the file with this number."""
    path.write_text("no database " * 100)
    assert (path.stat().st_dev, path.stat().st_ino) == identity, "it was not removed, so it has its number"


def test_a_file_with_the_number_of_a_known_one_that_is_gone_is_not_refused(place):
    known = place.root / "dev.db"
    make_database(known)
    judge = place.judge(known=[known])
    other = place.temporary / "log.txt"
    identity = (known.stat().st_dev, known.stat().st_ino)
    known.rename(other)
    in_place_of(other, identity)
    assert judge.overwriting(str(other)) is None
    assert judge.opening(str(other)) is None


def test_a_file_with_the_number_of_a_database_that_was_opened_is_not_taken_for_one(place):
    fixture = place.root / "fixture.db"
    make_database(fixture, "test")
    judge = place.judge()
    assert judge.opening(str(fixture)) is None
    identity = (fixture.stat().st_dev, fixture.stat().st_ino)
    other = place.root / "log.txt"
    fixture.rename(other)
    in_place_of(other, identity)
    assert judge.overwriting(str(other)) is None
    assert judge.removing(str(other)) is None
