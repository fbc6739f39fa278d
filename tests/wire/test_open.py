"""OPEN, OPEN_DOWNGRADE, CLOSE through NFSv4.1: create modes, kinds of objects, permissions (RFC 8881 18.16)."""

from __future__ import annotations

import os
import stat
import struct

import pytest

from tests.support import operations as ops
from tests.support.client import Session, mount, unique
from tests.wire.conftest import Connect, needs_root
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

VERIFIER, OTHER_VERIFIER = b"verify01", b"verify02"
SIZE_BIT, MODE_BIT = 1 << nfs4.FATTR4_SIZE, 1 << nfs4.FATTR4_MODE


def size_of(session: Session, handle: bytes) -> int:
    """The file's size, by GETATTR."""
    result = session.ok(ops.putfh(handle), ops.getattr_(nfs4.FATTR4_SIZE))[-1]
    return int(struct.unpack(">Q", result.resok4.obj_attributes.attr_vals)[0])


# -- create modes -------------------------------------------------------------------------------------------


def test_open_nocreate(session: Session, name: bytes) -> None:
    """Without CREATE a missing name is NOENT, an existing one is opened."""
    assert session.open_status(name) == nfs4.NFS4ERR_NOENT
    handle = session.create(name).handle
    assert session.open(name).handle == handle


def test_open_unchecked(session: Session, server: ServerProcess, name: bytes) -> None:
    """UNCHECKED4 makes the file with its attributes, and takes it as it is the second time."""
    made = session.open(name, how=ops.unchecked(ops.attrs(mode=0o640)))
    assert made.result.attrset == MODE_BIT
    assert made.result.cinfo.before != made.result.cinfo.after
    path = server.export / name.decode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_bytes(b"data")
    again = session.open(name, how=ops.unchecked(ops.attrs(mode=0o600)))
    assert again.handle == made.handle
    assert again.result.attrset & MODE_BIT == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_bytes() == b"data"


def test_open_unchecked_truncating(session: Session, server: ServerProcess, name: bytes) -> None:
    """UNCHECKED4 with size 0 truncates an existing file and says so (O_TRUNC)."""
    path = server.export / name.decode()
    path.write_bytes(b"data")
    opened = session.open(name, how=ops.unchecked(ops.attrs(size=0)))
    assert opened.result.attrset & SIZE_BIT
    assert path.read_bytes() == b""


def test_open_unchecked_other_size_ignored(session: Session, server: ServerProcess, name: bytes) -> None:
    """Any other size than 0 is for a new file only (RFC 8881 18.16.3)."""
    path = server.export / name.decode()
    path.write_bytes(b"data")
    opened = session.open(name, how=ops.unchecked(ops.attrs(size=2)))
    assert opened.result.attrset & SIZE_BIT == 0 and path.read_bytes() == b"data"
    new = session.open(unique(b"file"), how=ops.unchecked(ops.attrs(size=2)))
    assert new.result.attrset & SIZE_BIT and size_of(session, new.handle) == 2


def test_open_truncating_denied(session: Session, other: Session, server: ServerProcess, name: bytes) -> None:
    """A truncating OPEN writes: it fails where another open denies writing, and truncates nothing."""
    path = server.export / name.decode()
    path.write_bytes(b"data")
    other.open(name, ops.READ, nfs4.OPEN4_SHARE_DENY_WRITE)
    status = session.open_status(name, ops.READ, how=ops.unchecked(ops.attrs(size=0)))
    assert status == nfs4.NFS4ERR_SHARE_DENIED
    assert path.read_bytes() == b"data"


def test_open_guarded(session: Session, name: bytes) -> None:
    """GUARDED4 makes a file once; the second time it is EXIST."""
    opened = session.open(name, how=ops.guarded(ops.attrs(mode=0o600, size=5)))
    assert opened.result.attrset == MODE_BIT | SIZE_BIT
    assert size_of(session, opened.handle) == 5
    assert session.open_status(name, how=ops.guarded()) == nfs4.NFS4ERR_EXIST


