"""A small synchronous NFSv4 client on the wire: every field of a request is the test's to choose.

Owns compounds, replies, slots and NFSv4.0 owners.  It takes nothing from the server's own code but the XDR modules, so
that a mistake of the server's is not made here too.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from itertools import count
from typing import Any

from tests.support import operations as ops
from tests.support.operations import Op
from tests.support.rpc import (
    AUTH_SYS,
    COMPOUND,
    NULL,
    PROGRAM,
    TIMEOUT_S,
    VERSION,
    RpcReply,
    Stream,
    WireError,
    auth_sys,
    authentic,
    call,
)
from xdr.generated import nfs4

_unique = count(int.from_bytes(os.urandom(3), "big") << 8)


def unique(prefix: bytes) -> bytes:
    """A name that no other test uses."""
    return b"%s-%x" % (prefix, next(_unique))


def compound(minor: int, operations: Sequence[bytes], tag: bytes = b"") -> bytes:
    """COMPOUND4args of operations that are encoded already."""
    head = struct.pack(f">I{len(tag)}s{-len(tag) & 3}xII", len(tag), tag, minor, len(operations))
    return head + b"".join(operations)


class Reply:
    """A COMPOUND's reply; `body` is its bytes after the RPC header, `results` the value of each operation.

    Raises:
        WireError: the RPC layer refused the call.
        XdrError: it does not decode.
    """

    def __init__(self, reply: RpcReply) -> None:
        if reply.denied or reply.stat:
            raise WireError(f"the RPC layer refused: {reply.stat}")
        self.xid = reply.xid
        self.body = reply.body
        unpacker = nfs4.Nfs4Unpacker(reply.body)
        value = unpacker.unpack_COMPOUND4res()
        unpacker.done()
        self.status: int = value.status
        self.tag: bytes = value.tag
        self.numbers: list[int] = [result.resop for result in value.resarray]
        self.results: list[Any] = [result.arm for result in value.resarray]

    def __getitem__(self, index: int) -> Any:
        return self.results[index]

    def statuses(self) -> list[int]:
        """The status of each operation that was tried."""
        return [getattr(result, result.__slots__[0]) for result in self.results]

    def value(self, index: int) -> Any:
        """What came with the success of an operation, None if nothing did.

        Raises:
            WireError: it did not succeed, or was not reached.
        """
        if index >= len(self.results) or self.statuses()[index] != nfs4.NFS4_OK:
            raise WireError(f"{nfs4.nfsstat4_names.get(self.status, self.status)} where {index} was to succeed")
        result = self.results[index]
        arms = (getattr(result, name) for name in result.__slots__[1:])
        return next((arm for arm in arms if arm is not None), None)


class Connection(Stream):
    """One TCP connection, and who calls over it."""

    def __init__(
        self,
        port: int,
        *,
        uid: int = 0,
        gid: int = 0,
        groups: tuple[int, ...] = (),
        source_port: int = 0,
        source: str = "",
        address: str = "127.0.0.1",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(port, address=address, source=source, source_port=source_port, timeout_s=timeout_s)
        self.credential = auth_sys(uid, gid, groups)
        self._xid = int.from_bytes(os.urandom(4), "big")

    def next_xid(self) -> int:
        """A fresh xid."""
        self._xid = (self._xid + 1) & 0xFFFFFFFF
        return self._xid

    def message(
        self,
        body: bytes = b"",
        *,
        xid: int | None = None,
        rpc_version: int = 2,
        program: int = PROGRAM,
        version: int = VERSION,
        procedure: int = COMPOUND,
        flavor: int = AUTH_SYS,
        credential: bytes | None = None,
        verifier: bytes = b"",
    ) -> bytes:
        """A call without its record mark."""
        if credential is None:
            credential = self.credential if flavor == AUTH_SYS else b""
        return call(
            self.next_xid() if xid is None else xid,
            body,
            authentic(credential, flavor, verifier),
            procedure,
            rpc_version=rpc_version,
            program=program,
            version=version,
        )

    def rpc(self, message: bytes) -> RpcReply:
        """Send one message, take one reply."""
        self.send(message)
        return self.receive()

    def null(self) -> RpcReply:
        """Call the NULL procedure: the server lives."""
        return self.rpc(self.message(procedure=NULL))

    def compound(self, *operations: Op, minor: int = 1, tag: bytes = b"", xid: int | None = None) -> bytes:
        """A COMPOUND's call without its record mark."""
        packer = nfs4.Nfs4Packer()
        packer.pack_COMPOUND4args(nfs4.COMPOUND4args(tag, minor, list(operations)))
        return self.message(packer.get_buffer(), xid=xid)

    def call(self, *operations: Op, minor: int = 1, tag: bytes = b"", xid: int | None = None) -> Reply:
        """One COMPOUND and its reply."""
        return self._exchange(self.compound(*operations, minor=minor, tag=tag, xid=xid))

    def ask(self, *operations: bytes, minor: int = 1, xid: int | None = None) -> Reply:
        """One COMPOUND of operations that are encoded already, and its reply."""
        return self._exchange(self.message(compound(minor, operations), xid=xid))

    def _exchange(self, message: bytes) -> Reply:
        reply = Reply(self.rpc(message))
        if struct.pack(">I", reply.xid) != message[:4]:
            raise WireError(f"the reply to {reply.xid:#x} where {message[:4].hex()} was asked")
        return reply

    def status(self, *operations: Op, minor: int = 1) -> int:
        """The status that a COMPOUND ends with."""
        return self.call(*operations, minor=minor).status


