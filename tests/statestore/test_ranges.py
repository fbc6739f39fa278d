"""Byte ranges, against a model that keeps every byte by itself."""

from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import TO_END, Range, RangeSet, Tally, ranges
from statestore.ranges import INDEX_ABOVE, _Branch, _Leaf, _Node
from tests.support.steps import steps

# As many as the profile says, fewer for `make quick`.
EXAMPLES = settings.default.max_examples if settings.default is not None else 100

# The model's object has so many bytes; the last of them stands for everything up to TO_END.
SIZE = 24
OWNERS = (b"a", b"b", b"c")

STEP = st.tuples(
    st.sampled_from(["set", "clear", "ask"]),
    st.sampled_from(OWNERS),
    st.integers(0, SIZE - 1),
    st.integers(1, SIZE),
    st.booleans(),
)


def on_object(position: int) -> int:
    """Return the model's end position as that of a range."""
    return TO_END if position >= SIZE else position


class ByteModel:
    """Who holds each byte, and how: {owner: {byte: exclusive}}."""

    def __init__(self) -> None:
        self.held: dict[bytes, dict[int, bool]] = {owner: {} for owner in OWNERS}

    def conflicts(self, owner: bytes, start: int, end: int, exclusive: bool) -> set[tuple[bytes, int]]:
        return {
            (other, byte)
            for other, held in self.held.items()
            for byte, mode in held.items()
            if other != owner and start <= byte < end and (exclusive or mode)
        }

    def owned(self, owner: bytes) -> list[Range]:
        ranges: list[Range] = []
        for byte, mode in sorted(self.held[owner].items()):
            if ranges and ranges[-1].end == byte and ranges[-1].exclusive == mode:
                ranges[-1] = ranges[-1]._replace(end=byte + 1)
            else:
                ranges.append(Range(owner, byte, byte + 1, mode))
        return [found._replace(end=on_object(found.end)) for found in ranges]


Step = tuple[str, bytes, int, int, bool]


@settings(max_examples=6 * EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=50))
def test_model(requests: list[Step]) -> None:
    """Any sequence of requests gives what POSIX gives byte by byte, in the fewest ranges."""
    compare_with_model(requests)


@settings(max_examples=6 * EXAMPLES, deadline=None)
@given(st.lists(STEP, min_size=10, max_size=80))
def test_model_index(requests: list[Step]) -> None:
    """An index of many small nodes, which comes and goes, gives what POSIX gives byte by byte too."""
    with mock.patch.multiple(ranges, INDEX_ABOVE=6, INDEX_BELOW=5, NODE_SIZE_MAX=4):
        compare_with_model(requests)


def check_index(node: _Node) -> list[Range]:
    """The ranges below a node, whose first place and ends are theirs."""
    if isinstance(node, _Leaf):
        found = list(node.items)
    else:
        found = [each for child in node.items for each in check_index(child)]
    assert node.first == (found[0].start, found[0].owner)
    assert node.end == max(each.end for each in found)
    assert node.exclusive_end == max((each.end for each in found if each.exclusive), default=0)
    assert len(node.items) <= max(ranges.NODE_SIZE_MAX, ranges.INDEX_ABOVE + 2)
    return found


def compare_with_model(requests: list[Step]) -> None:
    """Carry out the requests on a set and on the model, and compare all that the set says after each."""
    tally = Tally()
    ranges, model = RangeSet(tally), ByteModel()
    for action, owner, start, length, exclusive in requests:
        end = min(SIZE, start + length)
        if action == "clear":
            ranges.clear(owner, start, on_object(end))
            for byte in range(start, end):
                model.held[owner].pop(byte, None)
        else:
            expected = model.conflicts(owner, start, end, exclusive)
            found = ranges.conflict(owner, start, on_object(end), exclusive)
            assert (found is None) == (not expected)
            if found is not None:
                assert found in ranges.owned(found.owner)
                assert any(other == found.owner and found.start <= byte < found.end for other, byte in expected)
            elif action == "set":
                ranges.set(owner, start, on_object(end), exclusive)
                model.held[owner].update(dict.fromkeys(range(start, end), exclusive))
        for other in OWNERS:
            assert ranges.owned(other) == model.owned(other)
        assert bool(ranges) == any(model.held.values())
        assert len(ranges) == len(list(ranges))
        # Too high a count would only cost time, so that nothing else here would notice.
        assert ranges._exclusive_count == sum(held.exclusive for held in ranges)
        assert set(ranges.owners()) == {other for other in OWNERS if model.held[other]}
        assert tally.count == len(ranges)
        if ranges._index is not None:
            assert check_index(ranges._index._root) == sorted(ranges, key=lambda held: (held.start, held.owner))


