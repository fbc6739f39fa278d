"""GETATTR, SETATTR, VERIFY, NVERIFY and ACCESS on real files."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from nfsd.attributes import SetAttrs
from nfsd.errors import Nfs4Error
from nfsd.ops import attributes as ops
from tests.ops.files import STATEID, FileRequest, acting_as, serve, status_of
from xdr.generated import nfs4

SIZE, MODE = 1 << nfs4.FATTR4_SIZE, 1 << nfs4.FATTR4_MODE
OWNER, MTIME = 1 << nfs4.FATTR4_OWNER, 1 << nfs4.FATTR4_TIME_MODIFY_SET
ALL = 0x3F


@pytest.fixture
def c(tmp_path: Path) -> FileRequest:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    return serve(tmp_path)


def setattr_args(mask: int, values: bytes) -> nfs4.SETATTR4args:
    return nfs4.SETATTR4args(STATEID, nfs4.fattr4(mask, values))


def getattr_of(c: FileRequest, mask: int) -> nfs4.fattr4:
    unpacker = nfs4.Nfs4Unpacker(ops.op_getattr(c, nfs4.GETATTR4args(mask)))
    fattr = unpacker.unpack_fattr4()
    unpacker.done()
    return fattr


def test_getattr(c: FileRequest) -> None:
    """GETATTR's result is an encoded fattr4."""
    c.at(b"file")
    assert getattr_of(c, SIZE | MODE) == nfs4.fattr4(SIZE | MODE, struct.pack(">QI", 5, 0o640))
    assert getattr_of(c, 0) == nfs4.fattr4(0, b"")


def test_getattr_write_only(c: FileRequest) -> None:
    """A write-only attribute is INVAL."""
    assert status_of(ops.op_getattr, c, nfs4.GETATTR4args(MTIME)) == nfs4.NFS4ERR_INVAL


def test_setattr_everything(c: FileRequest, tmp_path: Path) -> None:
    """All that was set is in the answer's mask, and on the file."""
    c.at(b"file")
    uid = b"%d" % os.geteuid()
    owner = struct.pack(">I", len(uid)) + uid + bytes(-len(uid) & 3)
    values = struct.pack(">QI", 9, 0o4700) + owner + struct.pack(">IqI", 1, 1000, 7)
    mask = SIZE | MODE | OWNER | MTIME
    assert ops.op_setattr(c, setattr_args(mask, values)) == mask
    st = (tmp_path / "file").stat()
    assert (st.st_size, st.st_mode & 0o7777, st.st_mtime_ns) == (9, 0o4700, 1000 * 10**9 + 7)


def test_setattr_changes_change(c: FileRequest) -> None:
    """Every SETATTR, however soon after the last, gives another change attribute."""
    c.at(b"file")
    seen = set()
    for mode in (0o600, 0o601, 0o602, 0o603):
        ops.op_setattr(c, setattr_args(MODE, struct.pack(">I", mode)))
        seen.add(bytes(getattr_of(c, 1 << nfs4.FATTR4_CHANGE).attr_vals))
    assert len(seen) == 4


def test_setattr_size_needs_the_stateid(c: FileRequest) -> None:
    """The stateid is asked for a size and for nothing else."""
    c.deny_io(c.at(b"file"))
    assert status_of(ops.op_setattr, c, setattr_args(SIZE, bytes(8))) == nfs4.NFS4ERR_LOCKED
    assert status_of(ops.op_setattr, c, setattr_args(MODE, bytes(4))) == nfs4.NFS4_OK


@pytest.mark.parametrize(
    ("name", "minor", "status"),
    [
        (b"dir", 0, nfs4.NFS4ERR_ISDIR),
        (b"link", 0, nfs4.NFS4ERR_INVAL),
        (b"fifo", 0, nfs4.NFS4ERR_INVAL),
        (b"fifo", 1, nfs4.NFS4ERR_WRONG_TYPE),
    ],
)
def test_setattr_size_of_no_file(c: FileRequest, name: bytes, minor: int, status: int) -> None:
    """Only regular files have a size to set."""
    c.minor = minor
    c.at(name)
    assert status_of(ops.op_setattr, c, setattr_args(SIZE, bytes(8))) == status


def test_setattr_mode_of_a_symlink(c: FileRequest) -> None:
    """A symbolic link's mode is left alone without an error, and not reported as set."""
    c.at(b"link")
    assert ops.op_setattr(c, setattr_args(MODE, struct.pack(">I", 0o600))) == 0