def exclusives(verifier: bytes) -> dict[str, nfs4.createhow4]:
    """Both exclusive modes."""
    return {"EXCLUSIVE4": ops.exclusive(verifier), "EXCLUSIVE4_1": ops.exclusive41(verifier, ops.attrs(mode=0o640))}


MODES = ["EXCLUSIVE4", "EXCLUSIVE4_1"]


@pytest.mark.parametrize("mode", MODES)
def test_open_exclusive(session: Session, name: bytes, mode: str) -> None:
    """An exclusive create succeeds once; its retry finds the same file, another verifier EXIST."""
    made = session.open(name, how=exclusives(VERIFIER)[mode])
    again = session.open(name, how=exclusives(VERIFIER)[mode])
    assert again.handle == made.handle
    assert again.stateid.other == made.stateid.other and again.stateid.seqid == 2
    assert session.open_status(name, how=exclusives(OTHER_VERIFIER)[mode]) == nfs4.NFS4ERR_EXIST


@pytest.mark.parametrize("mode", MODES)
def test_open_exclusive_existing(session: Session, server: ServerProcess, name: bytes, mode: str) -> None:
    """An exclusive create of a file that somebody else made is EXIST."""
    (server.export / name.decode()).write_bytes(b"data")
    assert session.open_status(name, how=exclusives(VERIFIER)[mode]) == nfs4.NFS4ERR_EXIST


@pytest.mark.parametrize("mode", MODES)
def test_open_exclusive_by_two(session: Session, other: Session, name: bytes, mode: str) -> None:
    """Of two clients one makes the file."""
    session.open(name, how=exclusives(VERIFIER)[mode])
    assert other.open_status(name, how=exclusives(OTHER_VERIFIER)[mode]) == nfs4.NFS4ERR_EXIST


def test_open_exclusive_tells_what_to_set(session: Session, server: ServerProcess, name: bytes) -> None:
    """EXCLUSIVE4 names the attributes that hold the verifier, and that the client has to set afterwards."""
    opened = session.open(name, how=ops.exclusive(VERIFIER))
    times = 1 << nfs4.FATTR4_TIME_ACCESS | 1 << nfs4.FATTR4_TIME_MODIFY
    assert opened.result.attrset & times
    values = ops.attrs(mode=0o644)
    assert session.status(ops.putfh(opened.handle), ops.setattr_(opened.stateid, values)) == nfs4.NFS4_OK
    assert stat.S_IMODE((server.export / name.decode()).stat().st_mode) == 0o644


def test_open_exclusive41_sets_attributes(session: Session, server: ServerProcess, name: bytes) -> None:
    """EXCLUSIVE4_1 sets the mode at once."""
    opened = session.open(name, how=ops.exclusive41(VERIFIER, ops.attrs(mode=0o604)))
    assert opened.result.attrset & MODE_BIT
    assert stat.S_IMODE((server.export / name.decode()).stat().st_mode) == 0o604


def test_open_bad_attributes(session: Session, server: ServerProcess, name: bytes) -> None:
    """A create with attributes that cannot be set is refused, and makes no file."""
    read_only = nfs4.fattr4(1 << nfs4.FATTR4_FILEID, bytes(8))
    unsupported = nfs4.fattr4(1 << 200, b"")
    assert session.open_status(name, how=ops.guarded(read_only)) == nfs4.NFS4ERR_INVAL
    assert session.open_status(name, how=ops.guarded(unsupported)) == nfs4.NFS4ERR_ATTRNOTSUPP
    assert session.open_status(name, how=ops.guarded(ops.attrs(mode=0o1777777))) == nfs4.NFS4ERR_INVAL
    assert not (server.export / name.decode()).exists()


