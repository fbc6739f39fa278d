"""What a flood is, and what all of them share: how fast, how long, how much, and from which address.

Owns the base class and the ways to keep connections busy. Must not know any operation.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence

from tests.hostile.server import NEIGHBOUR, OUTSIDER
from tests.support.client import Connection
from tests.support.rpc import marked
from xdr.generated import nfs4

BATCH = 64
RECEIVE_BUFFER_SIZE = 4096
_ACCEPTED_HEAD = 24


class Flood(ABC):
    """One attack from one address, which ends by itself after `seconds`, or as soon as it has done all of its `count`.

    `did` counts what it got done, by words for a table; statuses too, by their names.
    """

    name: str
    admitted = False
    """Whether the shared export lets its address in."""
    counts: tuple[int, int] = (0, 0)
    """How much it wants to do: every day, and in the long run; 0: as much as the time allows."""
    time_factor = 1.0
    """For floods that have much to do: so many times as long as the others."""
    proof = "NFS4_OK"
    """What it must have counted, or it has done nothing at all."""
    patience_s = 5.0
    """How long it waits for anything: a server that takes nothing more is no reason to stop."""

    def __init__(self, port: int, seconds: float, count: int) -> None:
        self.port = port
        self.count = count
        self.end_s = time.monotonic() + seconds * self.time_factor
        self.did: Counter[str] = Counter()
        self.address = NEIGHBOUR if self.admitted else OUTSIDER

    @abstractmethod
    def run(self) -> None:
        """Do it, until `goes_on` says no."""

    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.end_s

    def connect(self, *, small: bool = False) -> Connection:
        """A connection from the flood's address; `small`: with little room for replies."""
        connection = Connection(self.port, source=self.address, timeout_s=self.patience_s)
        if small:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_SIZE)
        self.did["connections"] += 1
        return connection

    def connections(self, count: int, *, small: bool = False) -> list[Connection]:
        """Connections from the flood's address, or as many as there are to be had."""
        found: list[Connection] = []
        with contextlib.suppress(OSError):
            while len(found) < count and self.goes_on():
                found.append(self.connect(small=small))
        return found

    def saw(self, record: bytes) -> int:
        """Count a reply by its status, which is returned; -1 where the RPC layer refused."""
        if len(record) < _ACCEPTED_HEAD + 4 or record[8:12] != bytes(4) or record[20:24] != bytes(4):
            self.did["refused by RPC"] += 1
            return -1
        status: int = struct.unpack_from(">I", record, _ACCEPTED_HEAD)[0]
        self.did[nfs4.nfsstat4_names.get(status, str(status))] += 1
        return status

    # -- with replies -------------------------------------------------------------------------------------

    def ask_all(self, connection: Connection, messages: Sequence[bytes]) -> list[bytes]:
        """Send all of them at once, and take a reply to each.  Raises EOFError, OSError."""
        connection.send(*messages)
        return [connection.receive_record() for _ in messages]

    def storm(self, batches: Iterator[list[bytes]], width: int = 2) -> Iterator[bytes]:
        """Keep `width` connections busy with a batch each; gives the replies; connects again where that has ended."""
        lines: list[tuple[Connection, int] | None] = [None] * width
        while self.goes_on():
            for index, line in enumerate(lines):
                connection: Connection | None = None
                try:
                    if line is not None:
                        connection, waiting = line
                        for _ in range(waiting):
                            yield connection.receive_record()
                    if (batch := next(batches, None)) is None:
                        return
                    connection = connection or self.connect()
                    connection.send(*batch)
                    lines[index] = connection, len(batch)
                except (EOFError, OSError):
                    self.did["connections lost"] += 1
                    lines[index] = None
                    if connection is not None:
                        connection.close()

    # -- without replies ----------------------------------------------------------------------------------

    def pour(self, message: bytes, width: int) -> None:
        """Send one message again and again on many connections, and take no reply, until the time is over."""
        selector = selectors.DefaultSelector()
        data = marked(message) * max(1, (1 << 16) // len(message))
        offsets: dict[int, int] = {}
        for connection in self.connections(width, small=True):
            connection.socket.setblocking(False)
            selector.register(connection.socket, selectors.EVENT_WRITE, connection)
        while self.goes_on() and selector.get_map():
            for key, _events in selector.select(0.1):
                at = offsets.get(key.fd, 0)
                try:
                    sent = key.data.socket.send(memoryview(data)[at:])
                except BlockingIOError:
                    continue
                except OSError:
                    self.did["connections lost"] += 1
                    selector.unregister(key.fileobj)
                    continue
                self.did["MiB sent"] += sent
                offsets[key.fd] = (at + sent) % len(data)
        self.did["MiB sent"] >>= 20
