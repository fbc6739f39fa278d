"""The life of clients (RFC 8881 2.4, RFC 7530 9.1): confirmed, forgotten with all that they hold.

Must not know operations: EXCHANGE_ID's and SETCLIENTID's decisions are in `nfsd/ops`.
"""

from __future__ import annotations

from nfsd.state import opens, records, sessions
from nfsd.state.model import Client
from nfsd.state.tables import State
from statestore import OWNER, ChangeSet


def confirm(state: State, client: Client) -> None:
    """Make a client the confirmed one of its owner; the caller has removed the one before it."""
    state.clients.confirm(client)
    state.filter.add_holder(client)


def came_from(client: Client, peer: str) -> None:
    """Note where a client came from, as ADDRESS:PORT."""
    client.peer = peer
    client.address = peer.rpartition(":")[0]


def remove_client(state: State, changes: ChangeSet, client: Client) -> None:
    """Remove a client with everything that it holds."""
    if not client.family and client.confirmed:
        state.expired_clientids.add(client.clientid)
        for held in client.opens.values():
            state.expired_stateids.add(held.other)
            for lock in (held.locks or {}).values():
                state.expired_stateids.add(lock.other)
    for session in list(client.sessions.values()):
        sessions.remove_session(state, changes, session)
    for held in list(client.opens.values()):
        opens.release(state, changes, held)
    for owner in (*client.open_owners.values(), *client.lock_owners.values()):
        changes.remove(OWNER, owner.key)
        state.closed.pop(owner.closed, None)
    client.open_owners.clear()
    client.lock_owners.clear()
    state.clients.remove(client)
    if client.confirmed:
        records.remove_client(changes, client)
        state.filter.remove_holder(client)
