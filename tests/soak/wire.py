"""The client's side of the wire, as little as a load needs: calls and compounds out, replies in, one blocking socket.

Owns the encoding of calls and the decoding of whole replies.  Must not know what any load wants to show.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from xdr.generated import nfs4

LAST_FRAGMENT = 0x80000000
TIMEOUT_S = 20.0
CHANNEL = nfs4.channel_attrs4(0, 1 << 20, 1 << 20, 4096, 32, 32, [])
_CALL = struct.Struct(">6I")
_MARK = struct.Struct(">I")


class WireError(Exception):
    """The server closed the connection, or answered something that is no reply."""


class Result(NamedTuple):
    """One operation's result: its number, status, and the value of the arm that came with it."""

    opnum: int
    status: int
    value: Any


class Reply(NamedTuple):
    """One decoded reply; `body` is what follows the RPC header, as the server's reply cache keeps it."""

    xid: int
    status: int
    results: list[Result]
    body: bytes

    def value(self, index: int) -> Any:
        """The value of the result at `index`, counted as in the request; its status has to be NFS4_OK."""
        if index >= len(self.results) or self.results[index].status != nfs4.NFS4_OK:
            raise WireError(f"{nfs4.nfsstat4_names.get(self.status, self.status)} where {index} was to succeed")
        return self.results[index].value


def auth_sys(uid: int = 0, gid: int = 0, groups: Sequence[int] = (), name: bytes = b"soak") -> bytes:
    """An AUTH_SYS credential and an empty verifier (RFC 5531, appendix A)."""
    padded = name + bytes(-len(name) & 3)
    body = struct.pack(f">II{len(padded)}s3I{len(groups)}I", 0, len(name), padded, uid, gid, len(groups), *groups)
    return struct.pack(">II", 1, len(body)) + body + bytes(8)


ROOT = auth_sys()


def operation(name: str, args: Any = None) -> bytes:
    """One operation of a compound, with its number; `args` is the XDR value, None for void."""
    packer = nfs4.Nfs4Packer()
    packer.pack_uint(getattr(nfs4, f"OP_{name}"))
    if args is not None:
        getattr(packer, f"pack_{name}4args")(args)
    return packer.get_buffer()


def compound(minor: int, operations: Sequence[bytes], tag: bytes = b"") -> bytes:
    """COMPOUND4args of operations that are encoded already."""
    head = struct.pack(f">I{len(tag)}s{-len(tag) & 3}xII", len(tag), tag, minor, len(operations))
    return head + b"".join(operations)


def call(xid: int, body: bytes, credential: bytes = ROOT, procedure: int = 1) -> bytes:
    """An RPC call without its record mark."""
    return _CALL.pack(xid, 0, 2, 100003, 4, procedure) + credential + body


def marked(message: bytes | bytearray) -> bytes:
    """The message as one record of one fragment (RFC 5531 11)."""
    return _MARK.pack(LAST_FRAGMENT | len(message)) + message


def sequence(sessionid: bytes, slot: int, seqid: int, highest: int, cache: bool = False) -> bytes:
    """A SEQUENCE operation."""
    return operation("SEQUENCE", nfs4.SEQUENCE4args(sessionid, seqid, slot, highest, cache))


def decode_reply(message: bytes) -> Reply:
    """Decode a whole reply to a COMPOUND.  Raises WireError, XdrError."""
    if len(message) < 24:
        raise WireError(f"a reply of {len(message)} bytes")
    xid, kind, denied, _flavor, size, accept_stat = struct.unpack_from(">6I", message)
    if kind != 1 or denied or size or accept_stat:
        raise WireError(f"reply type {kind}, denied {denied}, accept_stat {accept_stat}")
    body = message[24:]
    unpacker = nfs4.Nfs4Unpacker(body)
    status = unpacker.unpack_uint()
    unpacker.unpack_opaque()
    results = []
    for _ in range(unpacker.unpack_uint()):
        opnum = unpacker.unpack_uint()
        name = nfs4.nfs_opnum4_names[opnum].removeprefix("OP_")
        outcome = getattr(unpacker, f"unpack_{name}4res")()
        first, *rest = type(outcome).__slots__
        values = [value for slot in rest if (value := getattr(outcome, slot)) is not None]
        results.append(Result(opnum, getattr(outcome, first), values[0] if values else None))
    unpacker.done()
    return Reply(xid, status, results, body)


class Wire:
    """One blocking TCP connection.  Every method raises WireError when the server has gone."""

    def __init__(self, address: tuple[str, int], timeout_s: float = TIMEOUT_S) -> None:
        try:
            self.socket = socket.create_connection(address, timeout_s)
        except OSError as error:
            raise WireError(f"cannot connect: {error}") from error
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self.socket.getsockname()[1]
        self._buffer = b""

    def send(self, *messages: bytes) -> None:
        """Send each message as one record."""
        try:
            self.socket.sendall(b"".join(map(marked, messages)))
        except OSError as error:
            raise WireError(f"cannot send: {error}") from error

    def receive(self) -> bytes:
        """The next reply, without its record mark."""
        buffer = self._buffer
        while True:
            if len(buffer) >= 4:
                stop = 4 + (_MARK.unpack_from(buffer)[0] & 0x7FFFFFFF)
                if len(buffer) >= stop:
                    self._buffer = buffer[stop:]
                    return buffer[4:stop]
            try:
                data = self.socket.recv(1 << 18)
            except OSError as error:
                raise WireError(f"cannot receive: {error}") from error
            if not data:
                raise WireError("the server closed the connection")
            buffer = self._buffer = buffer + data

    def exchange(self, xid: int, minor: int, operations: Sequence[bytes], credential: bytes = ROOT) -> Reply:
        """Send one compound and wait for its reply."""
        self.send(call(xid, compound(minor, operations), credential))
        reply = decode_reply(self.receive())
        if reply.xid != xid:
            raise WireError(f"the reply to {reply.xid:#x} where {xid:#x} was asked")
        return reply

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
