"""How a namespace gets the tree of an export: what it gives, and what it wants back.

Owns this one interface, so that a namespace can be made of trees that are no directories of this machine.
"""

from __future__ import annotations

from typing import Protocol

from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import HandleCodec
from nfsd.vfs.interface import Exported, FileSystem, Node


class Opener(Protocol):
    """Opens the tree of an export."""

    def __call__(
        self, export: Exported, cache: NodeCache, codec: HandleCodec, *, parent: Node | None,
        junction_fileid: int | None,
    ) -> FileSystem:  # fmt: skip
        """Return the open tree. Raises OSError where there is none.

        `parent` is the directory above its root, None when it is the root of everything; `junction_fileid` is the
        fileid of the directory that the root covers.
        """
