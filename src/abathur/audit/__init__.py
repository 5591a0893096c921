"""The audit trail: append, seal, join, verify, prune.

Each change of status appends a row in its own transaction. The rows of a transaction are sealed
with one hash, chained to the same writer's previous seal; the seals of all writers, in the order
in which they were written, are joined into one hash, the trail's head. So a row that is altered,
removed or inserted later is found and named, and so is a part that is cut off, if a head from
after it was kept somewhere else.

The hashes have no key: whoever can write the file can also compute new seals. A pinned head is what
such a forger cannot change.
"""

from abathur.audit.api import Audit
from abathur.audit.chain import Chain
from abathur.audit.cutting import cut, cut_all
from abathur.audit.entries import TABLES, TOPIC, Entry, append, observed
from abathur.audit.head import AuditHead, checkpoint
from abathur.audit.pruning import prune
from abathur.audit.readers import unread

__all__ = [
    "TABLES",
    "TOPIC",
    "Audit",
    "AuditHead",
    "Chain",
    "Entry",
    "append",
    "checkpoint",
    "cut",
    "cut_all",
    "observed",
    "prune",
    "unread",
]
