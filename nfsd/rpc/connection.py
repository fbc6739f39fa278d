"""A connection: whom it leads to, what it carries, and replies back to it; and the TCP one.

Owns sockets' options, what one connection may have in flight, when it is read from, and one write for all the replies
of one read.  Must not know what a request means, nor the sessions that it carries but as something that wants to know
of its end.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from typing import Any, ClassVar, cast

from nfsd.config import Limits
from nfsd.counters import Counters
from nfsd.durable.outbox import Buffer, Destination
from nfsd.log import get_logger, limiter
from nfsd.origins import origin_of
from nfsd.rpc import message
from nfsd.rpc.budget import Budget, Member
from nfsd.rpc.record import RecordError, RecordReader
from nfsd.rpc.turns import Turns
from nfsd.vfs.credentials import leave
from nfsd.vfs.interface import Credentials

log = get_logger()

SCRATCH_SIZE = 256 * 1024
# Replies are written when there are this many bytes of them, be there more requests or not; small ones do not count,
# which come to no more than a few MiB in a turn.
_WRITE_SIZE, _SMALL_SIZE = 256 * 1024, 4096
# A dead peer is found out after a bit more than a minute and a half, however long its lease is.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 60, 10, 4

_LINGER = struct.Struct("ii")
_RESET, _FIN = _LINGER.pack(1, 0), _LINGER.pack(0, 0)

Record = bytes | bytearray

# Why nothing is read from a connection, and none of its requests begun: it has too many in flight, its peer or its
# neighbours do not take their replies, the server stops, others have their turn, it has ended.
_FULL, _CHOKED, _HELD, _LATE, _ENDED = 1, 2, 4, 8, 16


class Carried:
    """Something that connections carry (a session, for instance)."""

    __slots__ = ()

    def lost(self, connection: Connection) -> None:
        """A connection that carried this has ended."""


class Connection(Destination):
    """The far end, as everybody above the socket may know it; a test or a recovery has one without a socket.

    `callers` is what the layers above remember of the callers that have come this way; `admitted` whether its address
    and port are let in anywhere, None until somebody has asked.
    """

    __slots__ = ("number", "address", "port", "peer", "callers", "carried", "admitted")

    present: ClassVar[bool] = True
    """Whether somebody is there; otherwise a request is carried on that came before a crash."""

    def __init__(self, number: int, address: str = "", port: int = 0) -> None:
        self.number = number
        self.address = address
        self.port = port
        self.peer = f"{address}:{port}"
        self.callers: dict[Any, tuple[Credentials, bool]] = {}
        self.carried: set[Carried] = set()
        self.admitted: bool | None = None

    def carry(self, thing: Carried) -> bool:
        """Tell `thing` when this connection ends; False if there is no connection that could carry anything."""
        self.carried.add(thing)
        return True

    def put_down(self, thing: Carried) -> None:
        """`thing` has ended: this connection carries it no more."""
        self.carried.discard(thing)

    def works(self, size: int) -> None:
        """A thread moves `size` more bytes of data for a request of this connection; negative: no longer."""

    def reply_whole(self, record: bytes) -> None:
        """Send a whole record of the RPC layer's own, mark included, as the reply."""
        raise NotImplementedError


