"""All protocol state of one server in memory: the tables, each the one owner of its facts.

Owns the tables.  What changes them is in a file for each noun, and joins the ChangeSet of the request that changes
them; loading them is `fold.py`'s.  Must not know operations or connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state.ids import Clientids, Instances
from nfsd.state.model import Client, LockState, OpenState, SeqidOwner, Session
from statestore import Filter
from xdr.generated import nfs4

_EXPIRED_MAX: Final = 65_536
"""NFSv4.0 clients and stateids that are remembered after they were removed."""


class Recent:
    """The last things that were added, up to a number of them."""

    __slots__ = ("_count_max", "_things")

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._things: dict[object, None] = {}

    def add(self, thing: object) -> None:
        """Remember it, in place of the oldest."""
        self._things[thing] = None
        if len(self._things) > self._count_max:
            del self._things[next(iter(self._things))]

    def __contains__(self, thing: object) -> bool:
        return thing in self._things


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


class State:
    """Clients, sessions, opens and locks.

    filter          opens and ranges by file handle, what conflicts, and what is blacked out
    stateids        from stateid4.other to the open or lock
    locks           lock stateids by (client's key + lock owner, file handle)
    closed          NFSv4.0: from stateid4.other of a closed open to the owner that closed it last
    dead_sessions   sessions that could not be recovered: told DEADSESSION once, BADSESSION after that
    expired_...     of NFSv4.0 clients that were removed: so that they hear EXPIRED, and do not try to reclaim
    spares_tombs    a record of a nameless file was damaged: what is still open is not to be freed
    wall_offset_s   the wall clock less the server's own: records hold times of the wall clock, which goes on over
                    restarts of the machine
    """

    def __init__(
        self,
        *,
        secret: bytes,
        epoch: int,
        lease_time_s: float,
        clients_max: int,
        opens_max: int,
        callers_per_open_max: int,
        now: float,
        random_bytes: Callable[[int], bytes],
        wall_offset_s: float = 0.0,
    ) -> None:
        self.secret = secret
        self.opens_max = opens_max
        self.callers_per_open_max = callers_per_open_max
        self.wall_offset_s = wall_offset_s
        self.clients = ClientTable(lease_time_s, clients_max)
        self._clientids = Clientids(epoch, secret)
        self.instances = Instances.of_new_store(random_bytes)
        self.filter: Filter[Client, OpenState] = Filter(now)
        self.sessions: dict[bytes, Session] = {}
        self.session_count = epoch << 32
        self.stateids: dict[bytes, OpenState | LockState] = {}
        self.locks: dict[tuple[bytes, bytes], list[LockState]] = {}
        self.closed: dict[bytes, SeqidOwner] = {}
        self.spares_tombs = False
        self.dead_sessions: set[bytes] = set()
        self.expired_stateids = Recent(_EXPIRED_MAX)
        self.expired_clientids = Recent(_EXPIRED_MAX)

    def new_clientid(self) -> int:
        """A clientid that no client of this store has had."""
        return self._clientids.next(self.clients.by_id)
