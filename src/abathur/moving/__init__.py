"""Moving a database to another place, or to another engine, while nothing writes.

Everything goes along: tasks with their ids, fences, leases and attempts, the trail with its seals,
checkpoints and tombstones, what an application declares. At the end the tables are compared, row by row.
"""

from abathur.moving.move import Moved, MovedTable, move
from abathur.moving.tables import LeftBehind

__all__ = ["LeftBehind", "Moved", "MovedTable", "move"]
