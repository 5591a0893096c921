"""Row storage for plugins: their schemas, rows, filters and operations, and keys with values."""

from abathur.rows.api import Rows, Store
from abathur.rows.kv import Keys

__all__ = ["Keys", "Rows", "Store"]
