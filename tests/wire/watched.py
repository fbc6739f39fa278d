"""A server that is watched: as whom it opens, makes, renames and removes files that belong to no export.

Owns the watch (PEP 578) and what it writes. As a program (`python -c "from tests.wire.watched import main; main()"`) it
is `understudy`. Each time that it touches such a file it appends a line to the file that WATCHED_FILE names: the file
system user and group of the thread, the event, the path. WATCHED_EXPORT names the directory that is exported. It goes
on in workers, which are forks. Must not be used but in tests: nothing in the server knows of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

PROGRAM = (sys.executable, "-c", "from tests.wire.watched import main; main()")
_EVENTS = frozenset({
    "open", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir",
    "os.truncate", "socket.bind", "subprocess.Popen",
})  # fmt: skip
_INVALID = 0xFFFF_FFFF

_libc = ctypes.PyDLL(None)
_setfsuid, _setfsgid = _libc.setfsuid, _libc.setfsgid


class Touch(NamedTuple):
    """One touch of a file of the server's own."""

    uid: int
    gid: int
    event: str
    path: str
    makes: bool


def touches(file: Path) -> list[Touch]:
    """What a watched server has written down."""
    rows = (line.split("\t") for line in file.read_text().splitlines())
    return [Touch(int(uid), int(gid), event, path, makes == "makes") for uid, gid, event, makes, path in rows]


class Watch:
    """The hook."""

    def __init__(self, file: Path, export: str) -> None:
        self._export = export
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def __call__(self, event: str, given: tuple[object, ...]) -> None:
        """Write down what touches a file by its whole path; those of exports are found by descriptors."""
        if event not in _EVENTS:
            return
        path = given[1] if event == "socket.bind" else given[0]
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str) or not path.startswith("/") or path.startswith(("/proc/self/fd/", self._export)):
            return
        makes = event == "socket.bind" or (event == "open" and bool(int(str(given[2])) & os.O_CREAT))
        # An id that cannot be is refused, and the answer is who the thread is.
        uid, gid = _setfsuid(-1) & _INVALID, _setfsgid(-1) & _INVALID
        line = f"{uid}\t{gid}\t{event}\t{'makes' if makes else 'uses'}\t{path}\n"
        os.write(self._descriptor, line.encode("utf-8", "surrogateescape"))


def main() -> None:
    """Be `understudy`, watched."""
    sys.addaudithook(Watch(Path(os.environ["WATCHED_FILE"]), os.environ["WATCHED_EXPORT"]))
    from nfsd.cli import main as understudy

    understudy()