@pytest.mark.parametrize(("bad", "status"), [
    (b"", nfs4.NFS4ERR_INVAL), (b".", nfs4.NFS4ERR_BADNAME), (b"..", nfs4.NFS4ERR_BADNAME),
    (b"a/b", nfs4.NFS4ERR_BADCHAR), (b"a\0b", nfs4.NFS4ERR_BADCHAR), (b"x" * 300, nfs4.NFS4ERR_NAMETOOLONG),
])  # fmt: skip
def test_open_bad_name(session: Session, bad: bytes, status: int) -> None:
    """Names that could lead elsewhere are refused."""
    allowed = {status, nfs4.NFS4ERR_INVAL, nfs4.NFS4ERR_BADNAME}
    assert session.open_status(bad, how=ops.unchecked()) in allowed
    assert session.open_status(bad) in allowed


# -- what is opened -----------------------------------------------------------------------------------------


@pytest.fixture
def objects(server: ServerProcess, name: bytes) -> dict[str, bytes]:
    """A directory, a symbolic link and a named pipe in the export."""
    made = {kind: name + b"-" + kind.encode() for kind in ("dir", "link", "fifo")}
    paths = {kind: server.export / made[kind].decode() for kind in made}
    paths["dir"].mkdir(mode=0o755)
    paths["link"].symlink_to(paths["dir"])
    os.mkfifo(paths["fifo"])
    return made


@pytest.mark.parametrize(("kind", "status"), [
    ("dir", nfs4.NFS4ERR_ISDIR), ("link", nfs4.NFS4ERR_SYMLINK), ("fifo", nfs4.NFS4ERR_WRONG_TYPE)
])  # fmt: skip
def test_open_no_regular_file(session: Session, objects: dict[str, bytes], kind: str, status: int) -> None:
    """Only regular files are opened, by name and by handle; a pipe does not block anybody."""
    assert session.open_status(objects[kind], ops.READ) == status
    assert session.open_status(objects[kind], ops.READ, how=ops.unchecked()) == status
    assert session.status(ops.putfh(session.directory), ops.lookup(objects[kind]), ops.open_(None, ops.READ)) == status


def test_open_parent_is_no_directory(session: Session, objects: dict[str, bytes], name: bytes) -> None:
    """A name in a file is NOTDIR, in a symbolic link SYMLINK."""
    file = session.create(name).handle
    assert session.status(ops.putfh(file), ops.open_(b"x")) == nfs4.NFS4ERR_NOTDIR
    in_link = [ops.putfh(session.directory), ops.lookup(objects["link"]), ops.open_(b"x")]
    assert session.status(*in_link) == nfs4.NFS4ERR_SYMLINK


def test_open_by_handle(session: Session, name: bytes) -> None:
    """CLAIM_FH opens the current file handle, and may not create."""
    made = session.create(name)
    result = session.ok(ops.putfh(made.handle), ops.open_(None, owner=b"another"))[-1]
    assert result.resok4.stateid.other != made.stateid.other
    status = session.status(ops.putfh(made.handle), ops.open_(None, how=ops.unchecked()))
    assert status == nfs4.NFS4ERR_INVAL


@pytest.mark.parametrize(("share", "deny"), [(0, 0), (4, 0), (0x80000001, 0), (1, 4), (1, 0xFFFFFFFF)])
def test_open_bad_modes(session: Session, name: bytes, share: int, deny: int) -> None:
    """An access of nothing or of unknown bits is INVAL, so is an unknown denial."""
    session.create(name)
    assert session.open_status(name, share, deny, owner=b"second") == nfs4.NFS4ERR_INVAL


def test_open_wishes_about_delegations(session: Session, name: bytes) -> None:
    """Wishes are taken and answered: there are no delegations; without a wish nothing is said."""
    session.create(name)
    plain = session.open(name, ops.READ).result.delegation
    assert plain.delegation_type == nfs4.OPEN_DELEGATE_NONE
    for want in (nfs4.OPEN4_SHARE_ACCESS_WANT_READ_DELEG, nfs4.OPEN4_SHARE_ACCESS_WANT_NO_DELEG):
        answer = session.open(name, ops.READ | want).result.delegation
        assert answer.delegation_type == nfs4.OPEN_DELEGATE_NONE_EXT


# -- upgrade, downgrade, close ------------------------------------------------------------------------------


