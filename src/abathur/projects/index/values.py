"""What the index answers with: how far a job is, and what a search has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

IndexingStatus = Literal["queued", "running", "completed", "failed", "cancelled"]
"""``queued``: other jobs run, or no runner has taken it yet."""


@frozen(kw_only=True)
class IndexingJob:
    """An indexing job as it was when it was looked at."""

    id: str
    """That of its task."""
    status: IndexingStatus
    project_id: str
    database_name: str
    """What the project's store is called."""
    path: str
    """What is indexed."""
    force: bool
    """Whether files are indexed again that have not changed."""
    found: int | None
    """Files that may be indexed, None as long as they are not counted."""
    changed: int | None
    """Those of them that are looked into: new, with another size or time, or all with `force`."""
    done: int
    """Those that were looked into."""
    indexed: int
    """Those of these that were written to the index."""
    removed: int
    """Files that were taken out of the index, because they are gone or are no text any more."""
    chunks: int
    """Chunks that were written."""
    skipped: Mapping[str, int] = field(factory=dict)
    """Files and directories that were left out, by the reason: ``ignored``, ``binary``, ``oversized``..."""
    message: str
    """One line about it, for people."""

    @property
    def ended(self) -> bool:
        """Whether it is completed, failed or cancelled."""
        return self.status in ("completed", "failed", "cancelled")

    @property
    def progress(self) -> float:
        """How much of it is done: 0 to 1."""
        if self.status == "completed":
            return 1.0
        return self.done / self.changed if self.changed else 0.0


@frozen(kw_only=True)
class Hit:
    """A chunk of a file that answers a search."""

    path: str
    """From the root, with slashes."""
    root: str
    """The directory that the path is in."""
    line: int
    """The line with which the snippet begins; 1 is the first of the file."""
    first_line: int
    """The first line of the chunk."""
    last_line: int
    snippet: str
    """A few lines of it, those with the most of what was looked for."""
    score: float
    """How well it answers; higher is better. It means nothing beside that of another search."""
