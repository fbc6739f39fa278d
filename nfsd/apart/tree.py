"""A tree that a keeper looks after, as the server sees it: every call is the keeper's, and every node a mirror of its.

Owns the mirrors, and what of a FileSystem can be told without asking.  Must not make system calls on files.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import stat as stat_bits
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

from nfsd.apart.link import Link, value_of
from nfsd.apart.messages import IN_THREADS, LIST, OPEN, PIECE, Answer, Opened, Opening, Tree
from nfsd.apart.tasks import Task, Turn, current, start, step, turning
from nfsd.log import get_logger
from nfsd.vfs.interface import Credentials, Data, Exported, FileSystem, Node, no_file
from statestore import ChangeSet

log = get_logger()

NODES_MAX: Final = 50_000
"""Mirrors kept though nobody refers to them; about 0.6 KiB each."""
ASK_S: Final = 5.0
"""How long what is no task waits for an answer."""


Rows = list[tuple[bytes, bytes]]


class Mirror(Node):
    """A node of the keeper's; it notes what the keeper has to know of it."""

    __slots__ = ("_opens",)

    def __init__(self, handle: bytes, fs: ApartFileSystem, kind: int, key: bytes) -> None:
        self._opens = 0
        super().__init__(handle, fs, kind, key)

    @property
    def opens(self) -> int:
        """The open states on the object."""
        return self._opens

    @opens.setter
    def opens(self, count: int) -> None:
        self._opens = count
        fs = self.fs
        assert isinstance(fs, ApartFileSystem)
        fs.noted[self.handle] = self


