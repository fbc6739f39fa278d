"""Comparing attributes: same, different, and what cannot be compared."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from nfsd import attributes
from nfsd.attributes import rows
from nfsd.attributes.encode import Environment
from nfsd.errors import Nfs4Error
from nfsd.vfs.interface import FileSystem, Node
from xdr.generated import nfs4

NODE = Node(b"h", FileSystem(), stat.S_IFREG, b"k")
SIZE = 1 << nfs4.FATTR4_SIZE


def same(path: Path, mask: int, values: bytes, minor: int = 0) -> bool:
    c = Environment()
    c.minor, c.lease_time_s = minor, 1
    while True:
        try:
            return attributes.same(c, NODE, path.stat(), mask, values)
        except attributes.NameUnknown as name:
            name.look_up()


def status_of(path: Path, mask: int, values: bytes) -> int:
    with pytest.raises(Nfs4Error) as caught:
        same(path, mask, values)
    return caught.value.status


def test_verify_size(tmp_path: Path) -> None:
    """Equal values are the same, others are not."""
    size = tmp_path.stat().st_size
    assert same(tmp_path, SIZE, struct.pack(">Q", size))
    assert not same(tmp_path, SIZE, struct.pack(">Q", size + 1))


def test_verify_owner_by_name(tmp_path: Path) -> None:
    """Two strings of one owner are the same."""
    pytest.importorskip("pwd")
    import pwd

    name = pwd.getpwuid(os.getuid()).pw_name.encode() + b"@any"
    values = struct.pack(">I", len(name)) + name + bytes(-len(name) & 3)
    assert same(tmp_path, 1 << nfs4.FATTR4_OWNER, values)
    assert not same(tmp_path, 1 << nfs4.FATTR4_OWNER, struct.pack(">I4s", 4, b"@@@@"))


def test_verify_bad_length(tmp_path: Path) -> None:
    """Values that end early or leave bytes over are BADXDR."""
    for values in (b"", bytes(7), bytes(9), bytes(16)):
        assert status_of(tmp_path, SIZE, values) == nfs4.NFS4ERR_BADXDR
    assert status_of(tmp_path, 1 << nfs4.FATTR4_OWNER, b"\0\0") == nfs4.NFS4ERR_BADXDR
    assert status_of(tmp_path, 1, b"\xff\xff\xff\xff") == nfs4.NFS4ERR_BADXDR


def test_verify_not_comparable(tmp_path: Path) -> None:
    """Write-only attributes and rdattr_error are INVAL, others that are not offered ATTRNOTSUPP."""
    for number in (nfs4.FATTR4_TIME_MODIFY_SET, nfs4.FATTR4_RDATTR_ERROR):
        assert status_of(tmp_path, 1 << number, bytes(4)) == nfs4.NFS4ERR_INVAL
    for number in (nfs4.FATTR4_ACL, nfs4.FATTR4_MIMETYPE, 200):
        assert status_of(tmp_path, 1 << number, bytes(4)) == nfs4.NFS4ERR_ATTRNOTSUPP


def test_verify_every_row_has_a_shape() -> None:
    """A row without a struct format says how long its value is."""
    for row in rows.ATTRIBUTES.values():
        assert row.format or not row.readable or row.shape in ("opaque", "bitmap")
