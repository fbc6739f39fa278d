"""The byte ranges that parties hold on one object.

Owns the rules of POSIX ranges: a party's own ranges never conflict, the later mode replaces the earlier one
byte by byte, and neighbours of one mode become one range. It must not know who the parties are, nor the disk.

Each party has its ranges in one sorted list without overlaps; changing one costs the logarithm of that
party's ranges, and looking for a conflict that of every other party's.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

TO_END: Final = 1 << 64
"""The end of a range that reaches to the end of the object, however long that grows."""


class Range(NamedTuple):
    """Bytes `start` to before `end`, held by a party, alone or shared with other readers."""

    owner: bytes
    start: int
    end: int
    exclusive: bool


class _Held:
    """One party's ranges, in ascending order; `starts` and `ends` are kept beside them for the search."""

    __slots__ = ("ends", "ranges", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.ranges: list[Range] = []

    def splice(self, first: int, last: int, new: list[Range]) -> int:
        """Put the new ranges in the place of those from `first` to before `last`.

        Returns by how much the number of exclusive ranges has changed.
        """
        gone = sum([held.exclusive for held in self.ranges[first:last]])
        self.ranges[first:last] = new
        self.starts[first:last] = [held.start for held in new]
        self.ends[first:last] = [held.end for held in new]
        return sum([held.exclusive for held in new]) - gone


class RangeSet:
    """All ranges on one object. Starts are below ends; ends are at most TO_END."""

    __slots__ = ("_exclusive_count", "_held")

    def __init__(self) -> None:
        self._held: dict[bytes, _Held] = {}
        self._exclusive_count: int = 0

    def conflict(self, owner: bytes, start: int, end: int, exclusive: bool) -> Range | None:
        """Return a range of somebody else that forbids this one, or None."""
        if not exclusive and not self._exclusive_count:
            return None
        for other, held in self._held.items():
            if other == owner:
                continue
            ranges = held.ranges
            # The first range that ends after our start; later ones begin later.
            index = bisect_right(held.ends, start)
            while index < len(ranges) and ranges[index].start < end:
                if exclusive or ranges[index].exclusive:
                    return ranges[index]
                index += 1
        return None

    def set(self, owner: bytes, start: int, end: int, exclusive: bool) -> None:
        """Give the range to the owner, whatever it held of it before. `conflict` MUST have passed it."""
        assert 0 <= start < end <= TO_END, "an empty or impossible range"
        held = self._held.get(owner)
        if held is None:
            held = self._held[owner] = _Held()
        # Neighbours that touch are included: those of the same mode grow into the new range.
        first = bisect_left(held.ends, start)
        last = bisect_right(held.starts, end)
        before: list[Range] = []
        after: list[Range] = []
        new_start, new_end = start, end
        for old in held.ranges[first:last]:
            if old.exclusive == exclusive:
                new_start = min(new_start, old.start)
                new_end = max(new_end, old.end)
            else:
                if old.start < start:
                    before.append(Range(owner, old.start, min(old.end, start), old.exclusive))
                if old.end > end:
                    after.append(Range(owner, max(old.start, end), old.end, old.exclusive))
        new = [*before, Range(owner, new_start, new_end, exclusive), *after]
        self._exclusive_count += held.splice(first, last, new)

    def clear(self, owner: bytes, start: int, end: int) -> None:
        """Take the range from the owner, which may hold all, parts or nothing of it."""
        held = self._held.get(owner)
        if held is None:
            return
        first = bisect_right(held.ends, start)
        last = bisect_left(held.starts, end)
        if first >= last:
            return
        new: list[Range] = []
        for old in held.ranges[first:last]:
            if old.start < start:
                new.append(Range(owner, old.start, start, old.exclusive))
            if old.end > end:
                new.append(Range(owner, end, old.end, old.exclusive))
        self._exclusive_count += held.splice(first, last, new)
        if not held.ranges:
            del self._held[owner]

    def clear_owner(self, owner: bytes) -> None:
        """Take everything from the owner."""
        self.clear(owner, 0, TO_END)

    def owned(self, owner: bytes) -> list[Range]:
        """Return the owner's ranges in ascending order, as a new list."""
        held = self._held.get(owner)
        return [] if held is None else list(held.ranges)

    def count(self, owner: bytes) -> int:
        """Return how many ranges the owner holds."""
        held = self._held.get(owner)
        return 0 if held is None else len(held.ranges)

    def owners(self) -> list[bytes]:
        """Return everybody who holds a range, as a new list."""
        return list(self._held)

    def __iter__(self) -> Iterator[Range]:
        for held in self._held.values():
            yield from held.ranges

    def __len__(self) -> int:
        return sum(len(held.ranges) for held in self._held.values())

    def __bool__(self) -> bool:
        return bool(self._held)
