"""Objects found again by the kernel's own handles (name_to_handle_at, open_by_handle_at).

Owns the kernel handle as a node's key. It must not know the operations, which posix.py has. Needs
CAP_DAC_READ_SEARCH and a file system with handles. Handles follow an object wherever it moves.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import sys
from typing import ClassVar

from nfsd.vfs import credentials, syscalls
from nfsd.vfs.credentials import become, identity
from nfsd.vfs.handles import BODY_SIZE_MAX, KERNEL
from nfsd.vfs.interface import Credentials, Node, StaleHandle
from nfsd.vfs.posix import PATH_FLAGS, PosixFileSystem, check_name
from nfsd.vfs.syscalls import buffers, name_to_handle_at

_LOW_BYTE = 0 if sys.byteorder == "little" else 3
_STALE_ERRORS = (errno.ESTALE, errno.ENOENT, errno.EINVAL)


def usable(path: str) -> bool:
    """Return whether the kernel's handles work for this process here, and are short enough for the wire."""
    credentials.as_server()
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        key, _mount_id = syscalls.handle_at(fd, b"", syscalls.AT_EMPTY_PATH)
        os.close(syscalls.open_handle(fd, key, os.O_PATH))
    except OSError as error:
        if fd < 0:
            raise
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EOVERFLOW, errno.ESTALE):
            return False
        raise
    finally:
        if fd >= 0:
            os.close(fd)
    # Some file systems also name the parent in a file's handle, which doubles it.
    return 1 + 2 * (len(key) - 4) <= BODY_SIZE_MAX and int.from_bytes(key[:4], sys.byteorder) < 256


class KernelFileSystem(PosixFileSystem):
    """An export whose handles are the kernel's."""

    handle_version = KERNEL
    mode_name: ClassVar[str] = "kernel"

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return the child with this name; one system call when it is cached."""
        if identity.cred is not cred:
            become(cred)
        fd = node.fd
        if fd < 0:
            fd = self.path_fd(node)
            become(cred)
        own = buffers
        raw = own.raw
        raw[_LOW_BYTE] = syscalls.HANDLE_BYTES_MAX
        if name_to_handle_at(fd, name, own.handle_ref, own.mount_ref, 0):
            check_name(name)
            raise syscalls.failure()
        # Handles are unique on one file system only: the roots of two may have the same.
        if own.mount.value != self._mount_id:
            check_name(name)
            raise self._refuse_mount(name)
        child = self._by_key.get(bytes(raw[4 : 8 + raw[_LOW_BYTE]]))
        if child is not None:
            child.recent = True
            return child
        check_name(name)
        return self._find(node, fd, name)

    def _make_root(self) -> Node:
        self._root_key, self._mount_id = syscalls.handle_at(self.root_fd, b"", syscalls.AT_EMPTY_PATH)
        fd = os.open(b".", PATH_FLAGS, dir_fd=self.root_fd)
        return self._adopt(self._root_key, _body(self._root_key), fd)

    def _find(self, parent: Node, fd: int, name: bytes) -> Node:
        child_fd = os.open(name, PATH_FLAGS, dir_fd=fd)
        return self._node_of(child_fd, name)

    def _made(self, parent: Node, name: bytes, fd: int) -> Node:
        return self._node_of(fd, name)

    def _node_of(self, fd: int, name: bytes) -> Node:
        """Return the node of an open object, whose descriptor it takes over."""
        try:
            key, mount_id = syscalls.handle_at(fd, b"", syscalls.AT_EMPTY_PATH)
            if mount_id != self._mount_id:
                raise self._refuse_mount(name)
        except OSError:
            os.close(fd)
            raise
        return self._adopt(key, _body(key), fd)

    def _parent_node(self, node: Node, fd: int) -> Node:
        return self._node_of(fd, b"..")

    def _peek(self, parent: Node, fd: int, name: bytes) -> Node | None:
        try:
            key, mount_id = syscalls.handle_at(fd, name)
        except OSError:
            return None
        return self._by_key.get(key) if mount_id == self._mount_id else None

    def _is_root(self, fd: int) -> bool:
        return syscalls.handle_at(fd, b"", syscalls.AT_EMPTY_PATH) == (self._root_key, self._mount_id)

    def reopen(self, node: Node) -> int:
        """Open the object by its handle. Raises StaleHandle when it is gone."""
        return self._open_key(node.key, node.opens > 0)

    def _open_key(self, key: bytes, unlinked_too: bool) -> int:
        credentials.as_server()
        try:
            fd = syscalls.open_handle(self.root_fd, key, PATH_FLAGS)
        except OSError as error:
            if error.errno in _STALE_ERRORS:
                raise StaleHandle() from error
            raise
        if os.fstat(fd).st_nlink == 0 and not unlinked_too:
            os.close(fd)
            raise StaleHandle()
        return fd

    def resolve(self, handle: bytes, body: bytes) -> Node:
        """Return the node of a handle from before; a directory must still lie in the export."""
        key = body[:1] + b"\0\0\0" + body[1:] if _LOW_BYTE == 0 else b"\0\0\0" + body
        fd = self._open_key(key, False)
        try:
            st = os.fstat(fd)
            if stat_bits.S_ISDIR(st.st_mode) and not (st.st_nlink and self._is_beneath(fd)):
                raise StaleHandle("the directory is not in the export any more")
        except OSError:
            os.close(fd)
            raise
        return self._adopt(key, body, fd)


def _body(key: bytes) -> bytes:
    """Return a kernel handle without the three bytes of its type that are always 0."""
    return key[:1] + key[4:] if _LOW_BYTE == 0 else key[3:]
