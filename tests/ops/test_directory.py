"""Operations on directories and names, on a real tree."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import Any

import pytest

from nfsd.errors import Nfs4Error
from nfsd.ops import directory, links, require
from tests.ops.files import AUTH_SYS, FileRequest, acting_as, make_namespace, serve, status_of
from xdr.generated import nfs4

MODE = 1 << nfs4.FATTR4_MODE
BAD_NAMES = [
    (b"", nfs4.NFS4ERR_INVAL),
    (b"a" * 512, nfs4.NFS4ERR_NAMETOOLONG),
    (b"a/b", nfs4.NFS4ERR_BADCHAR),
    (b"a\0b", nfs4.NFS4ERR_BADCHAR),
    (b".", nfs4.NFS4ERR_BADNAME),
    (b"..", nfs4.NFS4ERR_BADNAME),
]


@pytest.fixture
def c(tmp_path: Path) -> FileRequest:
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "dir").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "inner").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    return serve(tmp_path)


# -- LOOKUP, LOOKUPP, READLINK, SECINFO ----------------------------------------------------------------


def test_lookup_and_lookupp(c: FileRequest) -> None:
    """LOOKUP goes down, LOOKUPP back up to the same object."""
    directory.op_lookup(c, nfs4.LOOKUP4args(b"full"))
    assert c.node() is not c.root
    directory.op_lookupp(c, None)
    assert c.node() is c.root
    assert status_of(directory.op_lookupp, c) == nfs4.NFS4ERR_NOENT


@pytest.mark.parametrize(("name", "status"), BAD_NAMES)
def test_bad_names(c: FileRequest, name: bytes, status: int) -> None:
    """Every operation that takes a name refuses the same ones."""
    fattr = nfs4.fattr4(0, b"")
    assert status_of(directory.op_lookup, c, nfs4.LOOKUP4args(name)) == status
    assert status_of(directory.op_remove, c, nfs4.REMOVE4args(name)) == status
    assert status_of(directory.op_secinfo, c, nfs4.SECINFO4args(name)) == status
    made = nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4DIR), name, fattr)
    assert status_of(directory.op_create, c, made) == status
    c.saved = c.root
    assert status_of(links.op_rename, c, nfs4.RENAME4args(name, b"new")) == status
    assert status_of(links.op_rename, c, nfs4.RENAME4args(b"none", name)) == status
    c.saved = c.at(b"file")
    c.current = c.root
    assert status_of(links.op_link, c, nfs4.LINK4args(name)) == status


@pytest.mark.parametrize("name", [b"file", b"fifo", b"link"])
def test_not_a_directory(c: FileRequest, name: bytes) -> None:
    """Names are looked up in directories only; a symbolic link has its own error in LOOKUP(P)."""
    passing = nfs4.NFS4ERR_SYMLINK if name == b"link" else nfs4.NFS4ERR_NOTDIR
    c.at(name)
    assert status_of(directory.op_lookup, c, nfs4.LOOKUP4args(b"x")) == passing
    assert status_of(directory.op_lookupp, c) == passing
    fattr = nfs4.fattr4(0, b"")
    made = nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4DIR), b"x", fattr)
    assert status_of(directory.op_create, c, made) == nfs4.NFS4ERR_NOTDIR
    assert status_of(directory.op_remove, c, nfs4.REMOVE4args(b"x")) == nfs4.NFS4ERR_NOTDIR
    assert status_of(directory.op_secinfo, c, nfs4.SECINFO4args(b"x")) == nfs4.NFS4ERR_NOTDIR
    assert status_of(directory.op_readdir, c, readdir_args()) == nfs4.NFS4ERR_NOTDIR


def test_lookup_no_such_name(c: FileRequest) -> None:
    """A name that does not exist is NOENT, and the current file handle stays."""
    assert status_of(directory.op_lookup, c, nfs4.LOOKUP4args(b"none")) == nfs4.NFS4ERR_NOENT
    assert c.node() is c.root


def test_readlink(c: FileRequest) -> None:
    """A symbolic link's target; other objects have none."""
    c.at(b"link")
    assert links.op_readlink(c, None).link == b"file"
    c.at(b"file")
    assert status_of(links.op_readlink, c) == nfs4.NFS4ERR_WRONG_TYPE
    c.minor = 0
    assert status_of(links.op_readlink, c) == nfs4.NFS4ERR_INVAL


