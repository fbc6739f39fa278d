"""Extended attributes on real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfsd.ops import xattr
from tests.ops.files import FileRequest, serve, status_of
from xdr.generated import nfs4


@pytest.fixture
def c(tmp_path: Path) -> FileRequest:
    (tmp_path / "file").write_bytes(b"")
    compound = serve(tmp_path, 2)
    if not compound.root.fs.has_xattrs:
        pytest.skip("needs a file system with user extended attributes")
    compound.at(b"file")
    return compound


def set_args(name: bytes, value: bytes, option: int = nfs4.SETXATTR4_EITHER) -> nfs4.SETXATTR4args:
    return nfs4.SETXATTR4args(option, name, value)


def test_setxattr_options(c: FileRequest) -> None:
    """CREATE wants it absent, REPLACE present, EITHER does not care."""
    create, replace = nfs4.SETXATTR4_CREATE, nfs4.SETXATTR4_REPLACE
    assert status_of(xattr.op_setxattr, c, set_args(b"user.a", b"1", replace)) == nfs4.NFS4ERR_NOXATTR
    assert status_of(xattr.op_setxattr, c, set_args(b"user.a", b"1", create)) == nfs4.NFS4_OK
    assert status_of(xattr.op_setxattr, c, set_args(b"user.a", b"2", create)) == nfs4.NFS4ERR_EXIST
    assert status_of(xattr.op_setxattr, c, set_args(b"user.a", b"3", replace)) == nfs4.NFS4_OK
    info = xattr.op_setxattr(c, set_args(b"user.a", b"4"))
    assert info.before < info.after
    assert xattr.op_getxattr(c, nfs4.GETXATTR4args(b"user.a")) == b"4"


def test_getxattr_and_removexattr_missing(c: FileRequest) -> None:
    """A name that is not there is NOXATTR."""
    assert status_of(xattr.op_getxattr, c, nfs4.GETXATTR4args(b"a")) == nfs4.NFS4ERR_NOXATTR
    assert status_of(xattr.op_removexattr, c, nfs4.REMOVEXATTR4args(b"a")) == nfs4.NFS4ERR_NOXATTR
    xattr.op_setxattr(c, set_args(b"a", b""))
    info = xattr.op_removexattr(c, nfs4.REMOVEXATTR4args(b"a"))
    assert info.before < info.after


def test_xattr_names(c: FileRequest) -> None:
    """Empty, overlong and NUL-bearing names, and values nothing can hold."""
    for name, status in ((b"", nfs4.NFS4ERR_INVAL), (b"a" * 251, nfs4.NFS4ERR_NAMETOOLONG),
                         (b"a\0", nfs4.NFS4ERR_BADCHAR)):  # fmt: skip
        assert status_of(xattr.op_getxattr, c, nfs4.GETXATTR4args(name)) == status
    assert status_of(xattr.op_setxattr, c, set_args(b"a", bytes(65537))) == nfs4.NFS4ERR_XATTR2BIG


def test_listxattrs(c: FileRequest) -> None:
    """Names in pieces within maxcount, eof with the last one."""
    assert xattr.op_listxattrs(c, nfs4.LISTXATTRS4args(0, 16)) == nfs4.LISTXATTRS4resok(0, [], True)
    names = [b"name%d" % number for number in range(6)]
    for name in names:
        xattr.op_setxattr(c, set_args(name, b"v"))
    whole = xattr.op_listxattrs(c, nfs4.LISTXATTRS4args(0, 8192))
    assert (whole.lxr_names, whole.lxr_eof) == (names, True)
    found: list[bytes] = []
    cookie, eof = 0, False
    while not eof:
        piece = xattr.op_listxattrs(c, nfs4.LISTXATTRS4args(cookie, 16 + 2 * 12))
        assert len(piece.lxr_names) <= 2
        found += piece.lxr_names
        cookie, eof = piece.lxr_cookie, piece.lxr_eof
    assert found == names


def test_listxattrs_refusals(c: FileRequest) -> None:
    """A maxcount below one name is TOOSMALL, a cookie beyond the last BAD_COOKIE."""
    xattr.op_setxattr(c, set_args(b"name", b"v"))
    for maxcount in (0, 15, 23):
        args = nfs4.LISTXATTRS4args(0, maxcount)
        assert status_of(xattr.op_listxattrs, c, args) == nfs4.NFS4ERR_TOOSMALL
    assert status_of(xattr.op_listxattrs, c, nfs4.LISTXATTRS4args(2, 8192)) == nfs4.NFS4ERR_BAD_COOKIE


def test_xattr_read_only_export(tmp_path: Path) -> None:
    """A read-only export's attributes stay."""
    c = serve(tmp_path, 2, options="ro,no_root_squash")
    assert status_of(xattr.op_setxattr, c, set_args(b"a", b"1")) == nfs4.NFS4ERR_ROFS
    assert status_of(xattr.op_removexattr, c, nfs4.REMOVEXATTR4args(b"a")) == nfs4.NFS4ERR_ROFS
