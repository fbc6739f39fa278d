"""NFSv4.0's owners: OPEN_CONFIRM, sequence ids, replays with the same bytes, lock owners (RFC 7530 9.1.7-9.1.11)."""

from __future__ import annotations

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Opened, Owner40, unique
from tests.wire.conftest import Connect
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

CONFIRM = nfs4.OPEN4_RESULT_CONFIRM


@pytest.fixture
def owner(client40: Client40) -> Owner40:
    """An open owner that has never opened anything."""
    return Owner40(client40)


class Locker40:
    """One NFSv4.0 lock owner on one file."""

    def __init__(self, owner: Owner40, opened: Opened) -> None:
        self.owner = owner
        self.client = owner.client
        self.opened = opened
        self.name = unique(b"locker40")
        self.seqid = 0
        self.stateid: nfs4.stateid4 | None = None

    def first(self, offset: int = 0, length: int = 10, kind: int = nfs4.WRITE_LT) -> list[ops.Op]:
        """The owner's first LOCK, which uses the open owner's next sequence id too."""
        locking = ops.lock_new(
            self.opened.stateid, offset, length, kind, owner=self.name, clientid=self.client.clientid,
            open_seqid=self.owner.next(), lock_seqid=self.seqid,
        )  # fmt: skip
        return [ops.putfh(self.opened.handle), locking]

    def more(self, offset: int, length: int) -> list[ops.Op]:
        """A further LOCK."""
        assert self.stateid is not None
        self.seqid = self.seqid + 1 & 0xFFFFFFFF
        locking = ops.lock_more(self.stateid, offset, length, lock_seqid=self.seqid)
        return [ops.putfh(self.opened.handle), locking]

    def unlocking(self, offset: int, length: int) -> list[ops.Op]:
        """A LOCKU."""
        assert self.stateid is not None
        self.seqid = self.seqid + 1 & 0xFFFFFFFF
        return [ops.putfh(self.opened.handle), ops.locku(self.stateid, offset, length, seqid=self.seqid)]

    def lock(self) -> None:
        """Take the first lock; it must be granted."""
        self.stateid = self.client.ok(*self.first())[-1].resok4.lock_stateid


@pytest.fixture
def locker(owner: Owner40, name: bytes) -> Locker40:
    """A lock owner that holds the first ten bytes of a new file."""
    locker = Locker40(owner, owner.create(name))
    locker.lock()
    return locker


def replayed(client: Client40, *operations: ops.Op) -> int:
    """Send a request and three replays with other xids, of which all must have the same bytes; the status."""
    first = client.call(*operations)
    for _ in range(3):
        assert client.call(*operations).body == first.body
    return first.status


# -- OPEN_CONFIRM -------------------------------------------------------------------------------------------


def test_open_confirm(owner: Owner40, name: bytes) -> None:
    """A new owner's first OPEN has to be confirmed, its later ones have not."""
    client = owner.client
    _put, result, handle = client.ok(*owner.opening(name, how=ops.unchecked()))
    assert result.resok4.rflags & CONFIRM
    stateid, fh = result.resok4.stateid, handle.resok4.object
    confirm = [ops.putfh(fh), ops.open_confirm(stateid, owner.next())]
    assert replayed(client, *confirm) == nfs4.NFS4_OK
    second = client.ok(*owner.opening(unique(b"file"), how=ops.unchecked()))[1]
    assert not second.resok4.rflags & CONFIRM


def test_open_confirm_again(owner: Owner40, name: bytes) -> None:
    """An open that is confirmed cannot be confirmed again."""
    opened = owner.create(name)
    confirm = ops.open_confirm(opened.stateid, owner.next())
    assert owner.client.status(ops.putfh(opened.handle), confirm) == nfs4.NFS4ERR_BAD_STATEID


def test_open_confirm_wrong_seqid(owner: Owner40, name: bytes) -> None:
    """OPEN_CONFIRM with a sequence id out of order is BAD_SEQID, and the right one still confirms."""
    client = owner.client
    _put, result, handle = client.ok(*owner.opening(name, how=ops.unchecked()))
    stateid, put = result.resok4.stateid, ops.putfh(handle.resok4.object)
    wrong = ops.open_confirm(stateid, owner.seqid + 2)
    assert client.status(put, wrong) == nfs4.NFS4ERR_BAD_SEQID
    assert client.status(put, ops.open_confirm(stateid, owner.next())) == nfs4.NFS4_OK


