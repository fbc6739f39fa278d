"""TCP connections: bytes in, records to the server, replies out, within limits.

Owns sockets' options, the limits on connections and on what one of them may have in flight, and one write for all
the replies of one read.  Must not know what a request means.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any, cast

from nfsd import rpc
from nfsd.log import get_logger, limiter
from nfsd.record import RecordError, RecordReader

if TYPE_CHECKING:
    from nfsd.server import Server
    from nfsd.state.sessions import Session
    from nfsd.vfs.interface import Credentials

log = get_logger()

SCRATCH_SIZE = 256 * 1024
# Replies that the peer does not take: above this nothing more is read from it.
UNSENT_MAX = 8 * 1024 * 1024
# A dead peer is found out after a bit more than a minute and a half, however long its lease is.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 60, 10, 4

_LINGER = struct.Struct("ii")
_RESET, _FIN = _LINGER.pack(1, 0), _LINGER.pack(0, 0)


class Connection(asyncio.BufferedProtocol):
    """One TCP connection of a client."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        self.peer = ""
        self.address = ""
        self.port = 0
        self.callers: dict[Any, tuple[Credentials, bool]] = {}
        self.sessions: set[Session] = set()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket
        limits = server.config.limits
        self._in_flight_max = limits.requests_in_flight_max
        self._reader = RecordReader(limits.record_size_max, server.scratch)
        self._out: list[Any] = []
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
        refusal = self.server.connections.opened(self)
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
        for session in self.sessions:
            session.connections.discard(self.number)
            session.back_connections.discard(self.number)
        self.sessions.clear()
        self.server.connections.closed(self)
        log.debug("connection.closed", peer=self.peer, reason=str(exc) if exc else "end of stream")

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio receives into."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the records that have become complete, and write all their replies at once."""
        server = self.server
        server.received_bytes += nbytes
        try:
            records = self._reader.received(nbytes)
        except RecordError as error:
            server.bad_requests["record"] += 1
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
        server = self.server
        try:
            call = rpc.decode_call(record)
        except rpc.Refused as refused:
            server.bad_requests["rpc"] += 1
            limiter.write("info", "rpc.refused", about=self.address, peer=self.peer, reason=str(refused))
            self._out.append(refused.reply)
            return
        except rpc.CallError as error:
            server.bad_requests["rpc"] += 1
            self.close(str(error))
            return
        self.in_flight += 1
        if self.in_flight >= self._in_flight_max and not self._full:
            self._full = True
            self._hold_reading()
        server.dispatch(self, call)

    def reply(self, xid: int, body: list[Any], ticket: int) -> None:
        """Send a reply once `ticket` is durable."""
        data = [rpc.success(xid, sum(map(len, body))), *body]
        if ticket > self.server.store.durable:
            self.server.hold(ticket, self, data)
        else:
            self.send(data)

    def reply_whole(self, record: bytes) -> None:
        """Send a reply of the RPC layer."""
        self.send([record])

    def send(self, data: list[Any]) -> None:
        """Send a reply that may leave now."""
        self.in_flight -= 1
        if self._transport is None:
            return
        self._out += data
        if not self._batching:
            self._write()
        if self._full and self.in_flight < self._in_flight_max // 2:
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
        if self.server.pulse is not None:
            self.server.pulse.check()
        data = b"".join(out)
        self.server.sent_bytes += len(data)
        self._transport.write(data)

    def _hold_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _go_on_reading(self) -> None:
        held = self._held or self._choked or self._full
        if self._transport is not None and not held and not self._transport.is_reading():
            self._transport.resume_reading()

    def hold(self) -> None:
        """Read no more requests, for good: they wait where they are until somebody closes the connection."""
        self._held = True
        self._hold_reading()

    def joined(self, session: Session) -> None:
        """A session is carried by this connection from now on."""
        self.sessions.add(session)

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
