"""READ, WRITE and COMMIT on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.ops import io
from tests.ops.files import STATEID, FakeCompound, drive, serve, status_of
from xdr.generated import nfs4


@pytest.fixture
def c(tmp_path: Path) -> FakeCompound:
    (tmp_path / "file").write_bytes(b"0123456789")
    compound = serve(tmp_path)
    compound.at(b"file")
    return compound


def write_args(offset: int, data: bytes, stable: int = nfs4.UNSTABLE4) -> nfs4.WRITE4args:
    return nfs4.WRITE4args(STATEID, offset, stable, data)


def test_write_at_the_size_limit(c: FakeCompound) -> None:
    """The last byte that a file may have here is written; one byte further is FBIG."""
    limit = c.node().fs.file_size_max
    assert drive(io.op_write(c, write_args(limit - 1, b"x"))).count == 1
    assert c.node().fs.stat(c.node()).st_size == limit
    assert status_of(io.op_write, c, write_args(limit, b"x")) == nfs4.NFS4ERR_FBIG
    assert status_of(io.op_write, c, write_args(limit - 1, b"xy")) == nfs4.NFS4ERR_FBIG
