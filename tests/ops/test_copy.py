"""COPY and CLONE on real files."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from nfsd.ops import copy
from nfsd.vfs import interface
from tests.ops.files import STATEID, FileRequest, drive, serve, status_of
from xdr.generated import nfs4


@pytest.fixture
def c(tmp_path: Path) -> FileRequest:
    (tmp_path / "source").write_bytes(bytes(range(256)) * 64)
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "dir").mkdir()
    compound = serve(tmp_path, 2)
    compound.saved = compound.at(b"source")
    compound.at(b"target")
    return compound


def args(start: int = 0, to: int = 0, count: int = 0, servers: int = 0) -> nfs4.COPY4args:
    return nfs4.COPY4args(STATEID, STATEID, start, to, count, True, True, [None] * servers)  # type: ignore[list-item]


def copied(c: FileRequest, request: nfs4.COPY4args) -> int:
    answer = drive(copy.op_copy(c, request))
    assert answer.cr_requirements == nfs4.copy_requirements4(True, True)
    response = answer.cr_response
    assert (response.wr_callback_id, response.wr_committed) == ([], nfs4.UNSTABLE4)
    assert response.wr_writeverf == c.services.verifier.value
    return int(response.wr_count)


def test_copy_to_the_end(c: FileRequest, tmp_path: Path) -> None:
    """A count of 0 copies up to the end of the source."""
    assert copied(c, args(100)) == 16384 - 100
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()[100:]
    assert c.node().busy == 0


def test_copy_in_pieces(c: FileRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pieces make up the whole; a COPY larger than its bound is answered short."""
    monkeypatch.setattr(copy, "PIECE_SIZE", 1000)
    monkeypatch.setattr(copy, "COPY_SIZE_MAX", 5500)
    assert copied(c, args(0, 10, 16384)) == 5500
    assert (tmp_path / "target").read_bytes() == bytes(10) + (tmp_path / "source").read_bytes()[:5500]


def test_copy_without_the_kernel(c: FileRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel cannot copy between two files the data goes through memory."""

    def refusing(*_args: int) -> int:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refusing)
    monkeypatch.setattr(interface, "COPY_BUFFER_SIZE", 4096)
    assert copied(c, args()) == 16384
    assert (tmp_path / "target").read_bytes() == (tmp_path / "source").read_bytes()


def test_copy_fails_half_way(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied before a failure is answered; a failure at once is the operation's."""
    real = os.copy_file_range
    fail_from = 2000

    def failing(source: int, target: int, size: int, start: int, to: int) -> int:
        if start >= fail_from:
            raise OSError(errno.ENOSPC, "full")
        return real(source, target, size, start, to)

    monkeypatch.setattr(os, "copy_file_range", failing)
    monkeypatch.setattr(copy, "PIECE_SIZE", 1000)
    assert copied(c, args()) == 2000
    fail_from = 0
    assert status_of(copy.op_copy, c, args()) == nfs4.NFS4ERR_NOSPC
    assert c.node().busy == 0


def test_copy_refusals(c: FileRequest) -> None:
    """Other servers, offsets beyond the source, overlaps, impossible targets, wrong kinds, stateids."""
    assert status_of(copy.op_copy, c, args(servers=1)) == nfs4.NFS4ERR_NOTSUPP
    assert status_of(copy.op_copy, c, args(16385)) == nfs4.NFS4ERR_INVAL
    assert status_of(copy.op_copy, c, args(16384)) == nfs4.NFS4_OK
    assert status_of(copy.op_copy, c, args(0, (1 << 63) - 10)) == nfs4.NFS4ERR_FBIG
    c.current = c.saved
    assert status_of(copy.op_copy, c, args(0, 50, 100)) == nfs4.NFS4ERR_INVAL
    c.at(b"dir")
    assert status_of(copy.op_copy, c, args()) == nfs4.NFS4ERR_ISDIR
    c.deny_io(c.at(b"target"))
    assert status_of(copy.op_copy, c, args()) == nfs4.NFS4ERR_LOCKED


def clone_args(start: int = 0, to: int = 0, count: int = 0) -> nfs4.CLONE4args:
    return nfs4.CLONE4args(STATEID, STATEID, start, to, count)


def test_clone(c: FileRequest, tmp_path: Path) -> None:
    """Equal bytes afterwards, or NOTSUPP and no change where the file system has no shared blocks."""
    status = status_of(copy.op_clone, c, clone_args())
    assert status in (nfs4.NFS4_OK, nfs4.NFS4ERR_NOTSUPP)
    expected = (tmp_path / "source").read_bytes() if status == nfs4.NFS4_OK else b""
    assert (tmp_path / "target").read_bytes() == expected
    assert c.node().busy == 0


def test_clone_unknown_ioctl(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that does not know the request at all is NOTSUPP, too."""

    def refusing(*_args: object) -> int:
        raise OSError(errno.ENOTTY, "no")

    monkeypatch.setattr(fcntl, "ioctl", refusing)
    assert status_of(copy.op_clone, c, clone_args()) == nfs4.NFS4ERR_NOTSUPP


def test_clone_refusals(c: FileRequest) -> None:
    """Ranges beyond the largest file, objects that are no files."""
    assert status_of(copy.op_clone, c, clone_args(1 << 63, 0, 1)) == nfs4.NFS4ERR_INVAL
    c.at(b"dir")
    assert status_of(copy.op_clone, c, clone_args()) == nfs4.NFS4ERR_ISDIR
