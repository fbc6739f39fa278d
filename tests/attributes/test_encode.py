"""Encoding attributes: every row's bytes, supported masks, and what a reader may not ask for."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from nfsd import attributes
from nfsd.attributes import rows
from nfsd.attributes.encode import PLANS_MAX, Environment, _plans
from nfsd.attributes.verify import split
from nfsd.attributes.wire import bitmap
from nfsd.errors import Nfs4Error
from nfsd.vfs.interface import FileSystem, Node
from xdr.codec import Packer
from xdr.generated import nfs4


class OneFile(FileSystem):
    """A file system of one object, for encoders alone."""

    fsid = (7, 9)
    maxname = 200
    file_size_max = 300
    has_xattrs = True

    def __init__(self, born: int | None = 5_000_000_003) -> None:
        self.born = born

    def btime_ns(self, node: Node) -> int | None:
        return self.born

    def statfs(self, node: Node) -> os.statvfs_result:
        return os.statvfs_result((4096, 1024, 100, 50, 40, 30, 20, 10, 0, 255))

    def mounted_on_fileid(self, node: Node, st: os.stat_result) -> int:
        return 4711


def environment(minor: int) -> Environment:
    found = Environment()
    found.minor, found.lease_time_s = minor, 33
    return found


def node_of(fs: FileSystem, kind: int = stat.S_IFREG) -> Node:
    return Node(b"handle-of-13b", fs, kind, b"key")


def values_of(minor: int, mask: int, path: Path, fs: FileSystem | None = None) -> dict[int, bytes]:
    node = node_of(fs or OneFile())
    returned, values = attributes.encode(environment(minor), node, path.stat(), mask)
    assert len(values) % 4 == 0
    return split(returned, values)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 5000)
    file.chmod(0o4751)
    os.utime(file, ns=(-1, 1_500_000_000_123_456_789))
    return file


def test_encode_every_attribute(path: Path) -> None:
    """Every readable attribute of every minor version is returned when asked for, in one piece."""
    for minor in rows.MINOR_VERSIONS:
        mask = rows.SUPPORTED[minor] & ~rows.WRITE_ONLY[minor]
        assert set(values_of(minor, mask, path)) == {n for n in rows.ATTRIBUTES if mask >> n & 1}


def test_encode_values(path: Path) -> None:
    """Single values have the wire form of the RFC's types."""
    st = path.stat()
    values = values_of(2, rows.SUPPORTED[2] & ~rows.WRITE_ONLY[2], path)
    pack = struct.pack
    expected = {
        nfs4.FATTR4_TYPE: pack(">I", nfs4.NF4REG),
        nfs4.FATTR4_FH_EXPIRE_TYPE: pack(">I", nfs4.FH4_PERSISTENT),
        nfs4.FATTR4_SIZE: pack(">Q", 5000),
        nfs4.FATTR4_FSID: pack(">QQ", 7, 9),
        nfs4.FATTR4_LEASE_TIME: pack(">I", 33),
        nfs4.FATTR4_FILEHANDLE: pack(">I13s3x", 13, b"handle-of-13b"),
        nfs4.FATTR4_FILEID: pack(">Q", st.st_ino),
        nfs4.FATTR4_FILES_FREE: pack(">Q", 20),
        nfs4.FATTR4_FILES_AVAIL: pack(">Q", 10),
        nfs4.FATTR4_FILES_TOTAL: pack(">Q", 30),
        nfs4.FATTR4_MAXNAME: pack(">I", 200),
        nfs4.FATTR4_MAXFILESIZE: pack(">Q", 300),
        nfs4.FATTR4_MAXREAD: pack(">Q", 1 << 20),
        nfs4.FATTR4_MODE: pack(">I", 0o4751),
        nfs4.FATTR4_RAWDEV: pack(">II", 0, 0),
        nfs4.FATTR4_SPACE_TOTAL: pack(">Q", 100 * 1024),
        nfs4.FATTR4_SPACE_FREE: pack(">Q", 50 * 1024),
        nfs4.FATTR4_SPACE_AVAIL: pack(">Q", 40 * 1024),
        nfs4.FATTR4_SPACE_USED: pack(">Q", st.st_blocks * 512),
        nfs4.FATTR4_TIME_ACCESS: pack(">qI", -1, 999_999_999),
        nfs4.FATTR4_TIME_CREATE: pack(">qI", 5, 3),
        nfs4.FATTR4_TIME_MODIFY: pack(">qI", 1_500_000_000, 123_456_789),
        nfs4.FATTR4_MOUNTED_ON_FILEID: pack(">Q", 4711),
        nfs4.FATTR4_CLONE_BLKSIZE: pack(">I", 4096),
        nfs4.FATTR4_XATTR_SUPPORT: pack(">I", 1),
        nfs4.FATTR4_SUPPORTED_ATTRS: bitmap(rows.SUPPORTED[2]),
    }
    assert {number: values[number] for number in expected} == expected


def test_encode_owner_strings(path: Path) -> None:
    """Owners are decimal strings."""
    st = path.stat()
    values = values_of(0, 1 << nfs4.FATTR4_OWNER | 1 << nfs4.FATTR4_OWNER_GROUP, path)
    packer = Packer()
    packer.pack_string(b"%d" % st.st_uid)
    assert values[nfs4.FATTR4_OWNER] == packer.get_buffer()
    assert set(values) == {nfs4.FATTR4_OWNER, nfs4.FATTR4_OWNER_GROUP}


