"""Decoding what a client sets: values, and every refusal."""

from __future__ import annotations

import os
import pwd
import struct

import pytest

from nfsd import attributes
from nfsd.attributes import owners
from nfsd.attributes.owners import Names
from nfsd.errors import Nfs4Error
from xdr.generated import nfs4

SIZE, MODE = 1 << nfs4.FATTR4_SIZE, 1 << nfs4.FATTR4_MODE
OWNER, GROUP = 1 << nfs4.FATTR4_OWNER, 1 << nfs4.FATTR4_OWNER_GROUP
ATIME, MTIME = 1 << nfs4.FATTR4_TIME_ACCESS_SET, 1 << nfs4.FATTR4_TIME_MODIFY_SET
MASKED, UMASK = 1 << nfs4.FATTR4_MODE_SET_MASKED, 1 << nfs4.FATTR4_MODE_UMASK


def decode(mask: int, values: bytes, *, creating: bool = False, minor: int = 2) -> attributes.SetAttrs:
    while True:
        try:
            return attributes.decode_settable(mask, values, creating=creating, minor=minor)
        except attributes.NameUnknown as name:
            name.look_up()


def status_of(mask: int, values: bytes, *, creating: bool = False, minor: int = 2) -> int:
    with pytest.raises(Nfs4Error) as caught:
        decode(mask, values, creating=creating, minor=minor)
    return caught.value.status


