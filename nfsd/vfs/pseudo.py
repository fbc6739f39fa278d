"""The read-only tree of directories that leads to the exports (RFC 8881 section 7.3).

Owns its directories, made from the pseudo paths of some exports, and where one is covered by an export's root. There
is one tree of all exports, and one for each set of exports that some client may see: a directory has the same handle,
number and cookies in all of them. It must not know how an export keeps its files, nor who may see it.
"""

from __future__ import annotations

import errno
import os
import stat as stat_bits
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Final

from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import PSEUDO, HandleCodec
from nfsd.vfs.interface import COOKIE_OFFSET, Credentials, FileSystem, Node, StaleHandle

_MODE: Final = stat_bits.S_IFDIR | 0o555
_BLOCK: Final = 4096
_LOW_BITS: Final = (1 << 32) - 1


def digest_of(path: str) -> bytes:
    """Return the 16 bytes that stand for a path; the same on every node and after every start."""
    return blake2b(os.fsencode(path), digest_size=16, person=b"pseudo path").digest()


def fileid_of(path: str) -> int:
    """Return the fileid of a directory of the pseudo file system: 48 bits, never 0."""
    return int.from_bytes(digest_of(path)[:6], "big") | 1


def cookie_of(path: str) -> int:
    """Return the cookie of a directory in the one above it: 62 bits, whatever other directories there are."""
    return COOKIE_OFFSET + (int.from_bytes(digest_of(path)[8:], "big") >> 2)


class PseudoFileSystem(FileSystem):
    """The directories above some exports. Nodes are made at once and stay."""

    export = None
    read_only = True
    mode_name = "pseudo"
    handle_version = PSEUDO

    def __init__(self, paths: Iterable[str], cache: NodeCache | None, codec: HandleCodec, *, born_ns: int) -> None:
        """`paths` are the exports' pseudo paths, none beneath another. `born_ns` becomes every time shown.

        The nodes are found by their handles in `cache`, unless they are one client's view (None).
        """
        self.fsid = (0, 0)
        self._paths: dict[Node, str] = {}
        self._nodes: dict[str, Node] = {}
        self._children: dict[str, dict[int, bytes]] = {"/": {}}
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
            if cache is not None:
                cache.add(node)
        self.root = self._nodes["/"]

    def _plant(self, path: str) -> None:
        above = "/"
        for name in path.strip("/").split("/"):
            here = above.rstrip("/") + "/" + name
            if here not in self._children:
                self._children[here] = {}
                self._children[above][cookie_of(here)] = os.fsencode(name)
            above = here

    def parent_of(self, path: str) -> Node:
        """Return the directory that holds a pseudo path."""
        return self._nodes[path.rsplit("/", 1)[0] or "/"]

    def cover(self, path: str, tree: FileSystem) -> None:
        """Let an export's root take the place of a directory."""
        self._covers[path] = tree

    def like(self, node: Node) -> Node:
        """Return the directory of this tree that is another such tree's `node`. Raises StaleHandle."""
        found = self._nodes.get(os.fsdecode(node.key))
        if found is None:
            raise StaleHandle("no such directory above the exports")
        return found

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

    def change(self, node: Node, st: os.stat_result) -> int:
        """Return a value that another start has otherwise, and so has another set of names."""
        names = b"/".join(sorted(self._children[self._paths[node]].values()))
        return st.st_ctime_ns & ~_LOW_BITS | int.from_bytes(blake2b(names, digest_size=4).digest(), "big")

    def access(self, node: Node, want: int, cred: Credentials) -> int:
        """Everybody may read and search, nobody may write."""
        return want & (os.R_OK | os.X_OK)

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield the names in the order of their cookies; each is good whatever names have come or gone."""
        return iter(sorted(entry for entry in self._children[self._paths[node]].items() if entry[0] > cookie))

    def statfs(self, node: Node) -> os.statvfs_result:
        """Return an empty, full file system."""
        files = len(self._nodes)
        return os.statvfs_result((_BLOCK, _BLOCK, 0, 0, 0, files, 0, 0, os.ST_RDONLY, self.maxname))


def _stat(path: str, children: int, born_ns: int) -> os.stat_result:
    born_s = born_ns // 1_000_000_000
    times = (born_s, born_s, born_s, born_ns / 1e9, born_ns / 1e9, born_ns / 1e9, born_ns, born_ns, born_ns)
    head = (_MODE, fileid_of(path), 0, 2 + children, 0, 0, _BLOCK)
    return os.stat_result(head + times + (_BLOCK, _BLOCK // 512, 0))
