"""Calls and replies of ONC RPC as bytes, and one blocking TCP connection that carries them as records.

It takes nothing from the server's own code, so that a mistake of the server's is not made here too. Must not know
what a call asks for.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

PROGRAM, VERSION = 100003, 4
NULL, COMPOUND = 0, 1
AUTH_NONE, AUTH_SYS = 0, 1
REPLY = 1
LAST_FRAGMENT = 0x80000000
TIMEOUT_S = 15.0
RECEIVE_SIZE = 1 << 18
_CALL = struct.Struct(">6I")
_MARK = struct.Struct(">I")


class WireError(AssertionError):
    """The server answered something that is no reply, or not what it had to be."""


def auth_sys(uid: int = 0, gid: int = 0, groups: Sequence[int] = (), machine: bytes = b"tests") -> bytes:
    """The body of an AUTH_SYS credential (RFC 5531, appendix A)."""
    name = struct.pack(">I", len(machine)) + machine + bytes(-len(machine) % 4)
    return struct.pack(">I", 1) + name + struct.pack(f">3I{len(groups)}I", uid, gid, len(groups), *groups)


def authentic(body: bytes, flavor: int = AUTH_SYS, verifier: bytes = b"") -> bytes:
    """A credential and a verifier, as they stand in the header of a call (RFC 5531 8.2)."""
    return struct.pack(">2I", flavor, len(body)) + body + struct.pack(">2I", AUTH_NONE, len(verifier)) + verifier


ROOT = authentic(auth_sys())


def call(
    xid: int,
    body: bytes,
    credential: bytes = ROOT,
    procedure: int = COMPOUND,
    *,
    rpc_version: int = 2,
    program: int = PROGRAM,
    version: int = VERSION,
) -> bytes:
    """A call without its record mark; `credential` is what `authentic` gives."""
    return _CALL.pack(xid, 0, rpc_version, program, version, procedure) + credential + body


def marked(message: bytes | bytearray) -> bytes:
    """The message as one record of one fragment (RFC 5531 11)."""
    return _MARK.pack(LAST_FRAGMENT | len(message)) + message


class Records:
    """Whole records out of a stream of bytes that comes in pieces."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._fragments = b""

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next(self) -> bytes | None:
        """The next record, or None while it is not whole."""
        while len(self._buffer) - self._at >= 4:
            mark: int = _MARK.unpack_from(self._buffer, self._at)[0]
            start = self._at + 4
            stop = start + (mark & ~LAST_FRAGMENT)
            if stop > len(self._buffer):
                return None
            fragment, self._at = self._buffer[start:stop], stop
            if mark & LAST_FRAGMENT:
                record, self._fragments = self._fragments + fragment, b""
                return record
            self._fragments += fragment
        return None


class RpcReply:
    """A reply as RFC 5531 has it: `stat` is the accept_stat, or the reject_stat of a denied one.

    Raises:
        WireError: the record is no reply.
    """

    def __init__(self, record: bytes) -> None:
        self.record = record
        try:
            self.xid, kind, self.denied = struct.unpack_from(">3I", record)
            if self.denied:
                size, (self.stat,) = 0, struct.unpack_from(">I", record, 12)
                self.body = record[16:]
            else:
                _flavor, size, self.stat = struct.unpack_from(">3I", record, 12)
                self.body = record[24:]
        except struct.error as error:
            raise WireError(f"a reply of {len(record)} bytes") from error
        if kind != REPLY or size:
            raise WireError(f"message type {kind}, a verifier of {size} bytes")

    def words(self) -> tuple[int, ...]:
        """What follows the stat, as numbers."""
        return struct.unpack(f">{len(self.body) // 4}I", self.body)


class Stream:
    """One blocking TCP connection that carries records."""

    def __init__(
        self,
        port: int,
        *,
        address: str = "127.0.0.1",
        source: str = "",
        source_port: int = 0,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.socket = socket.create_connection((address, port), timeout_s, source_address=(source, source_port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._records = Records()

    def close(self) -> None:
        """Close it."""
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        """Send each message as one record of one fragment, all of them at once."""
        self.socket.sendall(b"".join(map(marked, messages)))

    def receive_record(self) -> bytes:
        """The next record.  Raises EOFError where the server has closed the connection."""
        while (record := self._records.next()) is None:
            try:
                data = self.socket.recv(RECEIVE_SIZE)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError("the server closed the connection")
            self._records.feed(data)
        return record

    def receive(self) -> RpcReply:
        """The next reply."""
        return RpcReply(self.receive_record())
