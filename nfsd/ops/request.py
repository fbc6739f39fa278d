"""The request that an operation is part of: what an operation may know, change and wait for.

Owns who the caller acts as on an export, and the current and saved file handle.  It is made as a `Compound`
(`nfsd/compound`), which evaluates it; tests make their own kind.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from nfsd.errors import Nfs4Error
from nfsd.exports import AUTH_NONE
from nfsd.ops.once import Before
from nfsd.ops.row import Operation
from nfsd.rpc.message import Call
from nfsd.services import Services
from nfsd.state.asker import Asker
from nfsd.state.model import SeqidOwner, Session, Slot
from nfsd.state.tables import State
from nfsd.vfs.interface import Busy, Credentials, FileSystem, Node
from xdr.generated import nfs4

# Callers remembered on one connection before they are all forgotten.
_CALLERS_MAX: Final = 1024


class Wait:
    """What an operation that has to wait yields: what it waits for."""

    __slots__ = ()


class Thread(Wait):
    """Wait for work that a thread does; the operation goes on with what the work returns or raises.

    `apart`: the work is on trees that are served apart, so that it waits by itself and needs no thread.
    """

    __slots__ = ("work", "apart")

    def __init__(self, work: Callable[[], Any], *, apart: bool = False) -> None:
        self.work = work
        self.apart = apart


Steps = Generator[Wait, Any, Any]
"""An operation that may have to wait: a generator that returns the result."""


def busy_while(nodes: tuple[Node, ...], work: Callable[[], Any]) -> Steps:
    """Run `work` in a thread with the nodes' descriptors kept open; returns its result."""
    with Busy(*nodes):
        return (yield Thread(work, apart=any(node.fs.apart for node in nodes)))


class Request(Asker):
    """One request as its operations see it.

    services            what the server offers; `state` is its protocol state
    call                the RPC call; `cred` is the caller that it names, before squashing
    operation, index    the operation under way, and its place among the `count` operations
    operations          all of them, each with its arguments
    current, saved      the objects of the current and the saved file handle
    saved_stateid       the stateid that was saved with the file handle
    session, slot       after SEQUENCE
    cache_this          the client wants the reply kept (sa_cachethis)
    owner               NFSv4.0: whose sequence id the operation uses up
    reply_size          bytes that the reply has so far, of `reply_size_max`
    """

    __slots__ = (
        "services",
        "state",
        "call",
        "operation",
        "operations",
        "index",
        "count",
        "tag",
        "current",
        "saved",
        "saved_stateid",
        "session",
        "slot",
        "cache_this",
        "owner",
        "reply_size",
        "reply_size_max",
        "_admitted",
        "_caller",
        "_read_only",
    )

    services: Services
    state: State
    call: Call
    operation: Operation
    operations: list[tuple[Operation, Any]]
    index: int
    count: int
    tag: bytes
    current: Node | None
    saved: Node | None
    saved_stateid: tuple[int, bytes] | None
    session: Session | None
    slot: Slot | None
    cache_this: bool
    owner: SeqidOwner | None
    reply_size: int
    reply_size_max: int
    _admitted: FileSystem | None
    _caller: Credentials
    _read_only: bool

    # -- file handles -------------------------------------------------------------------------------------

    def node(self) -> Node:
        """The current file handle's object.  Raises Nfs4Error(NOFILEHANDLE)."""
        if self.current is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no current file handle")
        return self.current

    def saved_node(self) -> Node:
        """The saved file handle's object.  Raises Nfs4Error(NOFILEHANDLE)."""
        if self.saved is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no saved file handle")
        return self.saved

    def set_node(self, node: Node | None) -> None:
        """Set the current file handle; the current stateid goes with the old one (RFC 8881 16.2.3.1.2)."""
        self.current = node
        self.stateid = None

    def seen(self, node: Node) -> Node:
        """A node as this client sees it: above the exports with the names alone that lead to exports for it.

        Raises StaleHandle for a directory above the exports that leads to none of them.
        """
        if node.fs.export is not None:
            return node
        return self.services.namespace.seen_by(node, self.connection.address)

    # -- the caller ---------------------------------------------------------------------------------------

    def principal(self) -> bytes:
        """Who makes the request, as far as owning a client record goes (RFC 8881 2.4.3)."""
        return b"%d:%d" % (self.call.flavor, self.call.cred.uid)

    def as_caller(self, node: Node, *, reading: bool = False) -> Credentials:
        """The caller as `node`'s export squashes it.  `reading`: the operation only reads this object.

        Raises Nfs4Error: ACCESS or WRONGSEC for a client that the export is not for, ROFS for an operation that
        writes where the client may only read.
        """
        if node.fs is not self._admitted:
            self._caller, self._read_only = self._admit(node)
            self._admitted = node.fs
        if self._read_only and self.operation.writes and not reading:
            raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only for this client")
        return self._caller

    def may_write(self, node: Node) -> bool:
        """Whether the node's export is writable for this client."""
        self.as_caller(node)
        return not self._read_only

    def _admit(self, node: Node) -> tuple[Credentials, bool]:
        """Whom the caller acts as on the node's export, and whether it may only read there.

        Raises Nfs4Error(ACCESS, WRONGSEC).
        """
        connection, call = self.connection, self.call
        key = (node.fs, call.flavor, call.cred)
        found = connection.callers.get(key)
        if found is not None:
            return found
        options = self.services.namespace.options(node, connection.address)
        if options is None or not options.port_allowed(connection.port):
            raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the export is not for this client or this port")
        if node.fs.export is not None and call.flavor not in options.flavours:
            raise Nfs4Error(nfs4.NFS4ERR_WRONGSEC, f"flavour {call.flavor} is not allowed here")
        cred = options.anonymous() if call.flavor == AUTH_NONE else options.apply(call.cred)
        if len(connection.callers) >= _CALLERS_MAX:
            connection.callers.clear()
        found = connection.callers[key] = (cred, options.read_only or node.fs.read_only)
        return found

    # -- exactly once -------------------------------------------------------------------------------------

    def unfinished(self) -> Before | None:
        """After a crash: what there was before this very operation, if it may have been carried out already."""
        raise NotImplementedError

    def begin(self, before: Before) -> None:
        """Make durable that this operation is about to change a file system; MUST come before the change.

        What earlier operations of the compound changed in the state becomes durable with it: after a crash the
        compound goes on from here.
        """
        raise NotImplementedError