class Opened:
    """What an OPEN gave: the file's handle, the stateid, the whole result."""

    def __init__(self, handle: bytes, result: nfs4.OPEN4resok) -> None:
        self.handle = handle
        self.stateid = result.stateid
        self.result = result


class Session:
    """An NFSv4.1 session and its slots' sequence ids; requests go over `connection`."""

    def __init__(self, connection: Connection, clientid: int, resok: nfs4.CREATE_SESSION4resok, minor: int) -> None:
        self.connection = connection
        self.clientid = clientid
        self.sessionid = resok.csr_sessionid
        self.fore = resok.csr_fore_chan_attrs
        self.create_sequence = resok.csr_sequence
        self.minor = minor
        self.seqids = [0] * self.fore.ca_maxrequests
        self.directory = b""

    def message(self, *operations: Op, slot: int = 0, cache: bool = False, seqid: int | None = None) -> bytes:
        """The next request of a slot, or one with a sequence id of the test's choice, not yet sent."""
        number = self.seqids[slot] + 1 if seqid is None else seqid
        first = ops.sequence(self.sessionid, number, slot, cache=cache)
        return self.connection.compound(first, *operations, minor=self.minor)

    def call(self, *operations: Op, slot: int = 0, cache: bool = False, seqid: int | None = None) -> Reply:
        """One COMPOUND after SEQUENCE; the slot moves on where SEQUENCE succeeded."""
        reply = Reply(self.connection.rpc(self.message(*operations, slot=slot, cache=cache, seqid=seqid)))
        if seqid is None and reply.results[0].sr_status == nfs4.NFS4_OK:
            self.seqids[slot] += 1
        return reply

    def ok(self, *operations: Op, slot: int = 0) -> list[Any]:
        """The results after SEQUENCE's; every operation must succeed."""
        reply = self.call(*operations, slot=slot)
        failed = nfs4.nfsstat4_names[reply.status]
        assert reply.status == nfs4.NFS4_OK, f"{failed} from operation {len(reply.results) - 1}"
        return reply.results[1:]

    def status(self, *operations: Op) -> int:
        """The status that a COMPOUND ends with."""
        return self.call(*operations).status

    def open(
        self,
        name: bytes,
        share: int = ops.BOTH,
        deny: int = ops.DENY_NONE,
        *,
        owner: bytes = b"owner",
        how: nfs4.createhow4 | None = None,
    ) -> Opened:
        """Open a file of the export's root; it must succeed."""
        opening = ops.open_(name, share, deny, owner=owner, how=how)
        _put, opened, handle = self.ok(ops.putfh(self.directory), opening, ops.getfh())
        return Opened(handle.resok4.object, opened.resok4)

    def create(self, name: bytes, *, mode: int = 0o666, owner: bytes = b"owner", share: int = ops.BOTH) -> Opened:
        """Make a new file in the export's root and open it."""
        return self.open(name, share, owner=owner, how=ops.guarded(ops.attrs(mode=mode)))

    def open_status(
        self,
        name: bytes,
        share: int = ops.BOTH,
        deny: int = ops.DENY_NONE,
        *,
        owner: bytes = b"owner",
        how: nfs4.createhow4 | None = None,
    ) -> int:
        """The status of an OPEN in the export's root."""
        return self.status(ops.putfh(self.directory), ops.open_(name, share, deny, owner=owner, how=how))

    def lock(
        self,
        opened: Opened,
        offset: int = 0,
        length: int = ops.TO_EOF,
        kind: int = nfs4.WRITE_LT,
        *,
        owner: bytes = b"locker",
    ) -> nfs4.stateid4:
        """A lock owner's first lock under an open; it must succeed."""
        locking = ops.lock_new(opened.stateid, offset, length, kind, owner=owner)
        stateid: nfs4.stateid4 = self.ok(ops.putfh(opened.handle), locking)[-1].resok4.lock_stateid
        return stateid


