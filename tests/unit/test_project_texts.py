"""The texts of projects: ids, names of stores, and the one value that is written into a configuration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abathur.projects import edit, names

ID = "0197c2d4-5b1e-7cc3-98c4-dc0c0c07398f"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
INDENTS = st.sampled_from([None, 0, 2, "\t"])


@settings(max_examples=60)
@given(
    before=OBJECTS, project=OBJECTS, after=OBJECTS, indent=INDENTS, ascii_only=st.booleans(), value=st.text()
)
def test_one_value_is_written_and_everything_else_stays_as_it_was(
    before, project, after, indent, ascii_only, value
):
    whole = {
        **before,
        "project": {**project, "name": "x"},
        **{k: v for k, v in after.items() if k != "project"},
    }
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    for key in ("id", "name"):
        changed = edit.with_value(text, "project", key, value)
        assert json.loads(changed) == {**whole, "project": {**whole["project"], key: value}}
        written = json.dumps(value, ensure_ascii=False)
        head = len([1 for one, other in zip(text, changed, strict=False) if one == other])
        assert head >= text.index('"project"')
        assert written in changed
        again = edit.with_value(changed, "project", key, value)
        assert again == changed


def test_the_value_is_put_in_front_with_the_space_of_the_others():
    assert edit.with_value('{"project": {"name": "x"}}', "project", "id", "1") == (
        '{"project": {"id": "1", "name": "x"}}'
    )
    assert edit.with_value('{"project":{\n\t"name": "x"\n}}', "project", "id", "1") == (
        '{"project":{\n\t"id": "1",\n\t"name": "x"\n}}'
    )
    assert edit.with_value('{"a": "{}", "project" : {"name":"x" , "id":null}}', "project", "id", "1") == (
        '{"a": "{}", "project" : {"name":"x" , "id":"1"}}'
    )


@pytest.mark.parametrize(
    "text",
    [ID, ID.upper(), f"{{{ID}}}", ID.replace("-", ""), f"{{{ID.upper().replace('-', '')}}}", f"  {ID} "],
)
def test_an_id_is_known_in_all_its_forms(text):
    assert names.as_id(text) == ID


@pytest.mark.parametrize(
    "text",
    ["", "x", ID[:-1], f"{ID}0", f"{{{ID}", f"{ID}}}", ID.replace("-", "", 1), f"urn:uuid:{ID}",
     "\u0660" * 32, ID.replace("0", "g"), f"{{{{{ID}}}}}"],
)  # fmt: skip
def test_what_is_no_id_is_none(text):
    assert names.as_id(text) is None


@given(st.text(min_size=1, max_size=300))
def test_whatever_a_project_is_named_its_store_can_be_called_so(name):
    drawn = list(names.stores(name, ID))
    assert len(set(drawn)) == len(drawn) == names.DRAWS
    assert drawn[0].endswith("_0c07398f")
    for one in drawn:
        assert names.is_store(one)
        assert len(one) <= 39
    assert list(names.stores(name, ID)) == drawn


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a-b", "a.db", "pg_a", "public", "a" * 64, "ä", "a\n", "../a"]
)
def test_what_can_be_no_store_is_refused(name):
    assert not names.is_store(name)
