"""Objects found again by the kernel's own handles (name_to_handle_at, open_by_handle_at).

Owns the kernel handle as a node's key. It must not know the operations, which posix.py has. Needs
CAP_DAC_READ_SEARCH and a file system with handles. Handles follow an object wherever it moves.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
import sys
from collections.abc import Iterator

from nfsd.log import get_logger
from nfsd.vfs import credentials, syscalls
from nfsd.vfs.credentials import become, identity
from nfsd.vfs.handles import BODY_SIZE_MAX, KERNEL
from nfsd.vfs.interface import Credentials, Node, StaleHandle, check_name
from nfsd.vfs.posix import PATH_FLAGS, PosixFileSystem
from nfsd.vfs.syscalls import buffers, name_to_handle_at
from nfsd.vfs.tombs import TOMB_DIRECTORY, Tombs

log = get_logger()

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
    mode_name = "kernel"
    _tombs: Tombs | None = None

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return the child with this name; one system call when it is cached."""
        check_name(name)
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
            raise syscalls.failure()
        # Handles are unique on one file system only: the roots of two may have the same.
        if own.mount.value != self._mount_id:
            raise self._refuse_mount(name)
        child = self._by_key.get(bytes(raw[4 : 8 + raw[_LOW_BYTE]]))
        if child is not None:
            child.recent = True
            return child
        if name == TOMB_DIRECTORY and node is self.root:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return self._find(node, fd, name)

    def _make_root(self) -> Node:
        self._root_key, self._mount_id = syscalls.handle_at(self.root_fd, b"", syscalls.AT_EMPTY_PATH)
        if not self.read_only:
            try:
                self._tombs = Tombs(self.root_fd)
            except OSError as error:
                log.warning("export.no_tombs", export=str(self.export.path), reason=str(error))
        self.keeps_unlinked = self._tombs is not None
        fd = os.open(b".", PATH_FLAGS, dir_fd=self.root_fd)
        return self._adopt(self._root_key, _body(self._root_key), fd)

    def close(self) -> None:
        """Close the root and the tombs."""
        super().close()
        if self._tombs is not None:
            self._tombs.close()
            self._tombs = None

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield (cookie, name); the tombs are not shown."""
        entries = super().readdir(node, cookie, cred)
        if node is not self.root:
            return entries
        return (entry for entry in entries if entry[1] != TOMB_DIRECTORY)

    def _begin(self, parent: Node, name: bytes, cred: Credentials) -> int:
        self._refuse_tombs(parent, name)
        return super()._begin(parent, name, cred)

    def rename(self, parent: Node, name: bytes, newparent: Node, newname: bytes, cred: Credentials) -> None:
        """Move a name; not onto the tombs."""
        self._refuse_tombs(newparent, newname)
        super().rename(parent, name, newparent, newname, cred)

    def _refuse_tombs(self, parent: Node, name: bytes) -> None:
        if name == TOMB_DIRECTORY and parent is self.root:
            raise PermissionError(errno.EACCES, "the server's own directory")

    def identify(self, parent: Node, name: bytes, cred: Credentials) -> bytes:
        """Return the kernel's handle of a name, empty for a free one."""
        fd = parent.fd
        if fd < 0:
            fd = self.path_fd(parent)
        if identity.cred is not cred:
            become(cred)
        own = buffers
        raw = own.raw
        raw[_LOW_BYTE] = syscalls.HANDLE_BYTES_MAX
        if name_to_handle_at(fd, name, own.handle_ref, own.mount_ref, 0):
            error = syscalls.failure()
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EOVERFLOW):
                return b""
            raise error
        return bytes(raw[4 : 8 + raw[_LOW_BYTE]])

    def handle_of(self, identity: bytes) -> bytes:
        """Return the wire handle of a kernel handle."""
        node = self._by_key.get(identity)
        if node is not None:
            return node.handle
        return self._codec.encode(KERNEL, self.export.id, _body(identity)) if identity else b""

    def bury(self, parent: Node, name: bytes, identity: bytes) -> bool:
        """Give a file a tomb if this is its last name."""
        if self._tombs is None or not self._tombs.bury(self.path_fd(parent), name, identity):
            return False
        node = self._by_key.get(identity)
        if node is not None:
            node.pinned = True
        return True

    def sync_tombs(self) -> None:
        """Bring the tombs to the disk."""
        if self._tombs is not None:
            self._tombs.sync()

    def is_buried(self, identity: bytes) -> bool:
        """Return whether a file has a tomb."""
        return self._tombs is not None and self._tombs.has(identity)

    def unbury(self, identity: bytes) -> None:
        """Remove a tomb; the file's space goes with it, unless it has got a name again."""
        if self._tombs is not None:
            self._tombs.remove(identity)
        node = self._by_key.get(identity)
        if node is not None:
            node.pinned = False
            self._lost(node)

    def buried(self) -> list[bytes]:
        """Return the identities of all files with tombs."""
        return self._tombs.identities() if self._tombs is not None else []

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