def test_secinfo_uses_up_the_file_handle(c: FileRequest) -> None:
    """From 4.1 on SECINFO leaves no current file handle (RFC 8881 2.6.3.1.1.8)."""
    for minor in (0, 1):
        c.minor, c.current = minor, c.root
        answer = directory.op_secinfo(c, nfs4.SECINFO4args(b"file"))
        assert [entry.flavor for entry in answer] == [AUTH_SYS]
        assert (c.current is None) == bool(minor)


def test_secinfo_no_name(c: FileRequest) -> None:
    """Of the current object, of its parent; the root has no parent."""
    assert directory.op_secinfo_no_name(c, nfs4.SECINFO_STYLE4_CURRENT_FH)
    assert c.current is None
    c.at(b"dir")
    assert directory.op_secinfo_no_name(c, nfs4.SECINFO_STYLE4_PARENT)
    c.current = c.root
    assert status_of(directory.op_secinfo_no_name, c, nfs4.SECINFO_STYLE4_PARENT) == nfs4.NFS4ERR_NOENT
    assert status_of(directory.op_secinfo, c, nfs4.SECINFO4args(b"none")) == nfs4.NFS4ERR_NOENT


# -- CREATE and REMOVE ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "bits"),
    [(nfs4.NF4DIR, stat.S_IFDIR), (nfs4.NF4SOCK, stat.S_IFSOCK), (nfs4.NF4FIFO, stat.S_IFIFO),
     (nfs4.NF4LNK, stat.S_IFLNK)],
)  # fmt: skip
def test_create(c: FileRequest, tmp_path: Path, kind: int, bits: int) -> None:
    """The new object is current, the directory's change grows, a second one of the name is EXIST."""
    args = nfs4.CREATE4args(
        nfs4.createtype4(kind, linkdata=b"/etc/X11" if kind == nfs4.NF4LNK else None),
        b"new", nfs4.fattr4(MODE, struct.pack(">I", 0o751)),
    )  # fmt: skip
    answer = directory.op_create(c, args)
    st = (tmp_path / "new").lstat()
    assert stat.S_IFMT(st.st_mode) == bits == c.node().kind
    if kind != nfs4.NF4LNK:
        assert (st.st_mode & 0o7777, answer.attrset) == (0o751, MODE)
    assert answer.cinfo.atomic and answer.cinfo.before < answer.cinfo.after
    c.current = c.root
    assert status_of(directory.op_create, c, args) == nfs4.NFS4ERR_EXIST


def test_create_device(c: FileRequest, tmp_path: Path) -> None:
    """A device gets its numbers; those the kernel cannot hold are INVAL."""
    fattr = nfs4.fattr4(0, b"")
    if os.geteuid() == 0:
        made = nfs4.createtype4(nfs4.NF4CHR, devdata=nfs4.specdata4(1, 2))
        directory.op_create(c, nfs4.CREATE4args(made, b"dev", fattr))
        assert (tmp_path / "dev").stat().st_rdev == os.makedev(1, 2)
        c.current = c.root
    made = nfs4.createtype4(nfs4.NF4BLK, devdata=nfs4.specdata4(1 << 12, 0))
    assert status_of(directory.op_create, c, nfs4.CREATE4args(made, b"bad", fattr)) == nfs4.NFS4ERR_INVAL


def test_create_refusals(c: FileRequest) -> None:
    """Regular files and unknown types are BADTYPE; empty targets and read-only attributes INVAL."""

    def status(kind: int, mask: int = 0, values: bytes = b"", **more: Any) -> int:
        args = nfs4.CREATE4args(nfs4.createtype4(kind, **more), b"new", nfs4.fattr4(mask, values))
        return status_of(directory.op_create, c, args)

    assert status(nfs4.NF4REG) == nfs4.NFS4ERR_BADTYPE
    assert status(nfs4.NF4ATTRDIR) == nfs4.NFS4ERR_BADTYPE
    assert status(nfs4.NF4LNK, linkdata=b"") == nfs4.NFS4ERR_INVAL
    assert status(nfs4.NF4LNK, linkdata=b"a\0b") == nfs4.NFS4ERR_INVAL
    assert status(nfs4.NF4DIR, 1 << nfs4.FATTR4_LINK_SUPPORT, bytes(4)) == nfs4.NFS4ERR_INVAL
    assert status(nfs4.NF4DIR, 1 << nfs4.FATTR4_SIZE, bytes(8)) == nfs4.NFS4ERR_INVAL
    assert status(nfs4.NF4DIR, 1 << nfs4.FATTR4_ACL, bytes(4)) == nfs4.NFS4ERR_ATTRNOTSUPP