def may(session: Session, handle: bytes, stateid: nfs4.stateid4) -> bool:
    """Whether a stateid allows writing."""
    status = session.status(ops.putfh(handle), ops.write(stateid, b"x"))
    assert status in (nfs4.NFS4_OK, nfs4.NFS4ERR_OPENMODE)
    return status == nfs4.NFS4_OK


def test_open_upgrade_and_downgrade(session: Session, name: bytes) -> None:
    """An owner's second OPEN widens its open, OPEN_DOWNGRADE narrows it; the stateid moves on."""
    opened = session.create(name, share=ops.READ)
    assert not may(session, opened.handle, opened.stateid)
    wide = session.open(name, ops.WRITE).stateid
    assert (wide.seqid, wide.other) == (2, opened.stateid.other)
    assert may(session, opened.handle, wide)
    narrow = session.ok(ops.putfh(opened.handle), ops.open_downgrade(wide, ops.READ))[-1].resok4.open_stateid
    assert (narrow.seqid, narrow.other) == (3, wide.other)
    assert not may(session, opened.handle, narrow)


def test_open_second_owner(session: Session, name: bytes) -> None:
    """Another owner of the same client has an open of its own."""
    first = session.create(name)
    second = session.open(name, owner=b"second")
    assert second.stateid.other != first.stateid.other
    session.ok(ops.putfh(first.handle), ops.close(first.stateid))
    assert may(session, first.handle, second.stateid)


@pytest.mark.parametrize(("share", "deny"), [(ops.BOTH, 0), (ops.WRITE, 0), (0, 0), (ops.READ, 1), (7, 0)])
def test_open_downgrade_to_more(session: Session, name: bytes, share: int, deny: int) -> None:
    """What was not opened cannot be downgraded to."""
    opened = session.create(name, share=ops.READ)
    status = session.status(ops.putfh(opened.handle), ops.open_downgrade(opened.stateid, share, deny))
    assert status == nfs4.NFS4ERR_INVAL


def test_open_downgrade_lets_others_in(session: Session, other: Session, name: bytes) -> None:
    """A denial that was given back denies no more."""
    session.create(name, share=ops.READ)
    opened = session.open(name, ops.READ, nfs4.OPEN4_SHARE_DENY_WRITE)
    assert other.open_status(name, ops.WRITE) == nfs4.NFS4ERR_SHARE_DENIED
    session.ok(ops.putfh(opened.handle), ops.open_downgrade(opened.stateid, ops.READ))
    assert other.open_status(name, ops.WRITE) == nfs4.NFS4_OK


def test_close_twice(session: Session, name: bytes) -> None:
    """A closed stateid cannot be closed again."""
    opened = session.create(name)
    assert session.status(ops.putfh(opened.handle), ops.close(opened.stateid)) == nfs4.NFS4_OK
    status = session.status(ops.putfh(opened.handle), ops.close(opened.stateid))
    assert status == nfs4.NFS4ERR_BAD_STATEID


def test_close_after_remove(session: Session, server: ServerProcess, name: bytes) -> None:
    """A file that was removed while open is read and written until it is closed."""
    opened = session.create(name)
    session.ok(ops.putfh(session.directory), ops.remove(name))
    assert not (server.export / name.decode()).exists()
    results = session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, b"data"), ops.read(opened.stateid))
    assert results[-1].resok4.data == b"data"
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    assert session.status(ops.putfh(opened.handle), ops.getattr_()) == nfs4.NFS4ERR_STALE


# -- permissions --------------------------------------------------------------------------------------------


@pytest.fixture
def somebody(server: ServerProcess, connect: Connect) -> Session:
    """A client whose caller is an ordinary user."""
    return mount(connect(server, uid=1000, gid=1000, groups=(2000,)))


def made(server: ServerProcess, name: bytes, mode: int, uid: int, gid: int) -> None:
    """A file with that mode and owner."""
    path = server.export / name.decode()
    path.write_bytes(b"data")
    os.chown(path, uid, gid)
    path.chmod(mode)


