"""A connection: whom it leads to, what it carries, and replies back to it; and the TCP one.

Owns sockets' options, what one connection may have in flight, and one write for all the replies of one read.  Must
not know what a request means, nor the sessions that it carries but as something that wants to know of its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any, cast

from nfsd.config import Limits
from nfsd.counters import Counters
from nfsd.durable.outbox import Buffer, Destination
from nfsd.log import get_logger, limiter
from nfsd.rpc import message
from nfsd.rpc.record import RecordError, RecordReader
from nfsd.vfs.interface import Credentials

log = get_logger()

SCRATCH_SIZE = 256 * 1024
# Replies that the peer does not take: above this nothing more is read from it.
UNSENT_MAX = 8 * 1024 * 1024
# A dead peer is found out after a bit more than a minute and a half, however long its lease is.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 60, 10, 4

_LINGER = struct.Struct("ii")
_RESET, _FIN = _LINGER.pack(1, 0), _LINGER.pack(0, 0)


class Carried:
    """Something that connections carry (a session, for instance)."""

    __slots__ = ()

    def lost(self, connection: Connection) -> None:
        """A connection that carried this has ended."""


class Connection(Destination):
    """The far end, as everybody above the socket may know it; a test or a recovery has one without a socket.

    `callers` is what the layers above remember of the callers that have come this way.
    """

    __slots__ = ("number", "address", "port", "peer", "callers", "carried")

    def __init__(self, number: int, address: str = "", port: int = 0) -> None:
        self.number = number
        self.address = address
        self.port = port
        self.peer = f"{address}:{port}"
        self.callers: dict[Any, tuple[Credentials, bool]] = {}
        self.carried: set[Carried] = set()

    def carry(self, thing: Carried) -> bool:
        """Tell `thing` when this connection ends; False if there is no connection that could carry anything."""
        self.carried.add(thing)
        return True

    def reply_whole(self, record: bytes) -> None:
        """Send a whole record of the RPC layer's own, mark included, as the reply."""
        raise NotImplementedError


class Hub:
    """What all TCP connections of one server have in common.

    `dispatch` is given every call, and MUST see to it that each is answered once.  `check` is called before anything
    is written; it MUST NOT return when this process may not serve any more.
    """

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        dispatch: Callable[[Connection, message.Call], None],
        check: Callable[[], None] | None,
    ) -> None:
        self.limits = limits
        self.counters = counters
        self.dispatch = dispatch
        self.check = check
        self.scratch = bytearray(SCRATCH_SIZE)
        """Where all connections receive into, one after the other."""

    def opened(self, connection: TcpConnection) -> str:
        """Count a connection; the limit that it breaks, if it breaks one."""
        raise NotImplementedError

    def closed(self, connection: TcpConnection) -> None:
        """Count a connection out."""
        raise NotImplementedError