def test_remove(c: FileRequest, tmp_path: Path) -> None:
    """Files and empty directories go; full ones and missing names do not."""
    for name in (b"file", b"dir", b"link"):
        info = directory.op_remove(c, nfs4.REMOVE4args(name)).cinfo
        assert info.before < info.after
        assert not os.path.lexists(tmp_path / name.decode())
    assert status_of(directory.op_remove, c, nfs4.REMOVE4args(b"full")) == nfs4.NFS4ERR_NOTEMPTY
    assert status_of(directory.op_remove, c, nfs4.REMOVE4args(b"file")) == nfs4.NFS4ERR_NOENT


def test_read_only_export(tmp_path: Path) -> None:
    """Names of a read-only export stay."""
    (tmp_path / "file").write_bytes(b"")
    c = serve(tmp_path, options="ro,no_root_squash")
    assert status_of(directory.op_remove, c, nfs4.REMOVE4args(b"file")) == nfs4.NFS4ERR_ROFS
    c.saved = c.root
    assert status_of(links.op_rename, c, nfs4.RENAME4args(b"file", b"new")) == nfs4.NFS4ERR_ROFS


# -- LINK and RENAME -----------------------------------------------------------------------------------


def test_link(c: FileRequest, tmp_path: Path) -> None:
    """One more name; not for directories, not over a name, not into a file."""
    c.saved, c.current = c.at(b"file"), c.root
    links.op_link(c, nfs4.LINK4args(b"second"))
    assert (tmp_path / "file").stat().st_nlink == 2
    assert status_of(links.op_link, c, nfs4.LINK4args(b"second")) == nfs4.NFS4ERR_EXIST
    c.saved, c.current = c.at(b"dir"), c.root
    assert status_of(links.op_link, c, nfs4.LINK4args(b"x")) == nfs4.NFS4ERR_ISDIR
    c.saved = c.at(b"file")
    assert status_of(links.op_link, c, nfs4.LINK4args(b"x")) == nfs4.NFS4ERR_NOTDIR


def test_between_exports(c: FileRequest, tmp_path: Path) -> None:
    """Neither links nor renames cross from one export into another."""
    (tmp_path / "other").mkdir()
    exports = (f"{tmp_path}/{path},no_root_squash" for path in ("full=/a", "other=/b"))
    c = FileRequest(make_namespace(*exports))
    c.saved = c.at(b"a", b"inner")
    c.at(b"b")
    assert status_of(links.op_link, c, nfs4.LINK4args(b"x")) == nfs4.NFS4ERR_XDEV
    c.saved = c.at(b"a")
    c.at(b"b")
    assert status_of(links.op_rename, c, nfs4.RENAME4args(b"inner", b"x")) == nfs4.NFS4ERR_XDEV


def rename(c: FileRequest, old: bytes, new: bytes) -> nfs4.RENAME4resok:
    c.saved = c.current = c.root
    return links.op_rename(c, nfs4.RENAME4args(old, new))


def test_rename(c: FileRequest, tmp_path: Path) -> None:
    """A name moves between directories, both of which change."""
    c.saved, c.current = c.root, c.at(b"dir")
    answer = links.op_rename(c, nfs4.RENAME4args(b"file", b"moved"))
    assert (tmp_path / "dir" / "moved").read_bytes() == b"12345"
    for info in (answer.source_cinfo, answer.target_cinfo):
        assert info.before < info.after


def test_rename_to_itself(c: FileRequest, tmp_path: Path) -> None:
    """A rename onto the same object, by the same name or another, changes nothing."""
    os.link(tmp_path / "file", tmp_path / "second")
    for old, new in ((b"file", b"file"), (b"file", b"second"), (b"dir", b"dir")):
        answer = rename(c, old, new)
        for info in (answer.source_cinfo, answer.target_cinfo):
            assert info.before == info.after
    assert (tmp_path / "second").exists()


