"""Recovery of requests that a crash interrupted, before anybody is served (docs/failover.md).

Owns what is done with each intent that the store holds: the server carries the request on from where it was, as its
client's retry would, and keeps the reply for that retry.  Whether the operation under way had been carried out is
decided by its handler, from the evidence in `nfsd/ops/once.py`.  Must not know operations.

MUST run after the state is loaded and the exports are open, and before the first connection.  A crash in here leaves
the intents as they are, or finished ones removed: recovery begins anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from nfsd import rpc
from nfsd.compound import Compound
from nfsd.errors import Nfs4Error, Replay, Undecidable
from nfsd.log import get_logger
from nfsd.losses import put_aside
from nfsd.state.intents import Intent, session_of
from statestore import INTENT, ChangeSet, useless
from xdr.codec import Buffer, XdrError

if TYPE_CHECKING:
    from nfsd.server import Server
    from nfsd.state.sessions import Session

log = get_logger()

# A request whose recovery ends the process again and again must not keep the server from ever serving.
ATTEMPTS_MAX = 5
_PEER_NUMBER = 0


class Absent:
    """The connection of a client that is not there: its replies are kept for the retry, and go nowhere."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.peer = f"{address}:{port}"
        self.number = _PEER_NUMBER
        self.callers: dict[Any, Any] = {}

    def joined(self, session: Session) -> None:
        """No connection carries the session yet."""
        session.connections.discard(self.number)

    def reply(self, xid: int, body: list[Buffer], ticket: int) -> None:
        """The retry will be answered."""

    def reply_whole(self, record: bytes) -> None:
        """The retry will be answered."""


def finish_requests(server: Server, entries: list[tuple[bytes, bytes]], damaged: Iterable[bytes] = ()) -> None:
    """Carry on every request whose intent is stored; all is durable on return.

    `damaged` are the keys of intents that were lost: nobody can tell what they were about.

    Those that may or may not have changed a file system come first: one at most at `process`, because every intent is
    durable only behind everything that was done before it; at `power` no two about the same directory or object.
    """
    for key in damaged:
        log.error("intent.undecidable", intent=key.hex(), reason="its record is damaged")
        _give_up(server, key)
    intents = []
    for key, value in entries:
        session = session_of(key)
        if session and session not in server.state.sessions:
            # Forgotten, as after a start with --recovery reclaim: no retry can come.
            log.info("intent.dropped", intent=key.hex())
            server.recovered["dropped"] += 1
            _forget(server, key)
            continue
        try:
            intents.append(Intent(key, value))
        except (XdrError, struct.error) as error:
            log.error("intent.undecidable", intent=key.hex(), reason=f"unreadable: {error}")
            put_aside(server, useless(INTENT, key, value, f"cannot be read: {error}"))
            _give_up(server, key)
    for intent in sorted(intents, key=lambda each: not each.kept.undecided):
        _finish(server, intent)


def _finish(server: Server, intent: Intent) -> None:
    """Carry on one request."""
    kept = intent.kept
    kept.attempts += 1
    changes = ChangeSet()
    changes.put(INTENT, intent.key, intent.encode())
    server.commit_now(changes)
    try:
        if kept.attempts > ATTEMPTS_MAX:
            raise Undecidable(f"recovered {ATTEMPTS_MAX} times in vain")
        call = rpc.decode_call(kept.request)
        compound = Compound(server, Absent(kept.address.decode(), kept.port), call, server.now())
        compound.recover(intent)
    except Replay:
        # Its reply is there, so that nothing was left to do.
        _forget(server, intent.key)
    except (Undecidable, Nfs4Error, XdrError, rpc.CallError, rpc.Refused) as error:
        log.error("intent.undecidable", intent=intent.key.hex(), attempts=kept.attempts, reason=str(error))
        _give_up(server, intent.key)
    else:
        server.recovered["finished"] += 1
        operation = compound.operations[kept.index][0].name if kept.index < len(compound.operations) else None
        log.info("intent.recovered", intent=intent.key.hex(), operation=operation, status=compound.status)
    server.commit_now(ChangeSet())


def _give_up(server: Server, key: bytes) -> None:
    """Never guess: the session dies, and its client makes a new one and keeps its state (RFC 8881 2.10.6.5).

    NFSv4.0 has nothing like it: the retry runs anew.
    """
    server.recovered["undecidable"] += 1
    changes = ChangeSet()
    changes.remove(INTENT, key)
    session = server.state.sessions.get(session_of(key))
    if session is not None:
        state = server.state
        state.remove_session(changes, session)
        state.dead_sessions.add(session.sessionid)
    server.commit_now(changes)


def _forget(server: Server, key: bytes) -> None:
    changes = ChangeSet()
    changes.remove(INTENT, key)
    server.commit_now(changes)


def sweep_tombs(server: Server) -> None:
    """Files without a name live exactly as long as somebody has them open: the others go now."""
    state = server.state
    changes = ChangeSet()
    for handle in [handle for handle in state.unlinked if not state.is_held(handle)]:
        state.forsake(changes, handle)
    state.forsaken.clear()
    if changes:
        server.commit_now(changes)
    changes = ChangeSet()
    for tree in server.namespace.trees():
        for identity in tree.buried():
            handle = tree.handle_of(identity)
            if handle in state.unlinked:
                continue
            if state.spares_tombs and state.is_held(handle):
                state.keep_unlinked(changes, handle)
            else:
                tree.unbury(identity)
    if changes:
        server.commit_now(changes)
    for handle in state.unlinked:
        try:
            server.namespace.resolve(handle).pinned = True
        except OSError as error:
            log.error("tomb.missing", handle=handle.hex(), reason=str(error))


def let_go(server: Server, handle: bytes) -> None:
    """Free a file that nobody has open any more, unless somebody has opened it again by its handle."""
    state = server.state
    if handle in state.shares:
        changes = ChangeSet()
        state.keep_unlinked(changes, handle)
        server.commit(changes)
        return
    try:
        node = server.namespace.resolve(handle)
    except OSError:
        return  # A program on this machine was faster.
    node.fs.unbury(node.key)
