"""The cluster manager's word, as keepalived gives it: a FIFO that it writes to, and a file that it watches.

Owns both files' formats (keepalived.conf(5), vrrp_notify_fifo and track_file). Must not know what follows from a word.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from nfsd.log import get_logger
from nfsd.vfs.credentials import as_itself

READ_SIZE = 4096
LINE_SIZE_MAX = 1024
FAULT_FILE_MODE = 0o644
_LINE = re.compile(r'(?:INSTANCE|GROUP) "(?P<name>[^"]*)" (?P<state>[A-Z_]+)(?: \d+)?')

log = get_logger()


class NotifyFifo:
    """Reads keepalived's notices about one instance or group; calls `heard(state)`, e.g. with MASTER or BACKUP."""

    def __init__(self, path: Path, name: str, heard: Callable[[str], None]) -> None:
        self._path = path
        self._name = name
        self._heard = heard
        self._descriptor = -1
        self._rest = b""

    def open(self) -> None:
        """Make the FIFO if it is missing, and read from now on; what was written before is read too.

        Raises OSError.
        """
        if not self._path.exists():
            os.mkfifo(self._path, 0o600)
        if not stat.S_ISFIFO(self._path.stat().st_mode):
            raise OSError(f"{self._path} is no FIFO: remove it, or name another notify_fifo")
        # Opened for writing as well, so that it does not end when keepalived does.
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _readable(self) -> None:
        try:
            data = self._rest + os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return
        *lines, rest = data.split(b"\n")
        self._rest = rest[-LINE_SIZE_MAX:]
        for line in lines:
            self._take(line.decode("utf-8", "replace").strip())

    def _take(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            log.warning("manager.not_understood", line=line[:LINE_SIZE_MAX])
        elif found["name"] == self._name:
            log.info("manager.said", state=found["state"])
            self._heard(found["state"])


class FaultFile:
    """Tells keepalived's track_file (weight 0) whether this node may hold the address: 0 if so, 1 if not."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, fault: bool) -> None:
        """A file that cannot be written is logged: the manager then goes by what it knew."""
        if self._path is None:
            return
        try:
            as_itself()
            # In place: keepalived watches the file itself. Nobody but its owner may say where the address shall be.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FAULT_FILE_MODE)
            try:
                os.write(descriptor, b"%d\n" % fault)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("fault_file.unwritten", path=str(self._path), fault=fault, reason=str(error))
