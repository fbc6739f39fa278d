"""Byte ranges, against a model that keeps every byte by itself."""

from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import TO_END, Range, RangeSet

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


@settings(max_examples=6 * EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=50))
def test_model(steps: list[tuple[str, bytes, int, int, bool]]) -> None:
    """Any sequence of requests gives what POSIX gives byte by byte, in the fewest ranges."""
    ranges, model = RangeSet(), ByteModel()
    for action, owner, start, length, exclusive in steps:
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
