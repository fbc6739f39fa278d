"""What holders may claim again after a start that has not resumed their opens.

Owns the claims: one for each open of before, found by its resume key, which is the same whatever key its holder has
now. A claim is granted only as far as the records go, and blacks its object out for others until its holder claims
nothing more or the object has waited long enough (`waiting.py`). Other objects are free at once. It must not know how
a holder claims, nor what it is told.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import NamedTuple

from statestore.kinds import OPEN, RANGE
from statestore.model import Open
from statestore.ranges import Range, RangeSet
from statestore.records import ChangeSet
from statestore.waiting import Waiting

Record = tuple[int, bytes]
"""(kind, key) of a record"""


class Claimed(Enum):
    """What comes of an attempt to claim."""

    GRANTED = "granted"
    TOO_LATE = "too late"
    """There was such an open, and its object has waited long enough for its holder."""
    NOT_RECORDED = "not recorded"
    """The records have no such open or range, or not all of it."""


class Completed(NamedTuple):
    """How many opens of before a holder has claimed, and how many it has not."""

    claimed: int
    dropped: int


class Claim:
    """One open of before: whose it was and from where, on what, and the ranges under it by party."""

    __slots__ = (
        "access", "access_left", "address", "deny", "deny_left", "holder_key", "identity", "key", "object", "private",
        "ranges", "ranges_left", "records",
    )  # fmt: skip

    def __init__(
        self, key: bytes, identity: bytes, holder_key: bytes, object: bytes, access: int, deny: int, address: str,
        private: bytes,
    ) -> None:  # fmt: skip
        self.key = key
        self.identity = identity
        self.holder_key = holder_key
        self.object = object
        self.access = access
        self.deny = deny
        self.address = address
        self.private = private
        self.ranges = RangeSet()
        self.records: list[Record] = [(OPEN, key)]
        # What has not been claimed yet.
        self.access_left = access
        self.deny_left = deny
        self.ranges_left = RangeSet()

    def add_ranges(self, record_key: bytes, party: bytes, ranges: Iterable[Range]) -> None:
        """Take a party's ranges, whose record has that key, into the claim."""
        for held in ranges:
            self.ranges.set(party, held.start, held.end, held.exclusive)
            self.ranges_left.set(party, held.start, held.end, held.exclusive)
        self.records.append((RANGE, record_key))

    def is_met(self) -> bool:
        """Return whether all of it has been claimed: from then on what the holder has speaks for itself."""
        return not (self.access_left or self.deny_left or self.ranges_left)


