"""ALLOCATE, DEALLOCATE, SEEK and IO_ADVISE on real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfsd.ops import space
from tests.ops.files import STATEID, FileRequest, drive, serve, status_of
from xdr.generated import nfs4

MIB = 1 << 20


@pytest.fixture
def c(tmp_path: Path) -> FileRequest:
    (tmp_path / "file").write_bytes(b"x" * MIB)
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    compound = serve(tmp_path, 2)
    compound.at(b"file")
    return compound


def allocate(offset: int, length: int) -> nfs4.ALLOCATE4args:
    return nfs4.ALLOCATE4args(STATEID, offset, length)


def deallocate(offset: int, length: int) -> nfs4.DEALLOCATE4args:
    return nfs4.DEALLOCATE4args(STATEID, offset, length)


def seek(c: FileRequest, offset: int, what: int) -> tuple[bool, int]:
    answer = space.op_seek(c, nfs4.SEEK4args(STATEID, offset, what))
    return answer.sr_eof, answer.sr_offset


def test_allocate_grows(c: FileRequest, tmp_path: Path) -> None:
    """ALLOCATE takes the space and makes the file as long as the range; the change attribute follows."""
    node = c.node()
    before = node.fs.change(node, node.fs.stat(node))
    drive(space.op_allocate(c, allocate(MIB, MIB)))
    st = (tmp_path / "file").stat()
    assert (st.st_size, st.st_blocks * 512 >= 2 * MIB) == (2 * MIB, True)
    assert node.fs.change(node, node.fs.stat(node)) > before
    assert node.busy == 0


def test_deallocate_makes_a_hole(c: FileRequest, tmp_path: Path) -> None:
    """DEALLOCATE reads as zeros afterwards and leaves the size; SEEK finds the hole."""
    drive(space.op_deallocate(c, deallocate(65536, 131072)))
    data = (tmp_path / "file").read_bytes()
    assert data == b"x" * 65536 + bytes(131072) + b"x" * (MIB - 196608)
    assert seek(c, 0, nfs4.NFS4_CONTENT_HOLE) == (False, 65536)
    assert seek(c, 65536, nfs4.NFS4_CONTENT_DATA) == (False, 196608)


def test_space_bad_ranges(c: FileRequest) -> None:
    """Empty ranges are INVAL, ranges beyond the largest file FBIG."""
    assert status_of(space.op_allocate, c, allocate(0, 0)) == nfs4.NFS4ERR_INVAL
    limit = c.node().fs.file_size_max
    assert status_of(space.op_allocate, c, allocate(limit, 1)) == nfs4.NFS4ERR_FBIG
    assert status_of(space.op_deallocate, c, deallocate(1, limit)) == nfs4.NFS4ERR_FBIG
    assert status_of(space.op_allocate, c, allocate((1 << 64) - 1, (1 << 64) - 1)) == nfs4.NFS4ERR_FBIG


def test_space_of_no_file(c: FileRequest) -> None:
    """Directories are ISDIR, other objects WRONG_TYPE."""
    for name, status in ((b"dir", nfs4.NFS4ERR_ISDIR), (b"link", nfs4.NFS4ERR_WRONG_TYPE)):
        c.at(name)
        assert status_of(space.op_allocate, c, allocate(0, 1)) == status
        args = nfs4.SEEK4args(STATEID, 0, nfs4.NFS4_CONTENT_DATA)
        assert status_of(space.op_seek, c, args) == status


def test_space_needs_the_stateid(c: FileRequest) -> None:
    """A stateid that does not allow it stops every one of them."""
    c.deny_io(c.node())
    assert status_of(space.op_allocate, c, allocate(0, 1)) == nfs4.NFS4ERR_LOCKED
    args = nfs4.SEEK4args(STATEID, 0, nfs4.NFS4_CONTENT_DATA)
    assert status_of(space.op_seek, c, args) == nfs4.NFS4ERR_LOCKED


def test_allocate_failed_sync(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, the verifier changes: others' unstable data may be lost with ours."""

    def failing(fd: int) -> None:
        raise OSError(5, "disk")

    monkeypatch.setattr(os, "fdatasync", failing)
    assert status_of(space.op_allocate, c, allocate(0, 1)) == nfs4.NFS4ERR_IO
    assert c.lost == 1
    assert c.node().busy == 0


def test_seek_ends(c: FileRequest, tmp_path: Path) -> None:
    """The end of the file is a hole; beyond it is NXIO; a trailing hole has no data."""
    assert seek(c, 5, nfs4.NFS4_CONTENT_DATA) == (False, 5)
    assert seek(c, 5, nfs4.NFS4_CONTENT_HOLE) == (True, MIB)
    args = nfs4.SEEK4args(STATEID, MIB, nfs4.NFS4_CONTENT_DATA)
    assert status_of(space.op_seek, c, args) == nfs4.NFS4ERR_NXIO
    os.truncate(tmp_path / "file", 2 * MIB)
    assert seek(c, MIB, nfs4.NFS4_CONTENT_DATA) == (True, 2 * MIB)


def test_io_advise(c: FileRequest) -> None:
    """Hints about a range are honoured, those about the order of access are not claimed."""
    honoured = 1 << nfs4.IO_ADVISE4_WILLNEED | 1 << nfs4.IO_ADVISE4_DONTNEED
    ask = honoured | 1 << nfs4.IO_ADVISE4_RANDOM | 1 << 40
    answer = space.op_io_advise(c, nfs4.IO_ADVISE4args(STATEID, 0, 0, ask))
    assert answer.ior_hints == honoured
    args = nfs4.IO_ADVISE4args(STATEID, 1 << 63, 1, ask)
    assert status_of(space.op_io_advise, c, args) == nfs4.NFS4ERR_INVAL