@needs_root
@pytest.mark.parametrize(("mode", "uid", "gid", "allowed"), [
    (0o600, 1000, 0, 3), (0o400, 1000, 0, 1), (0o600, 0, 0, 0), (0o604, 0, 0, 1), (0o606, 0, 0, 3),
    (0o640, 0, 1000, 1), (0o660, 0, 2000, 3), (0o606, 0, 2000, 0), (0o602, 0, 0, 2),
])  # fmt: skip
def test_open_permissions(
    server: ServerProcess, somebody: Session, name: bytes, mode: int, uid: int, gid: int, allowed: int
) -> None:
    """OPEN of an existing file asks the kernel as the caller: user, group, supplementary groups, others."""
    made(server, name, mode, uid, gid)
    for share in (ops.READ, ops.WRITE, ops.BOTH):
        expected = nfs4.NFS4_OK if share & ~allowed == 0 else nfs4.NFS4ERR_ACCESS
        assert somebody.open_status(name, share, owner=b"%d" % share) == expected


@needs_root
def test_open_creates_as_the_caller(server: ServerProcess, somebody: Session, name: bytes) -> None:
    """A new file belongs to the caller, who may write it although its mode says otherwise."""
    opened = somebody.create(name, mode=0o400)
    status = (server.export / name.decode()).stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1000, 1000, 0o400)
    assert somebody.status(ops.putfh(opened.handle), ops.write(opened.stateid, b"x")) == nfs4.NFS4_OK
    assert somebody.open_status(name, ops.WRITE, owner=b"later") == nfs4.NFS4ERR_ACCESS


@needs_root
@pytest.mark.parametrize("size", [0, 4096])
def test_open_creates_with_setid_bits(somebody: Session, name: bytes, size: int) -> None:
    """A file made with set-id bits and a size has both: creat(2) sends size 0 along (O_TRUNC)."""
    made_now = somebody.open(name, how=ops.unchecked(ops.attrs(mode=0o6755, size=size)))
    assert made_now.result.attrset == MODE_BIT | SIZE_BIT
    found = somebody.ok(ops.putfh(made_now.handle), ops.getattr_(nfs4.FATTR4_SIZE, nfs4.FATTR4_MODE))[-1]
    values = found.resok4.obj_attributes.attr_vals
    assert struct.unpack(">QI", values) == (size, 0o6755)


@needs_root
def test_open_create_in_foreign_directory(server: ServerProcess, somebody: Session, session: Session) -> None:
    """Creating needs permission on the directory; opening what is there does not."""
    directory = unique(b"dir")
    path = server.export / directory.decode()
    path.mkdir(mode=0o755)
    (path / "there").write_bytes(b"")
    (path / "there").chmod(0o644)
    inside = [ops.putfh(somebody.directory), ops.lookup(directory)]
    assert somebody.status(*inside, ops.open_(b"new", how=ops.unchecked())) == nfs4.NFS4ERR_ACCESS
    assert somebody.status(*inside, ops.open_(b"there", ops.READ, how=ops.unchecked())) == nfs4.NFS4_OK
    assert somebody.status(*inside, ops.open_(b"there", ops.WRITE, how=ops.unchecked())) == nfs4.NFS4ERR_ACCESS


@needs_root
def test_open_stateid_of_root_used_by_another(server: ServerProcess, connect: Connect, name: bytes) -> None:
    """A stateid is no permission: another caller of the same client is checked against the file."""
    session = mount(connect(server))
    opened = session.create(name, mode=0o600)
    session.connection = connect(server, uid=1000)
    for use in (ops.read(opened.stateid), ops.write(opened.stateid, b"x")):
        assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_ACCESS


@needs_root
def test_open_truncating_without_permission(server: ServerProcess, somebody: Session, name: bytes) -> None:
    """A truncating OPEN for reading needs permission to write."""
    made(server, name, 0o644, 0, 0)
    status = somebody.open_status(name, ops.READ, how=ops.unchecked(ops.attrs(size=0)))
    assert status == nfs4.NFS4ERR_ACCESS
    assert (server.export / name.decode()).read_bytes() == b"data"
