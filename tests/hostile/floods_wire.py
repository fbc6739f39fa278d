"""Floods of connections, records, replies and log lines: of what a server keeps before it knows whom it talks to."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import time
from collections.abc import Iterator

from tests.hostile.flood import BATCH, Flood
from tests.hostile.server import BIG_DIRECTORY, BIG_FILE
from tests.support import operations as ops
from tests.support.client import Connection, begin_session, compound, identify, unique
from tests.support.operations import encoded
from tests.support.rpc import LAST_FRAGMENT, call
from tests.support.waiting import let_pass
from xdr.generated import nfs4

MIB = 1 << 20
RECORD_SIZE = 1_114_112
"""As large as the server takes them (limits.record_size_max)."""
CONNECTIONS = 1000
TRICKLE_S = 0.5
# Two attributes can only be set (RFC 8881 5.6, 5.7).
ATTRIBUTES_ALL = (1 << 64) - 1 & ~(1 << nfs4.FATTR4_TIME_ACCESS_SET | 1 << nfs4.FATTR4_TIME_MODIFY_SET)


class Harmless(Flood):
    """The control: a process that is as busy, and sends nothing to anybody."""

    name = "control (nothing sent)"
    proof = "hashes"

    def run(self) -> None:
        """Count hashes."""
        block = bytes(1 << 16)
        while self.goes_on():
            hashlib.sha256(block).digest()
            self.did["hashes"] += 1


def _root_then(*operations: bytes, pseudo: bytes = b"shared", names: tuple[bytes, ...] = ()) -> bytes:
    """An NFSv4.0 call that needs no client: the way to an object of the shared export, and these."""
    way = [encoded("LOOKUP", nfs4.LOOKUP4args(name)) for name in (pseudo, *names)]
    return call(1, compound(0, [encoded("PUTROOTFH"), *way, *operations]))


class UnreadReads(Flood):
    """A MiB is asked for again and again, on many connections, and no reply taken."""

    name = "replies never read: READ"
    admitted = True
    proof = "MiB sent"

    def run(self) -> None:
        """Compounds of ten READs each."""
        read = encoded("READ", nfs4.READ4args(ops.ANONYMOUS, 0, MIB))
        self.pour(_root_then(*[read] * 10, names=(BIG_FILE.encode(),)), 200)


class UnreadTags(Flood):
    """Compounds that do nothing but have a tag of almost a MiB, which the reply repeats; no reply is taken."""

    name = "replies never read: tags"
    proof = "MiB sent"

    def run(self) -> None:
        """One large request after the other."""
        self.pour(call(1, compound(0, [encoded("PUTROOTFH")], b"t" * (MIB - 4096))), CONNECTIONS)


class GiantReaddirs(Flood):
    """A large directory with all its attributes, asked for many times in one batch."""

    name = "giant READDIRs in one batch"
    admitted = True

    def run(self) -> None:
        """Batches of compounds of four READDIRs each, and all their replies."""
        readdir = encoded("READDIR", nfs4.READDIR4args(0, bytes(8), 0, 0xFFFFFFFF, ATTRIBUTES_ALL))
        message = _root_then(*[readdir] * 4, names=(BIG_DIRECTORY.encode(),))
        batches: Iterator[list[bytes]] = iter(lambda: [message] * 100, None)
        for reply in self.storm(batches):
            self.did["MiB of replies"] += len(reply)
            self.saw(reply)
        self.did["MiB of replies"] >>= 20


class Marks(Flood):
    """Records of the largest size that are announced, or sent but for their last byte, and never finished."""

    name = "record marks without records"
    proof = "bytes sent"

    def run(self) -> None:
        """Hold them, a byte now and then, until the time is over."""
        mark = struct.pack(">I", LAST_FRAGMENT | RECORD_SIZE)
        body = mark + bytes(RECORD_SIZE - (1 << 16))
        held = self.connections(CONNECTIONS)
        for number, connection in enumerate(held):
            self._send(connection, mark if number % 2 else body)
        while self.goes_on():
            for connection in held:
                self._send(connection, b"\0")
            let_pass(TRICKLE_S, "a byte comes now and then")

    def _send(self, connection: Connection, data: bytes) -> None:
        if not self.goes_on():
            return
        connection.socket.settimeout(0.2)
        with contextlib.suppress(OSError):
            connection.socket.sendall(data)
            self.did["bytes sent"] += len(data)


class IdleConnections(Flood):
    """Connections on which nothing is ever said."""

    name = "10,000 idle connections"
    counts = 10_000, 10_000
    time_factor = 2.0
    proof = "connections"

    def run(self) -> None:
        """Connect, and connect again where the server hangs up, until the time is over."""
        held: list[socket.socket] = []
        for _ in range(self.count):
            if not self.goes_on():
                break
            try:
                held.append(
                    socket.create_connection(
                        ("127.0.0.1", self.port), self.patience_s, source_address=(self.address, 0)
                    )
                )
                self.did["connections"] += 1
            except OSError:
                self.did["connections lost"] += 1
        self.did["open at the end"] = 0
        let_pass(self.end_s - time.monotonic(), "the connections idle")
        for each in held:
            each.setblocking(False)
            with contextlib.suppress(OSError):
                self.did["open at the end"] += self._is_open(each)

    def _is_open(self, each: socket.socket) -> bool:
        try:
            return bool(each.recv(1))
        except BlockingIOError:
            return True


class LogStorm(Flood):
    """All that makes a line in the log and can be done by anybody."""

    name = "log storm"
    proof = "refused by RPC"

    def run(self) -> None:
        """Garbage, foreign versions, replies, broken records, and clients that come and go."""
        garbage = call(1, b"\0\0\0\0\0\0\0\1\0\0\0\1\0\0\0")
        foreign = call(2, b"", rpc_version=3)
        illegal = call(3, b"", program=100005)
        reply = struct.pack(">6I", 4, 1, 0, 0, 0, 0)
        storm = [garbage, foreign, illegal]
        while self.goes_on():
            try:
                connection = self.connect()
                for _ in range(4):
                    connection.send(reply)
                    for record in self.ask_all(connection, storm * (BATCH // 3)):
                        self.saw(record)
                self._come_and_go(connection)
                connection.socket.sendall(b"\xff" * 64)
                connection.close()
            except (AssertionError, EOFError, OSError):
                self.did["connections lost"] += 1

    def _come_and_go(self, connection: Connection) -> None:
        for _ in range(8):
            known = identify(connection, unique(b"come and go"))
            session = begin_session(connection, known.eir_clientid, known.eir_sequenceid)
            connection.call(ops.destroy_session(session.sessionid))
            connection.call(ops.destroy_clientid(session.clientid))
            self.did["clients"] += 1
