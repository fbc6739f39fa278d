"""A small export to test with, on disk or in memory, by kernel handles or by the object table."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import Credentials, Node
from nfsd.vfs.posix import PosixFileSystem
from statestore import NAME, MemoryStore

SECRET = b"the cluster's secret, 32 bytes.."
ROOT = Credentials(0, 0, ())
ALICE = Credentials(1000, 1000, (2000,))
BOB = Credentials(1001, 1001, (2000, 3000))


class World:
    """One export at /export, its namespace, and what it takes to start again."""

    def __init__(self, directory: Path, handles: str, options: str = "no_root_squash", **limits: Any) -> None:
        self.path = directory
        self.handles = handles
        self.options = options
        self.limits = limits
        self.store = MemoryStore()
        self.start()

    def start(self) -> None:
        """Make the namespace from what is stored."""
        rows = [(key, value) for kind, key, value in self.store.load() if kind == NAME]
        spec = parse_export(f"{self.path}=/export,{self.options}")
        self.namespace = Namespace(
            parse_exports([spec]), SECRET, handles=self.handles, rows=rows,  # type: ignore[arg-type]
            commit=self.store.commit, born_ns=1, **self.limits,
        )  # fmt: skip
        root = self.namespace.root()
        self.root: Node = root.fs.lookup(root, b"export", ROOT)
        assert isinstance(self.root.fs, PosixFileSystem)
        self.fs: PosixFileSystem = self.root.fs
        assert self.fs.mode_name == self.handles

    def restart(self) -> None:
        """Close everything and start again."""
        self.close()
        self.store.flush()
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

    def write(self, node: Node, data: bytes, offset: int = 0, cred: Credentials = ROOT) -> None:
        """Write into a file."""
        self.fs.write(node, offset, data)
        self.fs.written(node, cred)

    def read(self, node: Node, offset: int = 0, count: int = 99) -> bytes:
        """Read from a file, wherever its data is; what is in memory must be what is on the disk."""
        data, _end = self.fs.read(node, offset, count)
        cached = self.fs.read_cached(node, offset, count)
        assert cached is None or bytes(cached[0]) == bytes(data)
        return bytes(data)

    def names(self, node: Node | None = None, cred: Credentials = ROOT) -> list[bytes]:
        """Return a directory's names, sorted."""
        return sorted(name for _cookie, name in self.fs.readdir(node or self.root, 0, cred))


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
