"""A server's connections without a network: the transport, the event loop and the clock are the test's.

Owns these fakes.  Must not know COMPOUNDs: the test says how a call is answered.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, cast

from nfsd.config import Limits
from nfsd.counters import Counters
from nfsd.rpc.connection import Connection, TcpConnection
from nfsd.rpc.connections import Connections
from nfsd.rpc.message import LAST_FRAGMENT, Call
from tests.support.rpc import call


class Loop:
    """What is called soon is called by `turn`; what is called later, by `pass_s`."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.ready: list[Callable[[], None]] = []

    def clock(self) -> float:
        """Seconds that pass when a test says so."""
        return self.now_s

    def call_soon(self, work: Callable[[], None]) -> None:
        """Have it called in the next turn."""
        self.ready.append(work)

    def turn(self) -> None:
        """One turn of the loop."""
        ready, self.ready = self.ready, []
        for work in ready:
            work()

    def turns(self, most: int = 1000) -> int:
        """Turns until nothing is left to be called; how many."""
        for count in range(most):
            if not self.ready:
                return count
            self.turn()
        raise AssertionError(f"still something to do after {most} turns")


class Socket:
    """Takes options."""

    def setsockopt(self, *_option: object) -> None:
        """Nothing comes of it."""


class Transport:
    """The far end takes `room` bytes of what is written, and no more until `take` is called."""

    def __init__(self, loop: Loop, address: str, room: int) -> None:
        self.loop = loop
        self.address = address
        self.room = room
        self.protocol: TcpConnection
        self.sent = b""
        self.kept = b""
        self.reading = True
        self.end = ""

    def get_extra_info(self, name: str) -> Any:
        """The peer's name, or the socket."""
        return (self.address, 700) if name == "peername" else Socket()

    def set_write_buffer_limits(self, high: int) -> None:
        """Only 0: tell of the first byte that waits."""
        assert high == 0

    def get_write_buffer_size(self) -> int:
        """Bytes that the far end has not taken."""
        return len(self.kept)

    def write(self, data: bytes) -> None:
        """Send what is taken, keep the rest."""
        assert not self.end, "written after the end"
        fits = 0 if self.kept else min(self.room, len(data))
        self.room -= fits
        self.sent += data[:fits]
        waited = bool(self.kept)
        self.kept += data[fits:]
        if self.kept and not waited:
            self.protocol.pause_writing()

    def take(self, count: int) -> None:
        """The far end takes more."""
        fits = min(count, len(self.kept))
        self.sent += self.kept[:fits]
        self.kept = self.kept[fits:]
        if fits and not self.kept:
            self.protocol.resume_writing()

    def is_reading(self) -> bool:
        """Whether bytes that come are given to the connection."""
        return self.reading and not self.end

    def pause_reading(self) -> None:
        """Leave them where they are."""
        self.reading = False

    def resume_reading(self) -> None:
        """Give them on."""
        self.reading = True

    def is_closing(self) -> bool:
        """Whether this is the end."""
        return bool(self.end)

    def close(self) -> None:
        """End once all is sent."""
        self._end("close")

    def abort(self) -> None:
        """End now."""
        self.kept = b""
        self._end("abort")

    def _end(self, how: str) -> None:
        if not self.end:
            self.end = how
            self.loop.call_soon(lambda: self.protocol.connection_lost(None))


class Wire:
    """Connections of one server.  `answer` is given each call; without one, calls are kept in `calls`."""

    def __init__(
        self,
        answer: Callable[[Connection, Call], None] | None = None,
        known: Collection[str] = (),
        **limits: int,
    ) -> None:
        self.loop = Loop()
        self.calls: deque[tuple[Connection, Call]] = deque()
        self.known = known
        self.counters = Counters()
        self.hub = Connections(
            Limits(**limits),
            self.counters,
            answer or (lambda connection, call: self.calls.append((connection, call))),
            known=lambda: self.known,
            loop=cast(asyncio.AbstractEventLoop, self.loop),
            clock=self.loop.clock,
        )

    def connect(self, address: str = "192.0.2.1", room: int = 1 << 40) -> Transport:
        """One more connection."""
        transport = Transport(self.loop, address, room)
        transport.protocol = self.hub._accept()
        transport.protocol.connection_made(cast(asyncio.Transport, transport))
        return transport

    def give(self, transport: Transport, data: bytes) -> bytes:
        """Bytes arrive, as long as they are read; those that are not."""
        while data and transport.is_reading():
            buffer = transport.protocol.get_buffer(-1)
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            data = data[count:]
            transport.protocol.buffer_updated(count)
        return data

    def dropped(self) -> dict[str, int]:
        """Connections that the server has ended, by the limit."""
        return dict(self.counters.connections_dropped)


def request(xid: int, size: int = 0) -> bytes:
    """A call as it comes, with so many bytes of arguments."""
    record = call(xid, bytes(size))
    return struct.pack(">I", LAST_FRAGMENT | len(record)) + record


def xids(sent: bytes) -> list[int]:
    """The replies in a stream, in their order."""
    found, at = [], 0
    while at < len(sent):
        mark, xid = struct.unpack_from(">2I", sent, at)
        found.append(xid)
        at += 4 + (mark & 0x7FFFFFFF)
    assert at == len(sent), "a reply is not whole"
    return found
