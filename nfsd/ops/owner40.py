"""NFSv4.0's owners as the operations meet them: found by name or by stateid, and their sequence ids admitted.

Must not be used by NFSv4.1, where slots do this (RFC 8881 8.8, 9.1.1).
"""

from __future__ import annotations

from nfsd.errors import Nfs4Error, ReplayedResult
from nfsd.ops.request import Request
from nfsd.state import opens, owners
from nfsd.state.model import Client, LockState, OpenState, SeqidOwner
from xdr.generated import nfs4


def open_owner(c: Request, client: Client, name: bytes, seqid: int) -> SeqidOwner:
    """The open owner of that name, for an OPEN with that sequence id.

    One that was never confirmed starts anew, unless this is its last OPEN again (RFC 7530 9.1.11).
    """
    owner = client.open_owners.get(name)
    if owner is not None:
        _require_idle(owner)
    if owner is not None and not owner.confirmed and owner.seqid is not None:
        if seqid == owner.seqid:
            return owner
        for held in [held for held in owner.holds if isinstance(held, OpenState)]:
            opens.release(c.state, c.changes, held)
        owners.forget(c.state, c.changes, owner)
        owner = None
    if owner is None:
        owner = _new(c, client, name, False)
        client.open_owners[name] = owner
    owner.used = c.now
    return owner


def begin(c: Request, owner: SeqidOwner, seqid: int) -> None:
    """Admit the operation under way with its owner's sequence id; its reply will be kept with the owner.

    Raises ReplayedResult for a retry of the owner's last request, Nfs4Error(BAD_SEQID) for anything else but the next,
    StaleHandle where a retry's file is gone.
    """
    if owners.is_retry(owner, seqid, c.operation.number):
        assert owner.result is not None
        if owner.handle and owner.status == nfs4.NFS4_OK and owner.operation == nfs4.OP_OPEN:
            c.set_node(c.services.namespace.resolve(owner.handle))
        raise ReplayedResult(owner.status, owner.result)
    _require_idle(owner)
    owners.begin(owner, seqid)
    owner.asker = c
    c.owner = owner


def _require_idle(owner: SeqidOwner) -> None:
    """Raise Nfs4Error DELAY while another request of this owner is put aside (RFC 7530 9.1.7 has one at a time)."""
    if owner.asker is not None:
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "another request of this owner is under way")


def lock_owner(c: Request, client: Client, name: bytes) -> SeqidOwner:
    """The lock owner of that name, made if it is new."""
    owner = client.lock_owners.get(name)
    if owner is None:
        owner = _new(c, client, name, True)
        client.lock_owners[name] = owner
    owner.used = c.now
    return owner


def _new(c: Request, client: Client, name: bytes, is_lock_owner: bool) -> SeqidOwner:
    mine = client.lock_owners if is_lock_owner else client.open_owners
    if len(mine) >= c.services.limits.owners_per_client_max:
        raise Nfs4Error(nfs4.NFS4ERR_RESOURCE, f"{len(mine)} owners of one client (limits.owners_per_client_max)")
    return SeqidOwner(client, name, is_lock_owner)


def begin_by_stateid(c: Request, stateid: nfs4.stateid4, seqid: int) -> None:
    """Admit the sequence id of the owner that a stateid belongs to; a closed one still finds its owner.

    Raises as `begin` does, and BAD_STATEID.  An unknown stateid is left to the operation to refuse.
    """
    state = c.state
    found = state.stateids.get(stateid.other)
    if found is not None and found.holder.removed:
        return
    owner = state.closed.get(stateid.other) if found is None else found.seqid_owner
    if owner is None or owner.client.removed:
        if found is not None:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a stateid of another minor version")
        return
    if isinstance(found, LockState) and not owner.is_lock_owner:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a lock stateid without a lock owner")
    owner.used = c.now
    c.client = owner.client
    begin(c, owner, seqid)
