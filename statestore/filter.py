"""The filter: who has what on which object, for every service at once, and what is in a request's way.

Owns the opens, the ranges, the objects without names that live by their opens, and all that a start or somebody has
blacked out. A service asks it before it does anything, and turns a verdict into its own words. It must not know any
service, nor the disk: what is stored joins the service's ChangeSet.

Ranges live by the opens of their object: the set of an object's ranges goes with its last open, so that a service may
keep a reference to it for as long as it has the object open.

Grants, rights that a holder has until they are called back, will stand here beside the ranges, by object; the
questions about shares and ranges will then ask them too, and WAIT while a grant is being called back.
"""

from collections.abc import Iterator
from typing import Generic, Literal, cast

from statestore.blackout import Blackouts
from statestore.claims import Claims, Completed
from statestore.kinds import OPEN, PENDING
from statestore.model import HOLDER_KEY_SIZE, HolderT, OpenT
from statestore.ranges import RangeSet, Tally
from statestore.records import ChangeSet
from statestore.shares import Shares
from statestore.verdict import Answer, Verdict, Why
from statestore.waiting import SWEEP_AFTER_S, Waiting

Reason = Literal["returned", "time"]
"""Why a start's blackout has ended: every holder has come back, or the time of every object is over."""


class Filter(Generic[HolderT, OpenT]):
    """What all holders have. `HolderT` and `OpenT` are the service's classes, or the common ones of several services.

    `began` is when this start took over, by the services' clock.
    `holders`, `opens`, `ranges` (by object, of parties named by holder's key and name) are to be read: they change by
    the methods here. `pending` are the objects without a name that live by their opens, `forsaken` those whose last
    open has gone: the service frees them and takes them out. `tally` counts the ranges, `refusals` every verdict of a
    blackout.
    """

    __slots__ = (
        "_shared", "began", "blackouts", "claims", "forsaken", "holders", "opens", "pending", "ranges", "refusals",
        "shares", "tally", "waiting",
    )  # fmt: skip

    def __init__(self, began: float = 0.0) -> None:
        self.began = began
        self.holders: dict[bytes, HolderT] = {}
        self.opens: dict[bytes, OpenT] = {}
        self.shares: Shares[OpenT] = Shares()
        self.ranges: dict[bytes, RangeSet] = {}
        self.tally = Tally()
        self.pending: set[bytes] = set()
        self.forsaken: set[bytes] = set()
        self.blackouts = Blackouts()
        # What a start has brought: until when objects wait for their holders, and what may be claimed again.
        self.waiting: Waiting | None = None
        self.claims: Claims | None = None
        self.refusals = 0
        # The mapping inside `shares`, which is never replaced: the free path costs one lookup and no call.
        self._shared = self.shares.objects

    # -- holders, opens, ranges ---------------------------------------------------------------------------

    def add_holder(self, holder: HolderT) -> None:
        """Add a holder, in place of one of the same key."""
        self.holders[holder.key] = holder

    def remove_holder(self, holder: HolderT) -> None:
        """Remove a holder, whose opens MUST have been removed. Raises KeyError if it is not here."""
        assert not holder.opens, "a holder is removed that has something open"
        del self.holders[holder.key]

    def add_open(self, held: OpenT) -> None:
        """Add an open, which MUST be new; a new request's masks MUST have passed `share_verdict`."""
        self.shares.add(held)
        self.opens[held.key] = held
        held.holder.opens[held.key] = held

    def change_open(self, held: OpenT, access: int, deny: int) -> None:
        """Set the masks of an open; wider ones MUST have passed `share_verdict`."""
        self.shares.change(held, access, deny)

    def remove_open(self, held: OpenT, changes: ChangeSet) -> None:
        """Remove an open and its record, and what could still be claimed under it.

        The service has cleared the ranges under it before, and may have taken it from its holder's opens. The last open
        of an object without a name forsakes that.
        """
        object = held.object
        self.shares.remove(held)
        del self.opens[held.key]
        held.holder.opens.pop(held.key, None)
        changes.remove(OPEN, held.key)
        if self.claims is not None:
            self.claims.give_up(held.key, changes)
        if object not in self._shared:
            self.ranges.pop(object, None)
            if object in self.pending and not self.is_held(object):
                self.forsake(object, changes)

    def range_set(self, object: bytes) -> RangeSet:
        """Return the ranges on an object that somebody has open; the same set until its last open goes."""
        found = self.ranges.get(object)
        if found is None:
            assert object in self._shared, "ranges on an object that nobody has open"
            found = self.ranges[object] = RangeSet(self.tally)
        return found

    def is_held(self, object: bytes) -> bool:
        """Return whether somebody has the object open, or may still claim that he has."""
        return object in self._shared or self.claims is not None and self.claims.has_claims(object)

    # -- objects without names ----------------------------------------------------------------------------

    def keep_pending(self, object: bytes, changes: ChangeSet) -> None:
        """An open object has lost its last name: it lives until its last open goes."""
        self.pending.add(object)
        changes.put(PENDING, object, b"")

    def forsake(self, object: bytes, changes: ChangeSet) -> None:
        """Nobody has a nameless object open any more: it joins `forsaken`."""
        self.pending.discard(object)
        self.forsaken.add(object)
        changes.remove(PENDING, object)

    def forsake_unheld(self, changes: ChangeSet) -> None:
        """Forsake every nameless object that nobody holds."""
        for object in [object for object in self.pending if not self.is_held(object)]:
            self.forsake(object, changes)

    # -- what is in a request's way -----------------------------------------------------------------------

    def share_verdict(
        self, object: bytes, access: int, deny: int, now: float, except_key: bytes | None = None
    ) -> Verdict[HolderT, OpenT] | None:
        """Return why an object may not be opened or used with these masks, None if it may.

        The open `except_key` does not count: the one that is about to be changed. A service that lets a holder go
        because of the verdict calls `withdraw` and asks again.
        """
        found = self._shared.get(object)
        if found is None or not (access & found.deny or deny & found.access):
            return None
        held = found.conflict(access, deny, except_key)
        if held is None:
            return None
        holder = cast("HolderT", held.holder)
        answer, until = self._conflict(object, holder, now)
        return Verdict(
            answer=answer, why=Why.SHARE, object=object, until=until, open=held, holder=holder,
            waits_for=(holder.key,) if until else (),
        )  # fmt: skip

    def range_verdict(
        self, object: bytes, party: bytes, start: int, end: int, exclusive: bool, now: float
    ) -> Verdict[HolderT, OpenT] | None:
        """Return why a party may not take the bytes `start` to before `end` of an object, None if it may.

        `party` is its holder's key and its name. What is said of `withdraw` at `share_verdict` holds here too.
        """
        ranges = self.ranges.get(object)
        if ranges is None:
            return None
        found = ranges.conflict(party, start, end, exclusive)
        if found is None:
            return None
        holder = self.holders.get(found.owner[:HOLDER_KEY_SIZE])
        answer, until = (Answer.REFUSED, 0.0) if holder is None else self._conflict(object, holder, now)
        return Verdict(
            answer=answer, why=Why.RANGE, object=object, until=until, range=found, holder=holder,
            waits_for=(holder.key,) if until and holder is not None else (),
        )  # fmt: skip

    def claim_verdict(self, object: bytes, identity: bytes, now: float) -> Verdict[HolderT, OpenT] | None:
        """Return which claims of others an object waits for, None if for none.

        None does not end claims that have come too late: whoever is let in calls `expire_claims` first.
        """
        if self.claims is None:
            return None
        found = self.claims.in_the_way(object, identity, now)
        if not found:
            return None
        waiting = self.claims.waiting
        until = max(waiting.until(object, claim.address) for claim in found)
        waiting.refusals[object] += 1
        self.refusals += 1
        keys = tuple(sorted({claim.holder_key for claim in found}))
        return Verdict(answer=Answer.WAIT, why=Why.CLAIM, object=object, until=until, waits_for=keys)

    def blackout_verdict(
        self, object: bytes, tree: bytes | None, identity: bytes | None, address: str, now: float
    ) -> Verdict[HolderT, OpenT] | None:
        """Return which blackout that somebody has set forbids the use of an object, None if none does.

        `tree` is None where the object is in none. A request that does not name its holder (`identity` None) is
        covered by the blackouts of all holders from its `address`; leave that empty where it must not be.
        """
        if not self.blackouts.standing:
            return None
        found = self.blackouts.find(object, tree, identity, address, now)
        if found is None:
            return None
        found.refusals += 1
        self.refusals += 1
        answer = Answer.WAIT if found.retry else Answer.REFUSED
        return Verdict(answer=answer, why=Why.BLACKOUT, object=object, until=found.until, blackout=found)

    def withdraw(self, verdict: Verdict[HolderT, OpenT]) -> None:
        """Take back what a verdict has counted: nobody was refused, because the service has let the holder go."""
        if not verdict.until:
            return
        self.refusals -= 1
        if verdict.blackout is not None:
            verdict.blackout.refusals -= 1
        elif self.waiting is not None:
            self.waiting.refusals[verdict.object] -= 1

    def _conflict(self, object: bytes, holder: HolderT, now: float) -> tuple[Answer, float]:
        """Return what a conflict with a holder comes to, and until when its object waits for it; counts that.

        A holder that has been heard of since the start is there. One that has not may come back until its object has
        waited long enough, and who conflicts with it is told to ask again if that is how this start answers.
        """
        waiting = self.waiting
        if waiting is None or holder.heard > self.began or holder.removed:
            return Answer.REFUSED, 0.0
        until = waiting.until(object, holder.address)
        if now >= until:
            return Answer.REFUSED, 0.0
        waiting.refusals[object] += 1
        self.refusals += 1
        return (Answer.WAIT if waiting.retry else Answer.REFUSED), until

    # -- after a start ------------------------------------------------------------------------------------

    def has_returned(self, holder: HolderT) -> bool:
        """Return whether a holder has been heard of since this start."""
        return holder.heard > self.began

    def begin_waiting(self, waiting: Waiting, claims: Claims | None = None) -> bool:
        """Black out what was loaded, or may be claimed, until its holders have come back.

        False if there is nothing to wait for.
        """
        assert waiting.began == self.began, "another start's deadlines"
        if claims is not None and len(claims):
            self.claims = claims
        if not self.opens and self.claims is None:
            return False
        self.waiting = waiting
        return True

    def missing(self) -> Iterator[tuple[bytes, bytes, str]]:
        """Yield (object, holder's key, holder's address) of what holders have who have not come back.

        They may change while this is gone through.
        """
        if self.claims is not None:
            yield from self.claims.missing()
            return
        for holder in list(self.holders.values()):
            if self._is_missing(holder):
                for held in list(holder.opens.values()):
                    yield held.object, holder.key, holder.address

    def _is_missing(self, holder: HolderT) -> bool:
        return bool(holder.opens) and not holder.removed and not self.has_returned(holder)

    def expire_claims(self, object: bytes, now: float, changes: ChangeSet) -> None:
        """Drop an object's claims that have come too late, and forsake it if it has no name and nobody holds it."""
        if self.claims is not None:
            self.claims.expire(object, self.opens, now, changes)
            if object in self.pending and not self.is_held(object):
                self.forsake(object, changes)

    def complete_claims(self, identity: bytes, changes: ChangeSet) -> Completed:
        """A holder claims nothing more. When no claim is left, the service calls `end_claims`."""
        if self.claims is None:
            return Completed(0, 0)
        completed = self.claims.complete(identity, self.opens, changes)
        self.forsake_unheld(changes)
        return completed

    def end_claims(self, changes: ChangeSet) -> Completed:
        """Let nothing be claimed any more; the service calls `end_waiting` too."""
        if self.claims is None:
            return Completed(0, 0)
        completed = self.claims.end(self.opens, changes)
        self.claims = None
        self.forsake_unheld(changes)
        return completed

    def end_waiting(self) -> Waiting | None:
        """Wait for no holder any more; the deadlines that were waited for, None if nobody was waited for."""
        waiting, self.waiting = self.waiting, None
        return waiting

    def sweep(self, now: float, changes: ChangeSet) -> Reason | None:
        """Drop the claims whose time is over; return why the start's blackout is over, None if it is not.

        To be called from time to time. After a reason the service calls `end_claims` and `end_waiting`.
        """
        waiting = self.waiting
        if waiting is None or now < waiting.began + SWEEP_AFTER_S:
            return None
        for object in waiting.due(self.missing, now):
            self.expire_claims(object, now, changes)
        if self.claims is not None:
            return "time" if not len(self.claims) or waiting.is_over() else None
        if not any(map(self._is_missing, self.holders.values())):
            return "returned"
        return "time" if waiting.is_over() else None
