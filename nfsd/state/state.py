"""All protocol state of one server in memory, the one owner of each fact, and its loading from the store.

Must not know operations or connections.  Everything that changes here joins the ChangeSet of the request that
changes it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.log import get_logger
from nfsd.state import locks, opens, records
from nfsd.state.blackout import Blackouts, address_key
from nfsd.state.clients import Callback, Client, ClientTable
from nfsd.state.ids import INSTANCES_KEY, Clientids, Instances
from nfsd.state.locks import LockState
from nfsd.state.opens import OpenState
from nfsd.state.owners import SeqidOwner
from nfsd.state.reclaim import Reclaim
from nfsd.state.sessions import Channel, Session
from nfsd.state.waiting import SWEEP_AFTER_S, Waiting
from statestore import HOLDER, META, OPEN, OWNER, PENDING, RANGE, SLOT, STREAM, ChangeSet, Damage, RangeSet, ShareTable
from xdr.codec import XdrError
from xdr.generated import nfs4, stored

if TYPE_CHECKING:
    from nfsd.state.asker import Asker
    from nfsd.vfs.interface import Node

log = get_logger()

ANONYMOUS = bytes(12)
BYPASS = b"\xff" * 12
_SEQID_MAX = 0xFFFFFFFF
# Clients whose lease ran out stay for this long if nobody conflicts with them (RFC 8881 8.4.2.4).
COURTESY_S = 24 * 3600.0

_EXPIRED_MAX = 65_536
# What a record that is damaged, or lacks what it belongs to, comes to.
LOAD_ERRORS = (KeyError, XdrError, Nfs4Error, ValueError, IndexError, struct.error)
# Records loaded at a time, while nobody else may run: about 30 ms.
_STEP = 8192


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


class State:
    """Clients, sessions, opens and locks.

    `stateids` leads from stateid4.other to the open or lock; `shares` and `ranges` hold the conflict rules' view
    of the same facts, by file handle.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        epoch: int,
        lease_time_s: float,
        clients_max: int,
        opens_max: int,
        now: float,
        random_bytes: Callable[[int], bytes],
        blackouts: Blackouts | None = None,
    ) -> None:
        self.secret = secret
        self.opens_max = opens_max
        self.clients = ClientTable(lease_time_s, clients_max)
        self.clientids = Clientids(epoch)
        self.instances = Instances.of_new_store(random_bytes)
        self.sessions: dict[bytes, Session] = {}
        self.opens: dict[bytes, OpenState] = {}
        self.stateids: dict[bytes, OpenState | LockState] = {}
        self.locks: dict[tuple[bytes, bytes], list[LockState]] = {}
        self.shares = ShareTable()
        self.ranges: dict[bytes, RangeSet] = {}
        self.closed: dict[bytes, SeqidOwner] = {}
        # Files without a name that live for their opens (OPEN4_RESULT_PRESERVE_UNLINKED), and those done with.
        self.unlinked: set[bytes] = set()
        self.forsaken: set[bytes] = set()
        # A record of one was damaged: what is still open is not to be freed.
        self.spares_tombs = False
        # Sessions that could not be recovered: told DEADSESSION once, BADSESSION after that.
        self.dead_sessions: set[bytes] = set()
        # Of NFSv4.0 clients that were removed: so that they hear EXPIRED, and do not try to reclaim.
        self.expired_stateids = Recent(_EXPIRED_MAX)
        self.expired_clientids = Recent(_EXPIRED_MAX)
        # What may be claimed again, after a start with `--recovery reclaim`; None when that is over.
        self.reclaim: Reclaim | None = None
        self.blackouts = blackouts if blackouts is not None else Blackouts()
        self._session_count = epoch << 32
        self._started = now
        # While records are loaded: owners' names, each once; and what each NFSv4.0 owner holds.
        self._names: dict[bytes, bytes] = {}
        self._by_owner: dict[Client, dict[tuple[bool, bytes], list[OpenState | LockState]]] = {}

    # -- stateids -----------------------------------------------------------------------------------------

    def find(self, asker: Asker, stateid: nfs4.stateid4, node: Node | None = None) -> OpenState | LockState:
        """The open or lock that a stateid names (RFC 8881 8.2.4), on that file if one is given.

        Raises Nfs4Error(BAD_STATEID, OLD_STATEID, STALE_STATEID).
        """
        seqid, other = stateid.seqid, stateid.other
        if asker.minor and other == ANONYMOUS and seqid == 1:
            if asker.stateid is None:
                raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "no current stateid")
            seqid, other = asker.stateid
        found = self.stateids.get(other)
        if found is None:
            raise self._unknown(asker, other)
        client = found.client
        if asker.client is not client and (asker.client is not None or client.family != bool(asker.minor)):
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "another client's stateid")
        if node is not None:
            if found.handle != node.handle:
                raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "the stateid belongs to another file")
            if found.open.node is None:  # loaded from the store, and used for the first time
                found.open.node = node
                node.opens += 1
        if seqid != found.seqid and not (asker.minor and seqid == 0):
            if seqid < found.seqid or (found.seqid < 0x10000 and seqid > 0xFFFF0000):
                raise Nfs4Error(nfs4.NFS4ERR_OLD_STATEID, f"seqid {seqid}, now {found.seqid}")
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, f"seqid {seqid}, now {found.seqid}")
        if not asker.minor:
            self._renew(found.client, asker)
        return found

    def _unknown(self, asker: Asker, other: bytes) -> Nfs4Error:
        """Why a stateid is not known.  NFSv4.1 clients handle only BAD_STATEID well (RFC 7530 9.1.4.2 for 4.0)."""
        if not asker.minor and other not in (ANONYMOUS, BYPASS):
            if other in self.expired_stateids:
                return Nfs4Error(nfs4.NFS4ERR_EXPIRED, "its client's state was removed")
            if self.instances.is_foreign(other):
                return Nfs4Error(nfs4.NFS4ERR_STALE_STATEID, "no server of this store made it")
        return Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "unknown stateid")

    def _renew(self, client: Client, asker: Asker) -> None:
        """A stateid of NFSv4.0 renews its client's lease (RFC 7530 9.5)."""
        client.renewed = asker.now

    def find_open(self, asker: Asker, stateid: nfs4.stateid4, node: Node) -> OpenState:
        """The same for an operation that takes an open stateid only.  Raises Nfs4Error(BAD_STATEID, ...)."""
        found = self.find(asker, stateid, node)
        if not isinstance(found, OpenState):
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a lock stateid where an open one is needed")
        return found

    def check_io(self, asker: Asker, stateid: nfs4.stateid4, node: Node, write: bool) -> OpenState | None:
        """Whether READ, WRITE or a change of size may go on under this stateid (RFC 8881 8.2.3, 9.1.2).

        Returns the open, or None for the special stateids: the caller's permission on the file then decides.
        Raises Nfs4Error(LOCKED, OPENMODE, BAD_STATEID, OLD_STATEID).
        """
        other, seqid = stateid.other, stateid.seqid
        if other == ANONYMOUS and seqid == 0 or other == BYPASS and seqid == _SEQID_MAX:
            self.check_blackout(asker, node.handle, asker.client)
            if write or other == ANONYMOUS:
                access = nfs4.OPEN4_SHARE_ACCESS_WRITE if write else nfs4.OPEN4_SHARE_ACCESS_READ
                opens.check_shares(self, asker, node.handle, access, 0, nfs4.NFS4ERR_LOCKED)
            return None
        held = self.find(asker, stateid, node).open
        if held.seqid_owner is not None and not held.seqid_owner.confirmed:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "the open owner has not been confirmed")
        if write and not held.access & nfs4.OPEN4_SHARE_ACCESS_WRITE:
            raise Nfs4Error(nfs4.NFS4ERR_OPENMODE, "opened for reading only")
        return held

    def check_write_access(self, asker: Asker, stateid: nfs4.stateid4, node: Node) -> bool:
        """Whether a change of size may go on; True if an open allows it whatever the file's permissions say."""
        return self.check_io(asker, stateid, node, True) is not None

    # -- clients ------------------------------------------------------------------------------------------

    def take_from_expired(self, asker: Asker, client: Client) -> bool:
        """Remove a client that only holds its state by courtesy, because somebody conflicts with it."""
        if client is asker.client or not self.clients.is_expired(client, asker.now):
            return False
        log.info("client.expired", client=client.label, opens=len(client.opens), reason="conflict")
        self.remove_client(asker.changes, client)
        return True

    def has_returned(self, client: Client) -> bool:
        """Whether a client has been heard of since this server took over."""
        return client.renewed > self._started

    def refusal(self, asker: Asker, handle: bytes, holder: Client, status: int) -> int:
        """How a conflict with `holder` is answered: `status`, or DELAY while it may still be on its way back."""
        blackouts = self.blackouts
        if blackouts.waiting is None or self.has_returned(holder):
            return status
        waits = blackouts.waits_for(asker, handle, holder)
        return nfs4.NFS4ERR_DELAY if waits and blackouts.waiting.retry else status

    def check_blackout(self, asker: Asker, handle: bytes, client: Client | None) -> None:
        """Whether a file is free of claims that others may still make.  Raises Nfs4Error(GRACE)."""
        reclaim = self.reclaim
        if reclaim is None:
            return
        identity = client.identity if client is not None else b""
        if reclaim.is_blacked_out(handle, identity, asker.now):
            reclaim.waiting.refusals[handle] += 1
            self.blackouts.count(asker, handle, "file", "takeover")
            raise Nfs4Error(nfs4.NFS4ERR_GRACE, "its holder may still claim it")
        self._expire_claims(handle, asker.now, asker.changes)

    def wait_for_holders(self, waiting: Waiting) -> None:
        """After a start: what was loaded is blacked out until its holders have returned."""
        if self.opens or self.reclaim is not None:
            self.blackouts.waiting = waiting
            holders = sum(1 for client in self.clients if client.opens)
            log.info("blackout.began", why="takeover", holders=holders, opens=len(self.opens))

    def missing(self) -> Iterator[tuple[bytes, str, str]]:
        """(file handle, label, address) of what holders have who have not come back since the start."""
        if self.reclaim is not None:
            yield from self.reclaim.missing()
            return
        for client in self.clients:
            if client.opens and not self.has_returned(client):
                address = self.blackouts.address_of(client)
                for held in client.opens.values():
                    yield held.handle, client.label, address

    def reclaim_complete(self, changes: ChangeSet, client: Client) -> None:
        """A client claims nothing more."""
        if self.reclaim is not None:
            changes.merge(self.reclaim.complete(client.identity, client.opens))
            self._forsake_unheld(changes)
            if not len(self.reclaim):
                self.end_reclaim(changes)

    def end_reclaim(self, changes: ChangeSet, reason: str = "returned") -> None:
        """Nothing can be claimed any more."""
        if self.reclaim is not None:
            changes.merge(self.reclaim.end(self.opens))
            self.reclaim = None
            self._forsake_unheld(changes)
            log.info("reclaim.ended")
            self._end_waiting(reason)

    def is_held(self, handle: bytes) -> bool:
        """Whether somebody has the object open, or may still claim that he has."""
        return handle in self.shares or self.reclaim is not None and self.reclaim.has_claims(handle)

    def _forsake_unheld(self, changes: ChangeSet) -> None:
        for handle in [handle for handle in self.unlinked if not self.is_held(handle)]:
            self.forsake(changes, handle)

    def remove_client(self, changes: ChangeSet, client: Client) -> None:
        """Remove a client with everything that it holds."""
        if not client.family and client.confirmed:
            self.expired_clientids.add(client.clientid)
            for held in client.opens.values():
                self.expired_stateids.add(held.other)
                for lock in (held.locks or {}).values():
                    self.expired_stateids.add(lock.other)
        for session in list(client.sessions.values()):
            self.remove_session(changes, session)
        for held in list(client.opens.values()):
            opens.release(self, changes, held)
        for owner in (*client.open_owners.values(), *client.lock_owners.values()):
            owner.remove(changes)
            self.closed.pop(owner.closed, None)
        client.open_owners.clear()
        client.lock_owners.clear()
        self.clients.remove(client)
        if client.confirmed:
            changes.remove(HOLDER, client.key)
            changes.remove(META, address_key(client.key))
            self.blackouts.addresses.pop(client.key, None)

    def remove_session(self, changes: ChangeSet, session: Session) -> None:
        """Remove a session."""
        session.remove(changes)
        self.sessions.pop(session.sessionid, None)
        session.client.sessions.pop(session.sessionid, None)

    def remove_lock(self, changes: ChangeSet, lock: LockState) -> None:
        """Remove a lock stateid."""
        locks.release(self, changes, lock)

    def new_sessionid(self, client: Client) -> bytes:
        """16 bytes that no other session has had and nobody can guess."""
        self._session_count += 1
        count = self._session_count.to_bytes(12, "big")
        return client.key + hashlib.blake2b(count, key=self.secret, digest_size=8).digest()

    def reap(self, now: float) -> ChangeSet:
        """Remove what nobody will miss: unconfirmed clients, clients long expired, idle NFSv4.0 owners."""
        changes = ChangeSet()
        self._reap_blackouts(changes, now)
        for client in self.clients:
            idle_s = now - client.renewed
            if idle_s <= self.clients.lease_time_s:
                continue
            if not client.confirmed or idle_s > COURTESY_S or not client.opens:
                log.info("client.expired", client=client.label, opens=len(client.opens), reason="lease")
                self.remove_client(changes, client)
        for client in self.clients:
            for owners in (client.open_owners, client.lock_owners):
                self._reap_owners(changes, owners, now)
        return changes

    def _reap_blackouts(self, changes: ChangeSet, now: float) -> None:
        """End the blackouts whose time is over, and the whole start's when nobody is waited for any more."""
        blackouts = self.blackouts
        if blackouts.standing:
            blackouts.reap(now, changes)
        waiting, reclaim = blackouts.waiting, self.reclaim
        if waiting is None or now < waiting.began + SWEEP_AFTER_S:
            return
        for handle in waiting.due(self.missing, now):
            self._expire_claims(handle, now, changes)
        if reclaim is not None and not len(reclaim):
            self.end_reclaim(changes, "time")
        elif reclaim is None and next(self.missing(), None) is None:
            self._end_waiting("returned")
        elif waiting.is_over():
            self._end_waiting("time")

    def _expire_claims(self, handle: bytes, now: float, changes: ChangeSet) -> None:
        """Drop a file's claims that have come too late, and the file with them if it has no name."""
        if self.reclaim is not None:
            self.reclaim.expire(handle, self.opens, now, changes)
            if handle in self.unlinked and not self.is_held(handle):
                self.forsake(changes, handle)

    def _end_waiting(self, reason: str) -> None:
        waiting, self.blackouts.waiting = self.blackouts.waiting, None
        if waiting is not None:
            log.info("blackout.ended", why="takeover", reason=reason, refusals=waiting.refusals.total())

    def _reap_owners(self, changes: ChangeSet, owners: dict[bytes, SeqidOwner], now: float) -> None:
        """Forget NFSv4.0 owners without opens and locks that have been idle for a lease time."""
        idle = [owner for owner in owners.values() if not owner.users and now - owner.used > self.clients.lease_time_s]
        for owner in idle:
            del owners[owner.owner]
            self.closed.pop(owner.closed, None)
            owner.remove(changes)

    # -- files without names ------------------------------------------------------------------------------

    def keep_unlinked(self, changes: ChangeSet, handle: bytes) -> None:
        """An open file has lost its last name: it is kept until its last open goes."""
        self.unlinked.add(handle)
        changes.put(PENDING, handle, b"")

    def forsake(self, changes: ChangeSet, handle: bytes) -> None:
        """The last open of a file without a name has gone."""
        self.unlinked.discard(handle)
        self.forsaken.add(handle)
        changes.remove(PENDING, handle)

    # -- loading ------------------------------------------------------------------------------------------

    def load(self, entries: Iterable[tuple[int, bytes, bytes]], now: float) -> list[Damage]:
        """Take over everything that the store holds; leases begin anew.

        Returns the records that had to be left out because what they belong to is missing or damaged.
        """
        return [damage for left_out in self.load_steps(entries, now) for damage in left_out]

    def load_steps(self, entries: Iterable[tuple[int, bytes, bytes]], now: float) -> Iterator[list[Damage]]:
        """The same in steps of some milliseconds, each with what it left out.

        The entries MUST come in the order of their kinds, as the store gives them: holders before what they hold.
        """
        loaders = {
            HOLDER: self._load_client,
            STREAM: self._load_session,
            SLOT: self._load_slot,
            OPEN: self._load_open,
            RANGE: self._load_lock,
            PENDING: self._load_unlinked,
        }
        self._started = now
        owners = []
        left_out: list[Damage] = []
        for number, (kind, key, value) in enumerate(entries):
            load = loaders.get(kind)
            if load is not None:
                try:
                    load(key, value)
                except LOAD_ERRORS as error:
                    left_out.append(records.unreadable(kind, key, value, error))
            elif kind == OWNER:
                owners.append((key, value))
            elif kind == META and key == INSTANCES_KEY:
                try:
                    self.instances = Instances.of_stored(value)
                except LOAD_ERRORS as error:
                    left_out.append(records.unreadable(kind, key, value, error))
            if not number % _STEP:
                yield left_out
                left_out = []
        for key, value in owners:
            try:
                self._load_owner(key, value)
            except LOAD_ERRORS as error:
                left_out.append(records.unreadable(OWNER, key, value, error))
        self._by_owner.clear()
        self._names.clear()
        yield left_out

    def _load_unlinked(self, key: bytes, _value: bytes) -> None:
        self.unlinked.add(key)

    def _load_client(self, _key: bytes, value: bytes) -> None:
        kept = records.decode_client(value)
        client = Client(
            clientid=kept.clientid,
            family=kept.minor,
            owner=kept.owner,
            verifier=kept.verifier,
            principal=kept.principal,
            now=self._started,
        )
        client.reclaim_complete = kept.reclaim_complete
        client.create_sequence = kept.create_sequence
        client.create_reply = kept.create_reply
        client.confirm = kept.confirm
        client.callback = Callback(
            kept.callback_program, kept.callback_netid, kept.callback_address, kept.callback_ident
        )
        self.clients.confirm(client)

    def _load_session(self, key: bytes, value: bytes) -> None:
        kept = records.decode_session(value)
        client = self.clients.by_id[kept.clientid]
        session = Session(
            key,
            client,
            flags=kept.flags,
            callback_program=kept.callback_program,
            fore=_channel(kept.fore),
            back=_channel(kept.back),
        )
        session.resumed = True
        self.sessions[key] = session
        client.sessions[key] = session

    def _load_slot(self, key: bytes, value: bytes) -> None:
        self.sessions[key[:16]].slot(int.from_bytes(key[16:], "big")).load(value)

    def _load_owner(self, key: bytes, value: bytes) -> None:
        kept = records.decode_owner(value)
        client = self.clients.by_id[int.from_bytes(key[:8], "big")]
        owner = SeqidOwner(client, kept.owner, kept.is_lock_owner)
        owner.confirmed = kept.confirmed
        owner.seqid = kept.seqid
        owner.operation, owner.status, owner.result = kept.operation, kept.status, kept.result
        owner.handle = kept.object
        owner.closed = kept.closed
        owner.used = self._started
        if kept.closed:
            self.closed[kept.closed] = owner
        (client.lock_owners if kept.is_lock_owner else client.open_owners)[kept.owner] = owner
        if client not in self._by_owner:
            self._by_owner[client] = _by_owner(client)
        for state in self._by_owner[client].get((kept.is_lock_owner, kept.owner), ()):
            state.seqid_owner = owner
            owner.users += 1

    def _load_open(self, key: bytes, value: bytes) -> None:
        clientid, access, deny, access_seen, deny_seen, seqid, instance, owner, handle, caller = records.open_fields(
            value
        )
        client = self.clients.by_id[clientid]
        # A client's processes share one owner, as a rule.
        held = OpenState(client, key, handle, self._names.setdefault(owner, owner), instance, caller)
        held.access, held.deny = access, deny
        held.access_seen, held.deny_seen = access_seen, deny_seen
        held.seqid = seqid
        self.shares.add(handle, key, client.key, access, deny)
        self.opens[key] = held
        self.stateids[held.other] = held
        client.opens[key] = held

    def _load_lock(self, key: bytes, value: bytes) -> None:
        kept = records.decode_lock(value)
        if any(item.start > item.last for item in kept.ranges):
            raise ValueError("a range that ends before it starts")
        held = self.opens[key[:16]]
        ranges = self.ranges.setdefault(held.handle, RangeSet())
        lock = LockState(held, kept.owner, kept.instance, ranges)
        lock.seqid = kept.seqid
        locks.adopt(self.locks.setdefault((lock.owner_key, held.handle), []), lock)
        for item in kept.ranges:
            lock.set(item.start, item.last + 1, item.exclusive)
        self.stateids[lock.other] = lock
        if held.locks is None:
            held.locks = {}
        held.locks[lock.other] = lock


def _by_owner(client: Client) -> dict[tuple[bool, bytes], list[OpenState | LockState]]:
    """What each of an NFSv4.0 client's owners holds, by whether it is a lock owner and its name."""
    found: dict[tuple[bool, bytes], list[OpenState | LockState]] = {}
    for held in client.opens.values():
        found.setdefault((False, held.owner), []).append(held)
        for lock in (held.locks or {}).values():
            found.setdefault((True, lock.owner), []).append(lock)
    return found


def _channel(kept: stored.stored_channel) -> Channel:
    return Channel(
        request_size_max=kept.request_size_max,
        reply_size_max=kept.reply_size_max,
        reply_cached_max=kept.reply_cached_max,
        operations_max=kept.operations_max,
        slots=kept.slots,
    )
