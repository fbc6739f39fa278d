"""A real directory tree and a compound without a network, for the tests of operations on files.

Must not be a second implementation of anything: the file system is the real one, and the compound is
the part of the real one that these operations see.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nfsd.config import Limits, parse_export
from nfsd.durable.verifier import WriteVerifier
from nfsd.errors import Nfs4Error
from nfsd.errors import status_of as translate
from nfsd.exports import parse_exports
from nfsd.exports.namespace import Namespace
from nfsd.ops.once import Before
from nfsd.ops.request import Request, Thread
from nfsd.rpc.connection import Connection
from nfsd.services import Identity, Services
from nfsd.state.model import Client, OpenState
from nfsd.state.tables import State
from nfsd.vfs import credentials
from nfsd.vfs.interface import Credentials, Node
from nfsd.vfs.process import prepare_process
from statestore import ChangeSet
from xdr.generated import nfs4

STATEID = nfs4.stateid4(0, bytes(12))
AUTH_SYS = 1
LEASE_TIME_S = 90
OTHER = Client(clientid=1, family=1, owner=b"", verifier=bytes(8), principal=b"", now=1.0)


class FileRequest(Request):
    """What the operations on files use of a request; nothing of it has to survive."""

    __slots__ = ("clock_s", "clock_step_s", "cred", "root", "lost")

    def __init__(self, namespace: Namespace, minor: int = 1) -> None:
        root = namespace.root()
        self.minor = minor
        self.lease_time_s = LEASE_TIME_S
        self.now = self.clock_s = 1.0
        self.clock_step_s = 0.0
        self.cred = Credentials(os.geteuid(), os.getegid(), ())
        self.state = State(
            secret=bytes(32), epoch=1, lease_time_s=LEASE_TIME_S, limits=Limits(), now=0.0,
            random_bytes=bytes,
        )  # fmt: skip
        self.lost = 0
        verifier = WriteVerifier(secret=bytes(32), boot_id=b"boot", node="", losses=0)
        self.services = Services(
            state=self.state,
            namespace=namespace,
            limits=Limits(),
            lease_time_s=LEASE_TIME_S,
            now=self.clock,
            client_moves="lease",
            identity=Identity(b"", b""),
            verifier=verifier,
            writes_lost=self.writes_lost,
            random_bytes=bytes,
        )
        self.connection = Connection(1, "127.0.0.1", 700)
        self.client = None
        self.stateid = None
        self.changes = ChangeSet()
        self.reply_size, self.reply_size_max = 0, 1 << 30
        self.current: Node | None = root
        self.saved: Node | None = None
        self.root = root

    def clock(self) -> float:
        """The server's clock, which goes on by a step each time that it is looked at."""
        self.clock_s += self.clock_step_s
        return self.clock_s

    def writes_lost(self) -> None:
        """Count it."""
        self.lost += 1

    def deny_io(self, node: Node) -> None:
        """Somebody has the object open and denies everything to everybody else."""
        held = OpenState(OTHER, bytes(16), node.handle, b"other", 1, self.cred)
        held.access = held.deny = nfs4.OPEN4_SHARE_ACCESS_BOTH
        self.state.filter.add_open(held)

    def as_caller(self, node: Node, *, reading: bool = False) -> Credentials:
        """The test's caller."""
        return self.cred

    def may_write(self, node: Node) -> bool:
        """Whatever the export says."""
        return not node.fs.read_only

    def unfinished(self) -> Before | None:
        """Nothing is being recovered."""
        return None

    def begin(self, before: Before) -> None:
        """Nothing has to survive."""

    def at(self, *names: bytes) -> Node:
        """Make the object below the root current, and return it."""
        node = self.root
        for name in names:
            node = node.fs.lookup(node, name, self.cred)
        self.current = node
        return node


made: list[Namespace] = []
"""What the running test has made; it is closed behind it."""


def make_namespace(*exports: str) -> Namespace:
    """What a server with these exports (PATH=PSEUDO[,OPTION...]) shows."""
    prepare_process()
    made.append(Namespace(parse_exports(map(parse_export, exports)), bytes(32)))
    return made[-1]


def serve(path: Path, minor: int = 1, *, options: str = "rw,no_root_squash") -> FileRequest:
    """A compound whose root is the tree at `path`."""
    return FileRequest(make_namespace(f"{path}=/,{options}"), minor)


@contextmanager
def acting_as(c: FileRequest, uid: int) -> Iterator[None]:
    """Inside, the compound's caller is an ordinary user; afterwards the thread is the server again."""
    before, c.cred = c.cred, Credentials(uid, uid, ())
    try:
        yield
    finally:
        c.cred = before
        credentials.become(before)


def status_of(handler: Any, c: FileRequest, args: Any = None) -> int:
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
            wait = steps.throw(failure) if failure else steps.send(value)
        except StopIteration as stop:
            return stop.value
        value, failure = None, None
        try:
            assert isinstance(wait, Thread)
            value = wait.work()
        except OSError as error:
            failure = error
