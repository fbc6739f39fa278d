"""The table of open connections: how many there may be, which of them end, letting all run dry, and who was connected.

Owns the counts, the limits' check, the look at all of them every second, and the PEER records, by which another node
can tell the clients of a node that died that their connections are dead. Must not know requests.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Collection, Iterable

from nfsd.config import Limits
from nfsd.counters import Counters
from nfsd.rpc.connection import Connection, Hub, TcpConnection
from nfsd.rpc.listeners import BACKLOG
from nfsd.rpc.message import Call
from statestore import PEER, ChangeSet

POLL_S = 0.001
SWEEP_S = 1.0
# Connections that are looked at for one to be replaced; and one that was heard of so lately is none.
_LOOKS_MAX = 64
_LATELY_S = 1.0
# Accepted in one turn of the loop, which makes a task of each.
_ACCEPTED_MAX = 16
# A peer that does not take its last replies in this time may ask for them again.
SEE_OFF_S = 0.2

Peer = tuple[str, int]


def peer_key(peer: Peer) -> bytes:
    """The key of a peer's record: its address and port."""
    return f"{peer[0]} {peer[1]}".encode()


def peer_of(key: bytes) -> Peer:
    """The address and port in the key of a record.  Raises ValueError."""
    address, _, port = key.decode().partition(" ")
    return address, int(port)


class Connections(Hub):
    """All open connections of one server."""

    def __init__(
        self,
        limits: Limits,
        counters: Counters,
        dispatch: Callable[[Connection, Call], None],
        *,
        known: Callable[[], Collection[str]],
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.monotonic,
        check: Callable[[], None] | None = None,
        commit: Callable[[ChangeSet], int] | None = None,
        past: Iterable[bytes] = (),
    ) -> None:
        """`known` gives the addresses whose connections stay, however idle.  `commit` takes the PEER records, where
        connections are to be recorded; `past` are the keys of those that an earlier process has left.
        """
        super().__init__(limits, counters, dispatch, check, loop.call_soon, clock)
        self._known = known
        self._loop = loop
        self._commit = commit
        self._past = list(past)
        self._open: dict[int, TcpConnection] = {}
        # Those that did not carry anything when they were looked at last.
        self._bare: dict[int, TcpConnection] = {}
        self._accepting: list[asyncio.Server] = []

    def __len__(self) -> int:
        return len(self._open)

    async def listen(self, listeners: Iterable[socket.socket]) -> None:
        """Accept connections on sockets that listen already."""
        for sock in listeners:
            # The loop accepts as many at once as it is told that may wait, so that is told to the kernel afterwards.
            self._accepting.append(await self._loop.create_server(self._accept, sock=sock, backlog=_ACCEPTED_MAX))
            sock.listen(BACKLOG)
        self._sweep_on()

    def _sweep_on(self) -> None:
        self.sweep()
        self._loop.call_later(SWEEP_S, self._sweep_on)

    def _accept(self) -> TcpConnection:
        self.counters.connections_accepted += 1
        return TcpConnection(self, self.counters.connections_accepted)

    def opened(self, connection: TcpConnection) -> str:
        """Count a connection; the limit that it breaks, if it breaks one."""
        limits, origin = self.limits, connection.origin
        refusal = ""
        if origin.connections >= limits.connections_per_address_max:
            refusal = "connections_per_address_max"
        elif len(self._open) >= limits.connections_max and not self._replace():
            refusal = "connections_max"
        self._open[connection.number] = self._bare[connection.number] = connection
        self.budget.joined(connection)
        if refusal:
            self.counters.connections_refused[refusal] += 1
        elif self._commit is not None:
            changes = ChangeSet()
            changes.put(PEER, peer_key((connection.address, connection.port)), b"")
            self._commit(changes)
        return refusal

    def _replace(self) -> bool:
        """Drop the oldest connection that nothing hangs on, to have room for another; False if there is none."""
        known, now = self._known(), self.clock()
        for number in list(itertools.islice(self._bare, _LOOKS_MAX)):
            connection = self._bare.pop(number)
            if connection.carried:
                continue
            idle = connection.is_bare() and now - connection.heard_s > _LATELY_S
            if idle and connection.address not in known and connection.drop("connections_max"):
                self.closed(connection)
                return True
            self._bare[number] = connection
        return False

    def closed(self, connection: TcpConnection) -> None:
        """Count a connection out."""
        if self._open.pop(connection.number, None) is None:
            return
        self._bare.pop(connection.number, None)
        self.budget.left(connection)
        if self._commit is not None:
            changes = ChangeSet()
            changes.remove(PEER, peer_key((connection.address, connection.port)))
            self._commit(changes)

    def sweep(self) -> None:
        """Count what was taken meanwhile, and drop the connections that are overdue; to be called every second."""
        now, known = self.clock(), None
        for connection in list(self._open.values()):
            if connection.unsent:
                connection.look_again()
            limit = connection.overdue(now)
            if limit == "idle_s":
                known = self._known() if known is None else known
                if connection.address in known:
                    continue
            if limit:
                connection.drop(limit)
        self.budget.wake()

    def take_past(self) -> list[Peer]:
        """Whom an earlier process was connected with, and forget them."""
        past, self._past = self._past, []
        if past and self._commit is not None:
            changes = ChangeSet()
            now_open = {peer_key((each.address, each.port)) for each in self._open.values()}
            for key in past:
                if key not in now_open:
                    changes.remove(PEER, key)
            self._commit(changes)
        return [peer_of(key) for key in past]

    def absent(self, peers: list[Peer]) -> list[Peer]:
        """Those of the peers whose connection of that time is not one that is open now."""
        now_open = {(each.address, each.port) for each in self._open.values()}
        return [peer for peer in peers if peer not in now_open]

    async def run_dry(self, limit_s: float) -> None:
        """Accept and read nothing more, and wait until all that runs is finished and every reply has arrived.

        Raises TimeoutError if something still runs after `limit_s`.
        """
        self._commit = None
        for accepting in self._accepting:
            accepting.close()
        for connection in self._open.values():
            connection.hold()
        end_s = time.monotonic() + limit_s
        while any(each.in_flight for each in self._open.values()):
            if time.monotonic() >= end_s:
                raise TimeoutError(f"requests still run after {limit_s:g} s")
            await asyncio.sleep(POLL_S)
        end_s = time.monotonic() + SEE_OFF_S
        while any(each.unsent_replies() for each in self._open.values()) and time.monotonic() < end_s:
            await asyncio.sleep(POLL_S)

    def finish(self) -> None:
        """Close all of them, with a reset (see Connection)."""
        for connection in list(self._open.values()):
            connection.finish()
