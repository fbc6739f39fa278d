"""Which trees are served apart, and what their keepers need.

Owns the choice: as the export says, else by the kind of file system, for some kinds hang with their server or program.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from nfsd.apart.messages import Opening, Tree
from nfsd.apart.tree import ApartFileSystem
from nfsd.config.mounts import type_of
from nfsd.vfs.interface import Exported, Node
from statestore import ChangeSet

# By the names of /proc/filesystems; fuse.NAME counts as fuse.
APART_TYPES: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse", "lustre", "nfs", "nfs4", "smb3", "virtiofs"})


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