def test_rename_over(c: FileRequest, tmp_path: Path) -> None:
    """Over what is of the same kind and empty; else the errors of the RFC."""

    def status(old: bytes, new: bytes) -> int:
        c.saved = c.current = c.root
        return status_of(links.op_rename, c, nfs4.RENAME4args(old, new))

    assert status(b"dir", b"file") in (nfs4.NFS4ERR_EXIST, nfs4.NFS4ERR_NOTDIR)
    assert status(b"file", b"dir") in (nfs4.NFS4ERR_EXIST, nfs4.NFS4ERR_ISDIR)
    assert status(b"dir", b"full") in (nfs4.NFS4ERR_EXIST, nfs4.NFS4ERR_NOTEMPTY)
    assert status(b"none", b"x") == nfs4.NFS4ERR_NOENT
    assert status(b"full", b"dir") == nfs4.NFS4_OK
    assert status(b"file", b"fifo") == nfs4.NFS4_OK
    c.saved, c.current = c.at(b"link"), c.root
    assert status_of(links.op_rename, c, nfs4.RENAME4args(b"x", b"y")) == nfs4.NFS4ERR_NOTDIR


# -- READDIR -------------------------------------------------------------------------------------------


def readdir_args(
    cookie: int = 0, *, verifier: bytes = bytes(8), dircount: int = 0, maxcount: int = 4096, mask: int = 0
) -> nfs4.READDIR4args:
    return nfs4.READDIR4args(cookie, verifier, dircount, maxcount, mask)


def read(c: FileRequest, args: nfs4.READDIR4args) -> tuple[list[tuple[int, bytes, nfs4.fattr4]], bool]:
    data = directory.op_readdir(c, args)
    assert len(data) <= args.maxcount
    unpacker = nfs4.Nfs4Unpacker(data)
    assert unpacker.unpack_fstring(8) == bytes(8)
    entries = []
    while unpacker.unpack_bool():
        entries.append((unpacker.unpack_uhyper(), unpacker.unpack_opaque(), unpacker.unpack_fattr4()))
    eof = unpacker.unpack_bool()
    unpacker.done()
    return entries, eof


def test_readdir_names(c: FileRequest) -> None:
    """Every name once, without the dots."""
    entries, eof = read(c, readdir_args())
    assert eof
    assert sorted(name for _, name, _ in entries) == [b"dir", b"fifo", b"file", b"full", b"link"]
    assert {(fattr.attrmask, fattr.attr_vals) for _, _, fattr in entries} == {(0, b"")}


def test_readdir_empty(c: FileRequest) -> None:
    """An empty directory takes 16 bytes, and 15 are TOOSMALL."""
    c.at(b"dir")
    assert read(c, readdir_args(maxcount=16)) == ([], True)
    for maxcount in (15, 0):
        assert status_of(directory.op_readdir, c, readdir_args(maxcount=maxcount)) == nfs4.NFS4ERR_TOOSMALL