class Claims:
    """The claims that are still open, each until `waiting` says that its object has waited long enough.

    Filled by `add_holder`, `add_open` and `add_ranges` in any order, then `settle` once.
    """

    __slots__ = ("_by_identity", "_by_object", "_claims", "_early_ranges", "_holders", "_too_late", "waiting")

    def __init__(self, waiting: Waiting) -> None:
        self.waiting = waiting
        self._claims: dict[bytes, Claim] = {}
        self._by_object: dict[bytes, set[bytes]] = {}
        self._by_identity: dict[bytes, set[bytes]] = {}
        self._too_late: set[bytes] = set()
        # The records that go with each holder of before, by identity.
        self._holders: dict[bytes, list[Record]] = {}
        # Ranges whose open has not been added yet, by its key.
        self._early_ranges: dict[bytes, list[tuple[bytes, bytes, list[Range]]]] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, key: bytes) -> bool:
        return key in self._claims

    # -- loading ------------------------------------------------------------------------------------------

    def add_holder(self, identity: bytes, records: Iterable[Record]) -> None:
        """Add a holder of before, and the records that go when it claims nothing more: its own and its service's."""
        self._holders.setdefault(identity, []).extend(records)

    def add_open(
        self,
        key: bytes,
        identity: bytes,
        holder_key: bytes,
        object: bytes,
        access: int,
        deny: int,
        address: str = "",
        private: bytes = b"",
    ) -> None:
        """Add an open of before. `holder_key` is the key that its holder had then, `address` where it came from.

        `private` is what its service has kept for itself in the record, and wants back when it is claimed.
        """
        assert key not in self._claims, "an open is added twice"
        claim = Claim(key, identity, holder_key, object, access, deny, address, private)
        self._claims[key] = claim
        self._by_object.setdefault(object, set()).add(key)
        self._by_identity.setdefault(identity, set()).add(key)
        for record_key, party, ranges in self._early_ranges.pop(key, ()):
            claim.add_ranges(record_key, party, ranges)

    def add_ranges(self, record_key: bytes, open_key: bytes, party: bytes, ranges: Iterable[Range]) -> None:
        """Add the ranges that one party held under an open of before, by the party's name inside its holder."""
        claim = self._claims.get(open_key)
        if claim is None:
            self._early_ranges.setdefault(open_key, []).append((record_key, party, list(ranges)))
        else:
            claim.add_ranges(record_key, party, ranges)

    def settle(self, changes: ChangeSet) -> list[bytes]:
        """End the loading: remove the records of holders that have nothing to claim.

        Returns the keys of the RANGE records whose open was not added, which are left where they are.
        """
        for identity in [identity for identity in self._holders if identity not in self._by_identity]:
            self._remove_holder(identity, changes)
        lost = [record_key for early in self._early_ranges.values() for record_key, _party, _ranges in early]
        self._early_ranges.clear()
        return lost

    # -- claiming -----------------------------------------------------------------------------------------

    def claim_open(self, key: bytes, access: int, deny: int, now: float) -> Claimed:
        """Claim an open with these masks, which may be a part of what was recorded. GRANTED is noted."""
        claim = self._claims.get(key)
        if self._is_too_late(key, claim, now):
            return Claimed.TOO_LATE
        if claim is None or access & ~claim.access or deny & ~claim.deny:
            return Claimed.NOT_RECORDED
        claim.access_left &= ~access
        claim.deny_left &= ~deny
        return Claimed.GRANTED

    def private(self, key: bytes) -> bytes:
        """Return what the service has kept for itself in the record of an open that may be claimed. Raises KeyError."""
        return self._claims[key].private

    def claim_range(self, key: bytes, party: bytes, start: int, end: int, exclusive: bool, now: float) -> Claimed:
        """Claim a range under the open of that key, by the party's name inside its holder. GRANTED is noted.

        An exclusive range may be claimed shared, not the other way round.
        """
        claim = self._claims.get(key)
        if self._is_too_late(key, claim, now):
            return Claimed.TOO_LATE
        if claim is None:
            return Claimed.NOT_RECORDED
        at = start
        for held in claim.ranges.owned(party):
            if held.start <= at < held.end and held.exclusive >= exclusive:
                at = held.end
        if at < end:
            return Claimed.NOT_RECORDED
        claim.ranges_left.clear(party, start, end)
        return Claimed.GRANTED

    def give_up(self, key: bytes, changes: ChangeSet) -> None:
        """An open that was claimed is closed: what was not claimed under it goes with it."""
        if key in self._claims:
            self._drop(key, {}, changes)

    def _is_too_late(self, key: bytes, claim: Claim | None, now: float) -> bool:
        return key in self._too_late or claim is not None and self._is_late(claim, now)

    def _is_late(self, claim: Claim, now: float) -> bool:
        return now >= self.waiting.until(claim.object, claim.address)

    # -- questions ----------------------------------------------------------------------------------------

    def in_the_way(self, object: bytes, identity: bytes, now: float) -> list[Claim]:
        """Return the claims of others than `identity` that black an object out."""
        return [
            claim
            for claim in map(self._claims.__getitem__, self._by_object.get(object, ()))
            if claim.identity != identity and not claim.is_met() and not self._is_late(claim, now)
        ]

    def has_claims(self, object: bytes) -> bool:
        """Return whether anybody may still claim this object."""
        return object in self._by_object

    def missing(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (object, holder's key of before, holder's address) of each claim, which may change meanwhile."""
        for claim in list(self._claims.values()):
            yield claim.object, claim.holder_key, claim.address

    # -- ending -------------------------------------------------------------------------------------------

    def expire(self, object: bytes, opens: Mapping[bytes, Open], now: float, changes: ChangeSet) -> None:
        """Drop an object's claims that have come too late: nobody may claim them after somebody else was let in.

        `opens` are all that stand: the records of what has been claimed stay.
        """
        late = [key for key in self._by_object.get(object, ()) if self._is_late(self._claims[key], now)]
        for key in late:
            self._too_late.add(key)
            identity = self._claims[key].identity
            self._drop(key, opens, changes)
            if identity not in self._by_identity:
                self._remove_holder(identity, changes)

    def complete(self, identity: bytes, opens: Mapping[bytes, Open], changes: ChangeSet) -> Completed:
        """Drop the claims of a holder that claims nothing more; the records of what it has claimed stay.

        `opens` are its own, or all that stand.
        """
        keys = list(self._by_identity.get(identity, ()))
        claimed = sum(key in opens for key in keys)
        for key in keys:
            self._drop(key, opens, changes)
        self._remove_holder(identity, changes)
        return Completed(claimed, len(keys) - claimed)

    def end(self, opens: Mapping[bytes, Open], changes: ChangeSet) -> Completed:
        """Drop every claim that is left; `opens` are all that stand."""
        claimed = dropped = 0
        for identity in {*self._holders, *self._by_identity}:
            completed = self.complete(identity, opens, changes)
            claimed += completed.claimed
            dropped += completed.dropped
        return Completed(claimed, dropped)

    def _drop(self, key: bytes, opens: Mapping[bytes, Open], changes: ChangeSet) -> None:
        """End a claim, and remove the records of what has not been claimed under it."""
        claim = self._claims.pop(key)
        for index, part in ((self._by_object, claim.object), (self._by_identity, claim.identity)):
            index[part].discard(key)
            if not index[part]:
                del index[part]
        held = opens.get(key)
        live = set() if held is None else {(OPEN, key), *((RANGE, range_key) for range_key in held.range_keys())}
        for record in claim.records:
            if record not in live:
                changes.remove(*record)

    def _remove_holder(self, identity: bytes, changes: ChangeSet) -> None:
        for record in self._holders.pop(identity, ()):
            changes.remove(*record)
