"""Tasks and claims are values: equal when their fields are, and never changed."""

from __future__ import annotations

import copy
import pickle

import pytest

from abathur import Database


async def test_a_task_and_a_claim_cannot_be_changed_and_are_equal_to_their_copies():
    async with Database(":memory:") as db:
        made = await db.tasks.enqueue("a secret", agent_type="a", input={"password": "a secret"})
        (claim,) = await db.tasks.claim("w", agent_types=["a"])
    for value, field in ((made, "status"), (claim, "fence"), (claim.task, "fence")):
        with pytest.raises(AttributeError):
            setattr(value, field, 7)
        with pytest.raises(AttributeError):
            delattr(value, field)
        with pytest.raises(AttributeError):
            value.another = 7
        assert value == copy.deepcopy(value) == pickle.loads(pickle.dumps(value))
        assert "secret" not in repr(value)
    assert made != claim.task
    assert made.id == claim.task.id
