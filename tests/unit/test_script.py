"""Scripts can be stepped through without a database."""

from __future__ import annotations

import pytest

from abathur.errors import InvalidInputError
from abathur.script import Built, Emit, Statement, Together, drive, start, takes_now


def copy(a, now=None):
    rows = yield Statement("t.one", a=a)
    yield Emit("seen", rows)
    more = yield Built("SELECT 1", (a,))
    return rows + more


def test_a_script_is_driven_to_its_return_value():
    asked = []

    def execute(step):
        asked.append(step)
        return [len(asked)]

    emitted = {"seen": [0]}
    assert drive(start(copy, ("x",), 17), execute, emitted) == [1, 2]
    assert [step.name for step in asked] == ["t.one", "SELECT 1"]
    assert emitted == {"seen": [0, 1]}


def test_statements_that_go_together_may_be_executed_one_by_one():
    def script():
        return (yield Together(Statement("t.one", a=1), Statement("t.two", rows=[{"a": 2}])))

    asked = []
    assert drive(start(script, (), 0), lambda step: asked.append(step.name), {}) == []
    assert asked == ["t.one", "t.two"]
    assert "t.one" in repr(Together(Statement("t.one", a=1)))


def test_now_is_given_only_to_a_script_that_has_a_parameter_of_that_name():
    def without(a):
        return a
        yield

    assert takes_now(copy)
    assert not takes_now(without)
    assert drive(start(without, (5,), 17), lambda _: [], {}) == 5

    def only(now):
        return now
        yield

    assert drive(start(only, (), 17), lambda _: [], {}) == 17


def test_an_error_of_a_statement_closes_the_script():
    ends = []

    def script():
        try:
            yield Statement("t.one")
        finally:
            ends.append("closed")

    def execute(step):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(start(script, (), 0), execute, {})
    assert ends == ["closed"]


def test_what_is_no_script_says_what_it_is():
    with pytest.raises(InvalidInputError, match="returned list") as caught:
        start(list, (), 0)
    assert "yield" in caught.value.remedy
    with pytest.raises(InvalidInputError, match="yielded str"):
        drive(iter_one("x"), lambda _: [], {})


def iter_one(value):
    yield value


def test_the_repr_of_a_statement_shows_no_values():
    assert "hunter2" not in repr(Statement("t.one", password="hunter2"))
    assert repr(Statement("t.one", rows=[{"a": "hunter2"}])) == "Statement('t.one', 1 rows)"
    assert "password" in repr(Statement("t.one", password="hunter2"))


def test_a_parameter_may_be_called_name():
    assert Statement("t.one", name="x").params == {"name": "x"}
