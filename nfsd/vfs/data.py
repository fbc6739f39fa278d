"""The data of regular files on this machine, by descriptors that everybody who has a file open shares.

Owns when a data descriptor is opened, and every system call on it. It must not know names or attributes, nor how
an object is opened again, which the classes above it say (`path_fd`). Each node has one descriptor for reading
and writing, or one for reading alone as long as nobody has written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat as stat_bits
import struct
from typing import Final

from nfsd.vfs import attributes, credentials, syscalls
from nfsd.vfs.cache import NodeCache
from nfsd.vfs.credentials import become, identity
from nfsd.vfs.interface import Credentials, Data, FileSystem, Node, no_file
from nfsd.vfs.permission import changed_mode

SETID_BITS: Final = stat_bits.S_ISUID | stat_bits.S_ISGID
_CLONE_REQUEST: Final = 0x4020940D
"""FICLONERANGE of linux/fs.h: _IOW(0x94, 13, struct file_clone_range)."""

_clone_range: Final = struct.Struct("=qQQQ")
_NOT_BY_KERNEL: Final = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)


class DescriptorData(FileSystem):
    """The part of a file system of this machine that moves data."""

    _cache: NodeCache

    # What the classes above offer.

    def path_fd(self, node: Node) -> int:
        """Return the node's path descriptor, opened again if it had to go. Raises StaleHandle."""
        raise NotImplementedError

    def _check_writable(self) -> None:
        """Raise EROFS on a read-only tree."""
        raise NotImplementedError

    # Descriptors.

    def data_fd(self, node: Node, write: bool) -> int:
        """Return the shared descriptor for data: opened with the server's rights at its first use.

        The permission was checked when the file was opened, and changes of mode since then do not matter
        (RFC 8881 18.16.3). Raises EISDIR, EINVAL, EROFS.
        """
        if node.kind != stat_bits.S_IFREG:  # A directory that is being read has a descriptor, too.
            raise no_file(node)
        if write:
            fd = node.write_fd
        else:
            fd = node.read_fd if node.write_fd < 0 else node.write_fd
        if fd >= 0:
            return fd
        if write:
            self._check_writable()
        path_fd = self.path_fd(node)
        credentials.as_server()
        fd = self._open_data(path_fd, os.O_RDWR if write else os.O_RDONLY)
        return self._cache.install_data(node, fd, write)

    def _open_data(self, path_fd: int, flags: int) -> int:
        return os.open(attributes.path_of(path_fd), flags | os.O_NONBLOCK | os.O_CLOEXEC)

    def open_data(self, node: Node, write: bool) -> None:
        """Make sure that there is a descriptor."""
        if node.write_fd < 0 and (write or node.read_fd < 0 or node.kind != stat_bits.S_IFREG):
            self.data_fd(node, write)

    # Reading and writing.

    def data_size(self, node: Node) -> int:
        """Return the size of a file, also of one that has no name any more."""
        return os.fstat(self.data_fd(node, False)).st_size

    def read_cached(self, node: Node, offset: int, count: int) -> tuple[Data, bool] | None:
        """Read what is in the page cache, in one copy."""
        fd = node.write_fd
        if fd < 0:
            fd = node.read_fd
            if fd < 0:
                fd = self.data_fd(node, False)
        size = os.fstat(fd).st_size
        if offset >= size or not count:
            return b"", offset >= size
        if count > size - offset:
            count = size - offset
        buffer = bytearray(count)
        try:
            got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN: not in memory; EOPNOTSUPP: this file system cannot tell
            return None
        return (memoryview(buffer), offset + count >= size) if got == count else None

    def read(self, node: Node, offset: int, count: int) -> tuple[Data, bool]:
        """Read, from the disk where it must be."""
        fd = self.data_fd(node, False)
        size = os.fstat(fd).st_size
        if offset >= size or not count:
            return b"", offset >= size
        data = os.pread(fd, min(count, size - offset), offset)
        return data, offset + len(data) >= size

    def write(self, node: Node, offset: int, data: Data, cred: Credentials) -> None:
        """Write all of it as the caller, with as many calls as the kernel wants: it sees to set-id bits itself."""
        fd = node.write_fd
        if fd < 0:
            fd = self.data_fd(node, True)
        size = len(data)
        if not size:
            return
        if identity.cred is not cred:
            _become_changing(fd, cred)
        done = os.pwrite(fd, data, offset)
        while done < size:
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def sync_data(self, node: Node, *, whole: bool) -> None:
        """Bring it to the disk with fsync or fdatasync."""
        fd = self.data_fd(node, False)
        if whole:
            os.fsync(fd)
        else:
            os.fdatasync(fd)

    # Space.

    def allocate(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Take space; refused where the file system cannot, instead of writing zeros."""
        fd = self.data_fd(node, True)
        _become_changing(fd, cred)
        syscalls.change_space(fd, 0, offset, size)

    def punch_hole(self, node: Node, offset: int, size: int, cred: Credentials) -> None:
        """Give space back."""
        fd = self.data_fd(node, True)
        _become_changing(fd, cred)
        syscalls.change_space(fd, syscalls.FALLOC_FL_PUNCH_HOLE | syscalls.FALLOC_FL_KEEP_SIZE, offset, size)

    def next_data(self, node: Node, offset: int) -> int | None:
        """Return where data begins at or after an offset."""
        return self._next(node, offset, os.SEEK_DATA)

    def next_hole(self, node: Node, offset: int) -> int | None:
        """Return where a hole begins at or after an offset."""
        return self._next(node, offset, os.SEEK_HOLE)

    def _next(self, node: Node, offset: int, whence: int) -> int | None:
        try:
            return os.lseek(self.data_fd(node, False), offset, whence)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None

    def advise(self, node: Node, offset: int, size: int, *, needed: bool) -> None:
        """Pass a hint on to the page cache."""
        advice = os.POSIX_FADV_WILLNEED if needed else os.POSIX_FADV_DONTNEED
        os.posix_fadvise(self.data_fd(node, False), offset, size, advice)

    # Between two files.

    def copy_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> int:
        """Copy inside the kernel where it can, else through memory."""
        if isinstance(target.fs, DescriptorData):
            source_fd, target_fd = self.data_fd(node, False), target.fs.data_fd(target, True)
            _become_changing(target_fd, cred)
            try:
                return os.copy_file_range(source_fd, target_fd, size, offset, to)
            except OSError as error:
                if error.errno not in _NOT_BY_KERNEL:
                    raise
        return super().copy_range(node, offset, target, to, size, cred)

    def clone_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> None:
        """Share blocks."""
        request = _clone_range.pack(self.data_fd(node, False), offset, size, to)
        target_fd = self.data_fd(target, True)
        _become_changing(target_fd, cred)
        try:
            fcntl.ioctl(target_fd, _CLONE_REQUEST, request)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            raise OSError(errno.EOPNOTSUPP, "file system without clone") from error


def _become_changing(fd: int, cred: Credentials) -> None:
    """Be the caller, who is about to change the data of a descriptor: set-id bits go first, and stay user 0's to keep.

    In write(2) the kernel takes them away, as the thread is the caller; in other calls not every file system does, and
    never where the server cannot act as its callers.
    """
    if cred.uid:
        st = os.fstat(fd)
        mode = stat_bits.S_IMODE(st.st_mode)
        if mode & SETID_BITS and (after := changed_mode(mode, st.st_gid, cred)) != mode:
            credentials.as_server()
            os.fchmod(fd, after)
    become(cred)
