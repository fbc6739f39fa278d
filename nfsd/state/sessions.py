"""The life of sessions and their slots (RFC 8881 2.10): the reply cache, and the records of both.

A slot's stored sequence id is a lower bound: a SEQUENCE that changed nothing is not written, so after a restart the
first request of each slot may be any number ahead.
"""

from __future__ import annotations

import hashlib

from nfsd.errors import Nfs4Error
from nfsd.log import limiter
from nfsd.state import records
from nfsd.state.model import SESSION_SIZE, SLOT_SIZE, Client, Session, Slot
from nfsd.state.tables import State
from statestore import SLOT, STREAM, ChangeSet
from xdr.codec import Buffer
from xdr.generated import nfs4

# What one new session may take of what is left of a budget: a few of a client's, some hundreds of an address's and
# thousands of all fit in with ever fewer slots.
_PART_OF_CLIENT, _PART_OF_ADDRESS, _PART_OF_ALL = 8, 128, 1024


def new_sessionid(state: State, client: Client) -> bytes:
    """16 bytes that no other session has had and nobody can guess."""
    state.session_count += 1
    count = state.session_count.to_bytes(12, "big")
    return client.key + hashlib.blake2b(count, key=state.secret, digest_size=8).digest()


def add_session(state: State, session: Session) -> None:
    """Add a session to its client's."""
    client = session.client
    client.sessions[session.sessionid] = session
    state.sessions[session.sessionid] = session
    client.reply_cache_size += session.reply_cache_size
    state.reply_cache_size += session.reply_cache_size


def forget(state: State, session: Session) -> None:
    """Take a session out of the tables."""
    client = session.client
    session.destroyed = True
    if state.sessions.pop(session.sessionid, None) is not None:
        del client.sessions[session.sessionid]
        client.reply_cache_size -= session.reply_cache_size
        state.reply_cache_size -= session.reply_cache_size


def slots_for(state: State, client: Client, wanted: int, reply_cached_max: int) -> int:
    """How many slots a new session gets of those that it wants: what it may keep of replies fits into the budgets.

    It takes a small part of what is left of each, so that later ones find something too, if only a slot or two.  Raises
    Nfs4Error: NOSPC where the client's own budget is used up, DELAY where its address's or that of all is.
    """
    limits, each = state.limits, SLOT_SIZE + reply_cached_max
    least = SESSION_SIZE + each
    mine = limits.reply_cache_per_client_size_max - client.reply_cache_size
    if mine < least:
        raise Nfs4Error(nfs4.NFS4ERR_NOSPC, "the client's sessions keep too much (reply_cache_per_client_size_max)")
    near = state.clients.of_address.get(client.address, {}).values()
    nearby = limits.reply_cache_per_address_size_max - sum(other.reply_cache_size for other in near)
    left = limits.reply_cache_size_max - state.reply_cache_size
    if nearby < least or left < least:
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "sessions keep too much (reply_cache_..._size_max)")
    share = min(mine // _PART_OF_CLIENT, nearby // _PART_OF_ADDRESS, left // _PART_OF_ALL)
    return min(wanted, max(1, (share - SESSION_SIZE) // each))


def make_room(state: State, changes: ChangeSet, client: Client) -> None:
    """See to it that a client may have one more session: at the limit one goes that no connection carries.

    Of these the one that was unused longest.  Raises Nfs4Error(NOSPC) where all are in use.
    """
    count_max = state.limits.sessions_per_client_max
    if len(client.sessions) < count_max:
        return
    idle = [session for session in client.sessions.values() if not session.connections and not session.is_busy(None)]
    if not idle:
        raise Nfs4Error(nfs4.NFS4ERR_NOSPC, f"{count_max} sessions of one client (limits.sessions_per_client_max)")
    session = min(idle, key=lambda each: each.heard)
    limiter.write("info", "session.evicted", about=client.address, client=client.label, session=session.sessionid.hex())
    state.clients.evicted["session"] += 1
    remove_session(state, changes, session)


def remove_session(state: State, changes: ChangeSet, session: Session) -> None:
    """Remove a session, its record and those of its slots."""
    for connection in session.connections:
        connection.put_down(session)
    changes.remove(STREAM, session.sessionid)
    for slot in session.slots:
        if slot is not None and (slot.used or slot.resumed):
            changes.remove(SLOT, slot.key)
    forget(state, session)


def finish(
    session: Session, slot: Slot, body: list[Buffer], changes: ChangeSet, changed: bool, cache: bool
) -> list[Buffer]:
    """The request on a slot has been evaluated: keep its reply where that was asked for (`cache`) or it `changed`
    something.

    Returns the body, joined where it was kept.
    """
    slot.running = None
    slot.seqid = slot.sequence
    if not changed and not cache:
        slot.reply = None
        return body
    joined = b"".join(body)
    slot.reply = joined if len(joined) <= session.fore.reply_cached_max else None
    if changed and not session.destroyed:
        records.put_slot(changes, slot)
    return [joined]
