"""The life of clients (RFC 8881 2.4, RFC 7530 9.1): confirmed, forgotten with all that they hold.

Must not know operations: EXCHANGE_ID's and SETCLIENTID's decisions are in `nfsd/ops`.
"""

from __future__ import annotations

from nfsd.log import limiter
from nfsd.state import opens, records, sessions
from nfsd.state.model import Client
from nfsd.state.tables import State
from statestore import OWNER, ChangeSet


def confirm(state: State, client: Client) -> None:
    """Make a client the confirmed one of its owner; the caller has removed the one before it."""
    state.clients.confirm(client)
    state.filter.add_holder(client)


def establish(state: State, changes: ChangeSet, client: Client) -> None:
    """Confirm a new instance of a client; an older one loses everything (RFC 8881 18.36.4, RFC 7530 16.34.5)."""
    owner = client.owner.decode("utf-8", "replace")
    old = state.clients.confirmed(client.family, client.owner)
    if old is not None:
        limiter.write(
            "info" if old.address == client.address else "warning",
            "client.restarted",
            about=client.address,
            client=client.label,
            instead_of=old.label,
            owner=owner,
            before=old.address,
            address=client.address,
        )
        remove_client(state, changes, old)
    confirm(state, client)
    limiter.write("info", "client.confirmed", about=client.address, client=client.label, owner=owner)


def came_from(client: Client, peer: str) -> None:
    """Note where a client came from, as ADDRESS:PORT."""
    client.peer = peer
    client.address = peer.rpartition(":")[0]


def move(state: State, changes: ChangeSet, client: Client, peer: str) -> None:
    """A confirmed client comes from another ADDRESS:PORT now: its record says so, and the log, if it had one before."""
    assert client.confirmed
    before = client.address
    came_from(client, peer)
    records.put_address(changes, client)
    if before:
        limiter.write(
            "warning",
            "client.moved",
            about=client.address,
            client=client.label,
            owner=client.owner.decode("utf-8", "replace"),
            before=before,
            address=client.address,
        )


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
        client.confirmed = False