def test_open_unconfirmed_starts_anew(owner: Owner40, name: bytes) -> None:
    """An owner that was never confirmed may begin again with any sequence id; its first open is gone."""
    client = owner.client
    _put, first, handle = client.ok(*owner.opening(name, how=ops.unchecked()))
    owner.seqid = 500
    opened = owner.open(name)
    assert opened.stateid.other != first.resok4.stateid.other
    confirm = ops.open_confirm(first.resok4.stateid, owner.next())
    status = client.status(ops.putfh(handle.resok4.object), confirm)
    assert status == nfs4.NFS4ERR_BAD_STATEID


# -- sequence ids -------------------------------------------------------------------------------------------


def test_open_replay(owner: Owner40, name: bytes) -> None:
    """An OPEN with the last sequence id is answered with the same bytes, its file handle too, and done once."""
    owner.create(name)
    creating = owner.opening(unique(b"file"), how=ops.guarded())
    assert replayed(owner.client, *creating) == nfs4.NFS4_OK


def test_open_replay_unconfirmed(owner: Owner40, name: bytes) -> None:
    """The first OPEN of an owner is replayed as well."""
    assert replayed(owner.client, *owner.opening(name, how=ops.guarded())) == nfs4.NFS4_OK


def test_open_replay_failure(owner: Owner40, server: ServerProcess, name: bytes) -> None:
    """A failed OPEN counts too, and its replay fails even where it would succeed now."""
    owner.create(name)
    missing = unique(b"file")
    opening = owner.opening(missing)
    assert replayed(owner.client, *opening) == nfs4.NFS4ERR_NOENT
    (server.export / missing.decode()).write_bytes(b"")
    assert owner.client.status(*opening) == nfs4.NFS4ERR_NOENT
    assert owner.client.status(*owner.opening(missing)) == nfs4.NFS4_OK


@pytest.mark.parametrize("ahead", [2, 10, -1, -2])
def test_open_bad_seqid(owner: Owner40, name: bytes, ahead: int) -> None:
    """A sequence id that is neither the last nor the next is BAD_SEQID, and does not count."""
    owner.create(name)
    owner.open(name)
    wrong = owner.opening(name, seqid=owner.seqid + ahead & 0xFFFFFFFF)
    assert owner.client.status(*wrong) == nfs4.NFS4ERR_BAD_SEQID
    assert owner.client.status(*owner.opening(name)) == nfs4.NFS4_OK


def test_seqid_wraps(owner: Owner40, name: bytes) -> None:
    """After 2^32 - 1 comes 0."""
    owner.seqid = 0xFFFFFFFD
    opened = owner.create(name)
    assert owner.seqid == 0xFFFFFFFF
    owner.seqid = -1
    assert owner.client.status(*owner.opening(name)) == nfs4.NFS4_OK
    assert owner.client.status(*owner.opening(name)) == nfs4.NFS4_OK
    assert opened.stateid.seqid == 2


def test_owners_are_independent(client40: Client40, name: bytes) -> None:
    """Each owner has its own sequence id."""
    owners = [Owner40(client40) for _ in range(3)]
    for round_ in range(3):
        for owner in owners:
            opened = owner.open(name, how=ops.unchecked())
            assert opened.stateid.seqid == round_ + 1 + 1


def test_close_replay(owner: Owner40, name: bytes) -> None:
    """A CLOSE is replayed although its open is gone."""
    opened = owner.create(name)
    closing = [ops.putfh(opened.handle), ops.close(opened.stateid, owner.next())]
    assert replayed(owner.client, *closing) == nfs4.NFS4_OK


def test_close_replay_after_file_is_gone(owner: Owner40, name: bytes) -> None:
    """The replay of a CLOSE of a removed file is STALE at worst: it never closes another open."""
    client = owner.client
    opened = owner.create(name)
    client.ok(ops.putfh(client.directory), ops.remove(name))
    closing = [ops.putfh(opened.handle), ops.close(opened.stateid, owner.next())]
    assert client.status(*closing) == nfs4.NFS4_OK
    assert client.status(*closing) in (nfs4.NFS4_OK, nfs4.NFS4ERR_STALE)


