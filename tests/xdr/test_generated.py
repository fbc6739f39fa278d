"""Every type of every generated module: whole, truncated, with trailing bytes, mutated, beside xdrlib3.

The seed of the random values is fixed, and part of every message.
"""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
import xdrlib3

from tests.xdr.reference import Protocol
from xdr.codec import Packer, Unpacker, XdrError
from xdr.generated import nfs4, rpc, stored

SEED = 20240229
PROTOCOLS = {
    "rpc": (Protocol("rpc", rpc), rpc.RpcPacker, rpc.RpcUnpacker),
    "nfs4": (Protocol("nfs4", nfs4), nfs4.Nfs4Packer, nfs4.Nfs4Unpacker),
    "stored": (Protocol("stored", stored), stored.StoredPacker, stored.StoredUnpacker),
}
TYPES = [(module, name) for module, (protocol, _, _) in PROTOCOLS.items() for name in protocol.description.definitions]
IDS = [f"{module}.{name}" for module, name in TYPES]
SAMPLES = 6
# Python's objects for the smallest items on the wire: four bytes may become an object of a few hundred.
BYTES_PER_WIRE_BYTE_MAX = 150
BYTES_ALWAYS = 20_000


def samples(module: str, name: str, count: int = SAMPLES) -> list[Any]:
    """Random values of a type, the same ones every time."""
    protocol = PROTOCOLS[module][0]
    rng = random.Random(f"{SEED}.{module}.{name}")
    return [protocol.sample(protocol.wire(name), rng) for _ in range(count)]


def pack(module: str, name: str, value: Any) -> bytes:
    """The bytes that the generated packer makes."""
    packer: Packer = PROTOCOLS[module][1]()
    getattr(packer, f"pack_{name}")(value)
    return packer.get_buffer()


def unpacker(module: str, data: bytes | bytearray | memoryview) -> Unpacker:
    """A generated unpacker on that data."""
    made: Unpacker = PROTOCOLS[module][2](data)
    return made


def unpack(module: str, name: str, data: bytes | bytearray | memoryview) -> Any:
    """The value that the generated unpacker makes, with nothing left over."""
    source = unpacker(module, data)
    value = getattr(source, f"unpack_{name}")()
    source.done()
    return value


@pytest.mark.parametrize(("module", "name"), TYPES, ids=IDS)
def test_same_bytes_as_xdrlib3(module: str, name: str) -> None:
    """The generated packer makes what xdrlib3 makes field by field, and both read it as the same value."""
    protocol = PROTOCOLS[module][0]
    for value in samples(module, name):
        data = pack(module, name, value)
        reference = xdrlib3.Packer()
        protocol.encode(reference, protocol.wire(name), value)
        assert data == reference.get_buffer(), f"seed {SEED}"
        theirs = xdrlib3.Unpacker(data)
        assert protocol.decode(theirs, protocol.wire(name)) == value
        theirs.done()
        for form in (data, bytearray(data), memoryview(data)):
            assert unpack(module, name, form) == value, f"seed {SEED}"


@pytest.mark.parametrize(("module", "name"), TYPES, ids=IDS)
def test_truncated_at_every_byte(module: str, name: str) -> None:
    """Data that ends too early raises XdrError, wherever it ends, in every kind of buffer."""
    for value in samples(module, name, 3):
        data = pack(module, name, value)
        for end in range(min(len(data), 600)):
            with pytest.raises(XdrError):
                unpack(module, name, data[:end])
            with pytest.raises(XdrError):
                getattr(PROTOCOLS[module][2](data, 0, end), f"unpack_{name}")()


@pytest.mark.parametrize(("module", "name"), TYPES, ids=IDS)
def test_trailing_bytes(module: str, name: str) -> None:
    """Left-over bytes are an error, and the position says where they begin."""
    value = samples(module, name, 1)[0]
    data = pack(module, name, value)
    source = unpacker(module, data + b"\0\0\0\0")
    assert getattr(source, f"unpack_{name}")() == value
    assert source.get_position() == len(data)
    with pytest.raises(XdrError, match="4 bytes are left over"):
        source.done()


@pytest.mark.parametrize(("module", "name"), TYPES, ids=IDS)
def test_in_the_middle_of_a_buffer(module: str, name: str) -> None:
    """A value is decoded from any position on, and several follow each other."""
    values = samples(module, name, 3)
    parts = [pack(module, name, value) for value in values]
    source = PROTOCOLS[module][2](b"\xff" * 8 + b"".join(parts) + b"\xff" * 4, 8, 8 + sum(map(len, parts)))
    assert [getattr(source, f"unpack_{name}")() for _ in values] == values
    source.done()


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with a few bytes changed, words made huge, or pieces cut out."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(max(len(result), 1))
        choice = rng.randrange(4)
        if choice == 0 and result:
            result[place] = rng.randrange(256)
        elif choice == 1:
            place &= ~3
            result[place : place + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xfc", b"\0\0\0\1"))
        elif choice == 2:
            del result[place : place + rng.randint(1, 8)]
        else:
            result[place:place] = rng.randbytes(rng.randint(1, 8))
    return bytes(result)


@pytest.mark.parametrize(("module", "name"), TYPES, ids=IDS)
def test_mutations(module: str, name: str) -> None:
    """Whatever the bytes, a decoder returns a value that packs again, or raises XdrError and nothing else."""
    rng = random.Random(f"{SEED}.{module}.{name}.mutations")
    for value in samples(module, name, 4):
        data = pack(module, name, value)
        for _ in range(15):
            bad = mutated(data, rng)
            try:
                decoded = getattr(unpacker(module, bad), f"unpack_{name}")()
            except XdrError:
                continue
            assert unpack(module, name, pack(module, name, decoded)) == decoded, f"seed {SEED}"


def test_memory_is_bounded_by_the_input() -> None:
    """No length or count makes a decoder allocate more than the data that is there could hold."""
    rng = random.Random(SEED)
    floods = [b"\xff" * 400, b"\0\0\0\1" * 100, (b"\0\0\0\x60" + b"\0" * 396), rng.randbytes(400)]
    tracemalloc.start()
    try:
        for module, name in TYPES:
            method = f"unpack_{name}"
            for data in floods:
                source = unpacker(module, data)
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                try:
                    getattr(source, method)()
                except XdrError:
                    pass
                used = tracemalloc.get_traced_memory()[1] - before
                assert used < BYTES_ALWAYS + BYTES_PER_WIRE_BYTE_MAX * len(data), f"{module}.{name}: {used}"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [0x7FFFFFFF, 0xFFFFFFFF, 1000])
def test_counts_beyond_the_data(count: int) -> None:
    """A count is compared with the bytes that remain before one item is decoded."""
    head = count.to_bytes(4, "big")
    for name in ("TEST_STATEID4args", "TEST_STATEID4resok", "pathname4", "fattr4_acl", "fattr4_layout_types"):
        with pytest.raises(XdrError, match=f"a length of {count} is over the 16 bytes"):
            getattr(nfs4.Nfs4Unpacker(head + bytes(16)), f"unpack_{name}")()
