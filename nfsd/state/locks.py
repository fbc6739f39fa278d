"""Byte-range locks (RFC 8881 9, 18.10-18.12; RFC 7530 16.10-16.12): one LockState for each lock owner and file.

Owns the life of a lock stateid.  The ranges themselves, with POSIX's splitting and merging, are `statestore`'s.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.state import records
from nfsd.state.ids import stateid_other
from nfsd.state.opens import OpenState, next_seqid
from statestore import RANGE, TO_END, ChangeSet, Range, RangeSet
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.state.asker import Asker
    from nfsd.state.clients import Client
    from nfsd.state.owners import SeqidOwner
    from nfsd.state.state import State

WRITE_TYPES = frozenset({nfs4.WRITE_LT, nfs4.WRITEW_LT})
# Each change writes an owner's ranges on the file anew; this keeps a record below 64 KiB.
RANGES_PER_OWNER_MAX = 2048


class LockState:
    """What one lock owner holds on one file by way of one open.

    `ranges` are everybody's on the file.  `own` are those of the owner's that this stateid took last; it is None as
    long as the owner has no other stateid on the file, for then they are all this one's.
    """

    __slots__ = ("open", "owner", "owner_key", "seqid", "instance", "other", "key", "ranges", "own", "seqid_owner")

    def __init__(self, held: OpenState, owner: bytes, instance: int, ranges: RangeSet) -> None:
        self.open = held
        self.owner = owner
        self.owner_key = held.client.key + owner
        self.seqid = 0
        self.instance = instance
        self.key = held.key + hashlib.blake2b(owner, digest_size=16).digest()
        self.other = stateid_other(held.key, instance)
        self.ranges = ranges
        self.own: RangeSet | None = None
        self.seqid_owner: SeqidOwner | None = None

    @property
    def client(self) -> Client:
        """Whose it is."""
        return self.open.client

    @property
    def handle(self) -> bytes:
        """The file handle that it is on."""
        return self.open.handle

    def stateid(self) -> nfs4.stateid4:
        """Its stateid as it is now."""
        return nfs4.stateid4(self.seqid, self.other)

    def held(self) -> list[Range]:
        """Its ranges, in ascending order."""
        return (self.ranges if self.own is None else self.own).owned(self.owner_key)

    def set(self, start: int, end: int, exclusive: bool) -> None:
        """Take a range."""
        self.ranges.set(self.owner_key, start, end, exclusive)
        if self.own is not None:
            self.own.set(self.owner_key, start, end, exclusive)

    def clear(self, start: int, end: int) -> None:
        """Give a range back."""
        self.ranges.clear(self.owner_key, start, end)
        if self.own is not None:
            self.own.clear(self.owner_key, start, end)

    def share_ranges(self) -> None:
        """The owner gets another stateid on the file: tell the ranges apart from now on."""
        if self.own is None:
            self.own = RangeSet()
            for held in self.ranges.owned(self.owner_key):
                self.own.set(self.owner_key, held.start, held.end, held.exclusive)

    def save(self, changes: ChangeSet) -> None:
        """Put its record."""
        changes.put(RANGE, self.key, records.encode_lock(self))


def range_of(offset: int, length: int) -> tuple[int, int]:
    """The bytes [start, end) that a lock's offset and length mean.  Raises Nfs4Error(INVAL) (RFC 8881 18.10.3)."""
    if length == nfs4.NFS4_UINT64_MAX:
        return offset, TO_END
    if length == 0 or offset + length >= TO_END:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "an empty range, or one beyond 2^64")
    return offset, offset + length


def check_range(
    state: State, asker: Asker, handle: bytes, owner_key: bytes, start: int, end: int, exclusive: bool
) -> None:
    """Whether nobody else's lock stands in the way; locks held by courtesy do not.

    Raises Nfs4Error: DENIED with the LOCK4denied that names the conflicting lock, DELAY for a holder who may still
    come back.
    """
    ranges = state.ranges.get(handle)
    if ranges is None:
        return
    while (conflict := ranges.conflict(owner_key, start, end, exclusive)) is not None:
        clientid = int.from_bytes(conflict.owner[:8], "big")
        holder = state.clients.by_id.get(clientid)
        if holder is not None and state.take_from_expired(asker, holder):
            continue
        asker.revealed = True
        if holder is not None and state.refusal(asker, handle, holder, nfs4.NFS4ERR_DENIED) == nfs4.NFS4ERR_DELAY:
            raise Nfs4Error(nfs4.NFS4ERR_DELAY, "its holder may still come back")
        length = nfs4.NFS4_UINT64_MAX if conflict.end == TO_END else conflict.end - conflict.start
        raise Nfs4Error(
            nfs4.NFS4ERR_DENIED,
            "another lock is in the way",
            nfs4.LOCK4denied(
                conflict.start,
                length,
                nfs4.WRITE_LT if conflict.exclusive else nfs4.READ_LT,
                nfs4.lock_owner4(clientid, conflict.owner[8:]),
            ),
        )


