"""Every error says what was wrong, what was expected and what to do, also in another process."""

from __future__ import annotations

import inspect
import pickle

import pytest

from abathur import errors

ARGUMENTS = {
    "task_id": "t-1",
    "role": "task",
    "cycle": ["a", "b", "a"],
    "key": "k",
    "name": "t.x",
    "known": ["t.y"],
    "found": "what was found",
    "wanted": "ready",
    "server": "nats://127.0.0.1:4222",
    "stream": "rosey_events",
    "allowed": ["ready"],
    "fence": 3,
    "status": "ready",
    "timeout": 1.5,
    "seconds": 2.0,
    "pid": 4711,
    "path": "/a/b.db",
    "table": "agents.a",
    "stderr": "It has said why.",
    "directory": "/a",
    "application_id": 7,
    "environment": "production",
    "operation": "drop",
    "why": "nobody has allowed it",
    "kind": "nfs",
    "software": "SQLite",
    "needed": "3.35",
    "ours": "0.1",
    "conflicts": ["one", "two"],
    "step": "CREATE TABLE x",
    "statement": "t.x",
    "target": "/a/copy.db",
    "source": "/a/b.db",
    "tables": ["tasks"],
    "unfinished": None,
    "workers": ["host-1"],
    "left": ["orders (3 rows)"],
    "column": "name",
    "differing": ["rows of tasks are different"],
    "extra": "postgres",
    "package": "asyncpg",
    "module": "fts5",
    "what": "A URL of a server",
    "opened_in": 1,
    "used_in": 2,
    "tried": ["nothing was given"],
    "project": "shop",
    "bearers": [("id-1", ["/a"]), ("id-2", [])],
    "project_id": "id-1",
    "store": "/a/shop",
    "reason": "it is no UUID",
    "others": ["/b"],
    "database_name": "shop",
    "owner": "the project 'shop'",
    "wanted_by": "'till'",
    "resolver": "ask",
    "problem": "It is wrong.",
    "expected": "Expected right.",
    "remedy": "Do it right.",
    "message": "It is wrong",
    "plugin": "quotes",
    "field": "score",
    "old": "integer",
    "new": "string",
}

CLASSES = sorted(
    (one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.AbathurError)),
    key=lambda one: one.__name__,
)


def make(kind):
    signature = inspect.signature(kind.__init__).parameters.values()
    parameters = [one.name for one in signature if one.kind is not one.KEYWORD_ONLY][1:]
    if kind.__init__ is errors.AbathurError.__init__:
        parameters = ["problem", "expected", "remedy"]
    return kind(*(ARGUMENTS[name] for name in parameters))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_has_its_three_parts_and_survives_pickling(kind):
    error = make(kind)
    assert error.problem
    assert error.expected
    assert error.remedy
    assert str(error) == f"{error.problem} {error.expected} {error.remedy}"
    for part in (error.problem, error.expected, error.remedy):
        assert part[0].isupper() or part.startswith("/") or part[0] == "`", part
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__
    assert inspect.getdoc(kind)


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        ("InvalidInputError", ValueError),
        ("InvalidPayloadError", ValueError),
        ("UnknownTaskError", LookupError),
        ("WaitTimeoutError", TimeoutError),
        ("LockTimeoutError", TimeoutError),
        ("MissingDirectoryError", FileNotFoundError),
        ("OutOfMemoryError", MemoryError),
        ("InvalidUrlError", ValueError),
    ],
)
def test_an_error_can_be_caught_as_the_standard_one_that_it_is(kind, standard):
    assert issubclass(getattr(errors, kind), standard)


def test_the_tree_in_the_documentation_names_every_error():
    import abathur.errors

    text = abathur.errors.__doc__
    missing = [kind.__name__ for kind in CLASSES if kind.__name__ not in text]
    assert not missing