def test_close_bad_seqid(owner: Owner40, name: bytes) -> None:
    """CLOSE with a sequence id out of order is BAD_SEQID, and the file stays open."""
    opened = owner.create(name)
    put = ops.putfh(opened.handle)
    for ahead in (2, -1):
        status = owner.client.status(put, ops.close(opened.stateid, owner.seqid + ahead))
        assert status == nfs4.NFS4ERR_BAD_SEQID
    assert owner.client.status(put, ops.read(opened.stateid)) == nfs4.NFS4_OK


def test_close_then_open(owner: Owner40, name: bytes) -> None:
    """After CLOSE the owner goes on: confirmed, with its next sequence id."""
    opened = owner.create(name)
    owner.client.ok(ops.putfh(opened.handle), ops.close(opened.stateid, owner.next()))
    _put, result, _handle = owner.client.ok(*owner.opening(name))
    assert not result.resok4.rflags & CONFIRM


def test_open_downgrade_replay(owner: Owner40, name: bytes) -> None:
    """OPEN_DOWNGRADE is replayed, and moves the stateid on once."""
    owner.open(name, ops.READ, how=ops.unchecked())
    opened = owner.open(name)
    narrowing = [ops.putfh(opened.handle), ops.open_downgrade(opened.stateid, ops.READ, seqid=owner.next())]
    assert replayed(owner.client, *narrowing) == nfs4.NFS4_OK
    later = ops.with_seqid(opened.stateid, opened.stateid.seqid + 1)
    assert owner.client.status(ops.putfh(opened.handle), ops.read(later)) == nfs4.NFS4_OK


def test_bad_stateid_does_not_count(owner: Owner40, name: bytes) -> None:
    """A request that fails with BAD_STATEID leaves the sequence id as it was (RFC 7530 9.1.7)."""
    opened = owner.create(name)
    future = ops.with_seqid(opened.stateid, 99)
    put = ops.putfh(opened.handle)
    assert owner.client.status(put, ops.close(future, owner.seqid + 1)) == nfs4.NFS4ERR_BAD_STATEID
    assert owner.client.status(put, ops.close(opened.stateid, owner.next())) == nfs4.NFS4_OK


# -- lock owners --------------------------------------------------------------------------------------------


def test_lock_replay(owner: Owner40, name: bytes) -> None:
    """A lock owner's first LOCK and its further ones are replayed with the same bytes."""
    locker = Locker40(owner, owner.create(name))
    first = locker.first()
    reply = locker.client.call(*first)
    assert reply.status == nfs4.NFS4_OK
    for _ in range(3):
        assert locker.client.call(*first).body == reply.body
    locker.stateid = reply.results[-1].resok4.lock_stateid
    assert replayed(locker.client, *locker.more(20, 10)) == nfs4.NFS4_OK


def test_lock_replay_denied(owner: Owner40, server: ServerProcess, connect: Connect, name: bytes) -> None:
    """A denied LOCK counts, and its replay has the whole LOCK4denied again."""
    mine = Locker40(owner, owner.create(name))
    rival = Owner40(Client40(connect(server)))
    theirs = Locker40(rival, rival.open(name))
    theirs.lock()
    assert replayed(mine.client, *mine.first()) == nfs4.NFS4ERR_DENIED
    theirs.stateid = theirs.client.ok(*theirs.unlocking(0, 10))[-1].lock_stateid
    mine.lock()
    theirs_again = theirs.more(5, 10)
    assert replayed(theirs.client, *theirs_again) == nfs4.NFS4ERR_DENIED


def test_locku_replay(locker: Locker40) -> None:
    """LOCKU is replayed, and moves the stateid on once."""
    assert replayed(locker.client, *locker.unlocking(0, 5)) == nfs4.NFS4_OK
    assert locker.stateid is not None
    locker.stateid = ops.with_seqid(locker.stateid, 2)
    assert locker.client.status(*locker.more(50, 5)) == nfs4.NFS4_OK