def test_encode_rawdev() -> None:
    """A device's number is split into major and minor."""
    returned, values = attributes.encode(
        environment(1), node_of(OneFile(), stat.S_IFCHR), os.stat("/dev/null"), 1 << nfs4.FATTR4_RAWDEV
    )
    assert (returned, values) == (1 << nfs4.FATTR4_RAWDEV, struct.pack(">II", 1, 3))


def test_encode_types() -> None:
    """Every type of st_mode has its nfs_ftype4."""
    kinds = {stat.S_IFDIR: nfs4.NF4DIR, stat.S_IFLNK: nfs4.NF4LNK, stat.S_IFSOCK: nfs4.NF4SOCK,
             stat.S_IFIFO: nfs4.NF4FIFO, stat.S_IFBLK: nfs4.NF4BLK}  # fmt: skip
    for kind, wire in kinds.items():
        st = os.stat_result((kind, 1, 1, 1, 0, 0, 0, 0, 0, 0))
        _, values = attributes.encode(environment(0), node_of(OneFile(), kind), st, 1 << nfs4.FATTR4_TYPE)
        assert values == struct.pack(">I", wire)


def test_encode_unknown_birth_time(path: Path) -> None:
    """An object whose birth time is not known has no time_create, and the rest is returned."""
    mask = 1 << nfs4.FATTR4_TIME_CREATE | 1 << nfs4.FATTR4_SIZE
    assert set(values_of(0, mask, path, OneFile(None))) == {nfs4.FATTR4_SIZE}


def test_encode_leaves_out_what_is_not_offered(path: Path) -> None:
    """Unknown attributes, ACLs, and those of later minor versions are left out without an error."""
    later = 1 << nfs4.FATTR4_SUPPATTR_EXCLCREAT | 1 << nfs4.FATTR4_XATTR_SUPPORT
    mask = 1 << 1000 | 1 << nfs4.FATTR4_ACL | 1 << nfs4.FATTR4_FS_LOCATIONS | later
    assert values_of(0, mask, path) == {}
    assert set(values_of(1, mask, path)) == {nfs4.FATTR4_SUPPATTR_EXCLCREAT}


def test_encode_write_only(path: Path) -> None:
    """Asking for a write-only attribute is INVAL (RFC 8881 5.5)."""
    for number in (nfs4.FATTR4_TIME_ACCESS_SET, nfs4.FATTR4_TIME_MODIFY_SET):
        with pytest.raises(Nfs4Error) as caught:
            values_of(0, 1 << nfs4.FATTR4_SIZE | 1 << number, path)
        assert caught.value.status == nfs4.NFS4ERR_INVAL


def test_encode_fattr_is_what_the_codec_packs(path: Path) -> None:
    """The ready fattr4 has the bytes of the general codec."""
    node, st, c = node_of(OneFile()), path.stat(), environment(1)
    mask = rows.SUPPORTED[1] & ~rows.WRITE_ONLY[1]
    packer = nfs4.Nfs4Packer()
    packer.pack_fattr4(nfs4.fattr4(*attributes.encode(c, node, st, mask)))
    assert attributes.encode_fattr(c, node, st, mask) == packer.get_buffer()
    assert attributes.encode_fattr(c, node, st, 0) == bytes(8)


def test_rdattr_error_fattr() -> None:
    """A directory entry's error is a fattr4 of rdattr_error alone."""
    packer = nfs4.Nfs4Packer()
    packer.pack_fattr4(nfs4.fattr4(1 << nfs4.FATTR4_RDATTR_ERROR, struct.pack(">I", nfs4.NFS4ERR_ACCESS)))
    assert attributes.rdattr_error_fattr(nfs4.NFS4ERR_ACCESS) == packer.get_buffer()


def test_supported_by_minor_version() -> None:
    """4.0 offers nothing that came with 4.1 or 4.2; the mandatory ones are offered everywhere."""
    mandatory = sum(1 << number for number in (*range(12), nfs4.FATTR4_FILEHANDLE))
    for minor in rows.MINOR_VERSIONS:
        assert rows.SUPPORTED[minor] & mandatory == mandatory
    assert rows.SUPPORTED[0] < 1 << (nfs4.FATTR4_MOUNTED_ON_FILEID + 1)
    assert rows.SUPPORTED[1] >> nfs4.FATTR4_SUPPATTR_EXCLCREAT & 1
    assert not rows.SUPPORTED[1] >> nfs4.FATTR4_XATTR_SUPPORT & 1
    assert rows.SUPPORTED[2] >> nfs4.FATTR4_XATTR_SUPPORT & 1


def test_exclcreat_has_mode_and_no_times() -> None:
    """An exclusive create keeps its verifier in the times, so they cannot be set with it."""
    assert rows.EXCLCREAT[1] >> nfs4.FATTR4_MODE & 1
    assert not rows.EXCLCREAT[1] >> nfs4.FATTR4_TIME_MODIFY_SET & 1


def test_plans_are_bounded(path: Path) -> None:
    """A client that asks for a different mask each time does not fill memory."""
    for number in range(PLANS_MAX + 10):
        attributes.encode(environment(0), node_of(OneFile()), path.stat(), (number + 1) << 100)
    assert len(_plans[0]) <= PLANS_MAX
