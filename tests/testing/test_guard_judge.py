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
