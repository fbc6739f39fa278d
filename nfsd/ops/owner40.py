"""NFSv4.0's owners as the operations meet them: found by name or by stateid, and their sequence ids admitted.

Must not be used by NFSv4.1, where slots do this (RFC 8881 8.8, 9.1.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.state import opens
from nfsd.state.locks import LockState
from nfsd.state.owners import SeqidOwner
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.compound import Compound
    from nfsd.state.clients import Client

# Idle owners are reaped after a lease time; a client that makes more than this at once is told to wait.
OWNERS_PER_CLIENT_MAX = 100_000


def open_owner(c: Compound, client: Client, name: bytes) -> SeqidOwner:
    """The open owner of that name.  One that was never confirmed starts anew (RFC 7530 9.1.11)."""
    owner = client.open_owners.get(name)
    if owner is not None and not owner.confirmed and owner.seqid is not None:
        if _is_retry(c, owner):
            return owner
        for held in [held for held in client.opens.values() if held.seqid_owner is owner]:
            opens.release(c.server.state, c.changes, held)
        owner.remove(c.changes)
        owner = None
    if owner is None:
        owner = _new(c, client, name, False)
        client.open_owners[name] = owner
    owner.used = c.now
    return owner


def _is_retry(c: Compound, owner: SeqidOwner) -> bool:
    """Whether the OPEN under way has the sequence id of the owner's last one."""
    _operation, args = c.operations[c.index]
    return bool(args.seqid == owner.seqid)


def lock_owner(c: Compound, client: Client, name: bytes) -> SeqidOwner:
    """The lock owner of that name, made if it is new."""
    owner = client.lock_owners.get(name)
    if owner is None:
        owner = _new(c, client, name, True)
        client.lock_owners[name] = owner
    owner.used = c.now
    return owner


def _new(c: Compound, client: Client, name: bytes, is_lock_owner: bool) -> SeqidOwner:
    owners = client.lock_owners if is_lock_owner else client.open_owners
    if len(owners) >= OWNERS_PER_CLIENT_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_RESOURCE, f"{OWNERS_PER_CLIENT_MAX} owners of one client")
    return SeqidOwner(client, name, is_lock_owner)


def begin_by_stateid(c: Compound, stateid: nfs4.stateid4, seqid: int) -> None:
    """Admit the sequence id of the owner that a stateid belongs to; a closed one still finds its owner.

    Raises as SeqidOwner.begin does, and BAD_STATEID.  An unknown stateid is left to the operation to refuse.
    """
    state = c.server.state
    found = state.stateids.get(stateid.other)
    owner = state.closed.get(stateid.other) if found is None else found.seqid_owner
    if owner is None:
        if found is not None:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a stateid of another minor version")
        return
    if isinstance(found, LockState) and not owner.is_lock_owner:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a lock stateid without a lock owner")
    owner.used = c.now
    c.client = owner.client
    owner.begin(c, seqid)
