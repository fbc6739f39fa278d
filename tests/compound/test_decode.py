"""Decoding of whole COMPOUNDs: what is evaluated, what is refused as a whole, and what is no COMPOUND at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.compound import table
from nfsd.compound.decode import TAG_SIZE_MAX, Operations, decode
from tests.support import operations as ops
from xdr.codec import XdrError
from xdr.generated import nfs4

OPS_MAX = 8
MANY = [
    ops.putrootfh(), ops.lookup(b"name"), ops.getfh(), ops.write(ops.ANONYMOUS, b"some data"), ops.setattr_(
        ops.ANONYMOUS, ops.attrs(size=7)), ops.symlink(b"link", b"target"), ops.open_(b"file", how=ops.unchecked()),
]  # fmt: skip


def encoded(*operations: ops.Op, minor: int = 1, tag: bytes = b"") -> bytes:
    """A COMPOUND's arguments."""
    packer = nfs4.Nfs4Packer()
    packer.pack_COMPOUND4args(nfs4.COMPOUND4args(tag, minor, list(operations)))
    return packer.get_buffer()


def names(operations: Operations) -> list[str]:
    """Which operations were found."""
    return [operation.name for operation, _args in operations]


@pytest.mark.parametrize("tag", [b"", b"t", b"a tag of some size"])
@pytest.mark.parametrize("before", [b"", b"header"])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_whole(tag: bytes, before: bytes, kind: type) -> None:
    """Every operation with its arguments, from whatever place in the record."""
    data = kind(before + encoded(*MANY, tag=tag))
    status, found_tag, minor, count, operations = decode(data, len(before), OPS_MAX)
    assert (status, bytes(found_tag), minor, count) == (nfs4.NFS4_OK, tag, 1, len(MANY))
    assert [operation.number for operation, _args in operations] == [each.argop for each in MANY]
    assert all(operation is table.BY_MINOR[1][operation.number] for operation, _args in operations)
    assert operations[0][1] is None
    assert operations[1][1].objname == b"name"
    assert bytes(operations[3][1].data) == b"some data"
    assert operations[4][1].obj_attributes.attrmask == 1 << nfs4.FATTR4_SIZE


def test_empty() -> None:
    """No operation at all is a request like any other."""
    assert decode(encoded(), 0, OPS_MAX) == (nfs4.NFS4_OK, b"", 1, 0, [])


@pytest.mark.parametrize("tag", [b"", b"tag"])
def test_truncated(tag: bytes) -> None:
    """Without the end of the last operation's arguments that one is BADXDR; without its number it is no COMPOUND."""
    data = encoded(*MANY, tag=tag)
    whole = names(decode(data, 0, OPS_MAX)[4])
    starts = [len(encoded(*MANY[:count], tag=tag)) for count in range(len(MANY))]
    for size in range(len(data)):
        inside = [number for number, start in enumerate(starts) if start + 4 <= size]
        arguments_of = len(inside) - 1
        end = [*starts[1:], len(data)][arguments_of] if inside else 0
        if not inside or size >= end:
            with pytest.raises(XdrError):
                decode(data[:size], 0, OPS_MAX)
            continue
        status, _tag, _minor, count, operations = decode(data[:size], 0, OPS_MAX)
        assert (status, count, names(operations)) == (nfs4.NFS4_OK, len(MANY), whole[: arguments_of + 1])
        operation, why = operations[-1]
        assert operation is table.bad_xdr(table.OPERATIONS[operation.number]) and isinstance(why, str)


def test_trailing_bytes() -> None:
    """Bytes behind the last operation make it no COMPOUND."""
    with pytest.raises(XdrError):
        decode(encoded(*MANY) + bytes(4), 0, OPS_MAX)


@pytest.mark.parametrize(("minor", "status"), [(0, nfs4.NFS4ERR_RESOURCE), (1, nfs4.NFS4ERR_TOO_MANY_OPS)])
def test_too_many_operations(minor: int, status: int) -> None:
    """One above the limit is refused in the words of the minor version; the limit itself is not."""
    assert decode(encoded(*[ops.putrootfh()] * OPS_MAX, minor=minor), 0, OPS_MAX)[0] == nfs4.NFS4_OK
    refused = decode(encoded(*[ops.putrootfh()] * (OPS_MAX + 1), minor=minor), 0, OPS_MAX)
    assert refused == (status, b"", minor, OPS_MAX + 1, [])


