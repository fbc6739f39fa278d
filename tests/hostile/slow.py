"""A file system whose every call takes its time: `python -m tests.hostile.slow SOURCE MOUNTPOINT CONTROL`.

It passes everything through to another directory. The file CONTROL says how long each call waits first, in seconds;
after HANG_S a call goes on whatever it says. Nothing is cached by the kernel, which would hide how slow it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mfusepy

from tests.hostile.mounted import HANG_S
from tests.support.waiting import watch

_STAT = (
    "st_atime_ns", "st_ctime_ns", "st_gid", "st_ino", "st_mode", "st_mtime_ns", "st_nlink", "st_size", "st_uid",
    "st_blocks", "st_rdev",
)  # fmt: skip
_STATVFS = (
    "f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize", "f_namemax",
)  # fmt: skip


class PassThrough(mfusepy.Operations):  # type: ignore[misc]
    """Another directory, slowly. Paths are those below the mount point."""

    use_ns = True

    def __init__(self, source: Path, control: Path) -> None:
        self._source = str(source)
        self._control = control

    def _there(self, path: str) -> str:
        """The path in the other directory, after the wait."""
        waited = 0.0

        def look() -> float:
            nonlocal waited
            waited += 0.02
            return float(self._control.read_text(encoding="ascii") or 0)

        # The wait is looked at again and again, so that a hung call goes on as soon as it may.
        watch(look, lambda seconds: waited >= seconds, HANG_S, 0.02)
        return self._source + path

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """Attributes; times are in nanoseconds."""
        found = os.lstat(self._there(path))
        return {name.removesuffix("_ns"): getattr(found, name) for name in _STAT}

    def readdir(self, path: str, fh: int) -> Iterable[tuple[str, dict[str, int], int]]:
        """Names, with what the kernel needs to know of each: without a number it does not show them."""
        there = self._there(path)
        names = [".", "..", *os.listdir(there)]
        found = ((name, os.lstat(os.path.join(there, name))) for name in names)
        return [(name, {"st_ino": about.st_ino, "st_mode": about.st_mode}, 0) for name, about in found]

    def readlink(self, path: str) -> str:
        """What a link leads to."""
        return os.readlink(self._there(path))

    def statfs(self, path: str) -> dict[str, int]:
        """How much room there is."""
        found = os.statvfs(self._there(path))
        return {name: getattr(found, name) for name in _STATVFS}

    def mkdir(self, path: str, mode: int) -> int:
        """A new directory, which is the caller's."""
        there = self._there(path)
        os.mkdir(there, mode)
        return self._own(there)

    def mknod(self, path: str, mode: int, dev: int) -> int:
        """A new node, which is the caller's."""
        there = self._there(path)
        os.mknod(there, mode, dev)
        return self._own(there)

    def symlink(self, target: str, source: str) -> int:
        """A new link at the path `target`, which is the caller's."""
        there = self._there(target)
        os.symlink(source, there)
        return self._own(there)

    def _own(self, there: str) -> int:
        uid, gid, _pid = mfusepy.fuse_get_context()
        os.lchown(there, uid, gid)
        return 0

    def link(self, target: str, source: str) -> int:
        """A second name at the path `target`."""
        os.link(self._there(source), self._source + target)
        return 0

    def rename(self, old: str, new: str) -> int:
        """Another name."""
        os.rename(self._there(old), self._source + new)
        return 0

    def unlink(self, path: str) -> int:
        """A name less."""
        os.unlink(self._there(path))
        return 0

    def rmdir(self, path: str) -> int:
        """A directory less."""
        os.rmdir(self._there(path))
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Another mode."""
        os.chmod(self._there(path), mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        """Another owner."""
        os.lchown(self._there(path), uid, gid)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Other times, in nanoseconds."""
        there = self._there(path)
        os.utime(there, follow_symlinks=False) if times is None else os.utime(there, ns=times, follow_symlinks=False)
        return 0

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        """Another size."""
        os.truncate(self._there(path), length)
        return 0

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """A new file, which is the caller's, opened."""
        there = self._there(path)
        descriptor = os.open(there, os.O_RDWR | os.O_CREAT, mode)
        self._own(there)
        return descriptor

    def open(self, path: str, flags: int) -> int:
        """A descriptor."""
        return os.open(self._there(path), flags & ~os.O_APPEND)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """Data."""
        self._there(path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Take data."""
        self._there(path)
        return os.pwrite(fh, data, offset)

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """Bring data to the disk."""
        self._there(path)
        os.fdatasync(fh) if datasync else os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        """Close a descriptor, at once."""
        os.close(fh)
        return 0


def main() -> None:
    """Mount it, and serve until it is unmounted."""
    source, mountpoint, control = map(Path, sys.argv[1:])
    os.umask(0)
    mfusepy.FUSE(
        PassThrough(source, control), str(mountpoint), foreground=True, allow_other=True, default_permissions=True,
        use_ino=True, attr_timeout=0, entry_timeout=0, negative_timeout=0, noforget=True,
    )  # fmt: skip


if __name__ == "__main__":
    main()