class TcpConnection(asyncio.BufferedProtocol, Connection):
    """One TCP connection of a client."""

    def __init__(self, hub: Hub, number: int) -> None:
        super().__init__(number)
        self._hub = hub
        self._counters = hub.counters
        self._check = hub.check
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket
        self._in_flight_max = hub.limits.requests_in_flight_max
        self._reader = RecordReader(hub.limits.record_size_max, hub.scratch)
        self._out: list[Buffer] = []
        self._batching = False
        self.in_flight = 0
        self._choked = False
        self._full = False
        self._held = False

    # -- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options, or close it at once if a limit is reached."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address, self.port = str(peer[0]), int(peer[1])
        self.peer = f"{self.address}:{self.port}"
        refusal = self._hub.opened(self)
        if refusal:
            limiter.write("warning", "connection.refused", about=self.address, peer=self.peer, reason=refusal)
            self._transport.abort()
            return
        sock = self._socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        # However this process ends, the peer gets a reset: an NFSv4.0 client waits after a FIN, and does not
        # connect again until it has closed its own side.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.set_write_buffer_limits(high=UNSENT_MAX)
        log.debug("connection.opened", peer=self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has gone; requests that still run find nobody to reply to."""
        self._transport = None
        self._out.clear()
        for thing in self.carried:
            thing.lost(self)
        self.carried.clear()
        self._hub.closed(self)
        log.debug("connection.closed", peer=self.peer, reason=str(exc) if exc else "end of stream")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio receives into."""
        return self._reader.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the records that have become complete, and write all their replies at once."""
        self._counters.received_bytes += nbytes
        try:
            records = self._reader.received(nbytes)
        except RecordError as error:
            self._counters.bad_requests["record"] += 1
            self.close(str(error))
            return
        if not records:
            # A peer with Nagle's algorithm keeps the rest of its record back until it sees an acknowledgement.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            return
        self._batching = True
        for record in records:
            if self._transport is None:
                break
            self._take(record)
        self._batching = False
        if self._out:
            self._write()

    def pause_writing(self) -> None:
        """The peer does not take its replies: read no more requests until it does."""
        self._choked = True
        self._hold_reading()

    def resume_writing(self) -> None:
        """The peer takes replies again."""
        self._choked = False
        self._go_on_reading()

    # -- requests and replies -----------------------------------------------------------------------------

    def _take(self, record: bytes | bytearray) -> None:
        try:
            call = message.decode_call(record)
        except message.CallRefused as refused:
            self._counters.bad_requests["rpc"] += 1
            limiter.write("info", "rpc.refused", about=self.address, peer=self.peer, reason=str(refused))
            self._out.append(refused.reply)
            return
        except message.ReplyCame as came:
            # No call of ours is under way that it could answer.
            limiter.write("info", "rpc.reply_ignored", about=self.address, peer=self.peer, xid=f"{came.xid:08x}")
            return
        except message.CallError as error:
            self._counters.bad_requests["rpc"] += 1
            self.close(str(error))
            return
        self.in_flight += 1
        if self.in_flight >= self._in_flight_max and not self._full:
            self._full = True
            self._hold_reading()
        self._hub.dispatch(self, call)

    def reply(self, xid: int, body: list[Buffer]) -> None:
        """Send a reply that may leave now."""
        out = self._out
        out.append(message.success(xid, sum(map(len, body))))
        out += body
        self.in_flight -= 1
        if not self._batching:
            self._write()
        if self._full:
            self._make_room()

    def reply_whole(self, record: bytes) -> None:
        """Send a reply of the RPC layer."""
        self._out.append(record)
        self.in_flight -= 1
        if not self._batching:
            self._write()
        if self._full:
            self._make_room()

    def _make_room(self) -> None:
        """Read on, once half of what may be in flight has been answered."""
        if self.in_flight < self._in_flight_max // 2:
            self._full = False
            self._go_on_reading()

    def hold_writes(self) -> None:
        """Collect what is sent from now on; `flush` writes it."""
        self._batching = True

    def flush(self) -> None:
        """Write what was collected."""
        self._batching = False
        if self._out:
            self._write()

    def _write(self) -> None:
        out = self._out
        self._out = []
        if self._transport is None:
            return
        if self._check is not None:
            self._check()
        data = b"".join(out)
        self._counters.sent_bytes += len(data)
        self._transport.write(data)

    def _hold_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _go_on_reading(self) -> None:
        held = self._held or self._choked or self._full
        if self._transport is not None and not held and not self._transport.is_reading():
            self._transport.resume_reading()

    # -- the end ------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Read no more requests, for good: they wait where they are until somebody closes the connection."""
        self._held = True
        self._hold_reading()

    def eof_received(self) -> None:
        """The peer sends no more, but takes what it has asked for."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FIN)

    def unsent(self) -> bool:
        """Whether the peer has not acknowledged all its replies yet."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size():
            return True
        waiting = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return waiting != bytes(4)

    def finish(self) -> None:
        """Close with a reset, because the server stops."""
        if self._transport is not None:
            self._transport.abort()

    def close(self, why: str) -> None:
        """Close because of something that the peer did."""
        limiter.write("warning", "connection.dropped", about=self.address, peer=self.peer, reason=why)
        if self._transport is not None:
            if self._out:
                self._write()
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FIN)
            self._transport.close()
