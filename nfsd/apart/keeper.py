"""The keeper: the process that makes one tree's system calls for a server, and ends with it.

Owns the tree of the file system, its descriptors and the threads that move its data.  It has neither sockets of
clients nor the state.  Must not know operations.

As long as a keeper lives it holds a lock: a call of it that hangs may still change the file system when the server
that asked for it has long ended, so that the next keeper of the tree waits until it has.

    python -m nfsd.apart.keeper DESCRIPTOR SETTINGS
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nfsd import log as logging_
from nfsd.apart.messages import (
    IN_THREADS,
    LIST,
    PIECE,
    RECEIVE_SIZE,
    Answer,
    Call,
    Failure,
    Opened,
    Opening,
    Stream,
    error_of,
    packed,
    unpacked,
)
from nfsd.log import get_logger
from nfsd.vfs import credentials, kernelmode
from nfsd.vfs.cache import NodeCache
from nfsd.vfs.handles import HandleCodec
from nfsd.vfs.interface import Busy, FileSystem, Node
from nfsd.vfs.kernelmode import KernelFileSystem
from nfsd.vfs.process import prepare_process
from nfsd.vfs.tablemode import TableFileSystem
from statestore import ChangeSet

log = get_logger()

THREADS: Final = 8
REAP_INTERVAL_S: Final = 1.0
EXIT_FAULT: Final = 70


_changed: Final[dict[Node, None]] = {}
"""Nodes of which the server has to hear something."""


class KeptNode(Node):
    """A node that notes when the server has to hear something of it."""

    __slots__ = ("_pinned", "_touched")

    @property
    def pinned(self) -> bool:
        """Whether it lost its last name while it was open."""
        return self._pinned

    @pinned.setter
    def pinned(self, pinned: bool) -> None:
        self._pinned = pinned
        _changed[self] = None

    @property
    def touched(self) -> bool:
        """Whether it was changed since the server heard of it."""
        return self._touched

    @touched.setter
    def touched(self, touched: bool) -> None:
        self._touched = touched
        if touched:
            _changed[self] = None


class KeptNodes(NodeCache):
    """The nodes; `gone` are the handles of those whose objects have gone since the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[bytes] = []

    def drop(self, node: Node) -> None:
        """Forget a node whose object is gone."""
        self.gone.append(node.handle)
        super().drop(node)


class KeptByHandle(KernelFileSystem):
    """A tree by the kernel's handles."""

    node_type = KeptNode


class KeptByTable(TableFileSystem):
    """A tree by the object table."""

    node_type = KeptNode


