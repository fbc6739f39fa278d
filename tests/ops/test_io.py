"""READ, WRITE and COMMIT, on a real file and on one in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.ops import io
from nfsd.ops.request import Thread
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import MemoryTree
from tests.ops.files import STATEID, FileRequest, drive, serve, status_of
from xdr.generated import nfs4


@pytest.fixture(params=["directory", "memory"])
def c(request: pytest.FixtureRequest, tmp_path: Path) -> FileRequest:
    if request.param == "memory":
        tree = MemoryTree(lambda: 1_700_000_000_000_000_000)
        exports = parse_exports([parse_export("/tree=/,no_root_squash")])
        compound = FileRequest(Namespace(exports, bytes(32), opener=opening({"/tree": tree})))
    else:
        compound = serve(tmp_path)
    compound.reply_size, compound.reply_size_max = 0, 1 << 20
    fs = compound.root.fs
    node, _made = fs.create(compound.root, b"file", compound.cred, 0o644)
    fs.write(node, 0, b"0123456789", compound.cred)
    fs.mkdir(compound.root, b"dir", compound.cred, 0o755)
    compound.at(b"file")
    return compound


def read_args(offset: int, count: int) -> nfs4.READ4args:
    return nfs4.READ4args(STATEID, offset, count)


def write_args(offset: int, data: bytes, stable: int = nfs4.UNSTABLE4) -> nfs4.WRITE4args:
    return nfs4.WRITE4args(STATEID, offset, stable, data)


def read(c: FileRequest, offset: int, count: int) -> tuple[bytes, bool]:
    answer = drive(io.op_read(c, read_args(offset, count)))
    return bytes(answer.data), answer.eof


def test_read_ends(c: FileRequest) -> None:
    """A READ says whether it has reached the end of the file, also where it reads nothing."""
    assert read(c, 2, 3) == (b"234", False)
    assert read(c, 2, 99) == (b"23456789", True)
    assert read(c, 10, 1) == read(c, 1 << 63, 1) == (b"", True)
    assert read(c, 0, 0) == (b"", False)


def test_read_fits_the_reply(c: FileRequest) -> None:
    """A READ is answered with what the reply has room for."""
    c.reply_size_max = 20
    assert read(c, 0, 10) == (b"0123", False)


def test_read_from_the_disk(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in memory is read in a thread, with the node's descriptors kept open meanwhile."""
    node = c.node()
    monkeypatch.setattr(node.fs, "read_cached", lambda *_given: None, raising=False)
    steps = io.op_read(c, read_args(3, 4))
    wait = next(steps)
    assert isinstance(wait, Thread) and node.busy == 1
    with pytest.raises(StopIteration) as stop:
        steps.send(wait.work())
    assert (bytes(stop.value.value.data), stop.value.value.eof, node.busy) == (b"3456", False, 0)


@pytest.mark.parametrize("stable", [nfs4.UNSTABLE4, nfs4.DATA_SYNC4, nfs4.FILE_SYNC4])
@pytest.mark.parametrize("size", [0, 5, io.INLINE_WRITE_MAX + 1])
def test_write_and_sync(c: FileRequest, monkeypatch: pytest.MonkeyPatch, stable: int, size: int) -> None:
    """All of it is written and counted, and as durable as was asked for."""
    synced: list[bool] = []
    node = c.node()
    monkeypatch.setattr(node.fs, "sync_data", lambda _node, *, whole: synced.append(whole), raising=False)
    answer = drive(io.op_write(c, write_args(4, b"x" * size, stable)))
    assert (answer.count, answer.committed, answer.writeverf) == (size, stable, c.services.verifier.value)
    assert synced == ([] if stable == nfs4.UNSTABLE4 else [stable == nfs4.FILE_SYNC4])
    assert node.fs.read(node, 4, size)[0] == b"x" * size
    assert node.busy == 0


def test_failed_sync_changes_the_verifier(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, nobody knows which unstable data is lost: every client is told to send its own again."""

    def failing(_node: Any, *, whole: bool) -> None:
        raise OSError(5, "disk")

    monkeypatch.setattr(c.node().fs, "sync_data", failing, raising=False)
    assert status_of(io.op_write, c, write_args(0, b"x", nfs4.FILE_SYNC4)) == nfs4.NFS4ERR_IO
    assert status_of(io.op_commit, c, nfs4.COMMIT4args(0, 0)) == nfs4.NFS4ERR_IO
    assert (c.lost, c.node().busy) == (2, 0)


def test_commit(c: FileRequest) -> None:
    """COMMIT of a file tells the verifier; of a directory it is ISDIR, of an impossible range INVAL."""
    answer = drive(io.op_commit(c, nfs4.COMMIT4args(0, 0)))
    assert answer.writeverf == c.services.verifier.value
    assert status_of(io.op_commit, c, nfs4.COMMIT4args((1 << 64) - 1, 1)) == nfs4.NFS4ERR_INVAL
    c.at(b"dir")
    assert status_of(io.op_commit, c, nfs4.COMMIT4args(0, 0)) == nfs4.NFS4ERR_ISDIR


def test_io_on_a_directory(c: FileRequest) -> None:
    """A directory has no data."""
    c.at(b"dir")
    assert status_of(io.op_read, c, read_args(0, 1)) == nfs4.NFS4ERR_ISDIR
    assert status_of(io.op_write, c, write_args(0, b"x")) == nfs4.NFS4ERR_ISDIR


def test_write_at_the_size_limit(c: FileRequest) -> None:
    """The last byte that a file may have here is written; one byte further is FBIG."""
    limit = c.node().fs.file_size_max
    assert drive(io.op_write(c, write_args(limit - 1, b"x"))).count == 1
    assert c.node().fs.stat(c.node()).st_size == limit
    assert status_of(io.op_write, c, write_args(limit, b"x")) == nfs4.NFS4ERR_FBIG
    assert status_of(io.op_write, c, write_args(limit - 1, b"xy")) == nfs4.NFS4ERR_FBIG
