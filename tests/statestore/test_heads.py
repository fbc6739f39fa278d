"""The stored form of opens and ranges: what is encoded comes back, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import (
    NEWEST,
    OPEN,
    RANGE,
    TO_END,
    ChangeSet,
    Holder,
    Open,
    Range,
    decode_open,
    decode_ranges,
    encode_open,
    encode_ranges,
    put_open,
    put_ranges,
)
from statestore.records import decode_record

HOLDER_KEY = b"holder-1"
KEY = b"k" * 16
PRIVATE = st.binary(max_size=40)


def opened(object: bytes = b"object", access: int = 3, deny: int = 1) -> Open:
    """An open of the one holder."""
    return Open(KEY, Holder(HOLDER_KEY, b"identity"), object, access, deny)


@st.composite
def ranges(draw: st.DrawFn, party: bytes) -> list[Range]:
    """Some ranges of a party, in any order."""
    found = []
    for _ in range(draw(st.integers(0, 5))):
        start = draw(st.integers(0, TO_END - 1))
        found.append(Range(party, start, draw(st.integers(start + 1, TO_END)), draw(st.booleans())))
    return found


@given(st.binary(min_size=1, max_size=200), st.integers(0, 255), st.integers(0, 255), PRIVATE)
def test_open(object: bytes, access: int, deny: int, private: bytes) -> None:
    """An open's head and its private bytes come back as they were."""
    value = encode_open(opened(object, access, deny), private)
    assert decode_open(value) == (HOLDER_KEY, access, deny, object, private)


def test_open_layout() -> None:
    """The layout is on disks: holder's key, access, deny, size, object, private bytes."""
    assert encode_open(opened(), b"private") == b"holder-1\x03\x01\x00\x06objectprivate"


def test_open_short() -> None:
    """A value that ends within its head is refused at each byte; every longer one has other private bytes."""
    value = encode_open(opened(), b"private")
    head_size = len(value) - len(b"private")
    for size in range(head_size):
        with pytest.raises(ValueError, match="an open of"):
            decode_open(value[:size])
    for size in range(head_size, len(value) + 1):
        assert decode_open(value[:size])[4] == value[head_size:size]
    assert decode_open(value + b"more")[4] == b"privatemore"


def test_open_of_no_object() -> None:
    """An open without an object is none."""
    with pytest.raises(ValueError, match="an object of 0"):
        decode_open(HOLDER_KEY + bytes(4))


@pytest.mark.parametrize("held", [opened(access=256), opened(deny=-1), opened(object=bytes(65_536))])
def test_open_without_room(held: Open) -> None:
    """What the layout has no room for is refused before anything is stored."""
    changes = ChangeSet()
    with pytest.raises(ValueError, match="masks"):
        put_open(changes, held, b"")
    assert not changes


def test_holder_key_size() -> None:
    """A holder's key has 8 bytes, for records begin with it."""
    for size in (0, 7, 9):
        with pytest.raises(ValueError, match="it must have 8"):
            Holder(bytes(size), b"identity")


@given(st.data(), st.binary(max_size=40), PRIVATE)
def test_ranges(data: st.DataObject, party: bytes, private: bytes) -> None:
    """A party's ranges and private bytes come back as they were, a range to the end too."""
    held = [*data.draw(ranges(party)), Range(party, 0, TO_END, True)]
    assert decode_ranges(encode_ranges(party, held, private)) == (party, held, private)


def test_ranges_layout() -> None:
    """The layout is on disks: sizes, party, then start, last byte and exclusive of each range, private bytes."""
    value = encode_ranges(b"me", [Range(b"anybody", 1, TO_END, True)], b"private")
    assert value == b"\x00\x02\x00\x00\x00\x01me" + bytes(7) + b"\x01" + b"\xff" * 8 + b"\x01private"


def test_ranges_short() -> None:
    """A value that ends within its ranges is refused at each byte."""
    value = encode_ranges(b"me", [Range(b"me", 1, 2, True), Range(b"me", 5, 9, False)], b"")
    for size in range(len(value)):
        with pytest.raises(ValueError, match="ranges of"):
            decode_ranges(value[:size])
    assert decode_ranges(value + b"more")[2] == b"more"


def test_ranges_of_a_huge_count() -> None:
    """A count beyond what is there costs nothing."""
    with pytest.raises(ValueError, match="4294967295 ranges"):
        decode_ranges(b"\x00\x00\xff\xff\xff\xff" + bytes(64))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ((2).to_bytes(8, "big") + (1).to_bytes(8, "big") + b"\x00", "ends before it starts"),
        (bytes(16) + b"\x02", "2 for whether it is exclusive"),
    ],
)
def test_ranges_impossible(stored: bytes, said: str) -> None:
    """A range that cannot be is refused."""
    with pytest.raises(ValueError, match=said):
        decode_ranges(b"\x00\x00\x00\x00\x00\x01" + stored)


@pytest.mark.parametrize(
    ("party", "held"),
    [
        (bytes(65_536), []),
        (b"me", [Range(b"me", 0, TO_END + 1, True)]),
        (b"me", [Range(b"me", 0, 0, True)]),
        (b"me", [Range(b"me", -1, 5, True)]),
    ],
)
def test_ranges_without_room(party: bytes, held: list[Range]) -> None:
    """What the layout has no room for is refused before anything is stored."""
    changes = ChangeSet()
    with pytest.raises(ValueError, match="ranges of a party"):
        put_ranges(changes, KEY, party, held, b"")
    assert not changes


@given(st.binary(max_size=80))
def test_nonsense(value: bytes) -> None:
    """Whatever the bytes are, they are read or refused with a ValueError; what is read is encoded to the same bytes."""
    try:
        holder_key, access, deny, object, private = decode_open(value)
    except ValueError:
        pass
    else:
        assert encode_open(Open(KEY, Holder(holder_key, b""), object, access, deny), private) == value
    try:
        party, held, private = decode_ranges(value)
    except ValueError:
        pass
    else:
        assert encode_ranges(party, held, private) == value


def test_put() -> None:
    """Both are put under their keys, as records of the newest version."""
    changes = ChangeSet()
    put_open(changes, opened(), b"private")
    put_ranges(changes, KEY + KEY, b"me", [], b"private")
    stored_open, stored_ranges = changes.entries.items()
    assert stored_open[0] == bytes((OPEN,)) + KEY and stored_ranges[0] == bytes((RANGE,)) + KEY + KEY
    assert stored_open[1] is not None and stored_ranges[1] is not None
    assert (stored_open[1][0], stored_ranges[1][0]) == (NEWEST[OPEN], NEWEST[RANGE])
    assert decode_record(stored_open[0], stored_open[1]) == encode_open(opened(), b"private")
    assert decode_record(stored_ranges[0], stored_ranges[1]) == encode_ranges(b"me", [], b"private")
