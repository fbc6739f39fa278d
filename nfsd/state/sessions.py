"""The life of sessions and their slots (RFC 8881 2.10): the reply cache, and the records of both.

A slot's stored sequence id is a lower bound: a SEQUENCE that changed nothing is not written, so after a restart the
first request of each slot may be any number ahead.
"""

from __future__ import annotations

import hashlib

from nfsd.state import records
from nfsd.state.model import Client, Session, Slot
from nfsd.state.tables import State
from statestore import SLOT, STREAM, ChangeSet
from xdr.codec import Buffer


def new_sessionid(state: State, client: Client) -> bytes:
    """16 bytes that no other session has had and nobody can guess."""
    state.session_count += 1
    count = state.session_count.to_bytes(12, "big")
    return client.key + hashlib.blake2b(count, key=state.secret, digest_size=8).digest()


def add_session(state: State, session: Session) -> None:
    """Add a session to its client's."""
    session.client.sessions[session.sessionid] = session
    state.sessions[session.sessionid] = session


def remove_session(state: State, changes: ChangeSet, session: Session) -> None:
    """Remove a session, its record and those of its slots."""
    session.destroyed = True
    for connection in session.connections:
        connection.put_down(session)
    changes.remove(STREAM, session.sessionid)
    for slot in session.slots:
        if slot is not None and (slot.used or slot.resumed):
            changes.remove(SLOT, slot.key)
    state.sessions.pop(session.sessionid, None)
    session.client.sessions.pop(session.sessionid, None)


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
