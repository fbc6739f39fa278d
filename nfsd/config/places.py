"""Where the state lies: outside of every export, on a disk of this machine.

Owns which places are refused, which are warned of, and the words for both. It asks the kernel and changes nothing.
Must not know what is in the state (`statestore` looks after the modes of its files).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ncpfs", "fuse.sshfs", "fuse.rclone"})
"""File systems that another machine serves: the state's engine maps its file into memory, and what two machines have in
memory of one file there need not agree (lmdb.h forbids it)."""
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
UNTRIED: Final = ("9p", "virtiofs", "ceph", "lustre", "fuse", "beegfs", "gpfs")
"""Beginnings of types that may keep what lmdb.h asks for or not."""

_MOUNTS: Final = Path("/proc/self/mountinfo")


def kind_of(path: Path) -> str:
    """The type of the file system that a path lies on, or will when it is made; "" if the kernel does not say."""
    real = Path(os.path.realpath(path))
    found, depth = "", -1
    with contextlib.suppress(OSError), _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            words = line.split()
            point = Path(_unescaped(words[4]))
            # The last one mounted at a point hides those before.
            if len(point.parts) >= depth and real.is_relative_to(point):
                found, depth = words[words.index("-") + 1], len(point.parts)
    return found


def _unescaped(text: str) -> str:
    """A field of mountinfo: spaces, tabs, line ends and backslashes are octal there (proc(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def lies_in(inner: Path, outer: Path) -> bool:
    """Whether a path is `outer` or lies in it, whatever links and bind mounts lead there."""
    real = Path(os.path.realpath(inner))
    places = (real, *real.parents)
    if Path(os.path.realpath(outer)) in places:
        return True
    with contextlib.suppress(OSError):
        about = os.stat(outer)
        for place in places:
            with contextlib.suppress(OSError):
                there = os.stat(place)
                if (there.st_dev, there.st_ino) == (about.st_dev, about.st_ino):
                    return True
    return False


def refused_beside(state: Path, export: Path) -> str | None:
    """Why this directory cannot be exported with the state there; None if it can."""
    if lies_in(state, export):
        return f"{export} contains the state directory {state}, whose secret clients could read: keep it out of exports"
    if lies_in(export, state):
        return f"{export} lies in the state directory {state}, which is nobody's but the server's: export another one"
    return None


def refused_on(state: Path) -> str | None:
    """Why the state cannot lie there; None if it can."""
    kind = kind_of(state)
    if kind in REMOTE:
        return (
            f"{state} lies on {kind}, which another machine serves: there the state can be lost or torn;"
            " name a directory on a disk of this machine, or on a volume that nodes share by turns"
        )
    return None


def warnings_of(state: Path) -> Iterable[str]:
    """What an administrator should know of the place of the state."""
    kind = kind_of(state)
    if kind in VOLATILE:
        yield f"{state} lies on {kind}: no state survives a restart of the machine"
    elif kind.startswith(UNTRIED):
        yield f"{state} lies on {kind}, where the state's engine has not been tried: it needs a coherent mmap and flock"
    with contextlib.suppress(OSError):
        if state.stat().st_mode & 0o055:
            yield f"{state} can be looked into by others: chmod 700 {state}"
