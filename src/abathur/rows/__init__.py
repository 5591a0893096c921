"""Row storage for plugins: their schemas, rows, filters and operations, and keys with values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from abathur._lazily import names_of

if TYPE_CHECKING:
    from abathur.rows.api import Rows, Store
    from abathur.rows.kv import Keys

__all__ = ["Keys", "Rows", "Store"]

__getattr__ = names_of(
    __name__, {"Keys": "abathur.rows.kv", "Rows": "abathur.rows.api", "Store": "abathur.rows.api"}
)
