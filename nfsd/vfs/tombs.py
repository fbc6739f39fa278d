"""Files that lost their last name while they were open: a second name for each, in a hidden directory.

Owns that directory at an export's root and the names in it.  It must not know who has a file open, nor which files
deserve a tomb: its caller does.  A tomb is a hard link, made before the last name goes, so that the file's own
handle goes on working over any number of restarts, and its space is freed when the tomb goes.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from nfsd.vfs import credentials

TOMB_DIRECTORY: Final = b".understudy"
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Tombs:
    """The tombs of one export."""

    def __init__(self, root_fd: int) -> None:
        """Open or make the directory.  Raises OSError where that cannot be: then there are no tombs."""
        credentials.as_server()
        self._used = False
        try:
            os.mkdir(TOMB_DIRECTORY, 0o700, dir_fd=root_fd)
        except FileExistsError:
            pass
        self._fd = os.open(TOMB_DIRECTORY, _FLAGS, dir_fd=root_fd)
        st = os.fstat(self._fd)
        if st.st_uid != os.geteuid() or st.st_mode & 0o077 or st.st_dev != os.fstat(root_fd).st_dev:
            os.close(self._fd)
            raise PermissionError(errno.EPERM, f"{os.fsdecode(TOMB_DIRECTORY)} is not the server's own, mode 0700")

    def bury(self, directory_fd: int, name: bytes, identity: bytes) -> bool:
        """Give the file of a name a tomb if this is its last name; return whether it has one now."""
        credentials.as_server()
        tomb = _tomb_of(identity)
        try:
            if os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_nlink == 1:
                os.link(name, tomb, src_dir_fd=directory_fd, dst_dir_fd=self._fd, follow_symlinks=False)
                self._used = True
                return True
        except OSError as error:
            # No tomb: the file lives as long as this process holds it open.
            if error.errno not in (errno.EXDEV, errno.EMLINK, errno.ENOSPC, errno.EDQUOT, errno.EPERM, errno.ENOENT):
                raise
            return False
        return self.has(identity)

    def sync(self) -> None:
        """Bring the tombs to the disk.  Raises OSError."""
        if self._used:
            os.fsync(self._fd)

    def has(self, identity: bytes) -> bool:
        """Return whether a file has a tomb."""
        credentials.as_server()
        try:
            os.stat(_tomb_of(identity), dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        self._used = True
        return True

    def remove(self, identity: bytes) -> None:
        """Remove a tomb, and with it the file's last name."""
        credentials.as_server()
        try:
            os.unlink(_tomb_of(identity), dir_fd=self._fd)
        except FileNotFoundError:
            pass

    def identities(self) -> list[bytes]:
        """Return whose tombs there are; names that are none are passed over."""
        credentials.as_server()
        found = []
        for name in os.listdir(self._fd):
            try:
                found.append(bytes.fromhex(name))
            except ValueError:
                continue
        return found

    def close(self) -> None:
        """Close the directory."""
        os.close(self._fd)


def _tomb_of(identity: bytes) -> bytes:
    return identity.hex().encode()
