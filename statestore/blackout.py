"""Blackouts that somebody has set: what nobody may use for a time, an object, a tree of them, or what one holder does.

Owns the list of them, its limit, and which of them covers a request. Those that a start brings are `waiting.py`'s. It
must not know how the user encodes their records, nor what it calls them.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final

from statestore.kinds import META
from statestore.records import ChangeSet

# A list that its administrator can still read; each is one record.
BLACKOUTS_MAX: Final = 1024


class Subject(Enum):
    """What a blackout is about, and so what its `target` is."""

    OBJECT = "object"
    """One object; the target is its bytes."""
    TREE = "tree"
    """All objects that requests name with the same bytes of a tree; these are the target."""
    HOLDER = "holder"
    """All that one holder does; the target is its identity."""


class Blackout:
    """One blackout, until a time of the service's clock.

    `key` is that of its META record, `name` what people call it, `address` where a holder came from, empty if that
    is not known. `retry`: who is refused is told to ask again. `refusals` counts them.
    """

    __slots__ = ("address", "key", "name", "refusals", "retry", "subject", "target", "until")

    def __init__(
        self,
        subject: Subject,
        target: bytes,
        name: str,
        *,
        key: bytes,
        until: float,
        retry: bool,
        address: str = "",
    ) -> None:
        self.subject = subject
        self.target = target
        self.name = name
        self.key = key
        self.until = until
        self.retry = retry
        self.address = address
        self.refusals = 0


class Blackouts:
    """All blackouts that have been set, `standing` by subject and target."""

    __slots__ = ("standing",)

    def __init__(self) -> None:
        self.standing: dict[tuple[Subject, bytes], Blackout] = {}

    def begin(self, blackout: Blackout, value: bytes, changes: ChangeSet) -> None:
        """Set a blackout, in place of one of the same target; `value` is what its record is to say.

        Raises ValueError above BLACKOUTS_MAX.
        """
        target = blackout.subject, blackout.target
        before = self.standing.get(target)
        if before is None and len(self.standing) >= BLACKOUTS_MAX:
            raise ValueError(f"there are {BLACKOUTS_MAX} blackouts: lift some, or black out a whole tree")
        if before is not None:
            changes.remove(META, before.key)
        self.standing[target] = blackout
        changes.put(META, blackout.key, value)

    def adopt(self, blackout: Blackout) -> None:
        """Take over a blackout that the store has, whatever their number."""
        self.standing[blackout.subject, blackout.target] = blackout

    def end(self, blackout: Blackout, changes: ChangeSet) -> None:
        """End a blackout that stands. Raises KeyError if none of its target does."""
        del self.standing[blackout.subject, blackout.target]
        changes.remove(META, blackout.key)

    def reap(self, now: float, changes: ChangeSet) -> list[Blackout]:
        """End those whose time is over, and return them."""
        over = [each for each in self.standing.values() if each.until <= now]
        for blackout in over:
            self.end(blackout, changes)
        return over

    def find(
        self, object: bytes, tree: bytes | None, identity: bytes | None, address: str, now: float
    ) -> Blackout | None:
        """Return a blackout that covers such a request, the narrowest first, or None.

        `tree` is None where the object is in none. A request that does not name its holder (`identity` None) is
        covered by the blackouts of all holders from its `address`; leave that empty where it must not be.
        """
        if not self.standing:
            return None
        for blackout in self._covering(object, tree, identity, address):
            if blackout is not None and blackout.until > now:
                return blackout
        return None

    def _covering(
        self, object: bytes, tree: bytes | None, identity: bytes | None, address: str
    ) -> Iterator[Blackout | None]:
        standing = self.standing
        yield standing.get((Subject.OBJECT, object))
        if tree is not None:
            yield standing.get((Subject.TREE, tree))
        if identity is not None:
            yield standing.get((Subject.HOLDER, identity))
        elif address:
            for blackout in standing.values():
                if blackout.subject is Subject.HOLDER and blackout.address == address:
                    yield blackout
