"""What the loss of a stored record costs, and whom: its own holder, who is told, and nobody else.

Owns the table in docs/failover.md ("Damaged records").  It runs once at the start, when everything that could be read
has been loaded, and before anybody is served.  A record is lost if it is damaged, cannot be read, or lacks what it
belongs to.  Must not know how records are put aside (`statestore/quarantine.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nfsd.log import get_logger
from nfsd.state import locks, opens, sessions
from nfsd.state.model import Client
from nfsd.state.records import address_key, removed_key
from nfsd.state.tables import State
from statestore import (
    ANSWER,
    GRANT,
    HOLDER,
    INTENT,
    META,
    NAME,
    OPEN,
    OWNER,
    PEER,
    PENDING,
    RANGE,
    SLOT,
    STREAM,
    ChangeSet,
    Damage,
)

log = get_logger()

# For the log: what each kind's loss comes to.
COSTS = {
    HOLDER: "the client: STALE_CLIENTID, and all it held",
    STREAM: "the session: BADSESSION",
    SLOT: "the session: BADSESSION",
    OWNER: "the opens and locks of the owner: BAD_STATEID",
    OPEN: "the open and its locks: BAD_STATEID",
    RANGE: "the locks of one stateid: BAD_STATEID",
    GRANT: "the grant",
    INTENT: "the session: DEADSESSION",
    PENDING: "nothing, if the file is still open",
    META: "a setting",
    NAME: "the file handle: STALE until it is looked up again",
    ANSWER: "a retry of one NFSv4.0 request runs anew",
    PEER: "a client may notice another node's takeover later",
}
_HOLDER_KEY_SIZE, _STREAM_KEY_SIZE, _OPEN_KEY_SIZE = 8, 16, 16


def settle(state: State, lost: Sequence[Damage], now: float, changes: ChangeSet) -> None:
    """Take from the holders what cannot be trusted any more, and have them told."""
    for damage in lost:
        work = _BY_KIND.get(damage.kind)
        if work is not None:
            work(state, damage, now, changes)


def _settle_holder(state: State, damage: Damage, _now: float, changes: ChangeSet) -> None:
    """What else it had was left out with it: it lacks what it belongs to."""
    changes.remove(META, address_key(damage.key))
    changes.remove(META, removed_key(damage.key))


def _settle_slot(state: State, damage: Damage, _now: float, changes: ChangeSet) -> None:
    """Without the last reply of one slot a retry would run twice: the session goes, the client keeps its state."""
    session = state.sessions.get(damage.key[:_STREAM_KEY_SIZE])
    if session is not None:
        log.warning("session.lost", client=session.client.label, session=session.sessionid.hex())
        sessions.remove_session(state, changes, session)


def _settle_owner(state: State, damage: Damage, _now: float, changes: ChangeSet) -> None:
    """Without its sequence id nothing that it does could be told from a retry (RFC 7530 9.1.7)."""
    client = state.clients.by_id.get(int.from_bytes(damage.key[:_HOLDER_KEY_SIZE], "big"))
    if client is None or client.family:
        return
    for held in list(client.opens.values()):
        for lock in list((held.locks or {}).values()):
            if lock.seqid_owner is None:
                locks.release(state, changes, lock)
        if held.seqid_owner is None:
            opens.release(state, changes, held)


def _settle_open(state: State, damage: Damage, now: float, _changes: ChangeSet) -> None:
    """Tell the holder of a lost open, if what is left of the record says who that is; its stateid is unknown now."""
    clientid = int.from_bytes(damage.value()[:_HOLDER_KEY_SIZE], "big")
    _tell(state.clients.by_id.get(clientid), state, now)


def _settle_range(state: State, damage: Damage, now: float, _changes: ChangeSet) -> None:
    """Tell the holder of a lost lock: it has the open that the lock was taken by, which the key names."""
    held = state.filter.opens.get(damage.key[:_OPEN_KEY_SIZE])
    _tell(held.holder if held is not None else None, state, now)


def _settle_pending(state: State, damage: Damage, _now: float, changes: ChangeSet) -> None:
    """The record says nothing but its key.  Which files it may have been is seen when the tombs are swept."""
    state.spares_tombs = True
    if state.filter.is_held(damage.key):
        state.filter.keep_pending(damage.key, changes)


def _tell(client: Client | None, state: State, now: float) -> None:
    """Have the client of a session find out what it has lost before it comes to use it (RFC 8881 18.46.3)."""
    if client is not None:
        client.lost_until = now + state.clients.lease_time_s


_BY_KIND: dict[int, Callable[[State, Damage, float, ChangeSet], None]] = {
    HOLDER: _settle_holder,
    SLOT: _settle_slot,
    OWNER: _settle_owner,
    OPEN: _settle_open,
    RANGE: _settle_range,
    PENDING: _settle_pending,
}
