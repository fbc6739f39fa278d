"""All protocol state of one server in memory: the tables, each the one owner of its facts.

Owns the tables.  What changes them is in a file for each noun, and joins the ChangeSet of the request that changes
them; loading them is `fold.py`'s.  Must not know operations or connections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from nfsd.config import Limits
from nfsd.state.ids import Clientids, Instances
from nfsd.state.inorder import InOrder
from nfsd.state.model import Client, LockState, OpenState, SeqidOwner, Session
from statestore import Filter

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


Name = tuple[int, bytes]
"""A client's family and owner string."""


class Unconfirmed:
    """Clients that have not been confirmed yet, and updates of known ones (RFC 7530 16.33.5), oldest first.

    There are at most `limits.clients_unconfirmed_max`, and of one address `clients_unconfirmed_per_address_max`.
    """

    __slots__ = ("_limits", "_clients", "_of_address")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clients: dict[Name, Client] = {}
        self._of_address: dict[str, dict[Name, None]] = {}

    def __len__(self) -> int:
        return len(self._clients)

    def get(self, name: Name) -> Client | None:
        """The one of that name."""
        return self._clients.get(name)

    def crowded_out(self, address: str) -> Name | None:
        """Whose place one more from `address` takes: the oldest one's from there, or of all; None if there is room."""
        near = self._of_address.get(address, {})
        if len(near) >= self._limits.clients_unconfirmed_per_address_max:
            return next(iter(near))
        if len(self._clients) >= self._limits.clients_unconfirmed_max:
            return next(iter(self._clients))
        return None

    def add(self, client: Client) -> None:
        """Remember one whose name is free."""
        name = (client.family, client.owner)
        self._clients[name] = client
        self._of_address.setdefault(client.address, {})[name] = None

    def pop(self, name: Name) -> Client | None:
        """Forget the one of that name, if there is one."""
        client = self._clients.pop(name, None)
        if client is not None:
            near = self._of_address[client.address]
            del near[name]
            if not near:
                del self._of_address[client.address]
        return client


class ClientTable:
    """Every client, by clientid and by owner: at most one confirmed and one unconfirmed of each owner.

    of_address  the confirmed ones, by address and clientid
    full_until  by address, None for all: until when no lease runs out, so that there can be no room for another
    """

    def __init__(self, lease_time_s: float, limits: Limits) -> None:
        self.lease_time_s = lease_time_s
        self.by_id: dict[int, Client] = {}
        self.of_address: dict[str, dict[int, Client]] = {}
        self.full_until: dict[str | None, float] = {}
        self.evicted: Counter[str] = Counter()
        """Clients and sessions that had to make room, by what they were."""
        self._confirmed: dict[Name, Client] = {}
        self._unconfirmed = Unconfirmed(limits)

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self.by_id.values()))

    def counts(self) -> tuple[int, int]:
        """How many clients are confirmed, and how many are not or are to be updated."""
        return len(self._confirmed), len(self._unconfirmed)

    def confirmed(self, family: int, owner: bytes) -> Client | None:
        """The confirmed client of this owner."""
        return self._confirmed.get((family, owner))

    def add_unconfirmed(self, client: Client) -> None:
        """Remember a new client, in place of an unconfirmed one of the same owner, or of the oldest at a limit."""
        self._add_unconfirmed(client)
        self.by_id[client.clientid] = client

    def add_update(self, update: Client) -> None:
        """Remember what SETCLIENTID would change of a confirmed client, under the same clientid (RFC 7530 16.33.5)."""
        self._add_unconfirmed(update)

    def _add_unconfirmed(self, client: Client) -> None:
        self.drop_unconfirmed(client.family, client.owner)
        name = self._unconfirmed.crowded_out(client.address)
        if name is not None:
            self.evicted["unconfirmed client"] += 1
            self.drop_unconfirmed(*name)
        self._unconfirmed.add(client)

    def update_of(self, clientid: int) -> Client | None:
        """What is to change of a confirmed client once that is confirmed too."""
        known = self.by_id.get(clientid)
        if known is None or not known.confirmed:
            return None
        update = self._unconfirmed.get((known.family, known.owner))
        return update if update is not None and update.clientid == clientid else None

    def drop_unconfirmed(self, family: int, owner: bytes) -> None:
        """Forget the unconfirmed client of this owner, if there is one."""
        old = self._unconfirmed.pop((family, owner))
        if old is not None and self.by_id.get(old.clientid) is old:
            del self.by_id[old.clientid]

    def confirm(self, client: Client) -> None:
        """Make a client the confirmed one of its owner; the caller has removed the one before it."""
        key = (client.family, client.owner)
        if self._unconfirmed.get(key) is client:
            self._unconfirmed.pop(key)
        client.confirmed = True
        self._confirmed[key] = client
        self.by_id[client.clientid] = client
        self.of_address.setdefault(client.address, {})[client.clientid] = client

    def readdress(self, client: Client, address: str) -> None:
        """A confirmed client comes from another address."""
        self._leave_address(client)
        client.address = address
        self.of_address.setdefault(address, {})[client.clientid] = client

    def _leave_address(self, client: Client) -> None:
        near = self.of_address[client.address]
        del near[client.clientid]
        self.full_until.pop(client.address, None)
        if not near:
            del self.of_address[client.address]

    def remove(self, client: Client) -> None:
        """Forget a client."""
        key = (client.family, client.owner)
        self.by_id.pop(client.clientid, None)
        if self._unconfirmed.get(key) is client:
            self._unconfirmed.pop(key)
        if self._confirmed.get(key) is client:
            del self._confirmed[key]
        if client.confirmed:
            self._leave_address(client)


class State:
    """Clients, sessions, opens and locks.

    filter          opens and ranges by file handle, what conflicts, and what is blacked out
    stateids        from stateid4.other to the open or lock
    locks           lock stateids by (client's key + lock owner, file handle)
    closed          NFSv4.0: from stateid4.other of a closed open to the owner that closed it last
    reply_cache_size  bytes that the sessions' slots may keep of replies
    dead_sessions   sessions that could not be recovered: told DEADSESSION once, BADSESSION after that
    expired_...     of NFSv4.0 clients that were removed: so that they hear EXPIRED, and do not try to reclaim
    leftovers       removed clients of which something is left, by their keys (`leftovers.py`)
    in_order        opens of those of them that had very many, by the clients' keys
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
        limits: Limits,
        now: float,
        random_bytes: Callable[[int], bytes],
        wall_offset_s: float = 0.0,
    ) -> None:
        self.secret = secret
        self.limits = limits
        self.wall_offset_s = wall_offset_s
        self.clients = ClientTable(lease_time_s, limits)
        self._clientids = Clientids(epoch, secret)
        self.instances = Instances.of_new_store(random_bytes)
        self.filter: Filter[Client, OpenState] = Filter(now)
        self.sessions: dict[bytes, Session] = {}
        self.session_count = epoch << 32
        self.reply_cache_size = 0
        self.stateids: dict[bytes, OpenState | LockState] = {}
        self.locks: dict[tuple[bytes, bytes], list[LockState]] = {}
        self.closed: dict[bytes, SeqidOwner] = {}
        self.leftovers: dict[bytes, Client] = {}
        self.in_order: dict[bytes, InOrder] = {}
        self.spares_tombs = False
        self.dead_sessions: set[bytes] = set()
        self.expired_stateids = Recent(_EXPIRED_MAX)
        self.expired_clientids = Recent(_EXPIRED_MAX)

    def new_clientid(self) -> int:
        """A clientid that no client of this store has had."""
        return self._clientids.next(self.clients.by_id)
