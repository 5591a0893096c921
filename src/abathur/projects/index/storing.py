"""What is written to the index, and read from it: scripts for a project's store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from abathur import payload
from abathur.projects.index.chunks import Chunk, chunks
from abathur.projects.index.folding import fold, folded
from abathur.projects.index.reading import Reading
from abathur.script import Script, Statement

PAGE: Final = 500
"""Files that one transaction removes."""


@frozen
class Known:
    """A file that is in the index."""

    size: int
    mtime_ns: int


@frozen
class Entry:
    """A file that was read, and is to be in the index."""

    path: str
    reading: Reading
    chunks: Sequence[Chunk] = field(factory=tuple)

    @classmethod
    def of(cls, path: str, reading: Reading) -> Entry:
        """Cut its text into chunks."""
        return cls(path, reading, chunks(reading.text) if reading.text is not None else ())


_FILE: Final = ("root_id", "path", "size", "mtime_ns", "sha256", "chunks", "skipped", "now")
_CHUNK: Final = ("file_id", "ordinal", "first_line", "last_line", "head", "body", "folded")


def root(path: str) -> Script[int]:
    """The number of a directory that is indexed; it gets one if it has none."""
    yield Statement("index.add_root", root=path)
    (row,) = yield Statement("index.root", root=path)
    return int(row["id"])


def settle_root(path: str, current: Collection[str]) -> Script[list[int]]:
    """Find out what became of the directories: returns those that are to be forgotten.

    path: the root that is indexed now. current: all roots that the project has. A project that was moved has
    a new root, and one that it had is not current any more: that one's files are at the new place.
    """
    rows = yield Statement("index.roots")
    left = [row for row in rows if row["root"] != path and row["root"] not in current]
    if left and all(row["root"] != path for row in rows):
        yield Statement("index.move_root", id=left[0]["id"], root=path)
        left = left[1:]
    return [row["id"] for row in left]


def known(root_id: int, scope: str) -> Script[dict[str, Known]]:
    """What is in the index at and below a path."""
    rows = yield Statement("index_words.known", root_id=root_id, scope=scope)
    return {row["path"]: Known(row["size"], row["mtime_ns"]) for row in rows}


def hashes(root_id: int, paths: Sequence[str]) -> Script[dict[str, tuple[int, str]]]:
    """The number and the hash of those paths that are in the index."""
    rows = yield Statement("index_words.files_at", root_id=root_id, paths=payload.batch(paths))
    return {row["path"]: (row["id"], row["sha256"]) for row in rows}


def put(root_id: int, entries: Sequence[Entry], now: int) -> Script[int]:
    """Write files with their chunks, in place of what is there of them; returns the number of chunks.

    The row of a file comes first: whoever writes the same file at the same time waits for it, on PostgreSQL,
    and then finds the chunks that it has to replace. Sorted, so that nobody waits in a circle.
    """
    entries = sorted(entries, key=lambda entry: entry.path)
    if not entries:
        return 0
    yield Statement("index.put_files", rows=[_file(root_id, entry, now) for entry in entries], columns=_FILE)
    ids = yield from hashes(root_id, [entry.path for entry in entries])
    yield Statement("index.remove_chunks", rows=[{"id": ids[entry.path][0]} for entry in entries])
    rows = [
        (
            ids[entry.path][0],
            ordinal,
            chunk.first_line,
            chunk.last_line,
            fold(entry.path) if ordinal == 0 else None,
            chunk.body,
            folded(chunk.body),
        )
        for entry in entries
        for ordinal, chunk in enumerate(entry.chunks)
    ]
    if rows:
        yield Statement("index.add_chunks", rows=rows, columns=_CHUNK)
    return len(rows)


def _file(root_id: int, entry: Entry, now: int) -> tuple[Any, ...]:
    seen = entry.reading
    return (
        root_id,
        entry.path,
        seen.size,
        seen.mtime_ns,
        seen.sha256,
        len(entry.chunks),
        seen.skipped,
        now,
    )


def touch(root_id: int, seen: Mapping[str, Reading]) -> Script[None]:
    """Write down other times of files, by their paths, whose content is still the same."""
    there = (yield from hashes(root_id, list(seen))) if seen else {}
    rows = [
        (number, seen[path].size, seen[path].mtime_ns)
        for path, (number, sha256) in there.items()
        if sha256 == seen[path].sha256
    ]
    if rows:
        yield Statement("index.touch_files", rows=sorted(rows), columns=("id", "size", "mtime_ns"))


def remove(root_id: int, paths: Sequence[str]) -> Script[None]:
    """Take files out of the index, by their paths: a number is another file's by now, it may be."""
    if paths:
        yield from _remove([number for number, _ in (yield from hashes(root_id, paths)).values()])


def _remove(ids: Sequence[int]) -> Script[None]:
    if ids:
        rows = [{"id": one} for one in sorted(ids)]
        yield Statement("index.remove_chunks", rows=rows)
        yield Statement("index.remove_files", rows=rows)


def forget_root(root_id: int) -> Script[bool]:
    """Take some files of a directory out of the index, and at last the directory; whether that is done."""
    rows = yield Statement("index_words.known", root_id=root_id, scope="")
    yield from _remove([row["id"] for row in rows][:PAGE])
    if len(rows) > PAGE:
        return False
    yield Statement("index.remove_root", id=root_id)
    return True


def date_root(path: str, now: int) -> Script[None]:
    """A directory was indexed now."""
    yield Statement("index.date_root", root=path, now=now)


def totals() -> Script[tuple[int, int]]:
    """How many files and chunks can be found."""
    (row,) = yield Statement("index.totals")
    return row["files"], row["chunks"]
