"""The attributes of objects of a tree in memory: size, owner, mode, times, extended attributes.

Owns how each is set and who may do so, as attributes.py and the kernel do for files of this machine. It must not
know names.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from typing import Final

from nfsd.vfs.interface import Credentials, Node, no_file
from nfsd.vfs.memorydata import MemoryData, failure
from nfsd.vfs.memorytree import Inode, Set, Valued
from nfsd.vfs.permission import READ, WRITE, allowed_mode, given_mode, granted, is_owner, may_change_owner

_XATTR_NAME_SIZE_MAX: Final = 255 - len(b"user.")
_XATTR_VALUE_SIZE_MAX: Final = 65536
_NO_ID: Final = 0xFFFF_FFFF
_WITH_XATTRS: Final = (stat_bits.S_IFREG, stat_bits.S_IFDIR)


class MemoryAttributes(MemoryData):
    """The part of a file system in memory that sets attributes."""

    def _require(self, inode: Inode, want: int, cred: Credentials) -> None:
        if granted(inode, cred) & want != want:
            raise failure(errno.EACCES)

    def _set(self, inode: Inode, **values: int) -> None:
        self.tree.apply(Set(inode.number, {**values, "ctime_ns": self.tree.clock_ns()}))

    def setattr(
        self, node: Node, cred: Credentials, *, mode: int | None = None, uid: int | None = None,
        gid: int | None = None, size: int | None = None, atime_ns: int | None = None,
        mtime_ns: int | None = None, now_atime: bool = False, now_mtime: bool = False, by_open: bool = False,
    ) -> None:  # fmt: skip
        """Set what is given, in the order size, owner, mode, times. See FileSystem.setattr."""
        if self.read_only:
            raise failure(errno.EROFS)
        inode = self.inode(node)
        try:
            if size is not None:
                self._set_size(inode, node, cred, size, by_open)
            if uid is not None or gid is not None:
                self._set_owner(inode, cred, inode.uid if uid is None else uid, inode.gid if gid is None else gid)
            if mode is not None:
                self._set_mode(inode, cred, mode)
            if now_atime or now_mtime or atime_ns is not None or mtime_ns is not None:
                self._set_times(inode, cred, (atime_ns, now_atime), (mtime_ns, now_mtime))
        finally:
            node.touched = True

    def _set_size(self, inode: Inode, node: Node, cred: Credentials, size: int, by_open: bool) -> None:
        if inode.kind != stat_bits.S_IFREG:
            raise no_file(node)
        if not by_open:
            self._require(inode, WRITE, cred)
        self.resize(inode, size, cred)

    def _set_owner(self, inode: Inode, cred: Credentials, uid: int, gid: int) -> None:
        if max(uid, gid) >= _NO_ID:
            raise OSError(errno.EINVAL, "no user or group has this number")
        if not may_change_owner(inode, cred, uid, gid):
            raise failure(errno.EPERM)
        mode = inode.mode if inode.is_directory else given_mode(inode, cred)
        self._set(inode, uid=uid, gid=gid, mode=mode)

    def _set_mode(self, inode: Inode, cred: Credentials, mode: int) -> None:
        if inode.kind == stat_bits.S_IFLNK:
            raise OSError(errno.ENOTSUP, "a symbolic link has no mode")
        if not is_owner(inode, cred):
            raise failure(errno.EPERM)
        self._set(inode, mode=allowed_mode(inode, cred, mode & 0o7777))

    def _set_times(
        self, inode: Inode, cred: Credentials, atime: tuple[int | None, bool], mtime: tuple[int | None, bool]
    ) -> None:  # fmt: skip
        if not is_owner(inode, cred):
            # Who may write a file may set its times to now, both or one.
            both_now = atime[1] and mtime[1]
            now_alone = both_now or atime[0] is mtime[0] is None
            if not now_alone or not granted(inode, cred) & WRITE:
                raise failure(errno.EACCES if both_now else errno.EPERM)
        values = {}
        for name, (value_ns, now) in (("atime_ns", atime), ("mtime_ns", mtime)):
            if now or value_ns is not None:
                values[name] = self.tree.clock_ns() if now or value_ns is None else value_ns
        self._set(inode, **values)

    # Extended attributes.

    def _with_xattrs(self, node: Node, cred: Credentials, want: int) -> Inode:
        """Return the record of an object whose extended attributes the caller may read, or write.

        Only files and directories have them, and in a sticky directory they are its owner's to change (xattr(7)).
        """
        writes = want == WRITE
        if writes and self.read_only:
            raise failure(errno.EROFS)
        inode = self.inode(node)
        if inode.kind not in _WITH_XATTRS:
            raise failure(errno.EPERM if writes else errno.ENODATA)
        if writes and inode.is_directory and inode.mode & stat_bits.S_ISVTX and not is_owner(inode, cred):
            raise failure(errno.EPERM)
        self._require(inode, want, cred)
        return inode

    def getxattr(self, node: Node, name: bytes, cred: Credentials) -> bytes:
        """Return a user extended attribute."""
        inode = self._with_xattrs(node, cred, READ)
        if name not in inode.xattrs:
            raise failure(errno.ENODATA)
        return inode.xattrs[name]

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int, cred: Credentials) -> None:
        """Set a user extended attribute. Raises ERANGE for a name, E2BIG for a value that is too long."""
        if not 0 < len(name) <= _XATTR_NAME_SIZE_MAX:
            raise failure(errno.ERANGE if name else errno.EINVAL)
        if len(value) > _XATTR_VALUE_SIZE_MAX:
            raise failure(errno.E2BIG)
        inode = self._with_xattrs(node, cred, WRITE)
        if flags & os.XATTR_CREATE and name in inode.xattrs:
            raise failure(errno.EEXIST)
        if flags & os.XATTR_REPLACE and name not in inode.xattrs:
            raise failure(errno.ENODATA)
        self._set_xattr(inode, node, name, bytes(value))

    def listxattr(self, node: Node, cred: Credentials) -> list[bytes]:
        """Return the names of the user extended attributes."""
        return list(self.inode(node).xattrs)

    def removexattr(self, node: Node, name: bytes, cred: Credentials) -> None:
        """Remove a user extended attribute."""
        inode = self._with_xattrs(node, cred, WRITE)
        if name not in inode.xattrs:
            raise failure(errno.ENODATA)
        self._set_xattr(inode, node, name, None)

    def _set_xattr(self, inode: Inode, node: Node, name: bytes, value: bytes | None) -> None:
        changed = Set(inode.number, {"ctime_ns": self.tree.clock_ns()})
        self.tree.apply(Valued(inode.number, name, value), changed)
        node.touched = True