def test_huge_count() -> None:
    """A count that nothing backs costs nothing."""
    assert decode(struct.pack(">3I", 0, 1, 0xFFFFFFFF), 0, OPS_MAX)[0] == nfs4.NFS4ERR_TOO_MANY_OPS
    with pytest.raises(XdrError, match="after 0"):
        decode(struct.pack(">3I", 0, 1, 1), 0, OPS_MAX)


@pytest.mark.parametrize("minor", [3, 0xFFFFFFFF])
def test_minor_version(minor: int) -> None:
    """A minor version that is not offered, whatever follows."""
    refused = decode(encoded(minor=minor, tag=b"tag") + b"garbage", 0, OPS_MAX)
    assert refused == (nfs4.NFS4ERR_MINOR_VERS_MISMATCH, b"tag", minor, 0, [])


def test_tag_too_long() -> None:
    """A tag beyond the limit is INVAL; the longest one is not."""
    assert decode(encoded(tag=bytes(TAG_SIZE_MAX)), 0, OPS_MAX)[0] == nfs4.NFS4_OK
    assert decode(encoded(tag=bytes(TAG_SIZE_MAX + 1)), 0, OPS_MAX)[0] == nfs4.NFS4ERR_INVAL


def test_tag_beyond_the_end() -> None:
    """A tag that is longer than the record makes it no COMPOUND."""
    for size in (1, 0x10000, 0xFFFFFFFF):
        with pytest.raises(XdrError):
            decode(struct.pack(">I", size), 0, OPS_MAX)


@pytest.mark.parametrize("number", [0, 2, nfs4.OP_ILLEGAL, 0x7FFFFFFF])
def test_unknown_operation(number: int) -> None:
    """An operation that nobody knows is ILLEGAL and the last: what follows cannot be read."""
    data = encoded(ops.putrootfh(), ops.getfh(), ops.getfh())
    data = data[:16] + struct.pack(">I", number) + data[20:]
    status, _tag, _minor, count, operations = decode(data, 0, OPS_MAX)
    assert (status, count) == (nfs4.NFS4_OK, 3)
    assert [operation for operation, _args in operations] == [table.OPERATIONS[nfs4.OP_PUTROOTFH], table.ILLEGAL]


@pytest.mark.parametrize(("minor", "number"), [(0, nfs4.OP_SEQUENCE), (1, nfs4.OP_SEEK), (1, nfs4.OP_GETXATTR)])
def test_operation_of_a_later_version(minor: int, number: int) -> None:
    """An operation that a minor version does not have yet is ILLEGAL."""
    data = struct.pack(">4I", 0, minor, 2, number)
    assert [operation for operation, _args in decode(data, 0, OPS_MAX)[4]] == [table.ILLEGAL]


def test_operation_of_an_earlier_version() -> None:
    """An operation that a minor version has dropped is NOTSUPP, and the last."""
    status, _tag, _minor, _count, operations = decode(encoded(ops.renew(1), ops.putrootfh(), minor=1), 0, OPS_MAX)
    assert (status, names(operations)) == (nfs4.NFS4_OK, ["RENEW"])
    assert operations[0][0].last and operations[0][0] is not table.OPERATIONS[nfs4.OP_RENEW]


@given(some.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    """Whatever the bytes are, they are a COMPOUND, or refused with XdrError."""
    try:
        status, _tag, minor, count, operations = decode(data, 0, OPS_MAX)
    except XdrError:
        return
    assert status or (minor <= 2 and len(operations) <= count <= OPS_MAX)


@given(some.integers(0, 300), some.binary(min_size=1, max_size=8))
def test_harmed(place: int, garbage: bytes) -> None:
    """A COMPOUND with some other bytes in it is one, or refused with XdrError."""
    data = encoded(*MANY, tag=b"tag")
    at = place % len(data)
    try:
        status, _tag, _minor, count, operations = decode(data[:at] + garbage + data[at + len(garbage) :], 0, OPS_MAX)
    except XdrError:
        return
    assert status or len(operations) <= count
