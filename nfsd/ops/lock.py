"""LOCK, LOCKT, LOCKU, RELEASE_LOCKOWNER (RFC 8881 18.10-18.12; RFC 7530 16.10-16.12, 16.37)."""

from __future__ import annotations

import struct

from nfsd.errors import Nfs4Error
from nfsd.ops.client40 import confirmed_client
from nfsd.ops.io import require_granted
from nfsd.ops.owner40 import begin_by_stateid, lock_owner
from nfsd.ops.request import Request
from nfsd.ops.require import require_regular
from nfsd.state import conflicts, locks, owners, stateids
from nfsd.state.locks import WRITE_TYPES
from nfsd.state.model import OpenState, SeqidOwner
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

_RESULT = struct.Struct(">3I12s")


def op_lock(c: Request, args: nfs4.LOCK4args) -> bytes:
    """Take a byte-range lock: the encoded LOCK4res.

    Raises DENIED with who has it, OPENMODE, INVAL, NO_GRACE, RECLAIM_BAD, GRACE, BAD_STATEID, BAD_SEQID ...
    """
    node = c.node()
    require_regular(c, node)
    exclusive = args.locktype in WRITE_TYPES
    if args.locker.new_lock_owner:
        held, owner, seqid_owner = _new_owner(c, node, args.locker.open_owner)
    else:
        held, owner, seqid_owner = _known_owner(c, node, args.locker.lock_owner)
    start, end = locks.range_of(args.offset, args.length)
    need = nfs4.OPEN4_SHARE_ACCESS_WRITE if exclusive else nfs4.OPEN4_SHARE_ACCESS_READ
    if not held.access & need:
        raise Nfs4Error(nfs4.NFS4ERR_OPENMODE, "the open does not allow that lock")
    state = c.state
    if args.reclaim:
        claims = state.filter.claims
        if claims is None or c.minor and held.holder.reclaim_complete:
            raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, "there is nothing to reclaim")
        conflicts.require_granted(claims.claim_range(held.key, owner, start, end, exclusive, c.now), "lock")
    else:
        conflicts.check_blackouts(state, c, node, held.holder)
        conflicts.check_claims(state, c, node.handle, held.holder)
        cred = c.as_caller(node, reading=True)
        if held.caller is not cred or not held.granted & need:
            require_granted(held, node, cred, need)
    conflicts.check_range(state, c, node.handle, held.holder.key + owner, start, end, exclusive)
    locks.require_room(state, c, held, owner)
    lock = locks.lock_state(state, c, held, owner)
    if seqid_owner is not None and lock.seqid_owner is None:
        lock.seqid_owner = seqid_owner
        seqid_owner.holds.add(lock)
    locks.take(state, c, lock, start, end, exclusive)
    c.stateid = (lock.seqid, lock.other)
    return _RESULT.pack(nfs4.OP_LOCK, nfs4.NFS4_OK, lock.seqid, lock.other)


def _new_owner(
    c: Request, node: Node, locker: nfs4.open_to_lock_owner4 | None
) -> tuple[OpenState, bytes, SeqidOwner | None]:
    """The lock owner's first lock under this open: found by the open's stateid."""
    assert locker is not None
    if not c.minor:
        begin_by_stateid(c, locker.open_stateid, locker.open_seqid)
    held = stateids.find_open(c.state, c, locker.open_stateid, node)
    stateids.require_confirmed(held)
    owner = locker.lock_owner.owner
    if c.minor:
        return held, owner, None
    if locker.lock_owner.clientid != held.holder.clientid:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, "the lock owner is another client's")
    seqid_owner = lock_owner(c, held.holder, owner)
    if seqid_owner.holds and seqid_owner.seqid is not None and locker.lock_seqid != seqid_owner.seqid + 1 & 0xFFFFFFFF:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_SEQID, f"lock sequence id {locker.lock_seqid} after {seqid_owner.seqid}")
    owners.begin_at(c.changes, seqid_owner, locker.lock_seqid)
    return held, owner, seqid_owner


def _known_owner(
    c: Request, node: Node, locker: nfs4.exist_lock_owner4 | None
) -> tuple[OpenState, bytes, SeqidOwner | None]:
    """A further lock of the same owner: found by the lock's stateid."""
    assert locker is not None
    if not c.minor:
        begin_by_stateid(c, locker.lock_stateid, locker.lock_seqid)
    found = stateids.find_lock(c.state, c, locker.lock_stateid, node)
    return found.open, found.owner, found.seqid_owner


def op_lockt(c: Request, args: nfs4.LOCKT4args) -> None:
    """Ask whether a lock would be granted.  Raises DENIED with who has it."""
    node = c.node()
    require_regular(c, node)
    if c.minor:
        client = c.client
        assert client is not None
    else:
        client = confirmed_client(c, args.owner.clientid)
        client.heard = c.now
        c.client = client
    start, end = locks.range_of(args.offset, args.length)
    exclusive = args.locktype in WRITE_TYPES
    conflicts.check_range(c.state, c, node.handle, client.key + args.owner.owner, start, end, exclusive)


def op_locku(c: Request, args: nfs4.LOCKU4args) -> bytes:
    """Give a byte range back: the encoded LOCKU4res."""
    node = c.node()
    if not c.minor:
        begin_by_stateid(c, args.lock_stateid, args.seqid)
    lock = stateids.find_lock(c.state, c, args.lock_stateid, node)
    start, end = locks.range_of(args.offset, args.length)
    locks.give_back(c.state, c, lock, start, end)
    c.stateid = (lock.seqid, lock.other)
    return _RESULT.pack(nfs4.OP_LOCKU, nfs4.NFS4_OK, lock.seqid, lock.other)


def op_release_lockowner(c: Request, args: nfs4.RELEASE_LOCKOWNER4args) -> None:
    """Forget a lock owner that holds nothing.  Raises LOCKS_HELD, STALE_CLIENTID; DELAY after a portion of the work."""
    client = confirmed_client(c, args.lock_owner.clientid)
    client.heard = c.now
    state = c.state
    owner = client.lock_owners.get(args.lock_owner.owner)
    if owner is None:
        return
    if not locks.release_idle(state, c.changes, owner):
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "many lock stateids go with it")
    owners.forget(state, c.changes, owner)
