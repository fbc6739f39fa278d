"""Stateids: their seqid, whose they are, special and current ones, TEST_STATEID, FREE_STATEID (RFC 8881 8.2)."""

from __future__ import annotations

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Opened, Owner40, Session, unique
from xdr.generated import nfs4


def upgraded(session: Session, name: bytes) -> Opened:
    """An open of a new file, upgraded once: its seqid is 2."""
    session.create(name, share=ops.READ)
    return session.open(name)


@pytest.fixture
def opened(session: Session, name: bytes) -> Opened:
    """An open of a new file, upgraded once: its seqid is 2."""
    return upgraded(session, name)


def uses(opened: Opened, stateid: nfs4.stateid4) -> dict[str, ops.Op]:
    """Every operation that takes an open's stateid; CLOSE last."""
    return {
        "READ": ops.read(stateid),
        "WRITE": ops.write(stateid, b"data"),
        "SETATTR": ops.setattr_(stateid, ops.attrs(size=4)),
        "LOCK": ops.lock_new(stateid, owner=unique(b"locker")),
        "OPEN_DOWNGRADE": ops.open_downgrade(stateid, ops.READ),
        "CLOSE": ops.close(stateid),
    }


OPERATIONS = ["READ", "WRITE", "SETATTR", "LOCK", "OPEN_DOWNGRADE", "CLOSE"]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_latest(session: Session, opened: Opened, operation: str) -> None:
    """The seqid as it is, and zero, which means the latest, are good."""
    use = uses(opened, ops.with_seqid(opened.stateid, 2))[operation]
    assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4_OK
    second = upgraded(session, unique(b"file"))
    use = uses(second, ops.with_seqid(second.stateid, 0))[operation]
    assert session.status(ops.putfh(second.handle), use) == nfs4.NFS4_OK


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_old(session: Session, opened: Opened, operation: str) -> None:
    """A seqid of the past is OLD_STATEID."""
    use = uses(opened, ops.with_seqid(opened.stateid, 1))[operation]
    assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_OLD_STATEID


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("seqid", [3, 1000])
def test_stateid_future(session: Session, opened: Opened, operation: str, seqid: int) -> None:
    """A seqid of the future is BAD_STATEID."""
    use = uses(opened, ops.with_seqid(opened.stateid, seqid))[operation]
    assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_BAD_STATEID


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_unknown(session: Session, opened: Opened, operation: str) -> None:
    """A stateid that nobody has been given is BAD_STATEID."""
    use = uses(opened, ops.UNKNOWN)[operation]
    assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_BAD_STATEID


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_of_another_client(session: Session, other: Session, opened: Opened, operation: str) -> None:
    """Another client's stateid is BAD_STATEID, and its owner's open is as before."""
    use = uses(opened, opened.stateid)[operation]
    assert other.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_BAD_STATEID
    assert session.status(ops.putfh(opened.handle), ops.close(opened.stateid)) == nfs4.NFS4_OK


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_of_another_minor_version(session: Session, client40: Client40, opened: Opened, operation: str) -> None:
    """A stateid of an NFSv4.1 client is none in NFSv4.0, which has no session to check it against."""
    use = uses(opened, opened.stateid)[operation]
    status = client40.status(ops.putfh(opened.handle), use)
    assert status in (nfs4.NFS4ERR_BAD_STATEID, nfs4.NFS4ERR_STALE_STATEID)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_of_another_file(session: Session, opened: Opened, operation: str) -> None:
    """A stateid used on another file is BAD_STATEID."""
    elsewhere = session.create(unique(b"file"))
    use = uses(opened, opened.stateid)[operation]
    assert session.status(ops.putfh(elsewhere.handle), use) == nfs4.NFS4ERR_BAD_STATEID


@pytest.mark.parametrize("operation", OPERATIONS)
def test_stateid_closed(session: Session, opened: Opened, operation: str) -> None:
    """After CLOSE the stateid is BAD_STATEID, whatever its seqid."""
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    for seqid in (0, 2, 3):
        use = uses(opened, ops.with_seqid(opened.stateid, seqid))[operation]
        assert session.status(ops.putfh(opened.handle), use) == nfs4.NFS4ERR_BAD_STATEID


def test_stateid_never_again(session: Session, opened: Opened, name: bytes) -> None:
    """Opening the file again gives another stateid than the closed one, for the same owner too."""
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    again = session.open(name)
    assert again.stateid.other != opened.stateid.other and again.stateid.seqid == 1


def test_stateid_special(session: Session, opened: Opened) -> None:
    """The anonymous and the bypassing stateid read and write; malformed ones are BAD_STATEID."""
    for stateid in (ops.ANONYMOUS, ops.BYPASS):
        assert session.status(ops.putfh(opened.handle), ops.write(stateid, b"data")) == nfs4.NFS4_OK
        assert session.ok(ops.putfh(opened.handle), ops.read(stateid))[-1].resok4.data == b"data"
    for stateid in (ops.with_seqid(ops.ANONYMOUS, 7), ops.with_seqid(ops.BYPASS, 0), ops.with_seqid(ops.BYPASS, 1)):
        status = session.status(ops.putfh(opened.handle), ops.read(stateid))
        assert status == nfs4.NFS4ERR_BAD_STATEID


# -- the current stateid ------------------------------------------------------------------------------------


def test_current_stateid_of_open(session: Session, name: bytes) -> None:
    """OPEN sets the current stateid: one compound may open, write, read and close."""
    results = session.ok(
        ops.putfh(session.directory),
        ops.open_(name, how=ops.unchecked()),
        ops.write(ops.CURRENT, b"data"),
        ops.read(ops.CURRENT),
        ops.close(ops.CURRENT),
    )
    assert results[3].resok4.data == b"data"


