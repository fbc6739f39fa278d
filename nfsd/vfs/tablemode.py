"""Objects found again by the object table, for processes and file systems without kernel handles.

Owns how an object is recognised (by the kernel's handle where one can be had without being allowed to open
it, else by inode number and time of birth) and found again along its names. It must not know the operations,
which posix.py has. An object that was moved behind the server's back goes stale.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import struct
from collections.abc import Iterable
from typing import Final

from nfsd.vfs import attributes, credentials, syscalls
from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import TABLE, HandleCodec
from nfsd.vfs.interface import Credentials, Exported, Node, StaleHandle
from nfsd.vfs.objects import ROOT_ID, Commit, ObjectTable, Row
from nfsd.vfs.posix import PATH_FLAGS, PosixFileSystem

_DEPTH_MAX: Final = 4096
_GONE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ELOOP)
_identity: Final = struct.Struct(">QQ")


class TableFileSystem(PosixFileSystem):
    """An export whose handles are rows of the object table."""

    handle_version = TABLE
    mode_name = "table"

    def __init__(
        self, export: Exported, cache: NodeCache, codec: HandleCodec, *, rows: Iterable[tuple[bytes, bytes]],
        commit: Commit, parent: Node | None = None, junction_fileid: int | None = None,
    ) -> None:  # fmt: skip
        self.table = ObjectTable(export.id, rows, commit)
        self.keeps_open = not credentials.switching()
        super().__init__(export, cache, codec, parent=parent, junction_fileid=junction_fileid)

    def _make_root(self) -> Node:
        self._mount_id: int | None = None
        self._by_handle = _has_handles(self.root_fd)
        # A union of directories gives a file a new time of birth when it is first written.
        self._births = self._by_handle or _file_system_type(self.root_fd) != "overlay"
        self._device = os.fstat(self.root_fd).st_dev
        self._root_identity, self._mount_id = self._recognise(self.root_fd)
        root = Row(ROOT_ID, self._root_identity, [])
        self.table.rows[ROOT_ID] = root
        self.table.by_identity[self._root_identity] = root
        return self._node(root, os.open(b".", PATH_FLAGS, dir_fd=self.root_fd))

    def _recognise(self, fd: int) -> tuple[bytes, int | None]:
        """Return (what an open object is recognised by, its mount id)."""
        if self._by_handle:
            return syscalls.handle_at(fd, b"", syscalls.AT_EMPTY_PATH)
        birth, mount_id = syscalls.birth_and_mount(fd)
        return _identity.pack(os.fstat(fd).st_ino, birth if birth and self._births else 0), mount_id

    def _checked(self, fd: int, name: bytes) -> bytes:
        """Return what an open object is recognised by. Raises EACCES on another mount, with `fd` closed."""
        try:
            try:
                identity, mount_id = self._recognise(fd)
            except OSError as error:
                if error.errno == errno.EOPNOTSUPP:
                    raise self._refuse_mount(name) from error
                raise
            if mount_id != self._mount_id or (mount_id is None and os.fstat(fd).st_dev != self._device):
                raise self._refuse_mount(name)
        except OSError:
            os.close(fd)
            raise
        return identity

    def _node(self, row: Row, fd: int) -> Node:
        key = row.id.to_bytes(8, "big")
        return self._adopt(key, key, fd)

    def _id(self, node: Node) -> int:
        return int.from_bytes(node.key, "big")

    def _find(self, parent: Node, fd: int, name: bytes) -> Node:
        return self._made(parent, name, os.open(name, PATH_FLAGS, dir_fd=fd))

    def _made(self, parent: Node, name: bytes, fd: int) -> Node:
        identity = self._checked(fd, name)
        return self._node(self.table.row_of(identity, (self._id(parent), name)), fd)

    def identify(self, parent: Node, name: bytes, cred: Credentials) -> bytes:
        """Return what the object of a name is recognised by, empty for a free one."""
        parent_fd = self.path_fd(parent)
        credentials.become(cred)
        try:
            fd = os.open(name, PATH_FLAGS, dir_fd=parent_fd)
        except FileNotFoundError:
            return b""
        try:
            return self._recognise(fd)[0]
        finally:
            os.close(fd)

    def handle_of(self, identity: bytes) -> bytes:
        """Return the wire handle of an object that has a row; empty for others."""
        row = self.table.by_identity.get(identity)
        return b"" if row is None else self._codec.encode(TABLE, self.export.id, row.id.to_bytes(8, "big"))

    def _peek(self, parent: Node, fd: int, name: bytes) -> Node | None:
        try:
            child_fd = os.open(name, PATH_FLAGS, dir_fd=fd)
            identity = self._checked(child_fd, name)
        except OSError:
            return None
        row = self.table.by_identity.get(identity)
        if row is None:
            os.close(child_fd)
            return None
        return self._node(row, child_fd)

    def _parent_node(self, node: Node, fd: int) -> Node:
        row = self.table.by_identity.get(self._recognise(fd)[0])
        if row is None:
            raise StaleHandle("the directory was moved behind the server's back")
        return self._node(row, fd)

    def _is_root(self, fd: int) -> bool:
        try:
            return self._recognise(fd) == (self._root_identity, self._mount_id)
        except OSError as error:
            # Above the export there may be file systems without handles.
            if error.errno == errno.EOPNOTSUPP:
                return False
            raise

    def _named(self, node: Node, parent: Node, name: bytes) -> None:
        self.table.add_name(self._id(node), (self._id(parent), name))

    def _unnamed(self, node: Node | None, parent: Node, name: bytes) -> None:
        if node is not None:
            self.table.remove_name(self._id(node), (self._id(parent), name))

    def _gone(self, node: Node) -> None:
        self.table.remove(self._id(node))

    def reopen(self, node: Node) -> int:
        """Open the object along its names. Raises StaleHandle when none leads to it any more."""
        row = self.table.rows.get(self._id(node))
        if row is None:
            raise StaleHandle()
        return self._open_row(row)

    def resolve(self, handle: bytes, body: bytes) -> Node:
        """Return the node of a handle from before. Raises StaleHandle."""
        row = self.table.rows.get(int.from_bytes(body, "big"))
        if row is None:
            raise StaleHandle()
        return self._node(row, self._open_row(row))

    def _open_row(self, row: Row) -> int:
        credentials.as_server()
        if row.id == ROOT_ID:
            return os.open(b".", PATH_FLAGS, dir_fd=self.root_fd)
        for parent_id, name in list(row.names):
            fd = self._open_name(parent_id, name)
            if fd is None:
                continue
            if self._recognise(fd)[0] == row.identity:
                return fd
            os.close(fd)
        self.table.remove(row.id)
        raise StaleHandle("no name leads to the object any more")

    def _open_name(self, parent_id: int, name: bytes) -> int | None:
        """Walk down to a name from the nearest directory that is open; None when the way is gone."""
        names = [name]
        start = self.root_fd
        while parent_id != ROOT_ID:
            node = self._by_key.get(parent_id.to_bytes(8, "big"))
            if node is not None and node.fd >= 0:
                start = node.fd
                break
            row = self.table.rows.get(parent_id)
            if row is None or not row.names or len(names) > _DEPTH_MAX:
                return None
            parent_id, above = row.names[0]
            names.append(above)
        fd = start
        try:
            for component in reversed(names):
                below = os.open(component, PATH_FLAGS, dir_fd=fd)
                if fd != start:
                    os.close(fd)
                fd = below
        except OSError as error:
            if fd != start:
                os.close(fd)
            if error.errno in _GONE:
                return None
            raise
        return fd

    def _open_data(self, path_fd: int, flags: int) -> int:
        """Open for data; an owner may do so whatever the mode says, as the right was given at OPEN."""
        try:
            return super()._open_data(path_fd, flags)
        except PermissionError:
            st = os.fstat(path_fd)
            if credentials.switching() or st.st_uid != os.geteuid():
                raise
        path = attributes.path_of(path_fd)
        mode = stat_bits.S_IMODE(st.st_mode)
        os.chmod(path, mode | stat_bits.S_IRUSR | stat_bits.S_IWUSR)
        try:
            return super()._open_data(path_fd, flags)
        finally:
            os.chmod(path, mode)


def _has_handles(fd: int) -> bool:
    try:
        syscalls.handle_at(fd, b"", syscalls.AT_EMPTY_PATH)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EOVERFLOW):
            return False
        raise
    return True


def _file_system_type(fd: int) -> str:
    """Return the type of the file system of an open directory, "" when it cannot be told."""
    _birth, mount_id = syscalls.birth_and_mount(fd)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split()
            if words[0] == str(mount_id):
                return words[words.index("-") + 1]
    return ""
