"""Setting what an object has besides data and names: size, owner, mode, times, extended attributes.

Owns how each is set through a path descriptor, for every kind of object. It must not know nodes, caches or
who the caller is: the thread already is the caller.
"""

from __future__ import annotations

import errno
import os
import resource
import stat as stat_bits
from typing import Final

from nfsd.vfs import syscalls
from nfsd.vfs.interface import FILE_SIZE_MAX
from nfsd.vfs.interface import verifier_times_ns as verifier_times_ns

_PREFIX: Final = b"user."
_SECOND: Final = 1_000_000_000
_OMIT: Final = (0, syscalls.UTIME_OMIT)
_NOW: Final = (0, syscalls.UTIME_NOW)
_LEAVE_IT: Final = 0xFFFF_FFFF


def path_of(fd: int) -> bytes:
    """Return a path that leads to the object of a descriptor, whatever has become of its names."""
    return b"/proc/self/fd/%d" % fd


def set_size(fd: int, kind: int, size: int) -> None:
    """Truncate or extend a regular file; the kernel asks for write permission. Raises EISDIR, EINVAL."""
    if kind != stat_bits.S_IFREG:
        raise OSError(errno.EISDIR if kind == stat_bits.S_IFDIR else errno.EINVAL, "only a file has a size")
    os.truncate(path_of(fd), checked_size(size))


def checked_size(size: int) -> int:
    """Return a size that the kernel can be asked for. Raises EFBIG: the wire's 64 bits hold more."""
    if size > FILE_SIZE_MAX:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return size


def set_owner(fd: int, uid: int | None, gid: int | None) -> None:
    """Set the user, the group or both. Raises EINVAL for the number that the kernel takes for "leave it"."""
    if max(uid or 0, gid or 0) >= _LEAVE_IT:
        raise OSError(errno.EINVAL, "no user or group has this number")
    syscalls.change_owner(fd, -1 if uid is None else uid, -1 if gid is None else gid)


def set_mode(fd: int, kind: int, mode: int) -> None:
    """Set the twelve mode bits. Raises ENOTSUP for a symbolic link, which has none."""
    if kind == stat_bits.S_IFLNK:
        raise OSError(errno.ENOTSUP, "a symbolic link has no mode")
    os.chmod(path_of(fd), mode & 0o7777)


def times_pair(value_ns: int | None, now: bool) -> tuple[int, int]:
    """Return what utimensat takes for one time: left alone, the kernel's now, or a value in ns."""
    if now:
        return _NOW
    return _OMIT if value_ns is None else divmod(value_ns, _SECOND)


def get_xattr(fd: int, name: bytes) -> bytes:
    """Return a user extended attribute. Raises ENODATA."""
    return os.getxattr(path_of(fd), _PREFIX + name)


def set_xattr(fd: int, name: bytes, value: bytes, flags: int) -> None:
    """Set a user extended attribute."""
    os.setxattr(path_of(fd), _PREFIX + name, value, flags)


def list_xattrs(fd: int) -> list[bytes]:
    """Return the names of the user extended attributes, without the prefix."""
    names = map(os.fsencode, os.listxattr(path_of(fd)))
    return [name[len(_PREFIX) :] for name in names if name.startswith(_PREFIX)]


def remove_xattr(fd: int, name: bytes) -> None:
    """Remove a user extended attribute. Raises ENODATA."""
    os.removexattr(path_of(fd), _PREFIX + name)


def supports_xattrs(fd: int) -> bool:
    """Return whether the file system of a descriptor keeps user extended attributes."""
    try:
        os.getxattr(path_of(fd), _PREFIX + b"understudy.probe")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def file_size_max(directory_fd: int) -> int:
    """Return the most bytes that a file in a directory may have.

    A file without a name is asked how far it can be positioned: nothing of it is ever written or allocated, and
    it goes when its descriptor is closed, also with the process. Raises OSError where the file system has no such
    files, or nothing may be made in the directory.
    """
    fd = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
    try:
        found = largest_offset(fd)
    finally:
        os.close(fd)
    limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return found if limit == resource.RLIM_INFINITY else min(found, limit)


def largest_offset(fd: int) -> int:
    """Return the largest offset in a file that its file system allows. Moves the descriptor's position."""
    found = 0
    for bit in reversed(range(FILE_SIZE_MAX.bit_length())):
        try:
            os.lseek(fd, found | 1 << bit, os.SEEK_SET)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        else:
            found |= 1 << bit
    return found
