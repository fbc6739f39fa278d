"""NFSv4.0's open owners and lock owners (RFC 7530 9.1.7): their sequence ids and last replies.

Owns the rule which requests are new, which are retries, and which are neither.  NFSv4.1 has slots instead.
"""

from __future__ import annotations

from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state import records
from nfsd.state.model import SeqidOwner
from nfsd.state.tables import State
from statestore import OWNER, ChangeSet
from xdr.generated import nfs4

# A failure with one of these does not use up the sequence id (RFC 7530 9.1.7).
_NOT_COUNTED: Final = frozenset(
    {
        nfs4.NFS4ERR_STALE_CLIENTID,
        nfs4.NFS4ERR_STALE_STATEID,
        nfs4.NFS4ERR_BAD_STATEID,
        nfs4.NFS4ERR_BAD_SEQID,
        nfs4.NFS4ERR_BADXDR,
        nfs4.NFS4ERR_RESOURCE,
        nfs4.NFS4ERR_NOFILEHANDLE,
        nfs4.NFS4ERR_MOVED,
    }
)


def is_retry(owner: SeqidOwner, seqid: int, operation: int) -> bool:
    """Whether a request is the owner's last one again, and its reply was kept."""
    return owner.seqid == seqid and owner.operation == operation and owner.result is not None


def begin(owner: SeqidOwner, seqid: int) -> None:
    """Admit a request that is no retry.  Raises Nfs4Error(BAD_SEQID) unless the sequence id is the next."""
    if owner.seqid is not None and seqid != (owner.seqid + 1) & 0xFFFFFFFF:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_SEQID, f"sequence id {seqid} after {owner.seqid}")
    owner.asked = seqid


def begin_at(changes: ChangeSet, owner: SeqidOwner, seqid: int) -> None:
    """Count from `seqid` on: a lock owner that comes with an open owner's request (RFC 7530 16.10.5)."""
    owner.seqid = seqid
    owner.operation = owner.status = 0
    owner.result = None
    records.put_owner(changes, owner)


def remember(changes: ChangeSet, owner: SeqidOwner, operation: int, status: int, result: bytes, handle: bytes) -> None:
    """Count the request under way and keep its reply, unless its failure is one that does not count.

    `handle` is the current file handle then, which an OPEN's retry sets again.
    """
    if status in _NOT_COUNTED:
        return
    owner.seqid = owner.asked
    owner.operation = operation
    owner.status = status
    owner.result = result
    if operation == nfs4.OP_OPEN:
        owner.handle = handle if status == nfs4.NFS4_OK else b""
    if owner.client.confirmed:
        records.put_owner(changes, owner)


def closed(state: State, owner: SeqidOwner, other: bytes) -> None:
    """The owner has closed the open of that stateid4.other: a retry of the CLOSE still finds it."""
    state.closed.pop(owner.closed, None)
    owner.closed = other
    state.closed[other] = owner


def forget(state: State, changes: ChangeSet, owner: SeqidOwner) -> None:
    """Forget an owner that holds nothing."""
    mine = owner.client.lock_owners if owner.is_lock_owner else owner.client.open_owners
    mine.pop(owner.owner, None)
    state.closed.pop(owner.closed, None)
    changes.remove(OWNER, owner.key)
