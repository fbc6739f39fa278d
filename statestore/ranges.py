"""The byte ranges that parties hold on one object.

Owns the rules of POSIX ranges: a party's own ranges never conflict, the later mode replaces the earlier one
byte by byte, and neighbours of one mode become one range. It must not know who the parties are, nor the disk.

Each party has its ranges in one sorted list without overlaps. Of a few ranges every one is looked at; of more there is
an index of all parties' ranges by their starts, so that nobody's request walks what everybody else holds.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

TO_END: Final = 1 << 64
"""The end of a range that reaches to the end of the object, however long that grows."""

# Looking at so many ranges costs less than an index of them, in time and in memory.
INDEX_ABOVE: Final = 32
INDEX_BELOW: Final = 16
NODE_SIZE_MAX: Final = 64
"""Items in one node of the index; a node that grows beyond it is split in two."""


class Range(NamedTuple):
    """Bytes `start` to before `end`, held by a party, alone or shared with other readers."""

    owner: bytes
    start: int
    end: int
    exclusive: bool


_start: Final = itemgetter(1)
_end: Final = itemgetter(2)
_place: Final = itemgetter(1, 0)
"""A range's place in the index: no party has two ranges of one start."""


class Tally:
    """How many ranges the sets have that were given it."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class _Leaf:
    """Some neighbours among the ranges of a set, in the order of their places.

    `first` is the first one's place; `end` and `exclusive_end` are the highest ends, of all and of the exclusive ones.
    """

    __slots__ = ("end", "exclusive_end", "first", "items")

    first: tuple[int, bytes]
    end: int
    exclusive_end: int

    def __init__(self, items: list[Range]) -> None:
        self.items = items
        self.measure()

    def measure(self) -> None:
        """Look at all of them for what the searches need."""
        items = self.items
        self.first = _place(items[0])
        self.end = max(map(_end, items))
        self.exclusive_end = max([held[2] for held in items if held[3]], default=0)

    def conflict(self, owner: bytes, start: int, end: int, exclusive: bool) -> Range | None:
        """Return the first range of somebody else that forbids this one, or None."""
        for found in self.items:
            if found[1] >= end:
                return None
            if found[2] > start and (exclusive or found[3]) and found[0] != owner:
                return found
        return None

    def add(self, new: Range) -> None:
        """Add a range."""
        insort(self.items, new, key=_place)
        _widen(self, new)

    def remove(self, gone: Range) -> None:
        """Remove a range that is here."""
        items = self.items
        at = bisect_left(items, _place(gone), key=_place)
        assert items[at] == gone, "a range is removed from the index that it does not have"
        del items[at]
        if items and _bounded_by(self, gone):
            self.measure()

    def split(self) -> "_Leaf":
        """Return the second half of them, as a new leaf."""
        half = len(self.items) // 2
        other = _Leaf(self.items[half:])
        del self.items[half:]
        self.measure()
        return other


class _Branch:
    """Some neighbours among the nodes of an index, all of one kind; `first` and the ends are those of all below."""

    __slots__ = ("end", "exclusive_end", "first", "items")

    first: tuple[int, bytes]
    end: int
    exclusive_end: int

    def __init__(self, items: "list[_Node]") -> None:
        self.items = items
        self.measure()

    def measure(self) -> None:
        """Look at all of them for what the searches need."""
        items = self.items
        self.first = items[0].first
        self.end = max(map(_end_below, items))
        self.exclusive_end = max(map(_exclusive_end_below, items))

    def conflict(self, owner: bytes, start: int, end: int, exclusive: bool) -> Range | None:
        """Return the first range of somebody else that forbids this one, or None.

        A node that begins before `end` and reaches beyond `start` is seldom gone through in vain: if all its ranges
        begin before `end`, the one that reaches farthest is in the way, unless it is the asker's own.
        """
        for node in self.items:
            if node.first[0] >= end:
                return None
            if (node.end if exclusive else node.exclusive_end) > start:
                found = node.conflict(owner, start, end, exclusive)
                if found is not None:
                    return found
        return None

    def add(self, new: Range) -> None:
        """Add a range."""
        number = self._node_of(new)
        node = self.items[number]
        node.add(new)
        if len(node.items) > NODE_SIZE_MAX:
            self.items.insert(number + 1, node.split())
        _widen(self, new)

    def remove(self, gone: Range) -> None:
        """Remove a range that is here."""
        number = self._node_of(gone)
        self.items[number].remove(gone)
        if len(self.items[number].items) < NODE_SIZE_MAX // 4:
            self._join(number)
        if self.items and _bounded_by(self, gone):
            self.measure()

    def split(self) -> "_Branch":
        """Return the second half of them, as a new branch."""
        half = len(self.items) // 2
        other = _Branch(self.items[half:])
        del self.items[half:]
        self.measure()
        return other

    def _node_of(self, item: Range) -> int:
        """Return the number of the node in which a range has its place."""
        return max(0, bisect_right(self.items, _place(item), key=_first) - 1)

    def _join(self, number: int) -> None:
        """Put what is left of a node to its neighbour."""
        if len(self.items) == 1:
            if not self.items[0].items:
                self.items.clear()
            return
        number = max(0, number - 1)
        node = self.items[number]
        node.items += self.items.pop(number + 1).items  # type: ignore[operator]  # of one kind
        node.measure()
        if len(node.items) > NODE_SIZE_MAX:
            self.items.insert(number + 1, node.split())


_Node = _Leaf | _Branch
_first: Final = attrgetter("first")
_end_below: Final = attrgetter("end")
_exclusive_end_below: Final = attrgetter("exclusive_end")


def _widen(node: _Node, new: Range) -> None:
    """A range has come to a node."""
    node.first = min(node.first, _place(new))
    if new[2] > node.end:
        node.end = new[2]
    if new[3] and new[2] > node.exclusive_end:
        node.exclusive_end = new[2]


def _bounded_by(node: _Node, gone: Range) -> bool:
    """Return whether a node may have another first place or end, now that a range has gone."""
    return gone[2] == node.end or gone[3] and gone[2] == node.exclusive_end or _place(gone) == node.first


class _Index:
    """All ranges of a set by their places and ends: a tree whose nodes have NODE_SIZE_MAX items at most."""

    __slots__ = ("_root",)

    def __init__(self, ranges: Iterable[Range]) -> None:
        """At least one range; at most NODE_SIZE_MAX."""
        self._root: _Node = _Leaf(sorted(ranges, key=_place))

    def conflict(self, owner: bytes, start: int, end: int, exclusive: bool) -> Range | None:
        """Return the first range of somebody else that forbids this one, or None."""
        return self._root.conflict(owner, start, end, exclusive)

    def add(self, new: Range) -> None:
        """Add a range, whose place MUST be free."""
        root = self._root
        root.add(new)
        if len(root.items) > NODE_SIZE_MAX:
            self._root = _Branch([root, root.split()])

    def remove(self, gone: Range) -> None:
        """Remove a range that is here; another one MUST be left."""
        root = self._root
        root.remove(gone)
        if isinstance(root, _Branch) and len(root.items) == 1:
            self._root = root.items[0]


class RangeSet:
    """All ranges on one object. Starts are below ends; ends are at most TO_END. `tally` counts them among others'."""

    __slots__ = ("_count", "_exclusive_count", "_held", "_index", "_tally")

    def __init__(self, tally: Tally | None = None) -> None:
        self._held: dict[bytes, list[Range]] = {}
        self._count: int = 0
        self._exclusive_count: int = 0
        self._index: _Index | None = None
        self._tally = tally

    def conflict(self, owner: bytes, start: int, end: int, exclusive: bool) -> Range | None:
        """Return a range of somebody else that forbids this one, or None."""
        if not exclusive and not self._exclusive_count:
            return None
        if self._index is not None:
            return self._index.conflict(owner, start, end, exclusive)
        for other, ranges in self._held.items():
            if other != owner:
                for found in ranges:
                    if found[1] < end and found[2] > start and (exclusive or found[3]):
                        return found
        return None

    def set(self, owner: bytes, start: int, end: int, exclusive: bool) -> None:
        """Give the range to the owner, whatever it held of it before. `conflict` MUST have passed it."""
        assert 0 <= start < end <= TO_END, "an empty or impossible range"
        held = self._held.get(owner)
        if held is None:
            self._held[owner] = held = []
            self._splice(held, 0, 0, [Range(owner, start, end, exclusive)])
            return
        # Neighbours that touch are included: those of the same mode grow into the new range.
        first = bisect_left(held, start, key=_end)
        last = bisect_right(held, end, key=_start)
        before: list[Range] = []
        after: list[Range] = []
        new_start, new_end = start, end
        for old in held[first:last]:
            if old.exclusive == exclusive:
                new_start = min(new_start, old.start)
                new_end = max(new_end, old.end)
            else:
                if old.start < start:
                    before.append(Range(owner, old.start, min(old.end, start), old.exclusive))
                if old.end > end:
                    after.append(Range(owner, max(old.start, end), old.end, old.exclusive))
        self._splice(held, first, last, [*before, Range(owner, new_start, new_end, exclusive), *after])

    def clear(self, owner: bytes, start: int, end: int) -> None:
        """Take the range from the owner, which may hold all, parts or nothing of it."""
        held = self._held.get(owner)
        if held is None:
            return
        first = bisect_right(held, start, key=_end)
        last = bisect_left(held, end, key=_start)
        if first >= last:
            return
        new: list[Range] = []
        for old in held[first:last]:
            if old.start < start:
                new.append(Range(owner, old.start, start, old.exclusive))
            if old.end > end:
                new.append(Range(owner, end, old.end, old.exclusive))
        self._splice(held, first, last, new)
        if not held:
            del self._held[owner]

    def clear_owner(self, owner: bytes) -> None:
        """Take everything from the owner."""
        held = self._held.pop(owner, None)
        if held is not None:
            self._splice(held, 0, len(held), [])

    def _splice(self, held: list[Range], first: int, last: int, new: Sequence[Range]) -> None:
        """Put the new ranges in the place of a party's from `first` to before `last`."""
        gone = held[first:last]
        held[first:last] = new
        change = len(new) - len(gone)
        self._count += change
        for each in new:
            self._exclusive_count += each.exclusive
        for each in gone:
            self._exclusive_count -= each.exclusive
        if self._tally is not None:
            self._tally.count += change
        index = self._index
        if index is not None:
            if self._count < INDEX_BELOW:
                self._index = None
                return
            for each in gone:
                index.remove(each)
            for each in new:
                index.add(each)
        elif self._count > INDEX_ABOVE:
            self._index = _Index(self)

    def owned(self, owner: bytes) -> list[Range]:
        """Return the owner's ranges in ascending order, as a new list."""
        held = self._held.get(owner)
        return [] if held is None else list(held)

    def count(self, owner: bytes) -> int:
        """Return how many ranges the owner holds."""
        held = self._held.get(owner)
        return 0 if held is None else len(held)

    def owners(self) -> list[bytes]:
        """Return everybody who holds a range, as a new list."""
        return list(self._held)

    def __iter__(self) -> Iterator[Range]:
        return chain.from_iterable(self._held.values())

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return bool(self._held)
