"""NFSv4.0's open owners and lock owners (RFC 7530 9.1.7): their sequence ids and last replies.

Owns the rule which requests are new, which are retries, and which are neither.  NFSv4.1 has slots instead.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.state import records
from statestore import OWNER, ChangeSet
from xdr.generated import nfs4

if TYPE_CHECKING:
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

    def is_retry(self, seqid: int, operation: int) -> bool:
        """Whether a request is the last one again, and its reply was kept."""
        return self.seqid == seqid and self.operation == operation and self.result is not None

    def begin(self, seqid: int) -> None:
        """Admit a request that is no retry.  Raises Nfs4Error(BAD_SEQID) unless the sequence id is the next."""
        if self.seqid is not None and seqid != (self.seqid + 1) & 0xFFFFFFFF:
            raise Nfs4Error(nfs4.NFS4ERR_BAD_SEQID, f"sequence id {seqid} after {self.seqid}")
        self.asked = seqid

    def remember(self, changes: ChangeSet, operation: int, status: int, result: bytes, handle: bytes) -> None:
        """Count the request and keep its reply, unless its failure is one that does not count.

        `handle` is the current file handle then, which an OPEN's retry sets again.
        """
        if status in _NOT_COUNTED:
            return
        self.seqid = self.asked
        self.operation = operation
        self.status = status
        self.result = result
        if operation == nfs4.OP_OPEN:
            self.handle = handle if status == nfs4.NFS4_OK else b""
        if self.client.confirmed:
            changes.put(OWNER, self.key, records.encode_owner(self))

    def begin_at(self, changes: ChangeSet, seqid: int) -> None:
        """Count from `seqid` on: a lock owner that comes with an open owner's request (RFC 7530 16.10.5)."""
        self.seqid = seqid
        self.result = None
        changes.put(OWNER, self.key, records.encode_owner(self))

    def remove(self, changes: ChangeSet) -> None:
        """Remove its record."""
        changes.remove(OWNER, self.key)