def test_setattr_partly(c: FileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the middle reports what was set before it."""
    node = c.at(b"file")
    real = node.fs.setattr

    def failing(node: object, cred: object, **changes: object) -> None:
        if "mode" in changes:
            raise PermissionError(1, "no")
        real(node, cred, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(node.fs, "setattr", failing, raising=False)
    with pytest.raises(Nfs4Error) as caught:
        ops.op_setattr(c, setattr_args(SIZE | MODE, struct.pack(">QI", 2, 0o600)))
    assert (caught.value.status, caught.value.body) == (nfs4.NFS4ERR_PERM, SIZE)


def test_setattr_read_only_export(tmp_path: Path) -> None:
    """Nothing is set on a read-only export, and ACCESS says so."""
    c = serve(tmp_path, options="ro,no_root_squash")
    assert status_of(ops.op_setattr, c, setattr_args(MODE, bytes(4))) == nfs4.NFS4ERR_ROFS
    assert not ops.op_access(c, nfs4.ACCESS4args(ALL)).access & (nfs4.ACCESS4_MODIFY | nfs4.ACCESS4_DELETE)


@pytest.mark.skipif(os.geteuid() != 0, reason="acting as another user needs root")
@pytest.mark.parametrize("size", [0, 4096])
def test_creation_keeps_setid_bits(c: FileRequest, tmp_path: Path, size: int) -> None:
    """A new file has the set-id bits that it was made with, whatever size was asked for at once."""
    tmp_path.chmod(0o777)
    wanted = SetAttrs(SIZE | MODE)
    wanted.size, wanted.mode = size, 0o6755
    with acting_as(c, 1000):
        node, _created = c.root.fs.create(c.root, b"new", c.cred, wanted.creation_mode(0))
        assert ops.finish_creation(node, c.cred, wanted) == SIZE | MODE
    st = (tmp_path / "new").stat()
    assert (st.st_size, st.st_mode & 0o7777, st.st_uid) == (size, 0o6755, 1000)


def test_creation_keeps_the_verifier(c: FileRequest) -> None:
    """Size 0 leaves the times of a new file alone: an exclusive create keeps its verifier there."""
    node, _created = c.root.fs.create(c.root, b"new", c.cred, 0o600, verifier=b"verifier")
    wanted = SetAttrs(SIZE)
    wanted.size = 0
    assert ops.finish_creation(node, c.cred, wanted) == SIZE
    assert c.root.fs.create(c.root, b"new", c.cred, 0o600, verifier=b"verifier") == (node, False)


def test_verify(c: FileRequest) -> None:
    """VERIFY fails where NVERIFY goes on, and the other way round."""
    c.at(b"file")
    right = nfs4.fattr4(SIZE, struct.pack(">Q", 5))
    wrong = nfs4.fattr4(SIZE, struct.pack(">Q", 6))
    assert status_of(ops.op_verify, c, nfs4.VERIFY4args(right)) == nfs4.NFS4_OK
    assert status_of(ops.op_verify, c, nfs4.VERIFY4args(wrong)) == nfs4.NFS4ERR_NOT_SAME
    assert status_of(ops.op_nverify, c, nfs4.NVERIFY4args(right)) == nfs4.NFS4ERR_SAME
    assert status_of(ops.op_nverify, c, nfs4.NVERIFY4args(wrong)) == nfs4.NFS4_OK


def test_access_meaningful_bits(c: FileRequest) -> None:
    """Bits without meaning for the object are not supported; 4.2 adds those of extended attributes."""
    for minor, extra in ((0, 0), (1, 0), (2, 0x1C0)):
        c.minor = minor
        c.at(b"dir")
        answer = ops.op_access(c, nfs4.ACCESS4args(0xFFF))
        assert answer.supported == ALL & ~nfs4.ACCESS4_EXECUTE | extra
        for name in (b"file", b"link", b"fifo"):
            c.at(name)
            answer = ops.op_access(c, nfs4.ACCESS4args(0xFFF))
            assert answer.supported == ALL & ~(nfs4.ACCESS4_LOOKUP | nfs4.ACCESS4_DELETE) | extra


def test_access_subsets(c: FileRequest) -> None:
    """For every request: access is within supported is within the request."""
    for name in (b"dir", b"file"):
        c.at(name)
        for wanted in range(ALL + 1):
            answer = ops.op_access(c, nfs4.ACCESS4args(wanted))
            assert answer.supported & ~wanted == 0 == answer.access & ~answer.supported


def test_access_by_the_kernel(c: FileRequest) -> None:
    """A file that may be read and written and not executed."""
    c.at(b"file")
    expected = nfs4.ACCESS4_READ | nfs4.ACCESS4_MODIFY | nfs4.ACCESS4_EXTEND
    assert ops.op_access(c, nfs4.ACCESS4args(ALL)).access == expected


def test_setattr_size_keeps_nothing_open(c: FileRequest, tmp_path: Path) -> None:
    """A size that was set without an open leaves no descriptor behind: the file may be a program that somebody runs."""
    node = c.at(b"file")
    ops.op_setattr(c, setattr_args(SIZE, bytes(7) + b"\3"))
    assert (tmp_path / "file").read_bytes() == b"123"
    assert (node.read_fd, node.write_fd) == (-1, -1)
