"""What clients may claim again after a start with `--recovery reclaim` (RFC 8881 8.4.2, RFC 7530 9.6.2).

Owns the claims: one for each open of the server before, found by its resume key, which is the same whatever clientid
the client has now.  A claim is granted only as far as the record goes, and blacks its file out for others until its
holder has claimed it, has said RECLAIM_COMPLETE, or the blackout ends.  There is no grace period for other files.
Must not know operations.
"""

from __future__ import annotations

from collections.abc import Iterable

from nfsd.errors import Nfs4Error
from nfsd.log import get_logger
from nfsd.state import records
from nfsd.state.clients import identity_of
from statestore import HOLDER, OPEN, OWNER, RANGE, SLOT, STREAM, ChangeSet
from xdr.codec import XdrError
from xdr.generated import nfs4, stored

log = get_logger()


class Claim:
    """One open of before: whose it was, on what, and the locks under it by lock owner."""

    __slots__ = ("key", "identity", "clientid", "handle", "access", "deny", "locks", "records")

    def __init__(self, key: bytes, identity: bytes, kept: stored.stored_open) -> None:
        self.key = key
        self.identity = identity
        self.clientid = kept.clientid
        self.handle = kept.object
        self.access = kept.access
        self.deny = kept.deny
        self.locks: dict[bytes, list[stored.stored_range]] = {}
        self.records = [(OPEN, key)]


class Reclaim:
    """The claims that are still open.  It is over when there are none, or at `until`."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.left_out: list[str] = []
        self._claims: dict[bytes, Claim] = {}
        self._by_handle: dict[bytes, set[bytes]] = {}
        self._by_identity: dict[bytes, set[bytes]] = {}
        self._holders: dict[bytes, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    # -- loading ------------------------------------------------------------------------------------------

    def load(self, entries: Iterable[tuple[int, bytes, bytes]]) -> ChangeSet:
        """Make claims of the stored opens; returns the removal of what nobody can use any more."""
        changes = ChangeSet()
        identities: dict[int, bytes] = {}
        ranges: list[tuple[bytes, bytes]] = []
        opens: list[tuple[bytes, bytes]] = []
        for kind, key, value in entries:
            if kind == HOLDER:
                self._load_holder(key, value, identities)
            elif kind in (STREAM, SLOT, OWNER):
                changes.remove(kind, key)
            elif kind == OPEN:
                opens.append((key, value))
            elif kind == RANGE:
                ranges.append((key, value))
        for key, value in opens:
            self._load_open(key, value, identities)
        for key, value in ranges:
            self._load_locks(key, value)
        for identity, keys in self._holders.items():
            if identity not in self._by_identity:
                for key in keys:
                    changes.remove(HOLDER, key)
        return changes

    def _load_holder(self, key: bytes, value: bytes, identities: dict[int, bytes]) -> None:
        try:
            kept = records.decode_client(value)
        except XdrError as error:
            self.left_out.append(f"holder {key.hex()}: {error}")
            return
        identity = identity_of(kept.owner, kept.principal)
        identities[kept.clientid] = identity
        self._holders.setdefault(identity, []).append(key)

    def _load_open(self, key: bytes, value: bytes, identities: dict[int, bytes]) -> None:
        try:
            kept = records.decode_open(value)
            claim = Claim(key, identities[kept.clientid], kept)
        except (XdrError, KeyError) as error:
            self.left_out.append(f"open {key.hex()}: {error!r}")
            return
        self._claims[key] = claim
        self._by_handle.setdefault(claim.handle, set()).add(key)
        self._by_identity.setdefault(claim.identity, set()).add(key)

    def _load_locks(self, key: bytes, value: bytes) -> None:
        claim = self._claims.get(key[:16])
        try:
            kept = records.decode_lock(value)
        except XdrError as error:
            self.left_out.append(f"lock {key.hex()}: {error}")
            return
        if claim is None:
            self.left_out.append(f"lock {key.hex()}: its open is missing")
            return
        claim.locks[kept.owner] = list(kept.ranges)
        claim.records.append((RANGE, key))

    # -- claiming -----------------------------------------------------------------------------------------

    def claim_open(self, key: bytes, access: int, deny: int, now: float) -> None:
        """Whether an open may be claimed so.  Raises Nfs4Error(NO_GRACE, RECLAIM_BAD)."""
        if now >= self.until:
            raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, "the blackout is over")
        claim = self._claims.get(key)
        if claim is None or access & ~claim.access or deny & ~claim.deny:
            raise Nfs4Error(nfs4.NFS4ERR_RECLAIM_BAD, "the record has no such open")

    def claim_lock(self, key: bytes, owner: bytes, start: int, end: int, exclusive: bool, now: float) -> None:
        """Whether a lock may be claimed under the open of that key.  Raises Nfs4Error(NO_GRACE, RECLAIM_BAD)."""
        if now >= self.until:
            raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, "the blackout is over")
        claim = self._claims.get(key)
        at = start
        for held in sorted(claim.locks.get(owner, ()), key=lambda item: item.start) if claim is not None else ():
            if held.start <= at <= held.last and held.exclusive >= exclusive:
                at = held.last + 1
        if at < end:
            raise Nfs4Error(nfs4.NFS4ERR_RECLAIM_BAD, "the record has no such lock")

    def is_blacked_out(self, handle: bytes, identity: bytes, now: float) -> bool:
        """Whether somebody else may still claim this file."""
        keys = self._by_handle.get(handle)
        return keys is not None and now < self.until and any(self._claims[key].identity != identity for key in keys)

    def has_claims(self, handle: bytes) -> bool:
        """Whether anybody may still claim this file."""
        return handle in self._by_handle

    def complete(self, identity: bytes, kept: Iterable[bytes]) -> ChangeSet:
        """A client claims nothing more: drop its claims; the records of those that it has claimed (`kept`) stay."""
        changes = ChangeSet()
        claimed = set(kept)
        dropped = 0
        for key in self._by_identity.pop(identity, set()):
            claim = self._claims.pop(key)
            keys = self._by_handle[claim.handle]
            keys.discard(key)
            if not keys:
                del self._by_handle[claim.handle]
            if key not in claimed:
                dropped += 1
                for record in claim.records:
                    changes.remove(*record)
        for key in self._holders.pop(identity, ()):
            changes.remove(HOLDER, key)
        log.info("reclaim.complete", claimed=len(claimed), dropped=dropped)
        return changes

    def end(self, kept: Iterable[bytes]) -> ChangeSet:
        """The blackout is over: drop every claim that is left."""
        changes = ChangeSet()
        claimed = set(kept)
        for identity in list(self._holders):
            changes.merge(self.complete(identity, claimed))
        return changes
