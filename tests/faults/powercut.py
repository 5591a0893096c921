"""What may be on a disk after the power went: built from a recording of writes and syncs (shim.c).

What was synced is there. Of what was written since, each sector of 512 bytes holds what it held after
any one of its writes, or before them; a file has any size that it had since. A name that was given or
taken away is durable when its directory was synced; before that it may be either way. After a sync that
failed, what it was for may never come to the disk, although later syncs succeed.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, field

SECTOR: Final = 512
PAGE: Final = 4096
NOT_ON_DISK: Final = ("-shm", "-lock")
"""The index of the log is made anew after a restart, and nobody holds a lock."""


@define(frozen=True)
class Entry:
    """One thing that happened: w(rite), t(runcate), s(ync), f(ailed sync), c(reate), u(nlink), r(ename), or
    m(ark): something that the process said.
    """

    kind: str
    name: str
    number: int
    data: bytes


def read_log(path: Path) -> list[Entry]:
    """The entries that the shim recorded."""
    data = path.read_bytes()
    at = 0
    found = []
    while at < len(data):
        kind, length, size, number = struct.unpack_from("=cHIq", data, at)
        at += 15
        name = data[at : at + length].decode()
        at += length
        found.append(Entry(kind.decode(), name, number, data[at : at + size]))
        at += size
    return found


@define(eq=False)
class File:
    """A file's contents: what is safe on the disk, what the system would answer, and the writes between."""

    safe: bytearray = field(factory=bytearray)
    cached: bytearray = field(factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(factory=list)
    """Where and what; None for a truncation to that size."""
    has_lost: bool = False

    def write(self, at: int, data: bytes) -> None:
        end = at + len(data)
        if len(self.cached) < end:
            self.cached.extend(bytes(end - len(self.cached)))
        self.cached[at:end] = data
        # The system writes whole pages; this matters where it believes that the rest is on the disk.
        unit = PAGE if self.has_lost else SECTOR
        first, last = at // unit * unit, -(-end // unit) * unit
        self.pending.append((first, bytes(self.cached[first:last])))

    def truncate(self, size: int) -> None:
        if size < len(self.cached):
            del self.cached[size:]
        else:
            self.cached.extend(bytes(size - len(self.cached)))
        self.pending.append((size, None))

    def sync(self) -> None:
        self.safe = apply(self.safe, self.pending)
        self.pending.clear()

    def lose(self, draw: random.Random) -> None:
        """A sync failed: some of it is on the disk, and the system takes all of it for written."""
        self.safe = self.after_a_cut(draw)
        self.pending.clear()
        self.has_lost = True

    def after_a_cut(self, draw: random.Random) -> bytearray:
        """What may be there after the power went."""
        how = draw.choice(("nothing", "everything", "sectors", "sectors", "the last ones", "the first ones"))
        count = len(self.pending)
        if how == "nothing" or not count:
            return bytearray(self.safe)
        if how == "everything":
            return apply(self.safe, self.pending)
        if how == "the first ones":
            return apply(self.safe, self.pending[: draw.randrange(count + 1)])
        # The size, and with it each truncation, is what it was after some write.
        known = draw.choice((count, draw.randrange(count + 1)))
        keep = draw.random()
        content, size = bytearray(self.safe), len(self.safe)
        lost: set[int] = set()
        for number, (at, data) in enumerate(self.pending):
            if data is None:
                if number >= known:
                    break  # what follows lies in blocks that the file does not have yet
                del content[at:]
                content.extend(bytes(at - len(content)))
                size = at
                lost = {sector for sector in lost if sector < at}
                continue
            if number < known:
                size = max(size, at + len(data))
            if how == "the last ones" and number < count * keep:
                continue
            for start in range(0, len(data), SECTOR):
                sector, part = at + start, data[start : start + SECTOR]
                # A sector that has missed a write holds what it held: a later one is missed as well.
                if sector in lost or (how == "sectors" and draw.random() > keep):
                    lost.add(sector)
                    continue
                if len(content) < sector + len(part):
                    content.extend(bytes(sector + len(part) - len(content)))
                content[sector : sector + len(part)] = part
        del content[size:]
        content.extend(draw.choice((bytes, draw.randbytes))(size - len(content)))
        return content


def apply(content: bytearray, writes: list[tuple[int, bytes | None]]) -> bytearray:
    """The content after all of these writes."""
    content = bytearray(content)
    for at, data in writes:
        if data is None:
            del content[at:]
            content.extend(bytes(at - len(content)))
            continue
        if len(content) < at:
            content.extend(bytes(at - len(content)))
        content[at : at + len(data)] = data
    return content


@define
class Disk:
    """One directory."""

    draw: random.Random
    names: dict[str, File] = field(factory=dict)
    """As the system would answer."""
    safe: dict[str, File] = field(factory=dict)
    """As the disk would."""
    pending: list[tuple[str, File | None]] = field(factory=list)
    """What was done to names since: the file that a name was given to, or None if it was taken away."""
    journaled: int = 0
    """How many of those a file system with a journal has made durable with the sync of any file."""
    has_journal: bool | None = None
    """None: each cut draws. SQLite takes no notice when the sync of a directory fails; then only a journal
    helps, which the common file systems have.
    """

    def do(self, entry: Entry) -> None:
        """Take part in what happened."""
        name = entry.name
        if name.endswith(NOT_ON_DISK):
            return
        match entry.kind:
            case "w":
                self.names[name].write(entry.number, entry.data)
            case "t":
                self.names[name].truncate(entry.number)
            case "c":
                self._name(name, File())
            case "u":
                del self.names[name]
                self.pending.append((name, None))
            case "r":
                self._name(entry.data.decode(), self.names.pop(name))
                self.pending.append((name, None))
            case "s" if name == ".":
                self.safe = self._names(len(self.pending))
                self.pending.clear()
                self.journaled = 0
            case "s":
                self.names[name].sync()
                self.journaled = len(self.pending)
            case "f" if name == ".":
                self.has_journal = True
            case "f":
                self.names[name].lose(self.draw)
            case _:
                pass

    def _name(self, name: str, file: File) -> None:
        self.names[name] = file
        self.pending.append((name, file))

    def _names(self, known: int) -> dict[str, File]:
        found = dict(self.safe)
        for name, file in self.pending[:known]:
            if file is None:
                found.pop(name, None)
            else:
                found[name] = file
        return found

    def after_a_cut(self) -> dict[str, bytearray]:
        """What the directory may hold after the power went: contents by name."""
        first = self.draw.choice((0, self.journaled)) if self.has_journal is None else self.journaled
        known = self.draw.choice((first, len(self.pending), self.draw.randint(first, len(self.pending))))
        return {name: file.after_a_cut(self.draw) for name, file in self._names(known).items()}


@define
class Cut:
    """The power went after so many entries: what the disk holds, and what had been said by then."""

    after: int
    files: dict[str, bytearray]
    said: list[list[Any]]

    def write(self, place: Path) -> None:
        for name, content in self.files.items():
            (place / name).write_bytes(content)


def cuts(log: list[Entry], before: dict[str, bytes], count: int, draw: random.Random) -> Iterator[Cut]:
    """So many cuts at any place of the recording, most of them near a sync or an answer."""
    near = [
        place + draw.randint(-1, 2)
        for place, entry in enumerate(log)
        if entry.kind in "smfur" and not entry.name.endswith(NOT_ON_DISK)
    ]
    places = sorted(
        min(max(draw.choice(near) if draw.random() < 0.7 else draw.randrange(len(log)), 0), len(log))
        for _ in range(count)
    )
    files = {name: File(bytearray(content), bytearray(content)) for name, content in before.items()}
    disk = Disk(draw, dict(files), dict(files))
    said: list[list[Any]] = []
    done = 0
    for place in places:
        for entry in log[done:place]:
            disk.do(entry)
            if entry.kind == "m":
                said.append(json.loads(entry.data))
        done = max(done, place)
        yield Cut(place, disk.after_a_cut(), list(said))
