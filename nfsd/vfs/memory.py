"""A file system in memory, as complete as one of this machine: names, permissions, attributes, handles, tombs.

Owns Linux's rules for names, its errors and their order, on a `MemoryTree`; attributes and data are its base
classes' (memoryattributes.py, memorydata.py). The tree is the disk; this
is what one process has mounted of it: nodes, and files that live without a name while they are open. Another
`MemoryFileSystem` on the same tree is the server's next process. No clock, no thread, no randomness and no system
call is used here, so that a simulation can repeat whatever it has seen.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import MEMORY, HandleCodec
from nfsd.vfs.interface import (
    COOKIE_OFFSET,
    BadCookie,
    Credentials,
    Exported,
    FileSystem,
    Node,
    StaleHandle,
    check_name,
    verifier_times_ns,
)
from nfsd.vfs.memoryattributes import MemoryAttributes
from nfsd.vfs.memorydata import failure
from nfsd.vfs.memorytree import PAGE_SIZE, ROOT_NUMBER, Buried, Freed, Inode, Made, MemoryTree, Named, Set
from nfsd.vfs.opener import Opener
from nfsd.vfs.permission import EXECUTE, READ, WRITE, granted, may_link, new_group_and_mode, sticky_forbids

LINKS_MAX: Final = 65000
"""Names of one file, as ext4 counts them."""

_TARGET_SIZE_MAX: Final = 4095
_FILES_MAX: Final = 1 << 20
_identity: Final = struct.Struct(">QQ")


def opening(trees: Mapping[str, MemoryTree]) -> Opener:
    """Return what a Namespace opens exports with, whose trees are found by the exports' paths."""

    def open_tree(
        export: Exported, cache: NodeCache, codec: HandleCodec, *, parent: Node | None, junction_fileid: int | None
    ) -> FileSystem:
        return MemoryFileSystem(
            trees[export.path], export, cache, codec, parent=parent, junction_fileid=junction_fileid
        )  # fmt: skip

    return open_tree


