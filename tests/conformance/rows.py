"""What the tests of row storage share."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from abathur.errors import RowsError
from abathur.rows import Store

FIELDS = [
    {"name": "name", "type": "string", "required": True, "max_length": 20},
    {"name": "body", "type": "text"},
    {"name": "score", "type": "integer", "default": 0},
    {"name": "ratio", "type": "float"},
    {"name": "done", "type": "boolean"},
    {"name": "due", "type": "datetime"},
]
"""Of the table `items`, which the fixture `store` has registered."""
ONE = [{"name": "a", "type": "string"}]


async def row(store: Store, row_id: int, table: str = "items") -> dict[str, Any]:
    """The row of an id, which has to be there."""
    answer = await store.select(table, row_id)
    assert answer["exists"], row_id
    return answer["data"]


async def refused(call: Awaitable[Any], code: str = "VALIDATION_ERROR") -> str:
    """The message of a call that is refused with this code."""
    with pytest.raises(RowsError) as caught:
        await call
    assert caught.value.code == code, caught.value
    assert str(caught.value).startswith(caught.value.message)
    return caught.value.message