class Keeper:
    """One tree, and the socket on which a server asks for it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sending = threading.Lock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="data")
        self._done: deque[Busy] = deque()
        self._rows: list[Any] = []
        self._cache = KeptNodes()
        self._tree: FileSystem | None = None
        self._codec: HandleCodec
        self._lock = -1

    def serve(self) -> None:
        """Answer calls until the server has gone."""
        stream = Stream()
        while True:
            if not select.select([self._sock], [], [], REAP_INTERVAL_S)[0]:
                self._settle()
                self._cache.reap(256)
                continue
            data = self._sock.recv(RECEIVE_SIZE)
            if not data:
                return
            for message in stream.received(data):
                self._settle()
                self._take(message)

    def _settle(self) -> None:
        """Nodes whose data a thread has moved are busy no more: that is for this thread to say."""
        while self._done:
            self._done.popleft().__exit__()

    def _take(self, message: bytes) -> None:
        call: Call
        opening = self._tree is None
        try:
            call = unpacked(message, self._node)
        except OSError as error:
            # A node of the call is gone; its number and method come first and have none.
            call = unpacked(message, _no_node)
            self._send(call.number, None, error_of(error))
            return
        for handle, opens, pinned in call.nodes:
            self._note(handle, opens, pinned)
        if opening or call.method not in IN_THREADS:
            self._answer(call)
            return
        busy = Busy(*_nodes_of(call))
        busy.__enter__()
        self._threads.submit(self._in_thread, call, busy)

    def _in_thread(self, call: Call, busy: Busy) -> None:
        self._answer(call)
        self._done.append(busy)

    def _answer(self, call: Call) -> None:
        value, failure = None, None
        try:
            value = self._carry_out(call)
        except OSError as error:
            failure = error_of(error)
        except Exception as error:
            log.critical("keeper.fault", method=call.method, reason=repr(error), exc_info=error)
            os._exit(EXIT_FAULT)
        self._send(call.number, value, failure)

    def _carry_out(self, call: Call) -> Any:
        if self._tree is None:
            (opening,) = call.arguments
            return self._open(opening)
        if call.method == LIST:
            node, cookie, cred = call.arguments
            with closing(self._tree.readdir(node, cookie, cred)) as entries:  # type: ignore[type-var]
                return list(islice(entries, PIECE))
        return getattr(self._tree, call.method)(*call.arguments, **call.named)

    def _send(self, number: int, value: Any, failure: Failure | None) -> None:
        with self._sending:
            rows, self._rows = self._rows, []
            gone, self._cache.gone = self._cache.gone, []
            nodes = [_changed.popitem()[0] for _ in range(len(_changed))]
            self._sock.sendall(packed(Answer(number, value, failure, nodes, gone, rows), _reference))

    # -- the tree -----------------------------------------------------------------------------------------

    def _open(self, opening: Opening) -> Opened:
        """Wait for the tree's lock, then open the tree.  Raises OSError."""
        self._lock = os.open(opening.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._codec = HandleCodec(opening.secret)
        export, path = opening.tree, opening.tree.path
        tree: FileSystem
        if opening.handles == "kernel" or (opening.handles == "auto" and kernelmode.usable(path)):
            tree = KeptByHandle(export, self._cache, self._codec)
        else:
            tree = KeptByTable(export, self._cache, self._codec, rows=opening.rows, commit=self._keep_row)
        self._tree = tree
        return Opened(
            root=tree.root,
            handle_version=tree.handle_version,
            mode_name=tree.mode_name,
            maxname=tree.maxname,
            file_size_max=tree.file_size_max,
            has_xattrs=tree.has_xattrs,
            keeps_unlinked=tree.keeps_unlinked,
        )

    def _keep_row(self, changes: ChangeSet) -> None:
        self._rows.append(changes)

    def _node(self, handle: bytes) -> Node:
        """The node of a handle.  Raises OSError."""
        assert self._tree is not None
        node = self._cache.find(handle)
        if node is None:
            _version, _export, body = self._codec.decode(handle)
            node = self._tree.resolve(handle, body)
        node.recent = True
        return node

    def _note(self, handle: bytes, opens: int, pinned: bool) -> None:
        """How many opens a node has at the server's."""
        try:
            node = self._node(handle)
        except OSError:
            return
        node.opens = opens
        node.pinned |= pinned


def _nodes_of(call: Call) -> list[Node]:
    return [each for each in (*call.arguments, *call.named.values()) if isinstance(each, Node)]


def _no_node(_reference: Any) -> Any:
    return None


def _reference(node: Node) -> tuple[bytes, int, bytes, bool, bool]:
    """What stands for a node in an answer: its facts, and whether it was changed since the last one that had it."""
    touched, node.touched = node.touched, False
    return node.handle, node.kind, node.key, node.pinned, touched


def main() -> None:
    """Serve on an inherited socket."""
    settings = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    file = settings["file"]
    logging_.configure(node=settings["node"], level=settings["level"], file=Path(file) if file else None)
    prepare_process()
    credentials.configure()
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        try:
            Keeper(sock).serve()
        except OSError:
            pass  # The server has gone in the middle of an answer.
    # Not by the interpreter's way out: a thread may hang in a call.
    os._exit(0)


if __name__ == "__main__":
    main()
