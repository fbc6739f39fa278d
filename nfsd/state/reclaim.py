"""What clients may claim again after a start with `--recovery reclaim` (RFC 8881 8.4.2, RFC 7530 9.6.2).

Owns the claims: one for each open of the server before, found by its resume key, which is the same whatever clientid
the client has now.  A claim is granted only as far as the record goes, and blacks its file out for others until its
holder has said RECLAIM_COMPLETE, or the file's own blackout is over.  There is no grace period for other files.
Must not know operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.log import get_logger
from nfsd.state import records
from nfsd.state.blackout import address_key
from nfsd.state.clients import identity_of
from nfsd.state.records import unreadable
from nfsd.state.waiting import Waiting
from statestore import HOLDER, META, OPEN, OWNER, RANGE, SLOT, STREAM, ChangeSet, Damage, RangeSet
from xdr.codec import XdrError
from xdr.generated import nfs4, stored

if TYPE_CHECKING:
    from nfsd.state.opens import OpenState

log = get_logger()


class Claim:
    """One open of before: whose it was and from where, on what, and the locks under it by lock owner."""

    __slots__ = (
        "key", "identity", "clientid", "handle", "access", "deny", "locks", "records", "address", "access_left",
        "deny_left", "locks_left",
    )  # fmt: skip

    def __init__(self, key: bytes, identity: bytes, address: str, kept: stored.stored_open) -> None:
        self.key = key
        self.identity = identity
        self.clientid = kept.clientid
        self.handle = kept.object
        self.access = kept.access
        self.deny = kept.deny
        self.locks: dict[bytes, list[stored.stored_range]] = {}
        self.records = [(OPEN, key)]
        self.address = address
        # What has not been claimed yet.
        self.access_left = kept.access
        self.deny_left = kept.deny
        self.locks_left = RangeSet()

    def is_met(self) -> bool:
        """Whether all of it has been claimed: from then on what the holder has speaks for itself."""
        return not (self.access_left or self.deny_left or self.locks_left)


class Reclaim:
    """The claims that are still open, each until `waiting` says that its file has waited long enough.

    `addresses` has where the holders of before came from, by their records' keys.
    """

    def __init__(self, waiting: Waiting, addresses: Mapping[bytes, str]) -> None:
        self.waiting = waiting
        self._addresses = addresses
        self._too_late: set[bytes] = set()
        self.left_out: list[Damage] = []
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
                _remove_holders(keys, changes)
        return changes

    def _load_holder(self, key: bytes, value: bytes, identities: dict[int, bytes]) -> None:
        try:
            kept = records.decode_client(value)
        except XdrError as error:
            self.left_out.append(unreadable(HOLDER, key, value, error))
            return
        identity = identity_of(kept.owner, kept.principal)
        identities[kept.clientid] = identity
        self._holders.setdefault(identity, []).append(key)

    def _load_open(self, key: bytes, value: bytes, identities: dict[int, bytes]) -> None:
        try:
            kept = records.decode_open(value)
            address = self._addresses.get(kept.clientid.to_bytes(8, "big"), "")
            claim = Claim(key, identities[kept.clientid], address, kept)
        except (XdrError, KeyError) as error:
            self.left_out.append(unreadable(OPEN, key, value, error))
            return
        self._claims[key] = claim
        self._by_handle.setdefault(claim.handle, set()).add(key)
        self._by_identity.setdefault(claim.identity, set()).add(key)

    def _load_locks(self, key: bytes, value: bytes) -> None:
        claim = self._claims.get(key[:16])
        try:
            kept = records.decode_lock(value)
        except XdrError as error:
            self.left_out.append(unreadable(RANGE, key, value, error))
            return
        if claim is None:
            self.left_out.append(unreadable(RANGE, key, value, KeyError(key[:16])))
            return
        claim.locks[kept.owner] = list(kept.ranges)
        for item in kept.ranges:
            claim.locks_left.set(kept.owner, item.start, item.last + 1, item.exclusive)
        claim.records.append((RANGE, key))

    # -- claiming -----------------------------------------------------------------------------------------

    def claim_open(self, key: bytes, access: int, deny: int, now: float) -> None:
        """Whether an open may be claimed so.  Raises Nfs4Error(NO_GRACE, RECLAIM_BAD)."""
        claim = self._claim(key, now)
        if claim is None or access & ~claim.access or deny & ~claim.deny:
            raise Nfs4Error(nfs4.NFS4ERR_RECLAIM_BAD, "the record has no such open")
        claim.access_left &= ~access
        claim.deny_left &= ~deny

    def claim_lock(self, key: bytes, owner: bytes, start: int, end: int, exclusive: bool, now: float) -> None:
        """Whether a lock may be claimed under the open of that key.  Raises Nfs4Error(NO_GRACE, RECLAIM_BAD)."""
        claim = self._claim(key, now)
        at = start
        for held in sorted(claim.locks.get(owner, ()), key=lambda item: item.start) if claim is not None else ():
            if held.start <= at <= held.last and held.exclusive >= exclusive:
                at = held.last + 1
        if at < end:
            raise Nfs4Error(nfs4.NFS4ERR_RECLAIM_BAD, "the record has no such lock")
        if claim is not None:
            claim.locks_left.clear(owner, start, end)

    def give_up(self, key: bytes, changes: ChangeSet) -> None:
        """An open that was claimed is closed: what was not claimed under it goes with it."""
        if key in self._claims:
            self._drop(key, {}, changes)

    def _claim(self, key: bytes, now: float) -> Claim | None:
        claim = self._claims.get(key)
        if key in self._too_late or claim is not None and self._is_late(claim, now):
            raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, "the file's blackout is over")
        return claim

    def _is_late(self, claim: Claim, now: float) -> bool:
        return now >= self.waiting.until(claim.handle, claim.address)

    def is_blacked_out(self, handle: bytes, identity: bytes, now: float) -> bool:
        """Whether somebody else may still claim this file."""
        claims = [self._claims[key] for key in self._by_handle.get(handle, ())]
        return any(
            claim.identity != identity and not claim.is_met() and not self._is_late(claim, now) for claim in claims
        )

    def has_claims(self, handle: bytes) -> bool:
        """Whether anybody may still claim this file."""
        return handle in self._by_handle

    def missing(self) -> Iterator[tuple[bytes, str, str]]:
        """(file handle, holder's label, holder's address) of each claim."""
        for claim in self._claims.values():
            yield claim.handle, f"{claim.clientid:016x}", claim.address

    # -- ending -------------------------------------------------------------------------------------------

    def expire(self, handle: bytes, opens: Mapping[bytes, OpenState], now: float, changes: ChangeSet) -> None:
        """Drop a file's claims that have come too late: nobody may claim them after somebody else was let in."""
        late = [key for key in self._by_handle.get(handle, ()) if self._is_late(self._claims[key], now)]
        for key in late:
            self._too_late.add(key)
            identity = self._claims[key].identity
            self._drop(key, opens, changes)
            if identity not in self._by_identity:
                _remove_holders(self._holders.pop(identity, ()), changes)

    def complete(self, identity: bytes, opens: Mapping[bytes, OpenState]) -> ChangeSet:
        """A client claims nothing more: drop its claims; the records of what it has claimed (`opens`) stay."""
        changes = ChangeSet()
        keys = self._by_identity.get(identity, ())
        claimed = sum(key in opens for key in keys)
        log.info("reclaim.complete", claimed=claimed, dropped=len(keys) - claimed)
        for key in list(keys):
            self._drop(key, opens, changes)
        _remove_holders(self._holders.pop(identity, ()), changes)
        return changes

    def end(self, opens: Mapping[bytes, OpenState]) -> ChangeSet:
        """The blackout is over: drop every claim that is left."""
        changes = ChangeSet()
        for identity in list(self._holders):
            changes.merge(self.complete(identity, opens))
        return changes

    def _drop(self, key: bytes, opens: Mapping[bytes, OpenState], changes: ChangeSet) -> None:
        """End a claim, and remove the records of what has not been claimed under it."""
        claim = self._claims.pop(key)
        for index, part in ((self._by_handle, claim.handle), (self._by_identity, claim.identity)):
            index[part].discard(key)
            if not index[part]:
                del index[part]
        held = opens.get(key)
        live = set() if held is None else {(OPEN, key), *((RANGE, lock.key) for lock in (held.locks or {}).values())}
        for record in claim.records:
            if record not in live:
                changes.remove(*record)


def _remove_holders(keys: Iterable[bytes], changes: ChangeSet) -> None:
    for key in keys:
        changes.remove(HOLDER, key)
        changes.remove(META, address_key(key))
