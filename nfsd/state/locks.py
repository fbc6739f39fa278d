"""The life of a lock stateid (RFC 8881 9, 18.10-18.12; RFC 7530 16.10-16.12): one for each lock owner, file and open.

The ranges themselves, with POSIX's splitting and merging, are `statestore`'s; what is in a lock's way is
`conflicts.py`'s.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state import records
from nfsd.state.asker import Asker
from nfsd.state.model import LockState, OpenState, SeqidOwner
from nfsd.state.stateids import next_seqid
from nfsd.state.tables import State
from statestore import RANGE, TO_END, ChangeSet, RangeSet
from xdr.generated import nfs4

WRITE_TYPES: Final = frozenset({nfs4.WRITE_LT, nfs4.WRITEW_LT})
# Each change writes an owner's ranges on the file anew; this keeps a record below 64 KiB.
RANGES_PER_OWNER_MAX: Final = 2048
# An owner that has taken locks by way of several opens of one file has a stateid for each, and all are looked at.
STATEIDS_PER_OWNER_MAX: Final = 128
RELEASED_AT_ONCE: Final = 256
"""Lock stateids that one request ends: about 3 ms."""


def range_of(offset: int, length: int) -> tuple[int, int]:
    """The bytes [start, end) that a lock's offset and length mean.  Raises Nfs4Error(INVAL) (RFC 8881 18.10.3)."""
    if length == nfs4.NFS4_UINT64_MAX:
        return offset, TO_END
    if length == 0 or offset + length >= TO_END:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "an empty range, or one beyond 2^64")
    return offset, offset + length


def lock_state(state: State, asker: Asker, held: OpenState, owner: bytes) -> LockState:
    """The lock owner's state under an open: the one it has, or a new one."""
    for lock in state.locks.get((held.holder.key + owner, held.object), ()):
        if lock.open is held:
            return lock
    lock = LockState(held, owner, state.instances.next(asker.changes), state.filter.range_set(held.object))
    adopt(state, lock)
    return lock


def adopt(state: State, lock: LockState) -> None:
    """Add a lock stateid to the tables: one more of the same owner on the same file, perhaps."""
    siblings = state.locks.setdefault((lock.owner_key, lock.object), [])
    if siblings:
        lock.own = RangeSet()
        for other in siblings:
            other.share_ranges()
    siblings.append(lock)
    state.stateids[lock.other] = lock
    held = lock.open
    if held.locks is None:
        held.locks = {}
    held.locks[lock.other] = lock


def require_room(state: State, asker: Asker, held: OpenState, owner: bytes) -> None:
    """Whether a lock owner may have one more range on a file, and one more stateid.

    Raises Nfs4Error(RESOURCE, or DELAY on 4.1) above RANGES_PER_OWNER_MAX and STATEIDS_PER_OWNER_MAX.
    """
    status = nfs4.NFS4ERR_DELAY if asker.minor else nfs4.NFS4ERR_RESOURCE
    siblings = state.locks.get((held.holder.key + owner, held.object), ())
    if len(siblings) >= STATEIDS_PER_OWNER_MAX and all(lock.open is not held for lock in siblings):
        raise Nfs4Error(status, f"{STATEIDS_PER_OWNER_MAX} lock stateids of one owner on one file")
    if state.filter.range_set(held.object).count(held.holder.key + owner) >= RANGES_PER_OWNER_MAX:
        raise Nfs4Error(status, f"{RANGES_PER_OWNER_MAX} ranges of one owner on one file")


def take(state: State, asker: Asker, lock: LockState, start: int, end: int, exclusive: bool) -> None:
    """Give the range to the lock's owner.  `conflicts.check_range` and `require_room` MUST have passed."""
    _clear_siblings(state, asker, lock, start, end)
    lock.set(start, end, exclusive)
    lock.seqid = next_seqid(lock.seqid)
    records.put_lock(asker.changes, lock)


def _clear_siblings(state: State, asker: Asker, lock: LockState, start: int, end: int) -> None:
    """Take the range from the owner's other stateids on the file: what one took last is that one's."""
    if lock.own is None:
        return
    for other in state.locks[lock.owner_key, lock.object]:
        if other is not lock and other.own is not None and other.own.conflict(b"", start, end, True):
            other.own.clear(lock.owner_key, start, end)
            records.put_lock(asker.changes, other)


def give_back(state: State, asker: Asker, lock: LockState, start: int, end: int) -> None:
    """Take the range from the lock's owner, by way of whatever open it was taken."""
    _clear_siblings(state, asker, lock, start, end)
    lock.clear(start, end)
    lock.seqid = next_seqid(lock.seqid)
    records.put_lock(asker.changes, lock)


def release_idle(state: State, changes: ChangeSet, owner: SeqidOwner) -> bool:
    """End a portion of a lock owner's stateids, which must hold nothing; whether none is left.

    Raises Nfs4Error(LOCKS_HELD) where one of the portion holds something.
    """
    portion = [held for held in islice(owner.holds, RELEASED_AT_ONCE) if isinstance(held, LockState)]
    if any(lock.held() for lock in portion):
        raise Nfs4Error(nfs4.NFS4ERR_LOCKS_HELD, "the lock owner holds locks")
    for lock in portion:
        release(state, changes, lock)
    return not owner.holds


def release_all(state: State, changes: ChangeSet, held: OpenState) -> bool:
    """End a portion of the lock stateids under an open, with everything that they hold; whether none is left."""
    for lock in list(islice((held.locks or {}).values(), RELEASED_AT_ONCE)):
        release(state, changes, lock)
    return not held.locks


def release(state: State, changes: ChangeSet, lock: LockState) -> None:
    """End a lock stateid with everything that it holds."""
    if lock.own is None:
        lock.ranges.clear_owner(lock.owner_key)
    else:
        for held in lock.held():
            lock.ranges.clear(lock.owner_key, held.start, held.end)
    siblings = state.locks[lock.owner_key, lock.object]
    siblings.remove(lock)
    if not siblings:
        del state.locks[lock.owner_key, lock.object]
    del state.stateids[lock.other]
    if lock.open.locks is not None:
        lock.open.locks.pop(lock.other, None)
    if lock.seqid_owner is not None:
        lock.seqid_owner.holds.discard(lock)
    changes.remove(RANGE, lock.key)