@pytest.mark.parametrize("ahead", [1, 5, -2])
def test_lock_bad_seqid(locker: Locker40, ahead: int) -> None:
    """A lock owner's sequence id out of order is BAD_SEQID in LOCK and LOCKU."""
    locker.client.ok(*locker.unlocking(0, 1))
    assert locker.stateid is not None
    locker.stateid = ops.with_seqid(locker.stateid, 2)
    before = locker.seqid
    for make in (locker.more, locker.unlocking):
        locker.seqid = before + ahead & 0xFFFFFFFF
        assert locker.client.status(*make(20, 1)) == nfs4.NFS4ERR_BAD_SEQID
    locker.seqid = before
    assert locker.client.status(*locker.more(20, 1)) == nfs4.NFS4_OK


def test_lock_first_twice(locker: Locker40) -> None:
    """A lock owner that has a stateid on the file uses it: a second "first" LOCK is BAD_SEQID."""
    assert locker.client.status(*locker.first(20, 10)) == nfs4.NFS4ERR_BAD_SEQID


def test_lock_open_seqid_out_of_order(owner: Owner40, name: bytes) -> None:
    """A first LOCK with a wrong sequence id of its open owner is BAD_SEQID."""
    locker = Locker40(owner, owner.create(name))
    owner.seqid += 1
    assert locker.client.status(*locker.first()) == nfs4.NFS4ERR_BAD_SEQID


def test_close_frees_locks_v40(locker: Locker40, server: ServerProcess, connect: Connect, name: bytes) -> None:
    """CLOSE with locks held frees them, or is refused with LOCKS_HELD and frees none."""
    owner = locker.owner
    closing = [ops.putfh(locker.opened.handle), ops.close(locker.opened.stateid, owner.next())]
    status = locker.client.status(*closing)
    rival = Client40(connect(server))
    asked = rival.status(ops.putfh(locker.opened.handle), ops.lockt(clientid=rival.clientid))
    assert (status, asked) in (
        (nfs4.NFS4_OK, nfs4.NFS4_OK), (nfs4.NFS4ERR_LOCKS_HELD, nfs4.NFS4ERR_DENIED)
    )  # fmt: skip


def test_release_lockowner(locker: Locker40) -> None:
    """RELEASE_LOCKOWNER is LOCKS_HELD while locks are, then forgets the owner; an unknown owner is no error."""
    client = locker.client
    release = ops.release_lockowner(client.clientid, locker.name)
    assert client.status(release) == nfs4.NFS4ERR_LOCKS_HELD
    client.ok(*locker.unlocking(0, 10))
    assert client.status(release) == nfs4.NFS4_OK
    assert client.status(release) == nfs4.NFS4_OK
    assert locker.stateid is not None
    gone = ops.with_seqid(locker.stateid, 2)
    unlocking = ops.locku(gone, 0, 10, seqid=locker.seqid + 1)
    assert client.status(ops.putfh(locker.opened.handle), unlocking) == nfs4.NFS4ERR_BAD_STATEID
    locker.seqid = 40
    locker.lock()


def test_lock_owner_on_two_files(locker: Locker40) -> None:
    """One lock owner on two files has two stateids and one sequence."""
    second = Locker40(locker.owner, locker.owner.create(unique(b"file")))
    second.name, second.seqid = locker.name, locker.seqid + 1
    second.lock()
    assert second.stateid is not None and locker.stateid is not None
    assert second.stateid.other != locker.stateid.other
    locker.seqid = second.seqid
    assert locker.client.status(*locker.unlocking(0, 10)) == nfs4.NFS4_OK


def test_open_name_in_a_symbolic_link(client40: Client40, owner: Owner40, name: bytes) -> None:
    """A name in a symbolic link is SYMLINK, in a file NOTDIR (RFC 7530 16.16.5)."""
    made = client40.ok(ops.putfh(client40.directory), ops.symlink(name, b"target"), ops.getfh())[-1]
    link = ops.open_(b"x", owner=owner.name, clientid=client40.clientid, seqid=owner.next())
    assert client40.status(ops.putfh(made.resok4.object), link) == nfs4.NFS4ERR_SYMLINK
    opened = owner.open(name + b".file", how=ops.unchecked())
    file = ops.open_(b"x", owner=owner.name, clientid=client40.clientid, seqid=owner.next())
    assert client40.status(ops.putfh(opened.handle), file) == nfs4.NFS4ERR_NOTDIR