def test_set_upgrade_of_the_middle() -> None:
    """A stronger mode in the middle of a range splits it in three; taking it back joins them again."""
    ranges = RangeSet()
    ranges.set(b"a", 0, TO_END, False)
    ranges.set(b"a", 10, 20, True)
    assert ranges.owned(b"a") == [
        Range(b"a", 0, 10, False),
        Range(b"a", 10, 20, True),
        Range(b"a", 20, TO_END, False),
    ]
    assert ranges.conflict(b"b", 0, 10, False) is None
    assert ranges.conflict(b"b", 0, 11, False) == Range(b"a", 10, 20, True)
    ranges.set(b"a", 10, 20, False)
    assert ranges.owned(b"a") == [Range(b"a", 0, TO_END, False)]


def test_conflict_last_byte_and_end() -> None:
    """The last byte with a number is inside a range up to the end; ranges that touch do not conflict."""
    ranges = RangeSet()
    ranges.set(b"a", 100, TO_END, True)
    assert ranges.conflict(b"b", TO_END - 1, TO_END, False) == Range(b"a", 100, TO_END, True)
    assert ranges.conflict(b"b", 0, 100, True) is None
    assert ranges.conflict(b"a", 0, TO_END, True) is None


def test_clear_owner_leaves_the_others() -> None:
    """Everything of one party goes, and an empty set is false."""
    ranges = RangeSet()
    ranges.set(b"a", 0, 10, False)
    ranges.set(b"a", 20, 30, False)
    ranges.set(b"b", 0, 10, False)
    ranges.clear_owner(b"a")
    assert list(ranges) == [Range(b"b", 0, 10, False)]
    ranges.clear_owner(b"b")
    assert not ranges
    ranges.clear(b"b", 0, 10)


def test_owned_is_a_copy() -> None:
    """What is given out does not change the set."""
    ranges = RangeSet()
    ranges.set(b"a", 0, 10, False)
    ranges.owned(b"a").clear()
    assert len(ranges) == 1


def owner_of(number: int) -> bytes:
    return b"party %08d" % number


def crowd(count: int, shared: bool) -> RangeSet:
    """As many parties, each with a range of its own, or all sharing everything."""
    found = RangeSet()
    for number in range(count):
        start, end = (0, TO_END) if shared else (10 * number, 10 * number + 10)
        found.set(owner_of(number), start, end, not shared)
    return found


@pytest.mark.parametrize("shared", [False, True])
def test_cost_in_a_crowd(shared: bool) -> None:
    """Asking, taking, giving back and releasing cost the logarithm of how many ranges others hold."""
    costs = []
    for count in (2_000, 20_000):
        found = crowd(count, shared)
        at = 0 if shared else 10 * count
        middle = owner_of(count // 2)

        def work(found: RangeSet = found, at: int = at, middle: bytes = middle) -> None:
            assert found.conflict(b"me", at, TO_END, not shared) is None
            found.set(b"me", at, TO_END, not shared)
            assert found.conflict(b"you", at, at + 1, True) is not None
            found.set(b"me", at, at + 5, shared)
            found.clear(b"me", at + 1, at + 2)
            found.clear_owner(b"me")
            found.clear_owner(middle)
            assert found.conflict(b"you", 0, 1, True) is not None

        costs.append(steps(work))
    assert costs[1] < 2 * costs[0], costs


def test_cost_among_readers() -> None:
    """Who reads beside many readers does not walk them to find the one writer."""
    costs = []
    for count in (2_000, 20_000):
        found = crowd(count, True)
        found.clear_owner(owner_of(0))
        found.set(b"writer", 5, 6, True)
        for number in range(count):
            found.set(b"more %08d" % number, 100, 200, False)
        costs.append(steps(lambda found=found: found.conflict(b"me", 100, 200, False)))  # type: ignore[misc]
        assert found.conflict(b"me", 100, 200, False) is None
        assert found.conflict(b"me", 0, 200, False) == Range(b"writer", 5, 6, True)
    assert costs[1] < costs[0] + 3 * ranges.NODE_SIZE_MAX, costs


def has_index(found: RangeSet) -> bool:
    return found._index is not None


def test_index_comes_and_goes() -> None:
    """A few ranges have no index; many have one as deep as they need, until most of them have gone."""
    few = crowd(INDEX_ABOVE, False)
    assert not has_index(few)
    few.set(b"one more", 10 * INDEX_ABOVE, TO_END, True)
    assert has_index(few)
    many = crowd(5_000, False)
    root = many._index and many._index._root
    assert isinstance(root, _Branch) and isinstance(root.items[0], _Branch)
    for number in range(4_990):
        many.clear_owner(owner_of(number))
    assert len(many) == 10
    assert not has_index(many)