class MemoryFileSystem(MemoryAttributes):
    """One export's tree, as one process has it: a tree MUST be opened once at a time."""

    handle_version = MEMORY
    mode_name = "memory"
    has_xattrs = True

    def __init__(
        self, tree: MemoryTree, export: Exported, cache: NodeCache, codec: HandleCodec, *, parent: Node | None = None,
        junction_fileid: int | None = None,
    ) -> None:  # fmt: skip
        self.tree = tree
        self.export = export
        self.fsid = (export.id, 0)
        self.read_only = export.read_only
        self.keeps_unlinked = not self.read_only
        self.file_size_max = tree.file_size_max
        self.outside = parent
        self._junction_fileid = junction_fileid
        self._cache = cache
        self._codec = codec
        self._by_key: dict[bytes, Node] = {}
        for number in [inode.number for inode in tree.inodes.values() if inode.is_lost]:
            tree.apply(Freed(number))  # What only an earlier process had open.
        self.root = self._node(tree.inodes[ROOT_NUMBER])
        self.root.busy = 1

    # Nodes.

    def inode(self, node: Node) -> Inode:
        """Return the record of a node's object. Raises StaleHandle."""
        found = self.tree.find(*_identity.unpack(node.key))
        if found is not None and found.is_lost and not (node.opens or node.pinned or node.busy):
            self._lost(found)  # Whoever was busy with it when its last name went has done.
            found = None
        if found is None:
            self._cache.drop(node)
            raise StaleHandle()
        return found

    def _node(self, inode: Inode) -> Node:
        key = _identity.pack(inode.number, inode.generation)
        node = self._by_key.get(key)
        if node is None:
            handle = self._codec.encode(MEMORY, self.export.id, key)
            node = self._cache.find(handle) or self._cache.add(Node(handle, self, inode.kind, key))
            self._by_key[key] = node
        node.recent = True
        return node

    def forget(self, node: Node) -> None:
        """The node has left the cache."""
        if self._by_key.get(node.key) is node:
            del self._by_key[node.key]

    def resolve(self, handle: bytes, body: bytes) -> Node:
        """Return the node of a handle from before. Raises StaleHandle."""
        inode = self.tree.find(*_identity.unpack(body)) if len(body) == _identity.size else None
        if inode is None or inode.is_lost:
            raise StaleHandle()
        return self._node(inode)

    def release(self, node: Node) -> None:
        """Let an unlinked file go."""
        if node.busy or node.opens:
            return
        node.pinned = False
        inode = self.tree.find(*_identity.unpack(node.key))
        if inode is not None:
            self._lost(inode)

    def _lost(self, inode: Inode) -> None:
        """An object lost a name: pin it while it is open, free it when nothing is left."""
        node = self._by_key.get(_identity.pack(inode.number, inode.generation))
        if node is not None:
            node.touched = True
        if not inode.is_lost:
            return
        if node is not None and (node.opens or node.busy):
            node.pinned = node.opens > 0
            return
        if node is not None:
            self._cache.drop(node)
        self.tree.apply(Freed(inode.number))

    # Permissions and names.

    def _directory(self, node: Node, cred: Credentials) -> Inode:
        """Return the record of a directory that the caller may search."""
        inode = self.inode(node)
        if not inode.is_directory:
            raise failure(errno.ENOTDIR)
        self._require(inode, EXECUTE, cred)
        return inode

    def _child(self, directory: Inode, name: bytes) -> Inode | None:
        if len(name) > self.maxname:
            raise failure(errno.ENAMETOOLONG)
        entry = directory.entries.get(name)
        return None if entry is None else self.tree.inodes[entry[1]]

    def _existing(self, directory: Inode, name: bytes) -> Inode:
        inode = self._child(directory, name)
        if inode is None:
            raise failure(errno.ENOENT)
        return inode

    def _begin(self, parent: Node, name: bytes, cred: Credentials) -> Inode:
        """Check what holds for every change of a name; return the directory's record."""
        self._check_change(parent, name)
        return self._directory(parent, cred)

    def _check_change(self, parent: Node, name: bytes) -> None:
        if self.read_only:
            raise failure(errno.EROFS)
        check_name(name)
        self.inode(parent)

    def _begin_free(self, parent: Node, name: bytes, cred: Credentials) -> Inode:
        """Check that a new name is free. Raises EEXIST."""
        directory = self._begin(parent, name, cred)
        if self._child(directory, name) is not None:
            raise failure(errno.EEXIST)
        return directory

    def _require_makeable(self, directory: Inode, cred: Credentials) -> None:
        """Raise ENOENT in a directory that was removed, EACCES where the caller may not write."""
        if directory.is_lost:
            raise failure(errno.ENOENT)
        self._require(directory, WRITE, cred)

    def _require_removable(self, directory: Inode, inode: Inode, cred: Credentials) -> None:
        self._require(directory, WRITE, cred)
        if sticky_forbids(directory, inode, cred):
            raise failure(errno.EPERM)

    def _stamp(self, now: int, *directories: Inode) -> list[Set]:
        """Return the changes of times that go with a change of directories."""
        return [Set(directory.number, {"mtime_ns": now, "ctime_ns": now}) for directory in directories]

    # Reading.

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return the child with this name."""
        check_name(name)
        return self._node(self._existing(self._directory(node, cred), name))

    def parent(self, node: Node, cred: Credentials) -> Node:
        """Return a directory's parent, at the export's root the pseudo file system's."""
        if node is self.root:
            if self.outside is None:
                raise OSError(errno.ENOENT, "the root has no parent")
            return self.outside
        if node.kind != stat_bits.S_IFDIR:
            raise failure(errno.ENOTDIR)
        return self._node(self.tree.inodes[self._directory(node, cred).parent])

    def stat(self, node: Node) -> os.stat_result:
        """Return the attributes."""
        inode = self.inode(node)
        atime, mtime, ctime = inode.atime_ns, inode.mtime_ns, inode.ctime_ns
        links = 0 if inode.is_lost else inode.links
        head = (inode.kind | inode.mode, inode.number, self.export.id, links, inode.uid, inode.gid, inode.size)
        seconds = tuple(value // 1_000_000_000 for value in (atime, mtime, ctime))
        fractions = tuple(value / 1e9 for value in (atime, mtime, ctime))
        blocks = len(inode.pages) * (PAGE_SIZE // 512)
        return os.stat_result((*head, *seconds, *fractions, atime, mtime, ctime, PAGE_SIZE, blocks, inode.rdev))

    def access(self, node: Node, want: int, cred: Credentials) -> int:
        """Return what of `want` the caller is allowed."""
        if self.read_only and node.kind in (stat_bits.S_IFREG, stat_bits.S_IFDIR, stat_bits.S_IFLNK):
            want &= ~os.W_OK
        return want & granted(self.inode(node), cred)

    def readlink(self, node: Node, cred: Credentials) -> bytes:
        """Return a symbolic link's target."""
        if node.kind != stat_bits.S_IFLNK:
            return super().readlink(node, cred)
        inode = self.inode(node)
        self.accessed(inode)
        return inode.target

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield (cookie, name) as they are now, from the position behind `cookie` on."""
        if node.kind != stat_bits.S_IFDIR:
            raise failure(errno.ENOTDIR)
        inode = self.inode(node)
        self._require(inode, READ, cred)
        position = cookie - COOKIE_OFFSET
        if cookie and not 0 < position <= inode.last_position:
            raise BadCookie(cookie)
        self.accessed(inode)
        return iter([(at + COOKIE_OFFSET, name) for name, (at, _number) in inode.entries.items() if at > position])

    def statfs(self, node: Node) -> os.statvfs_result:
        """Return the space and limits."""
        self.inode(node)
        total, free = self.tree.pages_max, self.tree.pages_max - self.tree.pages_used
        files = _FILES_MAX - len(self.tree.inodes)
        flags = os.ST_RDONLY if self.read_only else 0
        return os.statvfs_result(
            (PAGE_SIZE, PAGE_SIZE, total, free, free, _FILES_MAX, files, files, flags, self.maxname)
        )  # fmt: skip

    def btime_ns(self, node: Node) -> int | None:
        """Return the time of birth in ns."""
        return self.inode(node).born_ns

    def mounted_on_fileid(self, node: Node, st: os.stat_result) -> int:
        """Return the fileid; for the export's root that of the pseudo directory it covers."""
        if node is self.root and self._junction_fileid is not None:
            return self._junction_fileid
        return st.st_ino

    # Making.

    def create(
        self, parent: Node, name: bytes, cred: Credentials, mode: int, *,
        exclusive: bool = False, verifier: bytes | None = None,
    ) -> tuple[Node, bool]:  # fmt: skip
        """Make a regular file, or find the one that is there. See FileSystem.create."""
        found = self._child(self._begin(parent, name, cred), name)
        if found is None:
            inode = self._make(parent, name, cred, stat_bits.S_IFREG, mode)
            if verifier is not None:
                atime_ns, mtime_ns = verifier_times_ns(verifier)
                self.tree.apply(Set(inode.number, {"atime_ns": atime_ns, "mtime_ns": mtime_ns}))
            return self._node(inode), True
        if exclusive and verifier is None:
            raise failure(errno.EEXIST)
        if verifier is not None:
            times = (found.atime_ns, found.mtime_ns)
            if found.kind != stat_bits.S_IFREG or found.size or times != verifier_times_ns(verifier):
                raise failure(errno.EEXIST)
        return self._node(found), False

    def _make(
        self, parent: Node, name: bytes, cred: Credentials, kind: int, mode: int, *,
        rdev: int = 0, target: bytes = b"",
    ) -> Inode:  # fmt: skip
        directory = self._begin_free(parent, name, cred)
        self._require_makeable(directory, cred)
        if kind in (stat_bits.S_IFBLK, stat_bits.S_IFCHR) and cred.uid:
            raise failure(errno.EPERM)
        if kind == stat_bits.S_IFDIR and directory.links >= LINKS_MAX:
            raise failure(errno.EMLINK)
        gid, mode = new_group_and_mode(directory, cred, kind, mode & 0o7777)
        now = self.tree.clock_ns()
        number, generation = self.tree.next_identity()
        made = Made(number, generation, kind, mode, cred.uid, gid, now, rdev, target)
        self.tree.apply(made, Named(directory.number, name, number), *self._stamp(now, directory))
        parent.touched = True
        return self.tree.inodes[number]

    def mkdir(self, parent: Node, name: bytes, cred: Credentials, mode: int) -> Node:
        """Make a directory; set-id bits, which mkdir(2) ignores, are set afterwards unless it has inherited them."""
        inode = self._make(parent, name, cred, stat_bits.S_IFDIR, mode & 0o1777)
        if mode & 0o6000 & ~inode.mode:
            self._set_mode(inode, cred, inode.mode | mode & 0o6000)
        return self._node(inode)

    def symlink(self, parent: Node, name: bytes, target: bytes, cred: Credentials) -> Node:
        """Make a symbolic link. Raises ENOENT for an empty target, ENAMETOOLONG."""
        self._check_change(parent, name)
        if not target or len(target) > _TARGET_SIZE_MAX:
            raise failure(errno.ENAMETOOLONG if target else errno.ENOENT)
        return self._node(self._make(parent, name, cred, stat_bits.S_IFLNK, 0o777, target=target))

    def mknod(self, parent: Node, name: bytes, cred: Credentials, mode: int, kind: int, rdev: int) -> Node:
        """Make a device, socket or fifo; devices are user 0's to make."""
        is_device = kind in (stat_bits.S_IFBLK, stat_bits.S_IFCHR)
        return self._node(self._make(parent, name, cred, kind, mode, rdev=rdev if is_device else 0))

    def link(self, node: Node, parent: Node, name: bytes, cred: Credentials) -> None:
        """Give the node one more name."""
        if node.fs is not self or parent.fs is not self:
            raise failure(errno.EXDEV)
        inode = self.inode(node)
        directory = self._begin_free(parent, name, cred)
        if not may_link(inode, cred):
            raise failure(errno.EPERM)
        self._require_makeable(directory, cred)
        if inode.is_directory:
            raise failure(errno.EPERM)
        if inode.is_lost:
            raise failure(errno.ENOENT)
        if inode.links >= LINKS_MAX:
            raise failure(errno.EMLINK)
        now = self.tree.clock_ns()
        named = Named(directory.number, name, inode.number)
        self.tree.apply(named, Set(inode.number, {"ctime_ns": now}), *self._stamp(now, directory))
        node.touched = parent.touched = True

    # Removing and moving.

    def remove(self, parent: Node, name: bytes, cred: Credentials) -> None:
        """Remove a file's name or an empty directory."""
        directory = self._begin(parent, name, cred)
        inode = self._existing(directory, name)
        self._require_removable(directory, inode, cred)
        if inode.entries:
            raise failure(errno.ENOTEMPTY)
        now = self.tree.clock_ns()
        gone = Named(directory.number, name, None)
        self.tree.apply(gone, Set(inode.number, {"ctime_ns": now}), *self._stamp(now, directory))
        parent.touched = True
        self._lost(inode)

    def rename(self, parent: Node, name: bytes, newparent: Node, newname: bytes, cred: Credentials) -> None:
        """Move a name, replacing what was there."""
        if parent.fs is not self or newparent.fs is not self:
            raise failure(errno.EXDEV)
        self._check_change(newparent, newname)
        source = self._begin(parent, name, cred)
        target = self._directory(newparent, cred)
        moved, victim = self._existing(source, name), self._child(target, newname)
        self._check_rename(source, moved, target, victim, cred)
        if moved is victim:
            return  # Two names of one file: rename(2) leaves both.
        now = self.tree.clock_ns()
        changes = [Set(moved.number, {"ctime_ns": now}), *self._stamp(now, source, target)]
        if victim is not None:
            changes.append(Set(victim.number, {"ctime_ns": now}))
        self.tree.apply(Named(source.number, name, None), Named(target.number, newname, moved.number), *changes)
        self._node(moved).touched = parent.touched = newparent.touched = True
        if victim is not None:
            self._lost(victim)

    def _check_rename(
        self, source: Inode, moved: Inode, target: Inode, victim: Inode | None, cred: Credentials
    ) -> None:  # fmt: skip
        """Refuse what rename(2) refuses, in its order."""
        if moved.is_directory and self.tree.is_beneath(target, moved):
            raise failure(errno.EINVAL)
        if victim is not None and victim.is_directory and self.tree.is_beneath(source, victim):
            raise failure(errno.ENOTEMPTY)
        if moved is victim:
            return
        self._require_removable(source, moved, cred)
        self._require(target, WRITE, cred)
        if target.is_lost:
            raise failure(errno.ENOENT)
        if victim is not None:
            self._require_removable(target, victim, cred)
            if moved.is_directory != victim.is_directory:
                raise failure(errno.EISDIR if victim.is_directory else errno.ENOTDIR)
        if moved.is_directory and source is not target:
            self._require(moved, WRITE, cred)  # Its ".." changes.
        if victim is not None and victim.entries:
            raise failure(errno.ENOTEMPTY)

    # Files without names.

    def identify(self, parent: Node, name: bytes, cred: Credentials) -> bytes:
        """Return the number and generation of a name's object, empty for a free name."""
        inode = self._child(self._directory(parent, cred), name)
        return b"" if inode is None else _identity.pack(inode.number, inode.generation)

    def handle_of(self, identity: bytes) -> bytes:
        """Return the wire handle of an identity."""
        return self._codec.encode(MEMORY, self.export.id, identity) if identity else b""

    def bury(self, parent: Node, name: bytes, identity: bytes) -> bool:
        """Give a file a tomb if this is its last name."""
        if self.read_only:
            return False
        entry = self.inode(parent).entries.get(name)
        inode = None if entry is None else self.tree.inodes[entry[1]]
        if inode is None or inode.is_directory:
            return False
        if inode.links != 1:
            return self.is_buried(identity)
        self.tree.apply(Buried(inode.number, True))
        self._node(inode).pinned = True
        return True

    def is_buried(self, identity: bytes) -> bool:
        """Return whether a file has a tomb."""
        inode = self.tree.find(*_identity.unpack(identity))
        return inode is not None and inode.number in self.tree.tombs

    def unbury(self, identity: bytes) -> None:
        """Remove a tomb; the file goes with it, unless it has got a name again."""
        if self.is_buried(identity):
            inode = self.tree.inodes[_identity.unpack(identity)[0]]
            self.tree.apply(Buried(inode.number, False))
            node = self._by_key.get(identity)
            if node is not None:
                node.pinned = False
            self._lost(inode)

    def buried(self) -> list[bytes]:
        """Return the identities of all files with tombs."""
        return [_identity.pack(number, self.tree.inodes[number].generation) for number in sorted(self.tree.tombs)]