def identify(connection: Connection, owner: bytes, verifier: bytes = b"verifier") -> nfs4.EXCHANGE_ID4resok:
    """EXCHANGE_ID that must succeed."""
    reply = connection.call(ops.exchange_id(owner, verifier))
    assert reply.status == nfs4.NFS4_OK
    resok: nfs4.EXCHANGE_ID4resok = reply.results[0].eir_resok4
    return resok


def begin_session(
    connection: Connection,
    clientid: int,
    sequence: int,
    *,
    fore: nfs4.channel_attrs4 | None = None,
    minor: int = 1,
) -> Session:
    """CREATE_SESSION that must succeed."""
    reply = connection.call(ops.create_session(clientid, sequence, fore=fore))
    assert reply.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[reply.status]
    return Session(connection, clientid, reply.results[0].csr_resok4, minor)


def mount(
    connection: Connection,
    *,
    owner: bytes | None = None,
    pseudo: bytes = b"export",
    fore: nfs4.channel_attrs4 | None = None,
    minor: int = 1,
    complete: bool = True,
) -> Session:
    """A client with a session that has reclaimed nothing and knows the export's root."""
    found = identify(connection, owner or unique(b"client"))
    session = begin_session(connection, found.eir_clientid, found.eir_sequenceid, fore=fore, minor=minor)
    if complete:
        session.ok(ops.reclaim_complete())
    walked = session.ok(ops.putrootfh(), ops.lookup(pseudo), ops.getfh())
    session.directory = walked[-1].resok4.object
    return session


class Client40:
    """A confirmed NFSv4.0 client; its owners' sequence ids are kept by `Owner40`."""

    def __init__(self, connection: Connection, owner: bytes | None = None, pseudo: bytes = b"export") -> None:
        self.connection = connection
        self.owner = owner or unique(b"client40")
        reply = self.call(ops.setclientid(self.owner))
        assert reply.status == nfs4.NFS4_OK
        resok = reply.results[0].resok4
        self.clientid: int = resok.clientid
        self.confirm: bytes = resok.setclientid_confirm
        self.ok(ops.setclientid_confirm(self.clientid, self.confirm))
        self.directory: bytes = self.ok(ops.putrootfh(), ops.lookup(pseudo), ops.getfh())[-1].resok4.object

    def call(self, *operations: Op, xid: int | None = None) -> Reply:
        """One COMPOUND."""
        return self.connection.call(*operations, minor=0, xid=xid)

    def ok(self, *operations: Op) -> list[Any]:
        """The results; every operation must succeed."""
        reply = self.call(*operations)
        failed = nfs4.nfsstat4_names[reply.status]
        assert reply.status == nfs4.NFS4_OK, f"{failed} from operation {len(reply.results)}"
        return reply.results

    def status(self, *operations: Op) -> int:
        """The status that a COMPOUND ends with."""
        return self.call(*operations).status


class Owner40:
    """One NFSv4.0 open owner of a client, with its sequence id."""

    def __init__(self, client: Client40, name: bytes | None = None) -> None:
        self.client = client
        self.name = name or unique(b"owner40")
        self.seqid = 0

    def next(self) -> int:
        """The sequence id of the next request."""
        self.seqid += 1
        return self.seqid

    def opening(
        self,
        name: bytes,
        share: int = ops.BOTH,
        how: nfs4.createhow4 | None = None,
        *,
        deny: int = ops.DENY_NONE,
        seqid: int | None = None,
    ) -> list[Op]:
        """PUTFH, OPEN, GETFH with the next sequence id, or with one of the test's choice."""
        number = self.next() if seqid is None else seqid
        opening = ops.open_(name, share, deny, owner=self.name, how=how, clientid=self.client.clientid, seqid=number)
        return [ops.putfh(self.client.directory), opening, ops.getfh()]

    def open(
        self, name: bytes, share: int = ops.BOTH, how: nfs4.createhow4 | None = None, *, deny: int = ops.DENY_NONE
    ) -> Opened:
        """OPEN, and OPEN_CONFIRM where the server asks for it; both must succeed."""
        _put, opened, handle = self.client.ok(*self.opening(name, share, how, deny=deny))
        found = Opened(handle.resok4.object, opened.resok4)
        if found.result.rflags & nfs4.OPEN4_RESULT_CONFIRM:
            confirm = ops.open_confirm(found.stateid, self.next())
            done = self.client.ok(ops.putfh(found.handle), confirm)
            found.stateid = done[-1].resok4.open_stateid
        return found

    def create(self, name: bytes) -> Opened:
        """Make a new file and open it."""
        return self.open(name, how=ops.guarded(ops.attrs(mode=0o666)))