def text(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value + bytes(-len(value) & 3)


def test_decode_nothing() -> None:
    """An empty fattr4 sets nothing."""
    assert decode(0, b"").mask == 0


def test_decode_all() -> None:
    """Values come in the order of their numbers."""
    mask = SIZE | MODE | OWNER | GROUP | ATIME | MTIME
    values = (
        struct.pack(">QI", 77, 0o1644) + text(b"12") + text(b"345")
        + struct.pack(">I", nfs4.SET_TO_SERVER_TIME4)
        + struct.pack(">IqI", nfs4.SET_TO_CLIENT_TIME4, -5, 999_999_999)
    )  # fmt: skip
    got = decode(mask, values, minor=0)
    assert (got.mask, got.size, got.mode, got.uid, got.gid) == (mask, 77, 0o1644, 12, 345)
    assert (got.now_atime, got.atime_ns, got.now_mtime, got.mtime_ns) == (True, None, False, -4_000_000_001)


def test_decode_truncated_everywhere() -> None:
    """Values cut at any byte are BADXDR."""
    mask = SIZE | MODE | OWNER | MTIME
    values = struct.pack(">QI", 1, 0o600) + text(b"1") + struct.pack(">IqI", nfs4.SET_TO_CLIENT_TIME4, 1, 1)
    decode(mask, values)
    for end in range(len(values)):
        assert status_of(mask, values[:end]) == nfs4.NFS4ERR_BADXDR


def test_decode_bytes_left_over() -> None:
    """Bytes after the last value are BADXDR, with and without attributes."""
    assert status_of(MODE, struct.pack(">I", 0o600) + b"garbage!") == nfs4.NFS4ERR_BADXDR
    assert status_of(0, b"\0\0\0\0") == nfs4.NFS4ERR_BADXDR


def test_decode_read_only() -> None:
    """Read-only attributes are INVAL, also beside settable ones."""
    for number in (nfs4.FATTR4_TYPE, nfs4.FATTR4_FILEID, nfs4.FATTR4_TIME_CREATE, nfs4.FATTR4_RDATTR_ERROR):
        assert status_of(1 << number | MODE, b"") == nfs4.NFS4ERR_INVAL


def test_decode_unsupported() -> None:
    """Attributes that are not offered are ATTRNOTSUPP, those of later minor versions among them."""
    assert status_of(1 << nfs4.FATTR4_ACL | MODE, b"") == nfs4.NFS4ERR_ATTRNOTSUPP
    assert status_of(MASKED, bytes(8), minor=0) == nfs4.NFS4ERR_ATTRNOTSUPP
    assert status_of(1 << 1000, b"") == nfs4.NFS4ERR_ATTRNOTSUPP


def test_decode_mode_undefined_bits() -> None:
    """A mode beyond twelve bits is INVAL (RFC 8881 6.2.4)."""
    assert status_of(MODE, struct.pack(">I", 0o10644)) == nfs4.NFS4ERR_INVAL


def test_decode_time() -> None:
    """Nanoseconds of a second or more are INVAL, an unknown time_how4 is BADXDR."""
    assert status_of(MTIME, struct.pack(">IqI", 1, 5, 10**9)) == nfs4.NFS4ERR_INVAL
    assert status_of(MTIME, struct.pack(">IqI", 2, 5, 0)) == nfs4.NFS4ERR_BADXDR


def test_decode_size_too_large() -> None:
    """A size beyond the largest offset is FBIG."""
    assert status_of(SIZE, struct.pack(">Q", 1 << 63)) == nfs4.NFS4ERR_FBIG
    assert decode(SIZE, struct.pack(">Q", (1 << 63) - 1)).size == (1 << 63) - 1


def test_decode_owner_names() -> None:
    """Numbers and names this machine knows, with or without a domain, are ids."""
    me = pwd.getpwuid(os.getuid())
    assert decode(OWNER, text(me.pw_name.encode())).uid == me.pw_uid
    assert decode(OWNER, text(me.pw_name.encode() + b"@example.org")).uid == me.pw_uid
    assert decode(OWNER, text(b"4294967294")).uid == 4294967294


def test_names_are_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once, and again when it has become old; numbers are never looked up."""
    names = Names()
    monkeypatch.setattr(owners, "NAMES", names)
    monkeypatch.setattr(owners, "NAMES_KEPT_MAX", 2)
    with pytest.raises(attributes.NameUnknown) as unknown:
        owners.resolve_owner(b"root@here", group=True)
    unknown.value.look_up()
    assert owners.resolve_owner(b"root@there", group=True) == owners.resolve_owner(b"0", group=False) == 0
    names.age()
    assert owners.resolve_owner(b"root", group=True) == 0
    for number in range(3):
        names.keep(f"name {number}", True, number)
    assert owners.resolve_owner(b"name 0", group=True) == 0
    with pytest.raises(attributes.NameUnknown):
        owners.resolve_owner(b"root", group=True)
    for _ in range(2):
        names.age()
    with pytest.raises(attributes.NameUnknown):
        owners.resolve_owner(b"name 2", group=True)


def test_decode_bad_owners() -> None:
    """Empty and non-UTF-8 owners are INVAL, unknown ones and ids out of range BADOWNER."""
    assert status_of(OWNER, text(b"")) == nfs4.NFS4ERR_INVAL
    assert status_of(GROUP, text(b"\xff\xfe")) == nfs4.NFS4ERR_INVAL
    for name in (
        b"nobody-of-that-name@here",
        b"4294967295",
        b"99999999999",
        b"a\0b",
        b"-1",
        b"@",
        bytes(range(97, 123)) * 11,
    ):
        assert status_of(OWNER, text(name)) == nfs4.NFS4ERR_BADOWNER
        assert status_of(GROUP, text(name)) == nfs4.NFS4ERR_BADOWNER


def test_decode_mode_umask() -> None:
    """mode_umask counts when creating only, and not beside mode (RFC 8275 5)."""
    values = struct.pack(">II", 0o666, 0o027)
    assert decode(UMASK, values, creating=True).creation_mode(0o777) == 0o640
    assert status_of(UMASK, values) == nfs4.NFS4ERR_INVAL
    assert status_of(UMASK | MODE, values, creating=True) == nfs4.NFS4ERR_INVAL
    assert status_of(UMASK, values, creating=True, minor=1) == nfs4.NFS4ERR_ATTRNOTSUPP


def test_decode_mode_set_masked() -> None:
    """mode_set_masked changes the named bits of what there is."""
    assert decode(MASKED, struct.pack(">II", 0o600, 0o700)).creation_mode(0o177) == 0o677
    assert status_of(MASKED | MODE, bytes(12)) == nfs4.NFS4ERR_INVAL
