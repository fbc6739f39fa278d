"""A directory tree in memory: what would be on a disk, which lives on when the server's process ends.

Owns the records of objects (inodes), and the changes that can be made to them. Every change of a tree is a
`Change`, and `MemoryTree.apply` is the one place where changes are made: those of one call belong together, as in
one transaction of a journal. It must not know who asks, what is allowed, nodes or handles. It has no clock of its
own, no thread, no randomness, and makes no system call.
"""

from __future__ import annotations

import heapq
import stat as stat_bits
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from nfsd.vfs.interface import FILE_SIZE_MAX

PAGE_SIZE: Final = 4096
"""Bytes: what space is given in, and what a hole is made of."""

ROOT_NUMBER: Final = 2
SPACE_DEFAULT: Final = 1 << 30


class Inode:
    """One object. `links` counts its names, a tomb included; a directory has a link for itself, and each child's "..".

    `entries` are a directory's names, each with (its position, the number of its object): positions grow and are
    never used again, so that they serve as cookies. `pages` are a file's data by page index; what is missing is a
    hole, and None is one that has its space already.
    """

    __slots__ = (
        "number", "generation", "kind", "mode", "uid", "gid", "rdev", "target", "size", "links", "atime_ns",
        "mtime_ns", "ctime_ns", "born_ns", "parent", "entries", "last_position", "pages", "xattrs",
    )  # fmt: skip

    def __init__(self, made: Made) -> None:
        self.number = made.number
        self.generation = made.generation
        self.kind = made.kind
        self.mode = made.mode
        self.uid = made.uid
        self.gid = made.gid
        self.rdev = made.rdev
        self.target = made.target
        self.size = PAGE_SIZE if made.kind == stat_bits.S_IFDIR else len(made.target)
        self.links = 1 if made.kind == stat_bits.S_IFDIR else 0
        self.atime_ns = self.mtime_ns = self.ctime_ns = self.born_ns = made.now_ns
        self.parent = 0
        self.entries: dict[bytes, tuple[int, int]] = {}
        self.last_position = 0
        self.pages: dict[int, bytearray | None] = {}
        self.xattrs: dict[bytes, bytes] = {}

    @property
    def is_directory(self) -> bool:
        """Whether it has names in it."""
        return self.kind == stat_bits.S_IFDIR

    @property
    def is_lost(self) -> bool:
        """Whether no name leads to it any more."""
        return self.links < (2 if self.is_directory else 1)

    def read(self, offset: int, count: int) -> bytes:
        """Return data; holes are zeros. Fewer bytes only at the end."""
        end = min(offset + count, self.size)
        pieces = []
        while offset < end:
            index, start = divmod(offset, PAGE_SIZE)
            size = min(PAGE_SIZE - start, end - offset)
            page = self.pages.get(index)
            pieces.append(bytes(size) if page is None else bytes(page[start : start + size]))
            offset += size
        return b"".join(pieces)

    def missing_pages(self, offset: int, size: int) -> int:
        """Return how many pages a range would have to be given."""
        indices = range(offset // PAGE_SIZE, -(-(offset + size) // PAGE_SIZE)) if size else range(0)
        if len(indices) <= len(self.pages):
            return sum(1 for index in indices if index not in self.pages)
        return len(indices) - sum(1 for index in self.pages if index in indices)


class Change(Protocol):
    """One change of a tree; it knows all that it needs, and can be made again on a copy."""

    def make(self, tree: MemoryTree) -> None:
        """Make the change. MUST NOT fail: whether it can be made was decided before."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new object, without a name yet."""

    number: int
    generation: int
    kind: int
    mode: int
    uid: int
    gid: int
    now_ns: int
    rdev: int = 0
    target: bytes = b""

    def make(self, tree: MemoryTree) -> None:
        """Add its record."""
        if tree.free and tree.free[0] == self.number:
            heapq.heappop(tree.free)
        tree.last_number = max(tree.last_number, self.number)
        tree.last_generation = max(tree.last_generation, self.generation)
        inode = tree.inodes[self.number] = Inode(self)
        if self.number == ROOT_NUMBER:
            inode.parent = ROOT_NUMBER
            inode.links = 2


@dataclass(frozen=True, slots=True)
class Freed:
    """An object without names and users is no more; its number may be given again, with another generation."""

    number: int

    def make(self, tree: MemoryTree) -> None:
        """Remove its record, its data with it."""
        tree.pages_used -= len(tree.inodes.pop(self.number).pages)
        heapq.heappush(tree.free, self.number)


@dataclass(frozen=True, slots=True)
class Named:
    """A directory's name leads to an object from now on, whatever it led to before; None: to nothing."""

    directory: int
    name: bytes
    number: int | None

    def make(self, tree: MemoryTree) -> None:
        """Change the directory, and count the links of all three."""
        directory = tree.inodes[self.directory]
        position, before = directory.entries.get(self.name, (directory.last_position + 1, None))
        if before is not None:
            self._count(directory, tree.inodes[before], -1)
        if self.number is None:
            del directory.entries[self.name]
            return
        directory.last_position = max(directory.last_position, position)
        directory.entries[self.name] = (position, self.number)
        inode = tree.inodes[self.number]
        self._count(directory, inode, 1)
        if inode.is_directory:
            inode.parent = self.directory

    def _count(self, directory: Inode, inode: Inode, change: int) -> None:
        inode.links += change
        if inode.is_directory:
            directory.links += change


@dataclass(frozen=True, slots=True)
class Set:
    """Fields of an object have other values: mode, uid, gid, atime_ns, mtime_ns, ctime_ns."""

    number: int
    values: dict[str, int]

    def make(self, tree: MemoryTree) -> None:
        """Set them."""
        inode = tree.inodes[self.number]
        for name, value in self.values.items():
            setattr(inode, name, value)


@dataclass(frozen=True, slots=True)
class Written:
    """A file has data from an offset on, and is as large as that takes."""

    number: int
    offset: int
    data: bytes

    def make(self, tree: MemoryTree) -> None:
        """Write, page by page."""
        inode, position, offset = tree.inodes[self.number], 0, self.offset
        while position < len(self.data):
            index, start = divmod(offset, PAGE_SIZE)
            size = min(PAGE_SIZE - start, len(self.data) - position)
            page = tree.page(inode, index)
            page[start : start + size] = self.data[position : position + size]
            position += size
            offset += size
        inode.size = max(inode.size, offset)


@dataclass(frozen=True, slots=True)
class Allocated:
    """A range of a file has its space, and the file is as large as that takes."""

    number: int
    offset: int
    size: int

    def make(self, tree: MemoryTree) -> None:
        """Give it the pages that it lacks."""
        inode, end = tree.inodes[self.number], self.offset + self.size
        for index in range(self.offset // PAGE_SIZE, -(-end // PAGE_SIZE)):
            if index not in inode.pages:
                inode.pages[index] = None
                tree.pages_used += 1
        inode.size = max(inode.size, end)


@dataclass(frozen=True, slots=True)
class Punched:
    """A range of a file is a hole; pages of which it has a part are filled with zeros there."""

    number: int
    offset: int
    size: int

    def make(self, tree: MemoryTree) -> None:
        """Take the pages away."""
        inode, end = tree.inodes[self.number], self.offset + self.size
        for index in [index for index in inode.pages if index * PAGE_SIZE < end]:
            start = max(self.offset - index * PAGE_SIZE, 0)
            stop = min(end - index * PAGE_SIZE, PAGE_SIZE)
            if start == 0 and stop == PAGE_SIZE:
                del inode.pages[index]
                tree.pages_used -= 1
            elif start < stop and (page := inode.pages[index]) is not None:
                page[start:stop] = bytes(stop - start)


@dataclass(frozen=True, slots=True)
class Resized:
    """A file ends elsewhere; what is cut off is gone for good."""

    number: int
    size: int

    def make(self, tree: MemoryTree) -> None:
        """Cut it off, or let it grow by a hole."""
        inode = tree.inodes[self.number]
        if self.size < inode.size:
            whole = -(-inode.size // PAGE_SIZE) * PAGE_SIZE
            Punched(self.number, self.size, whole - self.size).make(tree)
        inode.size = self.size


@dataclass(frozen=True, slots=True)
class Valued:
    """An extended attribute has a value; None: it is gone."""

    number: int
    name: bytes
    value: bytes | None

    def make(self, tree: MemoryTree) -> None:
        """Set it or remove it."""
        xattrs = tree.inodes[self.number].xattrs
        if self.value is None:
            del xattrs[self.name]
        else:
            xattrs[self.name] = self.value


@dataclass(frozen=True, slots=True)
class Buried:
    """A file has a tomb, a link that keeps it without any name; or has it no longer."""

    number: int
    kept: bool

    def make(self, tree: MemoryTree) -> None:
        """Count the link."""
        if self.kept:
            tree.tombs.add(self.number)
        else:
            tree.tombs.discard(self.number)
        tree.inodes[self.number].links += 1 if self.kept else -1


class MemoryTree:
    """One tree: its objects by number, and what is free.

    `clock_ns` gives the time of day; `space` is the bytes of data that there is room for.
    """

    def __init__(
        self, clock_ns: Callable[[], int], *, mode: int = 0o755, space: int = SPACE_DEFAULT,
        file_size_max: int = FILE_SIZE_MAX,
    ) -> None:  # fmt: skip
        self.clock_ns = clock_ns
        self.pages_max = space // PAGE_SIZE
        self.file_size_max = file_size_max
        self.inodes: dict[int, Inode] = {}
        self.tombs: set[int] = set()
        self.free: list[int] = []
        self.last_number = ROOT_NUMBER - 1
        self.last_generation = 0
        self.pages_used = 0
        self.apply(Made(*self.next_identity(), stat_bits.S_IFDIR, mode, 0, 0, clock_ns()))

    def apply(self, *changes: Change) -> None:
        """Make changes that belong together."""
        for change in changes:
            change.make(self)

    def next_identity(self) -> tuple[int, int]:
        """Return (number, generation) of the next object that is made; no object ever had both."""
        number = self.free[0] if self.free else self.last_number + 1
        return number, self.last_generation + 1

    def find(self, number: int, generation: int) -> Inode | None:
        """Return the object that has this number, if it is the one meant."""
        inode = self.inodes.get(number)
        return inode if inode is not None and inode.generation == generation else None

    def is_beneath(self, inode: Inode, above: Inode) -> bool:
        """Return whether a directory is another one or lies anywhere in it."""
        while inode is not above:
            if inode.number == ROOT_NUMBER:
                return False
            inode = self.inodes[inode.parent]
        return True

    def page(self, inode: Inode, index: int) -> bytearray:
        """Return a page of a file for writing, made now if it is a hole. To be called by changes alone."""
        page = inode.pages.get(index)
        if page is None:
            self.pages_used += index not in inode.pages
            page = inode.pages[index] = bytearray(PAGE_SIZE)
        return page
