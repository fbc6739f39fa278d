"""The data of regular files of a tree in memory.

Owns what each operation on data does to a `MemoryTree`, as data.py does for files of this machine. It must not
know names or permissions: whoever asks has been allowed to. Nothing here ever blocks.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from typing import Final

from nfsd.vfs.interface import Credentials, Data, FileSystem, Node, no_file
from nfsd.vfs.memorytree import (
    PAGE_SIZE,
    Allocated,
    Change,
    Inode,
    MemoryTree,
    Punched,
    Resized,
    Set,
    Written,
)
from nfsd.vfs.permission import changed_mode

_DAY_NS: Final = 86_400_000_000_000


def failure(number: int) -> OSError:
    """Return the error of a number, with the words that the kernel's errors have."""
    return OSError(number, os.strerror(number))


class MemoryData(FileSystem):
    """The part of a file system in memory that moves data."""

    tree: MemoryTree

    # What the class above offers.

    def inode(self, node: Node) -> Inode:
        """Return the record of a node's object. Raises StaleHandle."""
        raise NotImplementedError

    # Reading and writing.

    def _file(self, node: Node, write: bool = False) -> Inode:
        """Return a regular file's record. Raises EISDIR, EINVAL, EROFS, StaleHandle."""
        if node.kind != stat_bits.S_IFREG:
            raise no_file(node)
        if write and self.read_only:
            raise failure(errno.EROFS)
        return self.inode(node)

    def open_data(self, node: Node, write: bool) -> None:
        """Ask whether there is such a file: there is nothing to open."""
        self._file(node, write)

    def data_size(self, node: Node) -> int:
        """Return the size of a file, also of one that has no name any more."""
        return self._file(node).size

    def read_cached(self, node: Node, offset: int, count: int) -> tuple[Data, bool] | None:
        """Read: everything is in memory."""
        return self.read(node, offset, count)

    def read(self, node: Node, offset: int, count: int) -> tuple[Data, bool]:
        """Read, and note the time of it as a mount with `relatime` does."""
        inode = self._file(node)
        if offset >= inode.size or not count:
            return b"", offset >= inode.size
        data = inode.read(offset, count)
        self.accessed(inode)
        return data, offset + len(data) >= inode.size

    def accessed(self, inode: Inode) -> None:
        """Set atime where it is older than the last change, or than a day."""
        now = self.tree.clock_ns()
        older = inode.atime_ns <= max(inode.mtime_ns, inode.ctime_ns) or now - inode.atime_ns >= _DAY_NS
        if older and not self.read_only:
            self.tree.apply(Set(inode.number, {"atime_ns": now}))

    def write(self, node: Node, offset: int, data: Data, cred: Credentials) -> None:
        """Write all of it or nothing."""
        inode = self._file(node, write=True)
        if len(data):
            self._require_space(inode, offset, len(data))
            self._apply(inode, Written(inode.number, offset, bytes(data)), cred)

    def resize(self, inode: Inode, size: int, cred: Credentials) -> None:
        """Set a file's size. Raises EFBIG."""
        if size > self.file_size_max:
            raise failure(errno.EFBIG)
        self._apply(inode, Resized(inode.number, size), cred)

    def sync_data(self, node: Node, *, whole: bool) -> None:
        """Do nothing: the tree is as durable as it gets."""
        self._file(node)

    # Space.

    def allocate(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Take pages."""
        inode = self._file(node, write=True)
        self._require_space(inode, offset, size)
        self._apply(inode, Allocated(inode.number, offset, size), cred)

    def punch_hole(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Give pages back."""
        inode = self._file(node, write=True)
        self._apply(inode, Punched(inode.number, offset, size), cred)

    def next_data(self, node: Node, offset: int) -> int | None:
        """Return where data begins at or after an offset."""
        inode = self._file(node)
        first = offset // PAGE_SIZE
        index = min((index for index, page in inode.pages.items() if index >= first and page is not None), default=None)
        if offset >= inode.size or index is None or index * PAGE_SIZE >= inode.size:
            return None
        return max(index * PAGE_SIZE, offset)

    def next_hole(self, node: Node, offset: int) -> int | None:
        """Return where a hole begins at or after an offset."""
        inode = self._file(node)
        if offset >= inode.size:
            return None
        index = offset // PAGE_SIZE
        while inode.pages.get(index) is not None:
            index += 1
        return min(max(index * PAGE_SIZE, offset), inode.size)

    def advise(self, node: Node, offset: int, size: int, *, needed: bool) -> None:
        """Do nothing: all data stays in memory."""
        self._file(node)

    # Between two files.

    def clone_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> None:
        """Copy whole pages at once; a part of one only at the source's end."""
        source, inode = self._file(node), self._file(target, write=True)
        end = offset + size if size else source.size
        whole = end == source.size or not end % PAGE_SIZE
        same = source is inode and offset < to + end - offset and to < end
        if offset % PAGE_SIZE or to % PAGE_SIZE or not whole or end > source.size or offset > end or same:
            raise failure(errno.EINVAL)
        if end > offset:
            self._require_space(inode, to, end - offset)
            self._apply(inode, Written(inode.number, to, source.read(offset, end - offset)), cred)

    # Changing a file.

    def _require_space(self, inode: Inode, offset: int, size: int) -> None:
        """Raise EFBIG or ENOSPC where a range cannot be filled with data."""
        if offset + size > self.file_size_max:
            raise failure(errno.EFBIG)
        if self.tree.pages_used + inode.missing_pages(offset, size) > self.tree.pages_max:
            raise failure(errno.ENOSPC)

    def _apply(self, inode: Inode, change: Change, cred: Credentials) -> None:
        now = self.tree.clock_ns()
        mode = changed_mode(inode.mode, inode.gid, cred)
        self.tree.apply(change, Set(inode.number, {"mode": mode, "mtime_ns": now, "ctime_ns": now}))
