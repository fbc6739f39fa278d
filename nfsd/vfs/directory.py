"""Directories read in pieces by position.

Owns the translation between a directory's offsets and NFS cookies, and the parsing of what the kernel
returns. It must not know who is allowed to read.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from typing import Final

from nfsd.vfs import syscalls
from nfsd.vfs.interface import COOKIE_OFFSET, BadCookie

BUFFER_SIZE: Final = 32768
"""Bytes asked of the kernel at once: what the C library asks."""

_OFFSET_MAX: Final = (1 << 63) - 1
_NAME_AT: Final = 19
_dirent: Final = struct.Struct("=QqHB")


def cookie_of(offset: int) -> int:
    """Return the cookie of a directory offset; it never exceeds 2**63 - 1, which clients hand to seekdir().

    The end mark of ext4 is 2**63 - 1 itself, and no offset lies just below it: that is where the ends meet.
    """
    return min(offset + COOKIE_OFFSET, _OFFSET_MAX)


def offset_of(cookie: int) -> int:
    """Return the directory offset of a cookie. Raises BadCookie for one that was never given out."""
    if cookie == 0:
        return 0
    if cookie < COOKIE_OFFSET or cookie > _OFFSET_MAX:
        raise BadCookie(cookie)
    return _OFFSET_MAX if cookie == _OFFSET_MAX else cookie - COOKIE_OFFSET


def seek(fd: int, cookie: int) -> None:
    """Go to the position of a cookie. Raises BadCookie."""
    offset = offset_of(cookie)
    try:
        os.lseek(fd, offset, os.SEEK_SET)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise BadCookie(cookie) from error
        raise


def entries(fd: int) -> Iterator[tuple[int, bytes]]:
    """Yield (cookie, name) of an open directory from its position, without "." and ".."."""
    buffer = ctypes.create_string_buffer(BUFFER_SIZE)
    while data := syscalls.read_directory(fd, buffer):
        position = 0
        while position < len(data):
            _inode, offset, size, _type = _dirent.unpack_from(data, position)
            start = position + _NAME_AT
            name = data[start : data.index(0, start)]
            position += size
            if name != b"." and name != b"..":
                yield cookie_of(offset), name
