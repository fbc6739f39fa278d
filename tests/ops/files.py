"""A real directory tree and a compound without a network, for the tests of operations on files.

Must not be a second implementation of anything: the file system is the real one, and the compound is
the part of the real one that these operations see.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from nfsd.config import parse_export
from nfsd.errors import Nfs4Error
from nfsd.errors import status_of as translate
from nfsd.exports import parse_exports
from nfsd.exports.namespace import Namespace
from nfsd.vfs import credentials
from nfsd.vfs.interface import Credentials, Node
from nfsd.vfs.process import prepare_process
from xdr.generated import nfs4

STATEID = nfs4.stateid4(0, bytes(12))
AUTH_SYS = 1
HELD = SimpleNamespace(access=nfs4.OPEN4_SHARE_ACCESS_BOTH, caller=None)


class State:
    """Who may write by which stateid: everybody, unless a test says otherwise."""

    refusal: int | None = None
    by_open = True
    reclaim = None
    shares: frozenset[bytes] = frozenset()

    def check_io(self, c: object, stateid: object, node: Node, write: bool) -> object | None:
        if self.refusal is not None:
            raise Nfs4Error(self.refusal)
        return HELD if self.by_open else None


class FakeCompound:
    """What the operations on files use of a Compound."""

    def __init__(self, namespace: Namespace, minor: int = 1) -> None:
        root = namespace.root()
        self.minor = minor
        self.cred = Credentials(os.geteuid(), os.getegid(), ())
        self.config = SimpleNamespace(lease_time_s=90, durability="process")
        self.state = State()
        self.lost = 0
        self.server = SimpleNamespace(
            state=self.state, namespace=namespace, write_verifier=b"verifier", writes_lost=self.writes_lost
        )
        self.connection = SimpleNamespace(address="127.0.0.1")
        self.current: Node | None = root
        self.saved: Node | None = None
        self.root = root

    def writes_lost(self) -> None:
        self.lost += 1

    def node(self) -> Node:
        if self.current is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE)
        return self.current

    def saved_node(self) -> Node:
        if self.saved is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE)
        return self.saved

    def set_node(self, node: Node | None) -> None:
        self.current = node

    def as_caller(self, node: Node, reading: bool = False) -> Credentials:
        return self.cred

    def may_write(self, node: Node) -> bool:
        return not node.fs.read_only

    def unfinished(self) -> None:
        """Nothing is being recovered."""

    def begin(self, before: object) -> None:
        """Nothing has to survive."""

    def at(self, *names: bytes) -> Node:
        """Make the object below the root current, and return it."""
        node = self.root
        for name in names:
            node = node.fs.lookup(node, name, self.cred)
        self.current = node
        return node


def make_namespace(*exports: str) -> Namespace:
    """What a server with these exports (PATH=PSEUDO[,OPTION...]) shows."""
    prepare_process()
    return Namespace(parse_exports(map(parse_export, exports)), bytes(32))


def serve(path: Path, minor: int = 1, *, options: str = "rw,no_root_squash") -> FakeCompound:
    """A compound whose root is the tree at `path`."""
    return FakeCompound(make_namespace(f"{path}=/,{options}"), minor)


@contextmanager
def acting_as(c: FakeCompound, uid: int) -> Iterator[None]:
    """Inside, the compound's caller is an ordinary user; afterwards the thread is the server again."""
    before, c.cred = c.cred, Credentials(uid, uid, ())
    try:
        yield
    finally:
        c.cred = before
        credentials.become(before)


def status_of(handler: Any, c: FakeCompound, args: Any = None) -> int:
    """The nfsstat4 an operation fails with; NFS4_OK where it does not."""
    try:
        outcome = handler(c, args)
        if isinstance(outcome, Generator):
            drive(outcome)
    except Nfs4Error as error:
        return error.status
    except OSError as error:
        return translate(error)
    return nfs4.NFS4_OK


def drive(steps: Generator[Any, Any, Any]) -> Any:
    """Run a blocking operation here instead of in threads."""
    value: Any = None
    failure: OSError | None = None
    while True:
        try:
            work = steps.throw(failure) if failure else steps.send(value)
        except StopIteration as stop:
            return stop.value
        value, failure = None, None
        try:
            value = work()
        except OSError as error:
            failure = error
