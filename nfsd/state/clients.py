"""The life of clients (RFC 8881 2.4, RFC 7530 9.1): confirmed, forgotten with all that they hold.

Must not know operations: EXCHANGE_ID's and SETCLIENTID's decisions are in `nfsd/ops`.
"""

from __future__ import annotations

from collections.abc import Iterable

from nfsd.errors import Nfs4Error
from nfsd.log import limiter
from nfsd.state import leftovers, records, sessions
from nfsd.state.model import Client
from nfsd.state.tables import State
from statestore import ChangeSet
from xdr.generated import nfs4


def confirm(state: State, client: Client) -> None:
    """Make a client the confirmed one of its owner; the caller has removed the one before it."""
    state.clients.confirm(client)
    state.filter.add_holder(client)


def establish(state: State, changes: ChangeSet, client: Client, now: float) -> None:
    """Confirm a new instance of a client; an older one loses everything (RFC 8881 18.36.4, RFC 7530 16.34.5).

    Raises Nfs4Error(DELAY) where there are too many others.
    """
    owner = client.owner.decode("utf-8", "replace")
    old = state.clients.confirmed(client.family, client.owner)
    if old is None:
        _make_room(state, changes, client.address, now)
    else:
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


def _make_room(state: State, changes: ChangeSet, address: str, now: float) -> None:
    """See to it that there may be one more confirmed client from `address`.

    At a limit a client goes whose lease has run out: one without opens if there is one, and of these who was silent
    longest.  Raises Nfs4Error(DELAY) if there is none.
    """
    table, limits = state.clients, state.limits
    near = table.of_address.get(address, {})
    if len(near) >= limits.clients_per_address_max:
        if not _evict(state, changes, address, near.values(), now):
            raise Nfs4Error(nfs4.NFS4ERR_DELAY, f"{len(near)} clients from {address} (clients_per_address_max)")
    elif table.counts()[0] >= limits.clients_max:
        if not _evict(state, changes, None, table, now):
            raise Nfs4Error(nfs4.NFS4ERR_DELAY, f"{limits.clients_max} clients (clients_max)")


def _evict(state: State, changes: ChangeSet, where: str | None, among: Iterable[Client], now: float) -> bool:
    """Remove one whose lease has run out, of all or of those from one address; whether there was one.

    Where there was none, nobody is asked again before a lease can have run out.
    """
    began, lease_time_s, full_until = state.filter.began, state.clients.lease_time_s, state.clients.full_until
    if now <= full_until.get(where, 0.0):
        return False
    confirmed = [client for client in among if client.confirmed]
    expired = [client for client in confirmed if now - max(client.heard, began) > lease_time_s]
    if not expired:
        full_until[where] = min(max(client.heard, began) for client in confirmed) + lease_time_s
        return False
    full_until.pop(where, None)
    found = min(expired, key=lambda client: (bool(client.opens), client.heard))
    limiter.write("warning", "client.evicted", about=found.address, client=found.label, opens=len(found.opens))
    state.clients.evicted["client"] += 1
    remove_client(state, changes, found)
    return True


def came_from(client: Client, peer: str) -> None:
    """Note where a new client came from, as ADDRESS:PORT."""
    client.peer = peer
    client.address = peer.rpartition(":")[0]


def move(state: State, changes: ChangeSet, client: Client, peer: str) -> None:
    """A confirmed client comes from another ADDRESS:PORT now: its record says so, and the log, if it had one before."""
    assert client.confirmed
    before = client.address
    client.peer = peer
    state.clients.readdress(client, peer.rpartition(":")[0])
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
    """Remove a client with everything that it holds: for others at once, many records little by little."""
    state.clients.remove(client)
    if not client.confirmed:
        return
    if not client.family:
        state.expired_clientids.add(client.clientid)
    for session in list(client.sessions.values()):
        sessions.remove_session(state, changes, session)
    leftovers.leave(state, changes, client)