class Hub:
    """What all TCP connections of one server have in common.

    `dispatch` is given every call, and MUST see to it that each is answered once.  `check` is called before anything
    is written; it MUST NOT return when this process may not serve any more.  `clock` gives seconds, `call_soon` has
    something called in the event loop's next turn.
    """

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        dispatch: Callable[[Connection, message.Call], None],
        check: Callable[[], None] | None,
        call_soon: Callable[[Callable[[], None]], Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.counters = counters
        self.dispatch = dispatch
        self.check = check
        self.clock = clock
        self.budget = Budget(limits)
        self.turns = Turns(limits.turn_ms / 1000, clock, call_soon)
        self.scratch = bytearray(SCRATCH_SIZE)
        """Where all connections receive into, one after the other."""

    def opened(self, connection: TcpConnection) -> str:
        """Count a connection; the limit that it breaks, if it breaks one."""
        raise NotImplementedError

    def closed(self, connection: TcpConnection) -> None:
        """Count a connection out."""
        raise NotImplementedError


class TcpConnection(asyncio.BufferedProtocol, Connection, Member):
    """One TCP connection of a client."""

    def __init__(self, hub: Hub, number: int) -> None:
        super().__init__(number)
        self._hub = hub
        self._counters = hub.counters
        self._check = hub.check
        self._clock = hub.clock
        self._slice_s = hub.turns.slice_s
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket
        self._in_flight_max = hub.limits.requests_in_flight_max
        self._reader = RecordReader(hub.limits.record_size_max, hub.scratch)
        self._pauses = 0
        self._backlog: list[Record] = []
        self._backlog_size = 0
        self._out: list[Buffer] = []
        self._out_size = 0
        self._batching = False
        self._behind = False
        self._working = 0
        # Written since replies waited for the first time, and what of that was taken at the last look.
        self._sent = self._taken = 0
        self.in_flight = 0
        self.receiving = self.unsent = 0
        # Since when it has been idle, has had the record that is not complete, has had none of its replies taken.
        self.heard_s = self._partial_s = self._stuck_s = hub.clock()

    # -- asyncio ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the socket's options, or close it at once if a limit is reached."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address, self.port = str(peer[0]), int(peer[1])
        self.peer = f"{self.address}:{self.port}"
        self.origin = self._hub.budget.origin(origin_of(self.address))
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
        # So that `pause_writing` and `resume_writing` tell when there are replies that wait, and when there are none.
        self._transport.set_write_buffer_limits(high=0)
        log.debug("connection.opened", peer=self.peer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has gone; requests that still run find nobody to reply to."""
        self._transport = None
        self._give_back()
        for thing in self.carried:
            thing.lost(self)
        self.carried.clear()
        self._hub.closed(self)
        log.debug("connection.closed", peer=self.peer, reason=str(exc) if exc else "end of stream")

    def _give_back(self) -> None:
        """Keep nothing more for the peer, but what threads are working with."""
        self._pauses |= _ENDED
        self._out.clear()
        self._out_size = 0
        self._backlog.clear()
        self._backlog_size = 0
        budget = self._hub.budget
        budget.receives(self, 0, anew=True)
        budget.waits_no_more(self)
        budget.keeps(self, self._working)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio receives into."""
        return self._reader.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the records that have become complete, and write all their replies at once."""
        self._counters.received_bytes += nbytes
        reader = self._reader
        try:
            records = reader.received(nbytes)
        except RecordError as error:
            self._counters.bad_requests["record"] += 1
            self.close(str(error))
            return
        if records:
            self._work(records)
        elif not reader.more:
            # A peer with Nagle's algorithm keeps the rest of its record back until it sees an acknowledgement.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if reader.held or self.receiving:
            if reader.more and not self._pauses:
                self._wait_for_turn()
            self._count_received(anew=bool(records))

    def pause_writing(self) -> None:
        """Replies wait until the peer takes them."""
        self._behind = True
        self._stuck_s = self._hub.clock()

    def resume_writing(self) -> None:
        """The peer's side has room: all replies have left."""
        self._behind = False
        self.look_again()

    # -- requests -----------------------------------------------------------------------------------------

    def _work(self, records: list[Record]) -> None:
        """Take records as long as nothing speaks against it; the rest stays in the backlog."""
        clock, origin = self._clock, self.origin
        began = self.heard_s = clock()
        if began - origin.slice_began_s > 2 * origin.spent_s:  # It has used no more than half of the time.
            origin.slice_began_s, origin.spent_s = began, 0.0
        ends = began + self._slice_s - origin.spent_s
        if origin.unsent and not self._hub.budget.has_room(origin):
            self._choke()
        taken, now = 0, began
        self._batching = True
        try:
            for record in records:
                if self._pauses or now >= ends:
                    break
                self._take(record)
                taken += 1
                now = clock()
            self._batching = False
            # Without the last write, which is short: larger replies have been written before.
            origin.spent_s += now - began
            if self._out:
                self._write()
        finally:
            leave()
        if taken < len(records) and not self._pauses & _ENDED:
            self._backlog = records[taken:]
            self._backlog_size = sum(map(len, self._backlog))
            self._count_received(anew=taken > 0)
            if not self._pauses:
                self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        self._pause(_LATE)
        self._hub.turns.defer(self)

    def take_turn(self) -> None:
        """Go on with what has been received, in a turn of the event loop that `turns.py` has given."""
        self._pauses &= ~_LATE
        if self._pauses:
            return
        backlog, self._backlog, self._backlog_size = self._backlog, [], 0
        if backlog:
            self._work(backlog)
            self._count_received(anew=True)
        else:
            self.buffer_updated(0)
        if not self._pauses:
            self._go_on()

    def _count_received(self, *, anew: bool) -> None:
        """Tell the budget how much is kept of what has been received; `anew`: since now."""
        if not self._pauses & _ENDED:
            if anew or not self.receiving:
                self._partial_s = self._hub.clock()
            self._hub.budget.receives(self, self._reader.held + self._backlog_size, anew=anew)

    def _take(self, record: Record) -> None:
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
        if self.in_flight >= self._in_flight_max:
            self._pause(_FULL)
        self._hub.dispatch(self, call)

    def _pause(self, why: int) -> None:
        """Read no more, and begin no request, until that is over."""
        self._pauses |= why
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _lift(self, why: int) -> None:
        """That is over."""
        if self._pauses & why:
            self._pauses &= ~why
            if not self._pauses:
                self._go_on()

    def _go_on(self) -> None:
        """Nothing speaks against it any more: go on with what has been received, or else read."""
        if self._backlog or self._reader.more:
            self._wait_for_turn()
        elif self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._partial_s = self._hub.clock()
            self._transport.resume_reading()

    # -- replies ------------------------------------------------------------------------------------------

    def reply(self, xid: int, body: list[Buffer]) -> None:
        """Send a reply that may leave now."""
        out, size = self._out, sum(map(len, body))
        out.append(message.success(xid, size))
        out += body
        self.in_flight -= 1
        if not self._batching:
            self._write()
        elif size > _SMALL_SIZE:
            self._out_size += size
            if self._out_size > _WRITE_SIZE:
                self._write()
        if self._pauses:
            self._make_room()

    def reply_whole(self, record: bytes) -> None:
        """Send a reply of the RPC layer."""
        self._out.append(record)
        self.in_flight -= 1
        if not self._batching:
            self._write()
        if self._pauses:
            self._make_room()

    def _make_room(self) -> None:
        """Go on, if there was too much in flight, once half of it has been answered."""
        if self._pauses & _FULL and self.in_flight <= self._in_flight_max // 2:
            self._lift(_FULL)

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
        self._out_size = 0
        if self._transport is None:
            return
        if self._check is not None:
            self._check()
        data = b"".join(out)
        self._counters.sent_bytes += len(data)
        self._transport.write(data)
        if self._behind:
            self._sent += len(data)
            self.look_again()

    # -- what is unsent -----------------------------------------------------------------------------------

    def works(self, size: int) -> None:
        """A thread moves `size` more bytes of data for a request of this connection; negative: no longer."""
        self._working += size
        self.look_again()

    def look_again(self) -> None:
        """Count what is unsent: begin nothing more while it is too much, go on when there is room again."""
        hub, size = self._hub, self._working
        if self._behind and self._transport is not None:
            size += self._transport.get_write_buffer_size()
        hub.budget.keeps(self, size)
        if self._pauses & _ENDED:
            return
        if size > hub.limits.unsent_per_connection_max or not hub.budget.has_room(self.origin):
            self._choke()
        elif self._pauses & _CHOKED:
            hub.budget.waits_no_more(self)
            self._lift(_CHOKED)

    def _choke(self) -> None:
        if not self._pauses & _CHOKED:
            self._pause(_CHOKED)
            self._hub.budget.waits(self)

    # -- the end ------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Read no more requests, for good: they wait where they are until somebody closes the connection."""
        self._pause(_HELD)

    def eof_received(self) -> None:
        """The peer sends no more, but takes what it has asked for."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FIN)

    def unsent_replies(self) -> bool:
        """Whether the peer has not acknowledged all its replies yet."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size():
            return True
        waiting = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return waiting != bytes(4)

    def overdue(self, now: float) -> str:
        """The limit that has passed, if one has: `stalled_s`, or `idle_s` where it carries nothing."""
        limits = self._hub.limits
        if self._behind and self._transport is not None:
            taken = self._sent - self._transport.get_write_buffer_size()
            if taken != self._taken:
                self._taken, self._stuck_s = taken, now
            elif now - self._stuck_s > limits.stalled_s:
                return "stalled_s"
        elif self.receiving:
            if not self._pauses and now - self._partial_s > limits.stalled_s:
                return "stalled_s"
        if self.is_bare() and now - self.heard_s > limits.idle_s:
            return "idle_s"
        return ""

    def is_bare(self) -> bool:
        """Whether nothing hangs on it: no session, no request, no reply."""
        return not (self.carried or self.in_flight or self.unsent or self._backlog)

    def drop(self, limit: str) -> bool:
        """End at once, because of the limit of that name; False if it has ended."""
        if self._transport is None or self._pauses & _ENDED and not self._behind:
            return False
        self._counters.connections_dropped[limit] += 1
        limiter.write("info", "connection.dropped", about=self.address, peer=self.peer, reason=limit)
        self._behind = False
        self._give_back()
        self._transport.abort()
        return True

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
        self._pauses |= _ENDED
