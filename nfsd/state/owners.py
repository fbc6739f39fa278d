"""NFSv4.0's open owners and lock owners (RFC 7530 9.1.7): their sequence ids and last replies.

Owns the rule which requests are new, which are retries, and which are neither.  NFSv4.1 has slots instead.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error, ReplayedResult
from nfsd.state import records
from statestore import OWNER, ChangeSet
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.compound import Compound
    from nfsd.state.clients import Client

# A failure with one of these does not use up the sequence id (RFC 7530 9.1.7).
_NOT_COUNTED = frozenset(
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


class SeqidOwner:
    """One owner of a client.  `seqid` is the last one counted, None before the first."""

    __slots__ = (
        "client", "owner", "is_lock_owner", "confirmed", "seqid", "asked", "operation", "status", "result", "handle",
        "closed", "users", "key", "used",
    )  # fmt: skip

    def __init__(self, client: Client, owner: bytes, is_lock_owner: bool) -> None:
        self.client = client
        self.owner = owner
        self.is_lock_owner = is_lock_owner
        self.confirmed = is_lock_owner
        self.seqid: int | None = None
        self.asked = 0
        self.operation = 0
        self.status = 0
        self.result: bytes | None = None
        self.handle = b""
        self.closed = b""
        self.users = 0
        self.used = 0.0
        kind = b"l" if is_lock_owner else b"o"
        self.key = client.key + hashlib.blake2b(kind + owner, digest_size=16).digest()

    def begin(self, compound: Compound, seqid: int) -> None:
        """Admit a request with this sequence id.

        Raises ReplayedResult for a retry of the last request, Nfs4Error(BAD_SEQID) for anything else but the next.
        """
        if self.seqid is not None:
            asked = compound.operations[compound.index][0].number
            if seqid == self.seqid and asked == self.operation and self.result is not None:
                if self.handle and self.status == nfs4.NFS4_OK and self.operation == nfs4.OP_OPEN:
                    compound.set_node(compound.server.namespace.resolve(self.handle))
                raise ReplayedResult(self.status, self.result)
            if seqid != (self.seqid + 1) & 0xFFFFFFFF:
                raise Nfs4Error(nfs4.NFS4ERR_BAD_SEQID, f"sequence id {seqid} after {self.seqid}")
        self.asked = seqid
        compound.owner = self

    def remember(self, compound: Compound, operation: int, status: int, result: bytes) -> None:
        """Count the request and keep its reply, unless its failure is one that does not count."""
        if status in _NOT_COUNTED:
            return
        self.seqid = self.asked
        self.operation = operation
        self.status = status
        self.result = result
        if operation == nfs4.OP_OPEN:
            self.handle = compound.current.handle if status == nfs4.NFS4_OK and compound.current else b""
        if self.client.confirmed:
            compound.changes.put(OWNER, self.key, records.encode_owner(self))

    def begin_at(self, compound: Compound, seqid: int) -> None:
        """Count from `seqid` on: a lock owner that comes with an open owner's request (RFC 7530 16.10.5)."""
        self.seqid = seqid
        self.result = None
        compound.changes.put(OWNER, self.key, records.encode_owner(self))

    def remove(self, changes: ChangeSet) -> None:
        """Remove its record."""
        changes.remove(OWNER, self.key)