def test_readdir_pieces(c: FileRequest, tmp_path: Path) -> None:
    """However small the pieces, all names come, each once, within maxcount and dircount."""
    names = sorted(b"name%03d" % number for number in range(200))
    for name in names:
        (tmp_path / "dir" / name.decode()).write_bytes(b"")
    c.at(b"dir")
    for maxcount, dircount in ((60, 0), (100, 0), (1000, 0), (100_000, 100), (100_000, 1), (100_000, 0)):
        found: list[bytes] = []
        cookie, eof = 0, False
        while not eof:
            entries, eof = read(c, readdir_args(cookie, maxcount=maxcount, dircount=dircount))
            assert entries or eof
            assert len(entries) <= max(1, dircount // 20) or not dircount
            found += [name for _, name, _ in entries]
            cookie = entries[-1][0] if entries else cookie
        assert sorted(found) == names


def test_readdir_as_large_as_it_may_be(c: FileRequest, tmp_path: Path) -> None:
    """A result has at most as many bytes as the limit says, whatever was asked for; what follows can be read on."""
    size_max = c.services.limits.readdir_size_max
    for number in range(size_max // 200):
        (tmp_path / "dir" / f"{number:0200}").write_bytes(b"")
    c.at(b"dir")
    entries, eof = read(c, readdir_args(maxcount=0xFFFFFFFF, dircount=0xFFFFFFFF))
    assert len(entries) == (size_max - 16) // (12 + 4 + 200 + 8) and not eof
    rest, eof = read(c, readdir_args(entries[-1][0], maxcount=0xFFFFFFFF))
    assert len(entries) + len(rest) == size_max // 200 and eof


def test_readdir_stops_in_time(c: FileRequest, tmp_path: Path) -> None:
    """After 5 ms of its compound a result ends with the entries that it has, and has one at least."""
    for number in range(100):
        (tmp_path / "dir" / f"{number}").write_bytes(b"")
    c.at(b"dir")
    c.clock_step_s = 0.0011
    entries, eof = read(c, readdir_args(maxcount=100_000))
    assert (len(entries), eof) == (40, False)
    c.clock_s += 1
    found = {name for _cookie, name, _fattr in entries}
    while not eof:
        more, eof = read(c, readdir_args(entries[-1][0], maxcount=100_000))
        assert 1 <= len(more) <= 8
        entries += more
        found |= {name for _cookie, name, _fattr in more}
    assert len(found) == len(entries) == 100


def test_readdir_first_entry_too_large(c: FileRequest) -> None:
    """maxcount below the first entry is TOOSMALL, not an empty answer."""
    assert status_of(directory.op_readdir, c, readdir_args(maxcount=40)) == nfs4.NFS4ERR_TOOSMALL


def test_readdir_attributes(c: FileRequest, tmp_path: Path) -> None:
    """Each entry has the attributes asked for, its own file handle among them."""
    mask = 1 << nfs4.FATTR4_RDATTR_ERROR | 1 << nfs4.FATTR4_FILEHANDLE | 1 << nfs4.FATTR4_FILEID
    entries, _ = read(c, readdir_args(mask=mask))
    for _, name, fattr in entries:
        node = c.at(name)
        handle = struct.pack(">I", len(node.handle)) + node.handle + bytes(-len(node.handle) & 3)
        fileid = struct.pack(">Q", (tmp_path / name.decode()).lstat().st_ino)
        assert fattr == nfs4.fattr4(mask, struct.pack(">I", 0) + handle + fileid)


def test_readdir_rdattr_error_alone(c: FileRequest) -> None:
    """rdattr_error asked for alone is NFS4_OK for every entry."""
    entries, _ = read(c, readdir_args(mask=1 << nfs4.FATTR4_RDATTR_ERROR))
    assert {fattr.attr_vals for _, _, fattr in entries} == {bytes(4)}


def test_readdir_unreadable_entries(c: FileRequest, tmp_path: Path) -> None:
    """A directory without search permission: errors in the entries, or of the operation if not asked for."""
    if os.geteuid() != 0:
        pytest.skip("needs root to act as somebody else")
    tmp_path.chmod(0o755)
    (tmp_path / "full").chmod(0o744)
    mask = 1 << nfs4.FATTR4_RDATTR_ERROR | 1 << nfs4.FATTR4_TYPE
    with acting_as(c, 12345):
        c.at(b"full")
        entries, eof = read(c, readdir_args(mask=mask))
        without = status_of(directory.op_readdir, c, readdir_args(mask=1 << nfs4.FATTR4_TYPE))
    expected = nfs4.fattr4(1 << nfs4.FATTR4_RDATTR_ERROR, struct.pack(">I", nfs4.NFS4ERR_ACCESS))
    assert eof and [fattr for _, _, fattr in entries] == [expected]
    assert without == nfs4.NFS4ERR_ACCESS


def test_readdir_refusals(c: FileRequest) -> None:
    """Reserved and impossible cookies, foreign verifiers, write-only attributes."""
    for cookie in (1, 2, (1 << 64) - 1):
        assert status_of(directory.op_readdir, c, readdir_args(cookie)) == nfs4.NFS4ERR_BAD_COOKIE
    foreign = readdir_args(5, verifier=b"whatever")
    assert status_of(directory.op_readdir, c, foreign) == nfs4.NFS4ERR_NOT_SAME
    write_only = readdir_args(mask=1 << nfs4.FATTR4_TIME_MODIFY_SET)
    assert status_of(directory.op_readdir, c, write_only) == nfs4.NFS4ERR_INVAL


def test_check_name_other_bytes(c: FileRequest) -> None:
    """Bytes that are not UTF-8 are a name like any other."""
    assert require.check_name(c.root, b"\xff\xfe") == b"\xff\xfe"
    with pytest.raises(Nfs4Error):
        require.check_name(c.root, b"\xff/")
