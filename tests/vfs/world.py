"""A small export to test with: a directory of this machine, by kernel handles or by the object table, or in memory."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from nfsd.apart import Keepers
from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import Credentials, FileSystem, Node
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import MemoryTree
from nfsd.vfs.posix import PosixFileSystem
from statestore import NAME, MemoryStore

SECRET = b"the cluster's secret, 32 bytes.."
ROOT = Credentials(0, 0, ())
ALICE = Credentials(1000, 1000, (2000,))
BOB = Credentials(1001, 1001, (2000, 3000))

TREE_FILE_SIZE_MAX = (1 << 44) - 4096
_TICK_NS = 4_000_000
_LOOKS_PER_TICK = 8


class World:
    """One export at /export, its namespace, and what it takes to start again."""

    fs: FileSystem

    def __init__(self, path: str, options: str = "no_root_squash", **settings: Any) -> None:
        self.settings = settings
        self.where = path
        self.options = options
        self.start()

    def start(self) -> None:
        """Make the namespace from what is stored."""
        exports = parse_exports([parse_export(f"{self.where}=/export,{self.options}")])
        self.namespace = Namespace(exports, SECRET, born_ns=1, **self.settings, **self._sources())
        root = self.namespace.root()
        self.root: Node = root.fs.lookup(root, b"export", ROOT)
        self.fs = self.root.fs

    def _sources(self) -> dict[str, Any]:
        """Where the namespace gets its tree from."""
        raise NotImplementedError

    def restart(self, options: str | None = None) -> None:
        """Close everything and start again, perhaps with other options."""
        self.close()
        self.options = options or self.options
        self.start()

    def close(self) -> None:
        """Close everything."""
        self.namespace.close()

    def make(self, name: bytes, data: bytes = b"", cred: Credentials = ROOT, mode: int = 0o644) -> Node:
        """Make a file with data in the root."""
        node, created = self.fs.create(self.root, name, cred, mode, exclusive=True)
        assert created
        if data:
            self.write(node, data)
        return node

    def fill(self, names: Iterable[bytes]) -> None:
        """Make empty files in the root, many and fast."""
        for name in names:
            self.fs.create(self.root, name, ROOT, 0o644)

    def write(self, node: Node, data: bytes | memoryview, offset: int = 0, cred: Credentials = ROOT) -> None:
        """Write into a file."""
        self.fs.write(node, offset, data, cred)
        self.fs.touch(node)

    def read(self, node: Node, offset: int = 0, count: int = 99) -> bytes:
        """Read from a file, wherever its data is; what is in memory must be what is on the disk."""
        data, _end = self.fs.read(node, offset, count)
        cached = self.fs.read_cached(node, offset, count)
        assert cached is None or bytes(cached[0]) == bytes(data)
        return bytes(data)

    def names(self, node: Node | None = None, cred: Credentials = ROOT) -> list[bytes]:
        """Return a directory's names, sorted."""
        return sorted(name for _cookie, name in self.fs.readdir(node or self.root, 0, cred))


class DirectoryWorld(World):
    """The export is a directory of this machine."""

    fs: PosixFileSystem

    def __init__(self, directory: Path, handles: str, options: str = "no_root_squash", **limits: Any) -> None:
        self.path = directory
        self.handles = handles
        self.store = MemoryStore()
        super().__init__(str(directory), options, **limits)
        assert self.fs.mode_name == handles

    def _sources(self) -> dict[str, Any]:
        self.store.flush()
        rows = [(key, value) for kind, key, value in self.store.load() if kind == NAME]
        return {"handles": self.handles, "rows": rows, "commit": self.store.commit}

    def fill(self, names: Iterable[bytes]) -> None:
        """Make empty files behind the server's back."""
        for name in names:
            os.close(os.open(self.path / os.fsdecode(name), os.O_CREAT | os.O_WRONLY))


class ApartWorld(DirectoryWorld):
    """The export is a directory of this machine, and a keeper makes the system calls."""

    def start(self) -> None:
        """Make the namespace, and wait for the keeper."""
        exports = parse_exports([parse_export(f"{self.where}=/export,{self.options},apart")])
        sources = self._sources()
        keepers = Keepers(self.path.with_suffix(".lock"), pytest.fail)
        self.namespace = Namespace(exports, SECRET, born_ns=1, keepers=keepers, **self.settings, **sources)
        self.namespace.open_apart(sources["rows"], None, 30.0)
        root = self.namespace.root()
        self.root = root.fs.lookup(root, b"export", ROOT)
        self.fs = self.root.fs  # type: ignore[assignment]


class Clock:
    """A clock as coarse as the kernel's: it ticks after some looks at it."""

    def __init__(self) -> None:
        self._looks = 0

    def __call__(self) -> int:
        self._looks += 1
        return 1_700_000_000_000_000_000 + self._looks // _LOOKS_PER_TICK * _TICK_NS


class MemoryWorld(World):
    """The export is a tree in memory, which outlives the namespace."""

    def __init__(self, options: str = "no_root_squash", **limits: Any) -> None:
        self.tree = MemoryTree(Clock(), mode=0o777, file_size_max=TREE_FILE_SIZE_MAX)
        super().__init__("/tree", options, **limits)
        assert self.fs.mode_name == "memory"

    def _sources(self) -> dict[str, Any]:
        return {"opener": opening({self.where: self.tree})}


def as_ordinary_user(function: Callable[[], Any], uid: int = 65534) -> Any:
    """Run a function in a child process of an ordinary user; return what it returns, raise what it raises."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            outcome = (True, function())
        except BaseException:
            outcome = (False, traceback.format_exc())
        with os.fdopen(writer, "wb") as stream:
            stream.write(pickle.dumps(outcome))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        good, value = pickle.loads(stream.read())
    os.waitpid(child, 0)
    assert good, value
    return value