def test_current_stateid_of_lock(session: Session, name: bytes) -> None:
    """LOCK and LOCKU set the current stateid."""
    results = session.ok(
        ops.putfh(session.directory),
        ops.open_(name, how=ops.unchecked()),
        ops.lock_new(ops.CURRENT),
        ops.locku(ops.CURRENT),
        ops.free_stateid(ops.CURRENT),
    )
    assert results[2].resok4.lock_stateid.seqid == 1


def test_current_stateid_saved(session: Session, opened: Opened) -> None:
    """SAVEFH saves the current stateid, RESTOREFH brings it back (RFC 8881 16.2.3.1.2)."""
    reads = session.ok(
        ops.putfh(opened.handle),
        ops.open_(None, ops.READ, owner=b"saver"),
        ops.savefh(),
        ops.putrootfh(),
        ops.restorefh(),
        ops.read(ops.CURRENT),
    )
    assert reads[-1].status == nfs4.NFS4_OK


def test_current_stateid_gone(session: Session, opened: Opened) -> None:
    """A new current file handle has no current stateid, nor has a closed one."""
    opening = [ops.putfh(opened.handle), ops.open_(None, owner=b"forgetful")]
    for operation in (ops.putfh(opened.handle), ops.close(ops.CURRENT)):
        status = session.status(*opening, operation, ops.read(ops.CURRENT))
        assert status == nfs4.NFS4ERR_BAD_STATEID
    assert session.status(ops.putfh(opened.handle), ops.read(ops.CURRENT)) == nfs4.NFS4ERR_BAD_STATEID


def test_restorefh_nothing_saved(session: Session) -> None:
    """RESTOREFH without SAVEFH is NOFILEHANDLE in NFSv4.1."""
    assert session.status(ops.putrootfh(), ops.restorefh()) == nfs4.NFS4ERR_NOFILEHANDLE


# -- TEST_STATEID, FREE_STATEID -----------------------------------------------------------------------------


def test_test_stateid(session: Session, other: Session, opened: Opened) -> None:
    """TEST_STATEID says of each stateid how it stands, in their order."""
    theirs = other.create(unique(b"file")).stateid
    asked = [
        opened.stateid, ops.with_seqid(opened.stateid, 0), ops.with_seqid(opened.stateid, 1),
        ops.with_seqid(opened.stateid, 9), ops.UNKNOWN, theirs, ops.ANONYMOUS, ops.BYPASS,
    ]  # fmt: skip
    (result,) = session.ok(ops.test_stateid(*asked))
    bad = nfs4.NFS4ERR_BAD_STATEID
    expected = [nfs4.NFS4_OK, nfs4.NFS4_OK, nfs4.NFS4ERR_OLD_STATEID, bad, bad, bad, bad, bad]
    assert result.tsr_resok4.tsr_status_codes == expected


def test_test_stateid_none(session: Session) -> None:
    """TEST_STATEID of nothing says nothing."""
    (result,) = session.ok(ops.test_stateid())
    assert result.tsr_resok4.tsr_status_codes == []


def test_free_stateid_lock(session: Session, opened: Opened) -> None:
    """A lock stateid is freed once it holds nothing; before that it is LOCKS_HELD."""
    lock = session.lock(opened)
    assert session.status(ops.free_stateid(lock)) == nfs4.NFS4ERR_LOCKS_HELD
    unlocked = session.ok(ops.putfh(opened.handle), ops.locku(lock))[-1].lock_stateid
    assert session.status(ops.free_stateid(lock)) == nfs4.NFS4ERR_OLD_STATEID
    assert session.status(ops.free_stateid(unlocked)) == nfs4.NFS4_OK
    assert session.status(ops.free_stateid(unlocked)) == nfs4.NFS4ERR_BAD_STATEID
    assert session.lock(opened).other != lock.other


def test_free_stateid_open(session: Session, opened: Opened) -> None:
    """An open's stateid cannot be freed."""
    assert session.status(ops.free_stateid(opened.stateid)) == nfs4.NFS4ERR_LOCKS_HELD


def test_free_stateid_of_another(session: Session, other: Session, opened: Opened) -> None:
    """Nobody frees another client's stateid."""
    lock = session.lock(opened)
    assert other.status(ops.free_stateid(lock)) == nfs4.NFS4ERR_BAD_STATEID


def test_open_stateid_where_lock_is_wanted(session: Session, opened: Opened) -> None:
    """LOCKU and a further LOCK want a lock stateid, CLOSE and a first LOCK an open one."""
    lock = session.lock(opened)
    for wrong in (
        ops.locku(opened.stateid), ops.lock_more(opened.stateid), ops.close(lock), ops.lock_new(lock, owner=b"l2"),
        ops.open_downgrade(lock, ops.READ),
    ):  # fmt: skip
        assert session.status(ops.putfh(opened.handle), wrong) == nfs4.NFS4ERR_BAD_STATEID


def test_stateid_unconfirmed_v40(connection: Connection, client40: Client40, name: bytes) -> None:
    """NFSv4.0: until OPEN_CONFIRM the stateid of a new owner is BAD_STATEID (RFC 7530 16.18.5)."""
    owner = Owner40(client40)
    _put, result, handle = client40.ok(*owner.opening(name, how=ops.unchecked()))
    assert result.resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM
    stateid, fh = result.resok4.stateid, handle.resok4.object
    for use in (ops.read(stateid), ops.write(stateid, b"x")):
        assert client40.status(ops.putfh(fh), use) == nfs4.NFS4ERR_BAD_STATEID
