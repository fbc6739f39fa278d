"""Live nodes and their descriptors, all bounded.

Owns which nodes are cached, which of them have descriptors open, and what goes first when a limit is reached
(a second-chance queue: whatever was used since the last look is asked again later). It must not know how a
file system opens anything.

A node that leaves while somebody still holds it stays findable through a weak table, so that one handle never
has two nodes. Descriptors are closed by one thread alone, the owner (the event loop's), so that no number is
closed and reused while that thread works with it; other threads protect theirs by `node.busy`.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections import OrderedDict
from typing import Final
from weakref import WeakValueDictionary

from nfsd.vfs.interface import Node

NODE_COUNT_MAX: Final = 100_000
"""About 0.6 KiB each, 60 MiB in all."""

EVICTION_SCAN: Final = 32
"""Nodes looked at before a limit is overstepped: what is in use now is never closed."""


def descriptor_limits() -> tuple[int, int]:
    """Return (path descriptors, data descriptors) to keep at most; a quarter stays for connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = 1 << 18
    return max(16, soft // 2), max(16, soft // 4)


class NodeCache:
    """The nodes of all file systems of one server."""

    def __init__(
        self, *, node_limit: int = NODE_COUNT_MAX, path_fd_limit: int | None = None,
        data_fd_limit: int | None = None,
    ) -> None:  # fmt: skip
        paths, datas = descriptor_limits()
        self.node_limit = node_limit
        self.path_fd_limit = paths if path_fd_limit is None else path_fd_limit
        self.data_fd_limit = datas if data_fd_limit is None else data_fd_limit
        self.nodes: OrderedDict[bytes, Node] = OrderedDict()
        self.lock = threading.Lock()
        self._lingering: WeakValueDictionary[bytes, Node] = WeakValueDictionary()
        self._paths: OrderedDict[Node, None] = OrderedDict()
        self._datas: OrderedDict[Node, None] = OrderedDict()
        self._owner = threading.get_ident()

    def adopt_thread(self) -> None:
        """Make the calling thread the one that closes descriptors. Until then it is the maker's."""
        self._owner = threading.get_ident()

    def find(self, handle: bytes) -> Node | None:
        """Return the live node of a handle, also one that only somebody else still holds."""
        node = self.nodes.get(handle)
        if node is None:
            node = self._lingering.pop(handle, None)
            if node is not None:
                self._insert(node)
        return node

    def add(self, node: Node) -> Node:
        """Cache a new node; return the one that another thread has cached meanwhile, if any."""
        with self.lock:
            known = self.find(node.handle)
            if known is not None:
                return known
            self._insert(node)
            return node

    def drop(self, node: Node) -> None:
        """Forget a node whose object is gone, and close its descriptors."""
        self.nodes.pop(node.handle, None)
        self._lingering.pop(node.handle, None)
        node.fs.forget(node)
        if not node.busy:
            self.close_path(node)
            self.close_data(node)

    def install_path(self, node: Node, fd: int) -> int:
        """Give a node a new path descriptor, unless another thread was faster. Returns the node's."""
        with self.lock:
            if node.fd >= 0:
                os.close(fd)
                return node.fd
            node.fd = fd
            self._paths[node] = None
        if len(self._paths) > self.path_fd_limit:
            self._shrink(self._paths, self.path_fd_limit, node)
        return fd

    def install_data(self, node: Node, fd: int, write: bool) -> int:
        """Give a node a new data descriptor, unless another thread was faster. Returns the node's."""
        with self.lock:
            known = node.write_fd if write else node.read_fd
            if known >= 0:
                os.close(fd)
                return known
            if write:
                node.write_fd = fd
            else:
                node.read_fd = fd
            self._datas[node] = None
        if len(self._datas) > self.data_fd_limit:
            self._shrink(self._datas, self.data_fd_limit, node)
        return fd

    def close_path(self, node: Node) -> None:
        """Close a node's path descriptor."""
        fd, node.fd = node.fd, -1
        self._paths.pop(node, None)
        _close(fd)

    def close_data(self, node: Node) -> None:
        """Close a node's data descriptors."""
        read_fd, node.read_fd = node.read_fd, -1
        write_fd, node.write_fd = node.write_fd, -1
        self._datas.pop(node, None)
        _close(read_fd)
        _close(write_fd)

    def reap(self, count: int) -> int:
        """Look at `count` open nodes for objects removed behind the server's back, and let their space go.

        Returns how many went. To be called by the owner now and then.
        """
        gone = 0
        for _ in range(min(count, len(self._paths))):
            node, _none = self._paths.popitem(last=False)
            self._paths[node] = None
            if node.busy or node.opens or node.pinned or node.fd < 0:
                continue
            with contextlib.suppress(OSError):
                if os.fstat(node.fd).st_nlink == 0:
                    self.drop(node)
                    gone += 1
        return gone

    def close(self) -> None:
        """Close every descriptor and forget every node."""
        for node in list(self._paths):
            self.close_path(node)
        for node in list(self._datas):
            self.close_data(node)
        self.nodes.clear()
        self._lingering.clear()

    def counts(self) -> dict[str, int]:
        """Return what is cached, for metrics."""
        return {"nodes": len(self.nodes), "path_fds": len(self._paths), "data_fds": len(self._datas)}

    def _insert(self, node: Node) -> None:
        self.nodes[node.handle] = node
        if len(self.nodes) > self.node_limit and threading.get_ident() == self._owner:
            self._evict_node(node)

    def _evict_node(self, newest: Node) -> None:
        for _ in range(EVICTION_SCAN):
            handle, node = self.nodes.popitem(last=False)
            if node is newest or node.recent or node.busy or node.opens or node.pinned:
                node.recent = False
                self.nodes[handle] = node
                continue
            node.fs.forget(node)
            self._lingering[handle] = node
            self.close_path(node)
            self.close_data(node)
            if len(self.nodes) <= self.node_limit:
                return

    def _shrink(self, queue: OrderedDict[Node, None], limit: int, newest: Node) -> None:
        if threading.get_ident() != self._owner:
            return
        for _ in range(EVICTION_SCAN):
            node, _none = queue.popitem(last=False)
            in_use = node is newest or node.busy or node.pinned or (node.opens and node.fs.keeps_open)
            if in_use or node.recent:
                node.recent = False
                queue[node] = None
                continue
            if queue is self._paths:
                self.close_path(node)
            else:
                self.close_data(node)
            if len(queue) <= limit:
                return


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
