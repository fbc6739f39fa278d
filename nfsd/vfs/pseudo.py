"""The read-only tree of directories that leads to the exports (RFC 8881 section 7.3).

Owns its directories, made once from the exports' pseudo paths, and where one is covered by an export's root.
It must not know how an export keeps its files.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import PSEUDO, HandleCodec
from nfsd.vfs.interface import COOKIE_OFFSET, BadCookie, Credentials, FileSystem, Node

_MODE: Final = stat_bits.S_IFDIR | 0o555
_BLOCK: Final = 4096


def digest_of(path: str) -> bytes:
    """Return the 16 bytes that stand for a path; the same on every node and after every start."""
    return blake2b(os.fsencode(path), digest_size=16, person=b"pseudo path").digest()


def fileid_of(path: str) -> int:
    """Return the fileid of a directory of the pseudo file system: 48 bits, never 0."""
    return int.from_bytes(digest_of(path)[:6], "big") | 1


class PseudoFileSystem(FileSystem):
    """The directories above the exports. Nodes are made at the start and stay."""

    export = None
    read_only = True
    mode_name = "pseudo"
    handle_version = PSEUDO

    def __init__(self, paths: list[str], cache: NodeCache, codec: HandleCodec, *, born_ns: int) -> None:
        """`paths` are the exports' pseudo paths, none beneath another. `born_ns` becomes every time shown."""
        self.fsid = (0, 0)
        self._paths: dict[Node, str] = {}
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, list[bytes]] = {"/": []}
        self._covers: dict[str, FileSystem] = {}
        self._stats: dict[Node, os.stat_result] = {}
        for path in sorted(paths):
            self._plant(path)
        for path in self._children:
            handle = codec.encode(PSEUDO, 0, digest_of(path))
            node = Node(handle, self, stat_bits.S_IFDIR, os.fsencode(path))
            node.busy = 1
            self._nodes[path] = node
            self._paths[node] = path
            self._stats[node] = _stat(path, len(self._children[path]), born_ns)
            cache.add(node)
        self.root = self._nodes["/"]

    def _plant(self, path: str) -> None:
        above = "/"
        for name in path.strip("/").split("/"):
            here = above.rstrip("/") + "/" + name
            if here not in self._children:
                self._children[here] = []
                self._children[above].append(os.fsencode(name))
            above = here

    def parent_of(self, path: str) -> Node:
        """Return the directory that holds a pseudo path."""
        return self._nodes[path.rsplit("/", 1)[0] or "/"]

    def cover(self, path: str, tree: FileSystem) -> None:
        """Let an export's root take the place of a directory."""
        self._covers[path] = tree

    def lookup(self, node: Node, name: bytes, cred: Credentials) -> Node:
        """Return a directory, or the root of the export that covers it."""
        path = self._paths[node].rstrip("/") + "/" + os.fsdecode(name)
        covered = self._covers.get(path)
        found = covered.root if covered is not None else self._nodes.get(path)
        if found is None or b"/" in name:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
        return found

    def parent(self, node: Node, cred: Credentials) -> Node:
        """Return the directory above. Raises ENOENT at the root."""
        path = self._paths[node]
        if path == "/":
            raise OSError(errno.ENOENT, "the root has no parent")
        return self.parent_of(path)

    def stat(self, node: Node) -> os.stat_result:
        """Return the attributes, which never change while the server runs."""
        return self._stats[node]

    def access(self, node: Node, want: int, cred: Credentials) -> int:
        """Everybody may read and search, nobody may write."""
        return want & (os.R_OK | os.X_OK)

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield the names in their order, which depends on the exports alone."""
        names = self._children[self._paths[node]]
        start = cookie - COOKIE_OFFSET + 1 if cookie else 0
        if cookie and not 0 < start <= len(names):
            raise BadCookie(cookie)
        return iter([(index + COOKIE_OFFSET, names[index]) for index in range(start, len(names))])

    def statfs(self, node: Node) -> os.statvfs_result:
        """Return an empty, full file system."""
        files = len(self._nodes)
        return os.statvfs_result((_BLOCK, _BLOCK, 0, 0, 0, files, 0, 0, os.ST_RDONLY, self.maxname))


def _stat(path: str, children: int, born_ns: int) -> os.stat_result:
    born_s = born_ns // 1_000_000_000
    times = (born_s, born_s, born_s, born_ns / 1e9, born_ns / 1e9, born_ns / 1e9, born_ns, born_ns, born_ns)
    head = (_MODE, fileid_of(path), 0, 2 + children, 0, 0, _BLOCK)
    return os.stat_result(head + times + (_BLOCK, _BLOCK // 512, 0))