def lock_state(state: State, asker: Asker, held: OpenState, owner: bytes) -> LockState:
    """The lock owner's state under an open: the one it has, or a new one."""
    owner_key = held.client.key + owner
    siblings = state.locks.get((owner_key, held.handle))
    if siblings is None:
        siblings = state.locks[owner_key, held.handle] = []
    for lock in siblings:
        if lock.open is held:
            return lock
    ranges = state.ranges.get(held.handle)
    if ranges is None:
        ranges = state.ranges[held.handle] = RangeSet()
    lock = LockState(held, owner, state.instances.next(asker.changes), ranges)
    adopt(siblings, lock)
    state.stateids[lock.other] = lock
    if held.locks is None:
        held.locks = {}
    held.locks[lock.other] = lock
    return lock


def adopt(siblings: list[LockState], lock: LockState) -> None:
    """One more stateid of the same owner on the same file."""
    if siblings:
        lock.own = RangeSet()
        for other in siblings:
            other.share_ranges()
    siblings.append(lock)


def take(state: State, asker: Asker, lock: LockState, start: int, end: int, exclusive: bool) -> None:
    """Give the range to the lock's owner.  `check_range` MUST have passed.

    Raises Nfs4Error(RESOURCE, or DELAY on 4.1) above RANGES_PER_OWNER_MAX.
    """
    if lock.ranges.count(lock.owner_key) >= RANGES_PER_OWNER_MAX:
        status = nfs4.NFS4ERR_DELAY if asker.minor else nfs4.NFS4ERR_RESOURCE
        raise Nfs4Error(status, f"{RANGES_PER_OWNER_MAX} ranges of one owner on one file")
    _clear_siblings(state, asker, lock, start, end)
    lock.set(start, end, exclusive)
    lock.seqid = next_seqid(lock.seqid)
    lock.save(asker.changes)


def _clear_siblings(state: State, asker: Asker, lock: LockState, start: int, end: int) -> None:
    """The same owner's range may have been taken by way of another open: it is this one's from now on."""
    if lock.own is None:
        return
    for other in state.locks[lock.owner_key, lock.handle]:
        if other is not lock and other.own is not None and other.own.conflict(b"", start, end, True):
            other.own.clear(lock.owner_key, start, end)
            other.save(asker.changes)


def give_back(state: State, asker: Asker, lock: LockState, start: int, end: int) -> None:
    """Take the range from the lock's owner, by way of whatever open it was taken."""
    _clear_siblings(state, asker, lock, start, end)
    lock.clear(start, end)
    lock.seqid = next_seqid(lock.seqid)
    lock.save(asker.changes)


def release(state: State, changes: ChangeSet, lock: LockState) -> None:
    """End a lock stateid with everything that it holds."""
    for held in lock.held():
        lock.ranges.clear(lock.owner_key, held.start, held.end)
    siblings = state.locks[lock.owner_key, lock.handle]
    siblings.remove(lock)
    if not siblings:
        del state.locks[lock.owner_key, lock.handle]
    del state.stateids[lock.other]
    if lock.open.locks is not None:
        lock.open.locks.pop(lock.other, None)
    if lock.seqid_owner is not None:
        lock.seqid_owner.users -= 1
    changes.remove(RANGE, lock.key)
    if not lock.ranges and not any(other.handle == lock.handle for other in _sharers(state, lock)):
        state.ranges.pop(lock.handle, None)


def _sharers(state: State, lock: LockState) -> list[LockState]:
    """Other lock states that still use the same RangeSet."""
    opens = state.shares.opens(lock.handle)
    held = (state.opens[key].locks for key in opens if key in state.opens)
    return [other for locks in held if locks for other in locks.values() if other is not lock]
