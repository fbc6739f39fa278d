"""Stateids as they come in requests (RFC 8881 8.2, RFC 7530 9.1.4): which open or lock one names.

Owns the rules of their sequence ids and the special ones.  What I/O may do under one is `conflicts.py`'s.
"""

from __future__ import annotations

from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state.asker import Asker
from nfsd.state.model import LockState, OpenState
from nfsd.state.tables import State
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

ANONYMOUS: Final = bytes(12)
BYPASS: Final = b"\xff" * 12
SEQID_MAX: Final = 0xFFFFFFFF


def next_seqid(seqid: int) -> int:
    """The stateid seqid after `seqid`; zero is skipped, it means "the latest" (RFC 8881 8.2.2)."""
    return seqid + 1 if seqid < SEQID_MAX else 1


def find(state: State, asker: Asker, stateid: nfs4.stateid4, node: Node | None = None) -> OpenState | LockState:
    """The open or lock that a stateid names (RFC 8881 8.2.4), on that file if one is given.

    Raises Nfs4Error(BAD_STATEID, OLD_STATEID, STALE_STATEID, EXPIRED).
    """
    seqid, other = stateid.seqid, stateid.other
    if asker.minor and other == ANONYMOUS and seqid == 1:
        if asker.stateid is None:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "no current stateid")
        seqid, other = asker.stateid
    found = state.stateids.get(other)
    if found is None:
        raise _unknown(state, asker, other)
    client = found.holder
    if client.removed:
        raise _removed(asker)
    if asker.client is not client and (asker.client is not None or client.family != bool(asker.minor)):
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "another client's stateid")
    if node is not None:
        if found.object != node.handle:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "the stateid belongs to another file")
        if found.open.node is None:  # loaded from the store, and used for the first time
            found.open.node = node
            node.opens += 1
    if seqid != found.seqid and not (asker.minor and seqid == 0):
        if seqid < found.seqid or (found.seqid < 0x10000 and seqid > 0xFFFF0000):
            raise Nfs4Error(nfs4.NFS4ERR_OLD_STATEID, f"seqid {seqid}, now {found.seqid}")
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, f"seqid {seqid}, now {found.seqid}")
    if not asker.minor:
        client.heard = asker.now  # A stateid of NFSv4.0 renews its client's lease (RFC 7530 9.5).
    return found


def _unknown(state: State, asker: Asker, other: bytes) -> Nfs4Error:
    """Why a stateid is not known.  NFSv4.1 clients handle only BAD_STATEID well (RFC 7530 9.1.4.2 for 4.0)."""
    if not asker.minor and other not in (ANONYMOUS, BYPASS):
        if other in state.expired_stateids:
            return _removed(asker)
        if state.instances.is_foreign(other):
            return Nfs4Error(nfs4.NFS4ERR_STALE_STATEID, "no server of this store made it")
    return Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "unknown stateid")


def _removed(asker: Asker) -> Nfs4Error:
    """What a stateid of a removed client comes to, whether or not it is still there."""
    status = nfs4.NFS4ERR_BAD_STATEID if asker.minor else nfs4.NFS4ERR_EXPIRED
    return Nfs4Error(status, "its client's state was removed")


def find_open(state: State, asker: Asker, stateid: nfs4.stateid4, node: Node) -> OpenState:
    """The open that an open stateid names.  Raises Nfs4Error as `find` does, BAD_STATEID for a lock stateid."""
    found = find(state, asker, stateid, node)
    if not isinstance(found, OpenState):
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "a lock stateid where an open one is needed")
    return found


def find_lock(state: State, asker: Asker, stateid: nfs4.stateid4, node: Node) -> LockState:
    """The lock that a lock stateid names.  Raises Nfs4Error as `find` does, BAD_STATEID for an open stateid."""
    found = find(state, asker, stateid, node)
    if not isinstance(found, LockState):
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "an open stateid where a lock one is needed")
    return found


def require_confirmed(held: OpenState) -> None:
    """Refuse an open whose NFSv4.0 owner has not been confirmed (RFC 7530 16.18.5).  Raises Nfs4Error(BAD_STATEID)."""
    if held.seqid_owner is not None and not held.seqid_owner.confirmed:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "the open owner has not been confirmed")
