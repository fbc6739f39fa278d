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

from nfsd.config.mounts import type_of

REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "coda", "ncpfs", "fuse.sshfs", "fuse.rclone"})
"""File systems that another machine serves: the state's engine maps its file into memory, and what two machines have in
memory of one file there need not agree (lmdb.h forbids it)."""
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
UNTRIED: Final = ("9p", "virtiofs", "ceph", "lustre", "fuse", "beegfs", "gpfs")
"""Beginnings of types that may keep what lmdb.h asks for or not."""


def kind_of(path: Path) -> str:
    """The type of the file system that a path lies on, or will when it is made; "" if the kernel does not say."""
    try:
        return type_of(os.path.realpath(path))
    except OSError:
        return ""


def refused_beside(state: Path, export: Path, *, look: bool = True) -> str | None:
    """Why this directory cannot be exported with the state there; None if it can.

    Links and bind mounts hide nothing. Without `look` the export, which may hang, is known by its text alone.
    """
    home = Path(os.path.realpath(state))
    place = Path(os.path.realpath(export) if look else os.path.normpath(export))
    if home.is_relative_to(place) or (look and _meets(home, place)):
        return f"{export} contains the state directory {state}, whose secret clients could read: keep it out of exports"
    if place.is_relative_to(home) or (look and _meets(place, home)):
        return f"{export} lies in the state directory {state}, which is nobody's but the server's: export another one"
    return None


def _meets(inner: Path, outer: Path) -> bool:
    """Whether a path, or a directory on the way to it, is `outer` by another name."""
    with contextlib.suppress(OSError):
        about = os.stat(outer)
        for place in (inner, *inner.parents):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(place), about):
                    return True
    return False


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
