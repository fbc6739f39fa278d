"""The NFSv4 module: bytes written by hand, and what it promises beyond the description."""

from __future__ import annotations

import pytest

from xdr.codec import XdrError
from xdr.generated import nfs4


def packed(name: str, value: object) -> bytes:
    """The bytes of a value."""
    packer = nfs4.Nfs4Packer()
    getattr(packer, f"pack_{name}")(value)
    return packer.get_buffer()


def test_sequence_by_hand() -> None:
    """SEQUENCE4args is 16 bytes of session and four words (RFC 8881 18.46.1)."""
    value = nfs4.SEQUENCE4args(b"0123456789abcdef", 7, 1, 31, sa_cachethis=True)
    data = b"0123456789abcdef" + bytes.fromhex("00000007 00000001 0000001f 00000001")
    assert packed("SEQUENCE4args", value) == data
    assert nfs4.Nfs4Unpacker(data).unpack_SEQUENCE4args() == value


def test_compound_by_hand() -> None:
    """A COMPOUND of PUTROOTFH, LOOKUP and GETFH (RFC 8881 16.2.3)."""
    data = bytes.fromhex(
        "00000003 61626300"  # tag
        "00000001 00000003"  # minor version, operations
        "00000018"
        "0000000f 00000005 68656c6c 6f000000"
        "0000000a"
    )
    value = nfs4.COMPOUND4args(
        b"abc",
        1,
        [
            nfs4.nfs_argop4(nfs4.OP_PUTROOTFH),
            nfs4.nfs_argop4(nfs4.OP_LOOKUP, oplookup=nfs4.LOOKUP4args(b"hello")),
            nfs4.nfs_argop4(nfs4.OP_GETFH),
        ],
    )
    assert packed("COMPOUND4args", value) == data
    assert nfs4.Nfs4Unpacker(data).unpack_COMPOUND4args() == value


def test_write_data_is_a_view() -> None:
    """WRITE's data is not copied out of the buffer (the description's %view)."""
    args = nfs4.WRITE4args(nfs4.stateid4(1, bytes(12)), 0, nfs4.FILE_SYNC4, b"payload")
    buffer = bytearray(packed("WRITE4args", args))
    data = nfs4.Nfs4Unpacker(memoryview(buffer)).unpack_WRITE4args().data
    assert isinstance(data, memoryview) and bytes(data) == b"payload"
    buffer[buffer.index(b"p")] = ord("P")
    assert bytes(data) == b"Payload"


def test_read_data_is_not_copied() -> None:
    """READ's data stays the caller's object among the packer's parts."""
    data = memoryview(bytearray(5))
    packer = nfs4.Nfs4Packer()
    packer.pack_READ4resok(nfs4.READ4resok(True, data))
    assert any(part is data for part in packer.get_parts())
    assert packer.size() == len(packer.get_buffer()) == 4 + 4 + 8


def test_readdir_entries_are_a_list() -> None:
    """A directory of 50,000 entries needs no recursion."""
    entries = [nfs4.entry4(n, b"name", nfs4.fattr4(0, b"")) for n in range(50_000)]
    value = nfs4.dirlist4(entries, eof=True)
    assert nfs4.Nfs4Unpacker(packed("dirlist4", value)).unpack_dirlist4() == value
    assert packed("dirlist4", nfs4.dirlist4([], eof=False)) == bytes(8)


