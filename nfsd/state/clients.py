"""Clients (RFC 8881 2.4, RFC 7530 9.1): who they are, whether they are confirmed, and their leases.

Owns Client and the table of them.  Must not know operations: EXCHANGE_ID's and SETCLIENTID's decisions are in
`nfsd/ops`; this file keeps the facts that they decide on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.state import records
from nfsd.state.blackout import address_key
from statestore import HOLDER, META, ChangeSet
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.state.opens import OpenState
    from nfsd.state.owners import SeqidOwner
    from nfsd.state.sessions import Session


def identity_of(owner: bytes, principal: bytes) -> bytes:
    """What stays the same over a client's restarts and reclaims: its owner string and who it is."""
    return len(owner).to_bytes(4, "big") + owner + principal


class Callback:
    """Where an NFSv4.0 client takes its callbacks (cb_client4)."""

    __slots__ = ("program", "netid", "address", "ident")

    def __init__(self, program: int = 0, netid: bytes = b"", address: bytes = b"", ident: int = 0) -> None:
        self.program = program
        self.netid = netid
        self.address = address
        self.ident = ident


class Client:
    """One client instance.

    `family` is 0 for NFSv4.0 and 1 for 4.1 and later: their owner strings are separate name spaces.
    `identity` is what stays the same over the client's reboots and over reclaims: it goes into resume keys.
    """

    __slots__ = (
        "clientid", "key", "family", "owner", "verifier", "principal", "confirmed", "renewed", "sessions", "opens",
        "reclaim_complete", "create_sequence", "create_reply", "confirm", "callback", "open_owners", "lock_owners",
        "identity", "label", "peer", "lost_until",
    )  # fmt: skip

    def __init__(
        self, *, clientid: int, family: int, owner: bytes, verifier: bytes, principal: bytes, now: float
    ) -> None:
        self.clientid = clientid
        self.key = clientid.to_bytes(8, "big")
        """The key of its record."""
        self.family = family
        self.owner = owner
        self.verifier = verifier
        self.principal = principal
        self.confirmed = False
        self.renewed = now
        self.sessions: dict[bytes, Session] = {}
        self.opens: dict[bytes, OpenState] = {}
        self.reclaim_complete = False
        self.create_sequence = 0
        self.create_reply = b""
        self.confirm = bytes(8)
        self.callback = Callback()
        self.open_owners: dict[bytes, SeqidOwner] = {}
        self.lock_owners: dict[bytes, SeqidOwner] = {}
        self.identity = identity_of(owner, principal)
        self.label = f"{clientid:016x}"
        self.peer = ""
        # Until when its sessions say that it has lost something, in case it does not ask what.
        self.lost_until = 0.0

    def save(self, changes: ChangeSet) -> None:
        """Put its record; only confirmed clients are ever stored."""
        assert self.confirmed
        changes.put(HOLDER, self.key, records.encode_client(self))
        if self.peer:
            changes.put(META, address_key(self.key), self.peer.rpartition(":")[0].encode())

    def has_state(self) -> bool:
        """Whether anything would be lost with it (RFC 8881 18.50.3)."""
        return bool(self.opens or self.sessions)


class ClientTable:
    """Every client, by clientid and by owner: at most one confirmed and one unconfirmed of each owner."""

    def __init__(self, lease_time_s: float, clients_max: int) -> None:
        self.lease_time_s = lease_time_s
        self.clients_max = clients_max
        self.by_id: dict[int, Client] = {}
        self._confirmed: dict[tuple[int, bytes], Client] = {}
        self._unconfirmed: dict[tuple[int, bytes], Client] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self.by_id.values()))

    def confirmed(self, family: int, owner: bytes) -> Client | None:
        """The confirmed client of this owner."""
        return self._confirmed.get((family, owner))

    def unconfirmed(self, family: int, owner: bytes) -> Client | None:
        """The unconfirmed client of this owner."""
        return self._unconfirmed.get((family, owner))

    def add_unconfirmed(self, client: Client) -> None:
        """Remember a new client, in place of an unconfirmed one of the same owner.  Raises Nfs4Error(DELAY)."""
        self.drop_unconfirmed(client.family, client.owner)
        if len(self.by_id) >= self.clients_max:
            raise Nfs4Error(nfs4.NFS4ERR_DELAY, f"{self.clients_max} clients (limits.clients_max)")
        self._unconfirmed[client.family, client.owner] = client
        self.by_id[client.clientid] = client

    def add_update(self, known: Client, update: Client) -> None:
        """Remember what SETCLIENTID would change of a confirmed client, under the same clientid (RFC 7530 16.33.5)."""
        self.drop_unconfirmed(known.family, known.owner)
        self._unconfirmed[known.family, known.owner] = update

    def update_of(self, clientid: int) -> Client | None:
        """What is to change of a confirmed client once that is confirmed too."""
        known = self.by_id.get(clientid)
        if known is None or not known.confirmed:
            return None
        update = self._unconfirmed.get((known.family, known.owner))
        return update if update is not None and update.clientid == clientid else None

    def drop_unconfirmed(self, family: int, owner: bytes) -> None:
        """Forget the unconfirmed client of this owner, if there is one."""
        old = self._unconfirmed.pop((family, owner), None)
        if old is not None and self.by_id.get(old.clientid) is old:
            del self.by_id[old.clientid]

    def confirm(self, client: Client) -> None:
        """Make a client the confirmed one of its owner; the caller has removed the one before it."""
        key = (client.family, client.owner)
        if self._unconfirmed.get(key) is client:
            del self._unconfirmed[key]
        client.confirmed = True
        self._confirmed[key] = client
        self.by_id[client.clientid] = client

    def remove(self, client: Client) -> None:
        """Forget a client."""
        key = (client.family, client.owner)
        self.by_id.pop(client.clientid, None)
        for table in (self._confirmed, self._unconfirmed):
            if table.get(key) is client:
                del table[key]

    def is_expired(self, client: Client, now: float) -> bool:
        """Whether the lease has run out; its state stays until somebody conflicts with it (courtesy)."""
        return now - client.renewed > self.lease_time_s
