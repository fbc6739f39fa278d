"""Which trees are served apart, and what their keepers need.

Owns the choice: as the export says, else by the kind of file system, for some kinds hang with their server or program.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nfsd.apart.messages import Opening, Tree
from nfsd.apart.tree import ApartFileSystem
from nfsd.vfs.interface import Exported, Node
from statestore import ChangeSet

# By the names of /proc/filesystems; fuse.NAME counts as fuse.
APART_TYPES: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse", "lustre", "nfs", "nfs4", "smb3", "virtiofs"})
_MOUNTS: Final = "/proc/self/mountinfo"


class Keepers:
    """Makes trees that are served apart.

    `locks` is where their lock files are, each with this beginning.  `lost` MUST NOT return.
    """

    def __init__(self, locks: Path, lost: Callable[[str], None]) -> None:
        self._locks = locks
        self._lost = lost

    def wanted(self, path: str, apart: bool | None) -> bool:
        """Whether an export is to be served apart: as its option says, None where it has none; asks no file system."""
        if apart is not None:
            return apart
        return type_of(path).partition(".")[0] in APART_TYPES

    def tree(
        self, export: Exported, secret: bytes, handles: str, *, commit: Callable[[ChangeSet], None],
        parent: Node | None, junction_fileid: int | None,
    ) -> ApartFileSystem:  # fmt: skip
        """The tree, not opened yet; its keeper has begun.  Raises OSError."""
        lock = f"{self._locks}.apart-{export.id}"

        def opening(tree: Tree, rows: list[tuple[bytes, bytes]]) -> Opening:
            return Opening(tree=tree, secret=secret, handles=handles, lock=lock, rows=rows)

        return ApartFileSystem(
            export, opening, commit=commit, lost=self._lost, parent=parent, junction_fileid=junction_fileid
        )


def type_of(path: str, mounts: str | None = None) -> str:
    """The kind of file system that an absolute path lies on, by the table of mounts; "" where that does not tell.

    It goes by the path's text: looking at the path could hang.
    """
    if mounts is None:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read()
    wanted = os.path.normpath(path)
    found, length = "", -1
    for line in mounts.splitlines():
        left, _dash, right = line.partition(" - ")
        point = _unescaped(left.split(" ")[4])
        beneath = wanted == point or wanted.startswith(point.rstrip("/") + "/")
        if beneath and len(point) >= length:  # A later mount of one place covers the earlier ones.
            found, length = right.split(" ")[0], len(point)
    return found


def _unescaped(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text