def test_readdir_packed_by_hand() -> None:
    """A reply put together with pack_raw reads as one packed by type."""
    entry = nfs4.entry4(9, b"n", nfs4.fattr4(1, b"abcd"))
    packer = nfs4.Nfs4Packer()
    packer.pack_raw(b"\0\0\0\1" + packed("entry4", entry))
    packer.pack_bool(False)
    packer.pack_bool(True)
    assert nfs4.Nfs4Unpacker(packer.get_buffer()).unpack_dirlist4() == nfs4.dirlist4([entry], eof=True)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, ""),
        (1, "00000001"),
        (1 << 31, "80000000"),
        (1 << 32, "00000000 00000001"),
        (1 << 4 | 1 << 33 | 1 << 75, "00000010 00000002 00000800"),
        (1 << 255, "00000000" * 7 + "80000000"),
    ],
)
def test_bitmap(bits: int, words: str) -> None:
    """Bit n of the int is bit n % 32 of word n // 32, in as few words as possible."""
    body = bytes.fromhex(words)
    data = (len(body) // 4).to_bytes(4, "big") + body
    assert packed("bitmap4", bits) == data
    assert nfs4.Nfs4Unpacker(data).unpack_bitmap4() == bits


def test_bitmap_padded_and_too_long() -> None:
    """Words of zero at the end are accepted, up to 32 words in all."""
    assert nfs4.Nfs4Unpacker(bytes.fromhex("00000003 00000002 00000000 00000000")).unpack_bitmap4() == 2
    assert nfs4.Nfs4Unpacker(bytes.fromhex("00000020") + bytes(128)).unpack_bitmap4() == 0
    with pytest.raises(XdrError, match="over the limit of 32"):
        nfs4.Nfs4Unpacker(bytes.fromhex("00000021") + bytes(132)).unpack_bitmap4()
    for wrong in (-1, 1 << 1024):
        with pytest.raises(XdrError):
            packed("bitmap4", wrong)


def test_wide_union() -> None:
    """A union of many arms holds one of them; the other names read as None, unknown ones raise."""
    argument = nfs4.nfs_argop4(nfs4.OP_RENEW, oprenew=nfs4.RENEW4args(5))
    assert argument.arm is argument.oprenew
    assert argument.opread is None
    assert argument == nfs4.nfs_argop4(nfs4.OP_RENEW, nfs4.RENEW4args(5))
    with pytest.raises(AttributeError):
        _ = argument.opnothing
    with pytest.raises(TypeError):
        nfs4.nfs_argop4(nfs4.OP_RENEW, opnothing=1)
    with pytest.raises(TypeError):
        nfs4.nfs_argop4(nfs4.OP_RENEW, opread=1)


@pytest.mark.parametrize("number", [0, 1, 2, 76, 9999, 0xFFFFFFFF])
def test_unknown_operation(number: int) -> None:
    """The full unions refuse numbers that are no operations, both ways."""
    with pytest.raises(XdrError):
        nfs4.Nfs4Unpacker(number.to_bytes(4, "big") + bytes(64)).unpack_nfs_argop4()
    with pytest.raises(XdrError):
        packed("nfs_argop4", nfs4.nfs_argop4(number))


def test_every_operation_has_both_arms() -> None:
    """Each operation's number is a case of the arguments and of the results, callbacks too."""
    assert set(nfs4.nfs_argop4._arms) == set(nfs4.nfs_resop4._arms) == set(nfs4.nfs_opnum4_names)
    for number, name in nfs4.nfs_cb_opnum4_names.items():
        result = getattr(nfs4, name.removeprefix("OP_") + "4res")
        assert result.__name__ == f"{nfs4.nfs_cb_opnum4_names[number][3:]}4res"


@pytest.mark.parametrize("name", ["createtype4", "layoutupdate4"])
def test_open_enumeration(name: str) -> None:
    """Where the operation has its own answer, an unknown number is let through (the description's %open)."""
    value = getattr(nfs4.Nfs4Unpacker((1234).to_bytes(4, "big") + bytes(4)), f"unpack_{name}")()
    assert getattr(value, value.__slots__[0]) == 1234


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nfs_ftype4", [0]),
        ("nfs_lock_type4", [5]),
        ("settime4", [2]),
        ("createhow4", [4]),
        ("locker4", [2]),
        ("open_claim4", [7]),
        ("OPENATTR4args", [2]),
        ("callback_sec_parms4", [5]),
        ("fattr4_layout_types", [1, 9]),
    ],
)
def test_closed_enumeration(name: str, words: list[int]) -> None:
    """A number outside of an enumeration, a boolean of two or an arm that does not exist is XdrError."""
    data = b"".join(word.to_bytes(4, "big") for word in words) + bytes(64)
    with pytest.raises(XdrError):
        getattr(nfs4.Nfs4Unpacker(data), f"unpack_{name}")()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stateid4", nfs4.stateid4(1, bytes(11))),
        ("stateid4", nfs4.stateid4(2**32, bytes(12))),
        ("stateid4", nfs4.stateid4(-1, bytes(12))),
        ("nfs_fh4", bytes(129)),
        ("state_owner4", nfs4.state_owner4(1, bytes(1025))),
        ("write_response4", nfs4.write_response4([nfs4.stateid4(0, bytes(12))] * 2, 0, 0, bytes(8))),
        ("createhow4", nfs4.createhow4(9)),
    ],
)
def test_unpackable_values(name: str, value: object) -> None:
    """A value that its type does not allow is refused when it is packed."""
    with pytest.raises(XdrError):
        packed(name, value)


@pytest.mark.parametrize(("name", "size"), [("nfs_fh4", 129), ("state_owner4", 1025)])
def test_limits_of_the_description(name: str, size: int) -> None:
    """A length over the description's limit is refused even if the bytes are there."""
    data = (bytes(8) if name == "state_owner4" else b"") + size.to_bytes(4, "big") + bytes(size + 3)
    with pytest.raises(XdrError, match="over the limit"):
        getattr(nfs4.Nfs4Unpacker(data), f"unpack_{name}")()


def test_values_compare_and_print() -> None:
    """Generated classes compare by fields, print them, and are not hashable."""
    assert nfs4.stateid4(1, b"a") == nfs4.stateid4(seqid=1, other=b"a") != nfs4.stateid4(2, b"a")
    assert nfs4.stateid4(1, b"a") != nfs4.fsid4(1, 2)
    assert repr(nfs4.stateid4(1, b"a")) == "stateid4(seqid=1, other=b'a')"
    assert repr(nfs4.openflag4(0)) == "openflag4(opentype=0)"
    with pytest.raises(TypeError):
        hash(nfs4.stateid4(1, b"a"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NFS4ERR_XATTR2BIG", 10096),
        ("NFS4ERR_DELEG_REVOKED", 10087),
        ("OP_REMOVEXATTR", 75),
        ("OP_SEQUENCE", 53),
        ("FATTR4_XATTR_SUPPORT", 82),
        ("FATTR4_SUPPATTR_EXCLCREAT", 75),
        ("NFS4_PROGRAM", 100003),
        ("NFS_V4", 4),
        ("OP_CB_OFFLOAD", 15),
        ("EXCHGID4_FLAG_CONFIRMED_R", 0x80000000),
        ("NFS4_UINT64_MAX", 2**64 - 1),
    ],
)
def test_numbers(name: str, value: int) -> None:
    """The RFCs' numbers, one from every corner."""
    assert getattr(nfs4, name) == value


def test_names_of_numbers() -> None:
    """Enumerations have a table from value to name."""
    assert nfs4.nfsstat4_names[nfs4.NFS4ERR_STALE] == "NFS4ERR_STALE"
    assert nfs4.nfs_opnum4_names[nfs4.OP_READ] == "OP_READ"
    assert nfs4.nfs_cb_opnum4_names[11] == "OP_CB_SEQUENCE"