class ApartFileSystem(FileSystem):
    """One export's tree, served apart."""

    apart = True

    def __init__(
        self, export: Exported, opening: Callable[[Tree, Rows], Opening], *, commit: Callable[[ChangeSet], None],
        lost: Callable[[str], None], parent: Node | None = None, junction_fileid: int | None = None,
    ) -> None:  # fmt: skip
        """Start the keeper; `open` has it open the tree.  Raises OSError."""
        self.export = export
        self.fsid = (export.id, 0)
        self.read_only = export.read_only
        self.outside = parent
        self.noted: dict[bytes, Node] = {}
        self._junction_fileid = junction_fileid
        self._opening = opening
        self._turn = Turn()
        self._nodes: OrderedDict[bytes, Node] = OrderedDict()
        self._alive: WeakValueDictionary[bytes, Node] = WeakValueDictionary()
        self._by_key: WeakValueDictionary[bytes, Node] = WeakValueDictionary()
        self._found: Opened | None = None
        self._early: list[Task] = []
        self._late = False
        self._lost = lost
        self._link = Link(self._mirror, self._gone, commit, lost)

    # -- opening ------------------------------------------------------------------------------------------

    def open(self, rows: Rows, wait_s: float) -> bool:
        """Have the keeper open the tree; whether that is done within `wait_s`, else it goes on.  Raises OSError.

        `rows` are those of the object table.
        """
        self._link.send(self._opened, OPEN, (self._opening(Tree.of(self.export), rows),), {}, [])
        self._link.attend(lambda: self._found is not None, wait_s)
        if self._found is None:
            log.warning("export.opening", path=self.export.path, reason="its file system has not answered yet")
            self._late = True
            return False
        return True

    def _opened(self, answer: Answer) -> None:
        try:
            found: Opened = value_of(answer)
        except OSError as error:
            if not self._late:
                raise
            self._lost(f"{self.export.path} cannot be opened: {error}")
            return
        self._found = found
        self.maxname = found.maxname
        self.file_size_max = found.file_size_max
        self.has_xattrs = found.has_xattrs
        self.keeps_unlinked = found.keeps_unlinked
        self.mode_name = found.mode_name
        self.handle_version = found.handle_version
        found.root.busy = 1
        if self._late:
            log.info("export.opened", path=self.export.path, pseudo=self.export.pseudo, handles=self.mode_name)
        for task in self._early:
            asyncio.get_running_loop().call_soon(step, task)
        self._early.clear()

    def ready(self) -> None:
        """Wait until the keeper has opened the tree.  Raises TimeoutError outside tasks."""
        if self._found is not None:
            return
        task = current()
        if task is None:
            raise TimeoutError(errno.ETIMEDOUT, "the export's file system has not answered yet")
        self._link.attach()
        self._early.append(task)
        task.wait()
        task.go_on()

    @property
    def root(self) -> Node:  # type: ignore[override]
        """The top directory."""
        self.ready()
        assert self._found is not None
        return self._found.root

    def attend(self) -> None:
        """Have this tree's turn, within a task."""
        task = current()
        if task is not None:
            task.take_turn(self._turn)
            task.go_on()

    # -- calls --------------------------------------------------------------------------------------------

    def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Have the keeper carry out a method, as part of the task's turn on this tree if need be.  Raises OSError."""
        task = current()
        noted = self._take_notes()
        if task is None:
            return self._link.ask(method, arguments, named, noted, ASK_S)
        if method not in IN_THREADS:
            self.attend()
        return self._link.call(task, method, arguments, named, noted)

    def _take_notes(self) -> list[tuple[bytes, int, bool]]:
        noted, self.noted = self.noted, {}
        return [(handle, node.opens, node.pinned) for handle, node in noted.items()]

    def _mirror(self, reference: tuple[bytes, int, bytes, bool, bool]) -> Node:
        """The mirror of a node that an answer has; its facts are taken over."""
        handle, kind, key, pinned, touched = reference
        node = self._alive.get(handle)
        if node is None:
            node = self._alive[handle] = self._by_key[key] = Mirror(handle, self, kind, key)
        node.pinned |= pinned
        node.touched |= touched
        self._use(node)
        return node

    def _gone(self, handle: bytes) -> None:
        """The object is gone: the next one who comes with its handle asks the keeper."""
        self._alive.pop(handle, None)
        self._nodes.pop(handle, None)

    def _use(self, node: Node) -> None:
        nodes = self._nodes
        nodes[node.handle] = node
        nodes.move_to_end(node.handle)
        if len(nodes) > NODES_MAX:
            nodes.popitem(last=False)

    # -- nodes --------------------------------------------------------------------------------------------

    def resolve(self, handle: bytes, body: bytes) -> Node:
        """The node of a handle, asked for if there is no mirror of it; then this tree's turn is the task's."""
        self.attend()
        node = self._alive.get(handle)
        if node is not None:
            self._use(node)
            return node
        return self._call("resolve", handle, body)  # type: ignore[no-any-return]

    def parent(self, node: Node, cred: Credentials) -> Node:
        """The parent, at the root the pseudo file system's."""
        if node is self.root:
            if self.outside is None:
                raise OSError(errno.ENOENT, "the root has no parent")
            return self.outside
        return self._call("parent", node, cred)  # type: ignore[no-any-return]

    def readdir(self, node: Node, cookie: int, cred: Credentials) -> Iterator[tuple[int, bytes]]:
        """Yield (cookie, name), asked for in pieces."""
        return self._pieces(node, self._call(LIST, node, cookie, cred), cred)

    def _pieces(self, node: Node, piece: list[tuple[int, bytes]], cred: Credentials) -> Iterator[tuple[int, bytes]]:
        while piece:
            yield from piece
            if len(piece) < PIECE:
                return
            piece = self._call(LIST, node, piece[-1][0], cred)

    def mounted_on_fileid(self, node: Node, st: os.stat_result) -> int:
        """The fileid; for the root that of the pseudo directory that it covers."""
        if self._junction_fileid is not None and node is self.root:
            return self._junction_fileid
        return st.st_ino

    def bury(self, parent: Node, name: bytes, identity: bytes) -> bool:
        """Make a file outlive its last name."""
        buried: bool = self._call("bury", parent, name, identity)
        if buried and (node := self._by_key.get(identity)) is not None:
            node.pinned = True
        return buried

    def unbury(self, identity: bytes) -> None:
        """Let go of it."""
        self._call("unbury", identity)
        if (node := self._by_key.get(identity)) is not None:
            node.pinned = False

    def release(self, node: Node) -> None:
        """Have descriptors closed, in a task of its own: nobody waits for that."""

        def work() -> None:
            if not node.opens:
                try:
                    self._call("release", node)
                except OSError as error:
                    log.info("export.release_failed", path=self.export.path, reason=str(error))

        if turning():
            start(work)
        else:
            work()

    # -- between trees ------------------------------------------------------------------------------------

    def link(self, node: Node, parent: Node, name: bytes, cred: Credentials) -> None:
        """Give the node one more name.  Raises EXDEV between exports."""
        if node.fs is not self or parent.fs is not self:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        self._call("link", node, parent, name, cred)

    def rename(self, parent: Node, name: bytes, newparent: Node, newname: bytes, cred: Credentials) -> None:
        """Move a name.  Raises EXDEV between exports."""
        if parent.fs is not self or newparent.fs is not self:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        self._call("rename", parent, name, newparent, newname, cred)

    def copy_range(self, node: Node, offset: int, target: Node, to: int, size: int, cred: Credentials) -> int:
        """Copy data, between two trees through memory."""
        if target.fs is not self:
            return super().copy_range(node, offset, target, to, size, cred)
        return self._call("copy_range", node, offset, target, to, size, cred)  # type: ignore[no-any-return]

    # -- data ---------------------------------------------------------------------------------------------

    def read_cached(self, node: Node, offset: int, count: int) -> None:
        """Nothing is in this process's memory."""
        if node.kind != stat_bits.S_IFREG:
            raise no_file(node)

    def write(self, node: Node, offset: int, data: Data, cred: Credentials) -> None:
        """Write all of it."""
        self._call("write", node, offset, bytes(data), cred)

    # -- the end ------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let the keeper end."""
        self._link.close()


def _asked(name: str) -> Callable[..., Any]:
    """A method that does nothing but ask the keeper."""

    def method(self: ApartFileSystem, *arguments: Any, **named: Any) -> Any:
        return self._call(name, *arguments, **named)

    return functools.wraps(getattr(FileSystem, name))(method)


for _name in (
    "lookup", "stat", "access", "statfs", "btime_ns", "readlink", "open_data", "data_size", "read",
    "sync", "sync_data", "allocate", "punch_hole", "next_data", "next_hole", "advise", "clone_range", "create", "mkdir",
    "symlink", "mknod", "remove", "identify", "handle_of", "sync_tombs", "is_buried", "buried", "setattr",
    "getxattr", "setxattr", "listxattr", "removexattr",
):  # fmt: skip
    setattr(ApartFileSystem, _name, _asked(_name))
