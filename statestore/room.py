"""Room set aside for a data file's last changes, so that removals still work when the disk or the map is full.

Owns the blocks that the disk has given the file beyond its end, and the verdict that there is too little left. It must
not know an engine: it is told how long the file is and how much of it is in use.

The blocks belong to the file itself: nothing has to be released when the disk is full, and nobody else who fills the
disk can take them. Where the file system cannot set blocks aside the disk's free space is compared instead.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

_FALLOC_FL_KEEP_SIZE: Final = 1  # linux/falloc.h
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Room:
    """Keeps `size` bytes of room for one data file that may grow to `file_size_max`; at most a quarter of that."""

    def __init__(self, path: Path, *, size: int, file_size_max: int) -> None:
        """Raises OSError."""
        self.size = min(size, file_size_max // 4)
        self._file_size_max = file_size_max
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._end = 0
        """Up to where the file has its blocks."""

    def is_short(self, *, file_size: int, used: int) -> bool:
        """Whether less than `size` is left for a file that has so many bytes, `used` of which are in use.

        What is not in use within the file is room as well. Sets blocks aside. Raises OSError for a disk that fails.
        """
        wanted = min(file_size + self.size, self._file_size_max)
        on_disk = wanted <= self._end or self._set_aside(file_size, wanted)
        if on_disk and wanted == file_size + self.size:
            return False
        return file_size - used < self.size

    def _set_aside(self, start: int, end: int) -> bool:
        """Whether the disk has given the file its blocks up to `end`."""
        if end <= start:
            return True
        if _libc.fallocate(self._descriptor, _FALLOC_FL_KEEP_SIZE, start, end - start) == 0:
            self._end = end
            return True
        number = ctypes.get_errno()
        if number in _NO_ROOM:
            return False
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            space = os.statvfs(self._path)
            return space.f_bavail * space.f_frsize >= end - start
        if number == errno.EINTR:
            return self._set_aside(start, end)
        raise OSError(number, os.strerror(number), str(self._path))

    def close(self) -> None:
        """Close the file; its blocks stay."""
        os.close(self._descriptor)
