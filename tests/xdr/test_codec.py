"""The codec's primitives beside xdrlib3: the same bytes both ways; and where the codec is stricter, how."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import xdrlib3
from hypothesis import given
from hypothesis import strategies as st

from xdr.codec import Packer, Unpacker, XdrError

UINTS = st.integers(0, 2**32 - 1)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "uint": UINTS,
    "int": st.integers(-(2**31), 2**31 - 1),
    "enum": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(),
    "uhyper": st.integers(0, 2**64 - 1),
    "hyper": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.binary(max_size=40),
    "opaque": st.binary(max_size=40),
    "bytes": st.binary(max_size=40),
}
STEPS = st.lists(st.sampled_from(sorted(VALUES)).flatmap(lambda verb: st.tuples(st.just(verb), VALUES[verb])))
BUFFERS: list[Callable[[bytes], bytes | bytearray | memoryview]] = [bytes, bytearray, memoryview]


@given(STEPS)
def test_same_bytes_as_xdrlib3(steps: list[tuple[str, Any]]) -> None:
    """Any sequence of values packs to xdrlib3's bytes, and each side reads the other's."""
    ours, theirs = Packer(), xdrlib3.Packer()
    for verb, value in steps:
        getattr(ours, f"pack_{verb}")(value)
        getattr(theirs, f"pack_{verb}")(value)
    data = ours.get_buffer()
    assert data == theirs.get_buffer() == ours.get_buf() and len(data) == ours.size()
    for make in BUFFERS:
        source = Unpacker(make(data))
        assert [getattr(source, f"unpack_{verb}")() for verb, _ in steps] == [value for _, value in steps]
        source.done()
    other = xdrlib3.Unpacker(data)
    assert [getattr(other, f"unpack_{verb}")() for verb, _ in steps] == [value for _, value in steps]
    other.done()


@given(st.lists(UINTS), st.lists(st.binary(max_size=9)), st.binary(max_size=9))
def test_same_arrays_as_xdrlib3(numbers: list[int], texts: list[bytes], fixed: bytes) -> None:
    """Arrays, fixed arrays, lists and fixed opaques too."""
    packers = (Packer(), xdrlib3.Packer())
    for packer in packers:
        packer.pack_array(numbers, packer.pack_uint)
        packer.pack_farray(len(texts), texts, packer.pack_opaque)
        packer.pack_list(texts, packer.pack_opaque)
        packer.pack_fopaque(len(fixed), fixed)
    data = packers[0].get_buffer()
    assert data == packers[1].get_buffer()
    for source in (Unpacker(data), xdrlib3.Unpacker(data)):
        assert source.unpack_array(source.unpack_uint) == numbers
        assert source.unpack_farray(len(texts), source.unpack_opaque) == texts
        assert source.unpack_list(source.unpack_opaque) == texts
        assert source.unpack_fopaque(len(fixed)) == fixed
        source.done()


@given(st.binary(max_size=48), st.lists(st.sampled_from(sorted({*VALUES, "bitmap", "array", "list"}))))
def test_any_bytes(data: bytes, verbs: list[str]) -> None:
    """Whatever the bytes, there is a value or XdrError, and never a position beyond the end."""
    source = Unpacker(data)
    for verb in verbs:
        try:
            if verb in ("array", "list"):
                getattr(source, f"unpack_{verb}")(source.unpack_uint)
            else:
                getattr(source, f"unpack_{verb}")()
        except XdrError:
            pass
        assert 0 <= source.get_position() <= len(data)
        assert source.remaining() == len(data) - source.get_position()


@given(st.sampled_from(sorted(VALUES)), st.data())
def test_truncated_at_every_byte(verb: str, data: st.DataObject) -> None:
    """A value whose data ends early raises XdrError and leaves nothing half read as a value."""
    packer = Packer()
    getattr(packer, f"pack_{verb}")(data.draw(VALUES[verb]))
    whole = packer.get_buffer()
    for end in range(len(whole)):
        for source in (Unpacker(whole[:end]), Unpacker(whole, 0, end), Unpacker(bytearray(whole), end=end)):
            with pytest.raises(XdrError):
                getattr(source, f"unpack_{verb}")()


@given(st.integers(0, 2**256 - 1))
def test_bitmap_both_ways(bits: int) -> None:
    """Every set of bit numbers below 256 survives, in words that xdrlib3 reads."""
    packer = Packer()
    packer.pack_bitmap(bits)
    source = xdrlib3.Unpacker(packer.get_buffer())
    words = source.unpack_array(source.unpack_uint)
    assert sum(word << 32 * index for index, word in enumerate(words)) == bits
    assert not words or words[-1]
    assert Unpacker(packer.get_buffer()).unpack_bitmap() == bits


@pytest.mark.parametrize(
    ("verb", "value"),
    [
        ("uint", -1),
        ("uint", 2**32),
        ("uint", None),
        ("int", 2**31),
        ("uhyper", -1),
        ("uhyper", 2**64),
        ("hyper", 2**63),
        ("float", 1e300),
        ("float", "1"),
        ("double", "1"),
    ],
)
def test_numbers_out_of_range(verb: str, value: object) -> None:
    """A number that does not fit its type cannot be packed."""
    with pytest.raises(XdrError, match="cannot be packed"):
        getattr(Packer(), f"pack_{verb}")(value)


def test_not_a_number() -> None:
    """NaN and the infinities pass."""
    for value in (math.nan, math.inf, -math.inf):
        packer = Packer()
        packer.pack_float(value)
        packer.pack_double(value)
        source = Unpacker(packer.get_buffer())
        for read in (source.unpack_float(), source.unpack_double()):
            assert read == value or math.isnan(read) and math.isnan(value)


def test_wrong_sizes_cannot_be_packed() -> None:
    """Fixed opaques and arrays of another size, and raw XDR that is not aligned, are refused."""
    packer = Packer()
    for size in (3, 5):
        with pytest.raises(XdrError):
            packer.pack_fopaque(4, bytes(size))
    with pytest.raises(XdrError):
        packer.pack_farray(2, [1], packer.pack_uint)
    with pytest.raises(XdrError):
        packer.pack_raw(b"abc")
    assert packer.get_buffer() == b""


def test_bool_of_two() -> None:
    """A boolean is 0 or 1 (RFC 4506 4.4)."""
    with pytest.raises(XdrError, match="neither 0 nor 1"):
        Unpacker(b"\0\0\0\2").unpack_bool()


@pytest.mark.parametrize("make", BUFFERS)
def test_opaque_is_bytes(make: Callable[[bytes], bytes | bytearray | memoryview]) -> None:
    """Opaques come out as bytes from every kind of buffer."""
    source = Unpacker(make(b"\0\0\0\2ab\0\0cd\0\0"))
    assert type(source.unpack_opaque()) is bytes
    assert type(source.unpack_fopaque(2)) is bytes
    source.done()


def test_opaque_limit() -> None:
    """A limit counts before the bytes that remain do."""
    data = b"\0\0\0\5hello\0\0\0"
    assert Unpacker(data).unpack_opaque(5) == b"hello"
    with pytest.raises(XdrError, match="a length of 5 is over the limit of 4"):
        Unpacker(data).unpack_opaque(4)


def test_missing_padding() -> None:
    """The padding belongs to the opaque: data that ends before it is truncated."""
    with pytest.raises(XdrError):
        Unpacker(b"\0\0\0\5hello").unpack_opaque()


@pytest.mark.parametrize("size", [100, 100_000])
def test_part_of_a_buffer(size: int) -> None:
    """Positions count from the start of the data, and nothing after the end is read."""
    data = b"\0\0\0\1\0\0\0\2\0\0\0\3" + bytes(size)
    for make in BUFFERS:
        source = Unpacker(make(data), 4, 12)
        assert (source.unpack_uint(), source.unpack_uint(), source.get_position()) == (2, 3, 12)
        source.done()
        with pytest.raises(XdrError):
            source.unpack_uint()
        source.set_position(0)
        assert source.unpack_uint() == 1
        source.reset(data[:4])
        assert source.unpack_uint() == 1


def test_long_part_of_a_buffer() -> None:
    """A long part is not copied."""
    data = bytes(200_000)
    assert isinstance(Unpacker(data, 0, 100_000).get_buffer(), memoryview)
    assert Unpacker(data, 0, 100_000).remaining() == 100_000


@pytest.mark.parametrize(("pos", "end"), [(-1, None), (5, None), (0, 5), (0, -1), (3, 2)])
def test_positions_outside(pos: int, end: int | None) -> None:
    """Positions outside of the data raise."""
    with pytest.raises(XdrError):
        Unpacker(bytes(4), pos, end)
    if end is None:
        with pytest.raises(XdrError):
            Unpacker(bytes(4)).set_position(pos)


def test_reset_packer() -> None:
    """A packer that was reset begins anew."""
    packer = Packer()
    packer.pack_uint(1)
    packer.reset()
    packer.pack_uint(2)
    assert packer.get_buffer() == b"\0\0\0\2"


@pytest.mark.parametrize("count", [3, 2**31, 2**32 - 1])
def test_array_count_beyond_the_data(count: int) -> None:
    """An array's count is compared with the bytes that remain before an item is read."""
    calls: list[int] = []
    source = Unpacker(count.to_bytes(4, "big") + bytes(8))
    with pytest.raises(XdrError, match="over the 8 bytes"):
        source.unpack_array(lambda: calls.append(1))
    assert not calls
