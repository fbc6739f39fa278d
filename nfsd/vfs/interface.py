"""What a file system offers to the operations: credentials, nodes, errors and the base class.

Owns the nouns `Credentials` (the identity that an operation runs as), `Node` (one live object of a file
system, with its wire handle) and `FileSystem`, whose base class refuses everything that a read-only tree
without data refuses. It must not know RPC, XDR or any NFS operation: errors are `OSError`s, and their
translation to nfsstat4 lives at the compound's boundary.

Every method is synchronous and raises OSError. A call made outside the event loop's thread MUST be wrapped in
`Busy`, entered and left by the loop's thread, with every node it is given: descriptors are closed by that thread
alone, and never those of a busy node.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

HANDLE_SIZE_MAX: Final = 64
"""Bytes of a wire handle: what DESIGN.md section 9 allows; NFS4_FHSIZE would be 128 (RFC 8881 3.1)."""

FILE_SIZE_MAX: Final = (1 << 63) - 1
"""Bytes: the largest file offset that the kernel knows; most file systems end earlier."""

COOKIE_OFFSET: Final = 3
"""Added to a directory offset to make a cookie: 0 is the start, 1 and 2 are reserved (RFC 8881 18.23.3)."""


COPY_BUFFER_SIZE: Final = 1 << 20
"""Bytes that are copied through memory at once, where there is no better way between two files."""

_VERIFIER_MASK: Final = 0x7FFF_FFFF
_SECOND_NS: Final = 1_000_000_000

Data = bytes | memoryview


class StaleHandle(OSError):
    """The handle was good once, and the object it names is gone (NFS4ERR_STALE)."""

    def __init__(self, why: str = "the object is gone") -> None:
        super().__init__(errno.ESTALE, why)


class BadHandle(OSError):
    """The bytes are no handle of this server (NFS4ERR_BADHANDLE)."""

    def __init__(self, why: str = "not a handle of this server") -> None:
        super().__init__(errno.EBADF, why)


class BadCookie(OSError):
    """The directory has no such position (NFS4ERR_BAD_COOKIE)."""

    def __init__(self, cookie: int) -> None:
        super().__init__(errno.EINVAL, f"no directory position has the cookie {cookie}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whom an operation runs as, squashed already: numeric user, group and supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


ROOT: Final = Credentials(0, 0)
NOBODY: Final = Credentials(65534, 65534)


class Exported(Protocol):
    """What a file system must know of the export that it is the tree of: its number, place, and whether to write."""

    @property
    def id(self) -> int: ...
    @property
    def path(self) -> str: ...
    @property
    def read_only(self) -> bool: ...


class Node:
    """One live object of a file system; while it is cached, one handle has exactly one Node.

    `opens` belongs to the operations: the number of open states on the object. `busy` counts threads that use
    its descriptors. `pinned` marks an object that lost its last name while it was open. The remaining fields
    belong to the file system.
    """

    __slots__ = (
        "handle", "fs", "kind", "key", "opens", "busy", "pinned", "recent",
        "fd", "read_fd", "write_fd", "seen", "bump", "touched", "__weakref__",
    )  # fmt: skip

    def __init__(self, handle: bytes, fs: FileSystem, kind: int, key: bytes) -> None:
        self.handle = handle
        self.fs = fs
        self.kind = kind
        self.key = key
        self.opens = 0
        self.busy = 0
        self.pinned = False
        self.recent = True
        self.fd = -1
        self.read_fd = -1
        self.write_fd = -1
        self.seen = 0
        self.bump = 0
        self.touched = False

    def __repr__(self) -> str:
        return f"<Node {self.handle.hex()} kind={self.kind:o} opens={self.opens} busy={self.busy}>"


class Busy:
    """Keeps the descriptors of nodes open from `with` to its end."""

    __slots__ = ("_nodes",)

    def __init__(self, *nodes: Node) -> None:
        self._nodes = nodes

    def __enter__(self) -> None:
        for node in self._nodes:
            node.busy += 1

    def __exit__(self, *_failure: object) -> None:
        for node in self._nodes:
            node.busy -= 1


def check_name(name: bytes) -> None:
    """Refuse what is not one component with EINVAL; the operations have refused it already (RFC 8881 14.5)."""
    if not name or name == b"." or name == b".." or b"/" in name or b"\0" in name:
        raise OSError(errno.EINVAL, "not a single file name")


def verifier_times_ns(verifier: bytes) -> tuple[int, int]:
    """Return (atime, mtime) in ns that keep an exclusive create's verifier, as the Linux server keeps it.

    31 bits of each half, so that every file system stores them (RFC 8881 18.16.3 leaves the place open).
    """
    high = int.from_bytes(verifier[:4], "big") & _VERIFIER_MASK
    low = int.from_bytes(verifier[4:8], "big") & _VERIFIER_MASK
    return low * _SECOND_NS, high * _SECOND_NS


def _read_only() -> OSError:
    return OSError(errno.EROFS, os.strerror(errno.EROFS))


def _unsupported() -> OSError:
    return OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def no_file(node: Node) -> OSError:
    """Return the error for data of what is no regular file: EISDIR or EINVAL."""
    return OSError(errno.EISDIR if node.kind == stat_bits.S_IFDIR else errno.EINVAL, "not a regular file")


class FileSystem:
    """A tree of nodes. The base class refuses every change and every extended attribute.

    `export` is the Export that the tree belongs to, None for the pseudo file system; `root` is its top directory;
    `fsid` is what the wire shows and never a device number; `maxname` is in bytes; `file_size_max` is the most bytes
    that a file may have here (RFC 8881 5.8.2.14); `has_xattrs` and `read_only` hold for all clients (an export may
    still be read-only for some of them); `keeps_open` says that an open node's descriptors could not be opened again
    at will; `keeps_unlinked`, that `bury` can make an open file outlive its names and the process. `handle_version`
    is what its handles begin with (handles.py), and `mode_name` the word for how objects are found by them. `apart`
    says that another process carries its calls out (nfsd.apart), so that one may take as long as it likes.
    """

    export: Any = None
    fsid: tuple[int, int] = (0, 0)
    maxname: int = 255
    file_size_max: int = FILE_SIZE_MAX
    read_only: bool = True
    has_xattrs: bool = False
    keeps_open: bool = False
    keeps_unlinked: bool = False
    apart: bool = False
    mode_name: str = "none"
    handle_version: int = 0
    root: Node

    def ready(self) -> None:
        """Wait until the tree can be used; where it is `apart` that may be long."""

    def attend(self) -> None:
        """Wait until nobody else works on the tree, and let nobody else until the next wait, where it is `apart`."""

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return the child of a directory that has this name; symbolic links are not followed."""
        raise NotImplementedError

    def parent(self, node: Node, cred: Credentials) -> Node:
        """Return a directory's parent. Raises ENOENT at the root of everything, ENOTDIR for other kinds."""
        raise NotImplementedError

    def stat(self, node: Node) -> os.stat_result:
        """Return the attributes as they are now. Raises StaleHandle when the object is gone."""
        raise NotImplementedError

    def access(self, node: Node, want: int, cred: Credentials) -> int:
        """Return the part of `want` (os.R_OK, W_OK, X_OK) that the caller is allowed."""
        raise NotImplementedError

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield (cookie, name) after `cookie`, without "." and "..". Raises BadCookie."""
        raise NotImplementedError

    def statfs(self, node: Node) -> os.statvfs_result:
        """Return the space and the limits of the file system that holds the node."""
        raise NotImplementedError

    def change(self, node: Node, st: os.stat_result) -> int:
        """Return the change attribute that belongs to `st`: ctime in ns, made to grow at every change by us.

        It differs after a mutation that left ctime as it was (kernels before 6.13 have 4 ms ticks), and never
        goes backwards while the node is cached.
        """
        value = st.st_ctime_ns + node.bump
        if node.touched:
            node.touched = False
            if value <= node.seen:
                node.bump += node.seen + 1 - value
                value = node.seen + 1
        elif value < node.seen:
            value = node.seen
        node.seen = value
        return value

    def touch(self, node: Node) -> None:
        """Note that the node was changed through us; to be called after each mutation (WRITE included)."""
        node.touched = True

    def fileid(self, node: Node, st: os.stat_result) -> int:
        """Return the number that identifies the object inside its fsid."""
        return st.st_ino

    def mounted_on_fileid(self, node: Node, st: os.stat_result) -> int:
        """Return the fileid of the directory that a root is mounted on, else its own (RFC 8881 5.8.2.19)."""
        return self.fileid(node, st)

    def btime_ns(self, node: Node) -> int | None:
        """Return the time of birth in ns, None where it is not kept."""
        return None

    def sync(self, node: Node) -> None:
        """Bring a directory's names or an object's attributes to the disk; may be called in a thread."""

    def readlink(self, node: Node, cred: Credentials) -> bytes:
        """Return a symbolic link's target. Raises EINVAL for other kinds."""
        raise OSError(errno.EINVAL, "not a symbolic link")

    def release(self, node: Node) -> None:
        """Close what was kept for opens; to be called when `node.opens` has gone down to 0."""

    # Data of regular files. Whoever calls has asked for the caller's permission: here it is not asked for again.
    # What may wait for a disk may be called in a thread, and MUST hold every node that it is given `Busy`
    # for as long as it runs; `open_data`, `read_cached` and `advise` belong to the event loop's thread.
    # What changes data names the caller: before the change set-id bits go as they do in write(2), the set-user-id bit,
    # and the set-group-id bit of a file that its group may execute, but for user 0; kernels differ in whether a
    # stranger to the group leaves it otherwise. `touch` MUST follow in the loop's thread.

    def open_data(self, node: Node, write: bool) -> None:
        """Make data ready for reading, or for writing too. Raises EISDIR, EINVAL, EROFS, StaleHandle.

        To be called by the loop's thread before other threads work on the data, so that these need not open it.
        """
        raise no_file(node)

    def data_size(self, node: Node) -> int:
        """Return the size in bytes, also of an open file without a name."""
        raise no_file(node)

    def read_cached(self, node: Node, offset: int, count: int) -> tuple[Data, bool] | None:
        """Return (data, whether it reaches the end of the file), None where a disk would have to be waited for.

        At most `count` bytes, fewer only at the end of the file. MUST NOT block.
        """
        raise no_file(node)

    def read(self, node: Node, offset: int, count: int) -> tuple[Data, bool]:
        """Return (data, whether it reaches the end of the file); may be called in a thread."""
        raise no_file(node)

    def write(self, node: Node, offset: int, data: Data, cred: Credentials) -> None:
        """Write all of `data`; may be called in a thread.

        Raises OSError; then a part may have been written.
        """
        raise _read_only()

    def sync_data(self, node: Node, *, whole: bool) -> None:
        """Make durable all that was written; may be called in a thread.

        `whole` is for all attributes as well, else for those without which the data could not be read. After an
        OSError nobody knows what of it is lost.
        """
        raise no_file(node)

    def allocate(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Take the space of a range, so that writing there cannot run out of it; may be called in a thread.

        A file that ends before the range's end grows to it. Raises ENOSPC, ENOTSUP.
        """
        raise _read_only()

    def punch_hole(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Make a range read as zeros and give its space back; may be called in a thread.

        The size stays as it is. Raises ENOTSUP.
        """
        raise _read_only()

    def next_data(self, node: Node, offset: int) -> int | None:
        """Return the first offset from `offset` on that has data, None where only a hole follows."""
        raise no_file(node)

    def next_hole(self, node: Node, offset: int) -> int | None:
        """Return the first offset from `offset` on in a hole, None beyond the end; the end of a file begins one."""
        raise no_file(node)

    def advise(self, node: Node, offset: int, size: int, *, needed: bool) -> None:
        """Take a hint that a range will soon be needed, or that it will not; size 0 is up to the end of the file."""
        raise no_file(node)

    def copy_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> int:
        """Copy data of `node`, which is this file system's, to a file of any; return the bytes copied.

        May be called in a thread. It may be fewer than `size`, and is 0 at the end of the source alone. Ranges of
        one file MUST NOT overlap.
        """
        data, _end = self.read(node, offset, min(size, COPY_BUFFER_SIZE))
        if data:
            target.fs.write(target, to, data, cred)
        return len(data)

    def clone_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> None:
        """Have a range of `target` share the blocks of `node`, both of this file system: all of it or nothing.

        May be called in a thread. Size 0 is up to the end of the source. Raises ENOTSUP where blocks are not
        shared, EINVAL for ranges that do not fit blocks.
        """
        raise _unsupported()

    def create(
        self, parent: Node, name: bytes, cred: Credentials, mode: int, *,
        exclusive: bool = False, verifier: bytes | None = None,
    ) -> tuple[Node, bool]:  # fmt: skip
        """Make a regular file; return its node and whether it was made now.

        `exclusive` raises EEXIST for a name that exists. `verifier` (8 bytes) is an exclusive create that may
        be repeated: the file made with the same verifier, still empty, is returned with False.
        """
        raise _read_only()

    def mkdir(self, parent: Node, name: bytes, cred: Credentials, mode: int) -> Node:
        """Make a directory."""
        raise _read_only()

    def symlink(self, parent: Node, name: bytes, target: bytes, cred: Credentials) -> Node:
        """Make a symbolic link."""
        raise _read_only()

    def mknod(self, parent: Node, name: bytes, cred: Credentials, mode: int, kind: int, rdev: int) -> Node:
        """Make a device, socket or fifo; `kind` is S_IFBLK, S_IFCHR, S_IFSOCK or S_IFIFO."""
        raise _read_only()

    def link(self, node: Node, parent: Node, name: bytes, cred: Credentials) -> None:
        """Give the node one more name."""
        raise _read_only()

    def remove(self, parent: Node, name: bytes, cred: Credentials) -> None:
        """Remove a name: of a directory when it is empty. An open file that loses its last name is pinned."""
        raise _read_only()

    def rename(self, parent: Node, name: bytes, newparent: Node, newname: bytes, cred: Credentials) -> None:
        """Move a name, replacing what was there; both parents are of this file system, else EXDEV."""
        raise _read_only()

    def identify(self, parent: Node, name: bytes, cred: Credentials) -> bytes:
        """Return what the object of a name is recognised by, also after it was moved; empty for a free name."""
        raise _read_only()

    def handle_of(self, identity: bytes) -> bytes:
        """Return the wire handle of an identity; empty where it has none yet."""
        return b""

    def bury(self, parent: Node, name: bytes, identity: bytes) -> bool:
        """Make a file outlive its last name, if this is it; return whether it will. To be called before it goes."""
        return False

    def sync_tombs(self) -> None:
        """Bring what `bury` has done to the disk. Raises OSError."""

    def is_buried(self, identity: bytes) -> bool:
        """Return whether a file lives on without any name of its own."""
        return False

    def unbury(self, identity: bytes) -> None:
        """Let go of what `bury` kept."""

    def buried(self) -> list[bytes]:
        """Return the identities of all that `bury` has kept."""
        return []

    def setattr(
        self, node: Node, cred: Credentials, *, mode: int | None = None, uid: int | None = None,
        gid: int | None = None, size: int | None = None, atime_ns: int | None = None,
        mtime_ns: int | None = None, now_atime: bool = False, now_mtime: bool = False, by_open: bool = False,
    ) -> None:  # fmt: skip
        """Set what is given, in the order size, owner, mode, times.

        `by_open` says that the caller has been found permitted to set the size, be it by an open of before.
        """
        raise _read_only()

    def getxattr(self, node: Node, name: bytes, cred: Credentials) -> bytes:
        """Return a user extended attribute's value; the name comes without "user." (RFC 8276 section 4)."""
        raise _unsupported()

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int, cred: Credentials) -> None:
        """Set it; `flags` is 0, os.XATTR_CREATE or os.XATTR_REPLACE."""
        raise _unsupported()

    def listxattr(self, node: Node, cred: Credentials) -> list[bytes]:
        """Return the names, without "user."."""
        raise _unsupported()

    def removexattr(self, node: Node, name: bytes, cred: Credentials) -> None:
        """Remove it. Raises ENODATA when it does not exist."""
        raise _unsupported()

    def resolve(self, handle: bytes, body: bytes) -> Node:
        """Return the node of a handle that is not cached and whose MAC was right. Raises StaleHandle."""
        raise StaleHandle("no such object in this tree")

    def reopen(self, node: Node) -> int:
        """Open a new path descriptor of the node. Raises StaleHandle."""
        raise StaleHandle("no such object in this tree")

    def forget(self, node: Node) -> None:
        """The node has left the cache."""

    def close(self) -> None:
        """Close what the file system itself holds open."""
