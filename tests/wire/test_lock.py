"""LOCK, LOCKT, LOCKU through NFSv4.1: POSIX ranges, conflicts and what is told of them (RFC 8881 18.10-18.12)."""

from __future__ import annotations

import random

import pytest

from tests.support import operations as ops
from tests.support.client import Opened, Session, unique
from tests.support.operations import TO_EOF
from xdr.generated import nfs4

R, W = nfs4.READ_LT, nfs4.WRITE_LT
KINDS = {"READ": R, "WRITE": W, "READW": nfs4.READW_LT, "WRITEW": nfs4.WRITEW_LT}
END = 1 << 64


class Locker:
    """One lock owner on one file, with its latest stateid."""

    def __init__(self, session: Session, opened: Opened, owner: bytes) -> None:
        self.session = session
        self.opened = opened
        self.owner = owner
        self.stateid: nfs4.stateid4 | None = None

    def lock(self, offset: int = 0, length: int = TO_EOF, kind: int = W) -> int:
        """LOCK; the status."""
        if self.stateid is None:
            locking = ops.lock_new(self.opened.stateid, offset, length, kind, owner=self.owner)
        else:
            locking = ops.lock_more(self.stateid, offset, length, kind)
        reply = self.session.call(ops.putfh(self.opened.handle), locking)
        if reply.status == nfs4.NFS4_OK:
            self.stateid = reply.results[-1].resok4.lock_stateid
        return reply.status

    def unlock(self, offset: int = 0, length: int = TO_EOF) -> int:
        """LOCKU; the status."""
        assert self.stateid is not None
        reply = self.session.call(ops.putfh(self.opened.handle), ops.locku(self.stateid, offset, length))
        if reply.status == nfs4.NFS4_OK:
            self.stateid = reply.results[-1].lock_stateid
        return reply.status

    def ask(self, offset: int = 0, length: int = TO_EOF, kind: int = W) -> tuple[int, int, int] | None:
        """LOCKT: (offset, length, kind) of the lock in the way, or None; it must be another owner's."""
        asking = ops.lockt(offset, length, kind, owner=self.owner)
        reply = self.session.call(ops.putfh(self.opened.handle), asking)
        if reply.status == nfs4.NFS4_OK:
            return None
        assert reply.status == nfs4.NFS4ERR_DENIED
        denied = reply.results[-1].denied
        assert (denied.owner.clientid, denied.owner.owner) != (self.session.clientid, self.owner)
        return denied.offset, denied.length, denied.locktype


@pytest.fixture
def mine(session: Session, name: bytes) -> Locker:
    """A lock owner on a new file."""
    return Locker(session, session.create(name), b"mine")


@pytest.fixture
def theirs(other: Session, mine: Locker, name: bytes) -> Locker:
    """Another client's lock owner on the same file, with the same name."""
    return Locker(other, other.open(name), b"mine")


@pytest.mark.parametrize(("first", "second", "granted"), [
    ("READ", "READ", True), ("READ", "WRITE", False), ("WRITE", "READ", False), ("WRITE", "WRITE", False),
    ("READW", "READW", True), ("READ", "WRITEW", False), ("WRITEW", "READ", False), ("WRITEW", "WRITEW", False),
])  # fmt: skip
def test_lock_conflict(mine: Locker, theirs: Locker, first: str, second: str, granted: bool) -> None:
    """Readers stand beside each other, a writer beside nobody; blocking kinds are answered at once too."""
    assert mine.lock(0, 100, KINDS[first]) == nfs4.NFS4_OK
    expected = nfs4.NFS4_OK if granted else nfs4.NFS4ERR_DENIED
    assert theirs.lock(50, 100, KINDS[second]) == expected
    assert theirs.lock(100, 100, KINDS[second]) == nfs4.NFS4_OK


@pytest.mark.parametrize("kind", [R, W])
def test_lock_denied_contents(mine: Locker, theirs: Locker, kind: int) -> None:
    """LOCK4denied names the conflicting lock: its range, its kind, its owner (RFC 8881 18.10.4).

    Of its client it tells a number that stays the same, and is no clientid.
    """
    mine.lock(10, 20, kind)
    locking = ops.lock_new(theirs.opened.stateid, 0, TO_EOF, W, owner=b"x")
    told = set()
    for asking in (locking, ops.lockt(25, 1, W)):
        reply = theirs.session.call(ops.putfh(mine.opened.handle), asking)
        assert reply.status == nfs4.NFS4ERR_DENIED
        denied = reply.results[-1].denied
        assert (denied.offset, denied.length, denied.locktype) == (10, 20, kind)
        assert denied.owner.owner == b"mine"
        told.add(denied.owner.clientid)
    assert len(told) == 1 and mine.session.clientid not in told


def test_lock_denied_to_eof(mine: Locker, theirs: Locker) -> None:
    """A lock to the end of the file is told as one."""
    mine.lock(10)
    assert theirs.ask(1 << 60, 1, R) == (10, TO_EOF, W)
    assert theirs.ask(0, 10) is None


def test_lock_denied_owner_of_1024_bytes(mine: Locker, other: Session, name: bytes) -> None:
    """The longest owner comes back whole in a LOCK4denied, and is cached whole."""
    longest = bytes(range(256)) * 4
    mine.owner = longest
    mine.lock()
    opened = other.open(name)
    asking = ops.lock_new(opened.stateid, owner=b"x")
    message = other.message(ops.putfh(opened.handle), asking, cache=True)
    first = other.connection.rpc(message)
    assert longest in first.body
    assert other.connection.rpc(message).body == first.body


def test_lock_own_ranges_never_conflict(mine: Locker, theirs: Locker) -> None:
    """An owner's lock replaces its own; another owner of the same client is another owner."""
    assert mine.lock(0, 100, W) == nfs4.NFS4_OK
    assert mine.lock(0, 100, R) == nfs4.NFS4_OK
    assert theirs.ask(0, 100, R) is None
    assert mine.lock(0, 100, W) == nfs4.NFS4_OK
    second = Locker(mine.session, mine.opened, b"second")
    assert second.lock(0, 1) == nfs4.NFS4ERR_DENIED


def test_lock_split_by_unlock(mine: Locker, theirs: Locker) -> None:
    """Unlocking the middle leaves both ends."""
    mine.lock(0, 100)
    assert mine.unlock(40, 20) == nfs4.NFS4_OK
    assert theirs.ask(0, 100) == (0, 40, W)
    assert theirs.ask(40, 20) is None
    assert theirs.ask(59, 10) == (60, 40, W)


def test_lock_split_by_other_kind(mine: Locker, theirs: Locker) -> None:
    """A read lock in the middle of a write lock makes three ranges."""
    mine.lock(0, 100, W)
    mine.lock(40, 20, R)
    assert theirs.ask(45, 1, R) is None
    assert theirs.ask(45, 1, W) == (40, 20, R)
    assert theirs.ask(0, 1, R) == (0, 40, W) and theirs.ask(99, 1, R) == (60, 40, W)


def test_lock_merge(mine: Locker, theirs: Locker) -> None:
    """Neighbours and overlaps of one kind become one range."""
    for offset, length in ((0, 10), (20, 10), (10, 10), (25, 25)):
        mine.lock(offset, length)
    assert theirs.ask(0, 1) == (0, 50, W)


def test_lock_unlock_across_several(mine: Locker, theirs: Locker) -> None:
    """One LOCKU takes away all that lies within, and what was never locked is no error."""
    for offset in (0, 20, 40):
        mine.lock(offset, 10)
    assert mine.unlock(5, 40) == nfs4.NFS4_OK
    assert theirs.ask() == (0, 5, W)
    assert theirs.ask(5) == (45, 5, W)
    assert mine.unlock(100, 100) == nfs4.NFS4_OK


def test_lock_ranges_against_model(mine: Locker, theirs: Locker) -> None:
    """A hundred random locks and unlocks leave exactly what a table of bytes says."""
    seed = 20
    print(f"seed {seed}")
    chance = random.Random(seed)
    table = [0] * 64
    for _ in range(100):
        start = chance.randrange(64)
        length = chance.randrange(1, 65 - start)
        kind = chance.choice((0, R, W)) if mine.stateid else W
        status = mine.lock(start, length, kind) if kind else mine.unlock(start, length)
        assert status == nfs4.NFS4_OK
        table[start : start + length] = [kind] * length
        at = chance.randrange(64)
        found = theirs.ask(at, 1, W)
        assert (found[2] if found else 0) == table[at]
        if found:
            first, length, kind = found
            assert table[first : first + length] == [kind] * length
            assert table[first - 1 : first] != [kind] and table[first + length : first + length + 1] != [kind]


# -- the ends of the range ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (5, 0), (3, END - 2), (END - 1, 2), (1 << 63, (1 << 63) + 1)])
def test_lock_bad_range(mine: Locker, offset: int, length: int) -> None:
    """An empty range and one beyond 2^64 are INVAL in LOCK, LOCKT and LOCKU (RFC 8881 18.10.3)."""
    handle = mine.opened.handle
    assert mine.lock(0, 1) == nfs4.NFS4_OK
    assert mine.lock(offset, length) == nfs4.NFS4ERR_INVAL
    assert mine.session.status(ops.putfh(handle), ops.lockt(offset, length)) == nfs4.NFS4ERR_INVAL
    assert mine.unlock(offset, length) == nfs4.NFS4ERR_INVAL


def test_lock_just_below_the_end(mine: Locker, theirs: Locker) -> None:
    """offset + length may be 2^64 - 1, the largest number that there is."""
    assert mine.lock(1, END - 2) == nfs4.NFS4_OK
    assert theirs.ask(END - 2, 1) == (1, END - 2, W)


@pytest.mark.parametrize(("offset", "length"), [(END - 1, 1), (1 << 63, 1 << 63)])
def test_lock_up_to_the_end(mine: Locker, offset: int, length: int) -> None:
    """Only a length of all ones reaches the last byte: offset + length = 2^64 is INVAL (RFC 8881 18.10.3)."""
    assert mine.lock(offset, length) == nfs4.NFS4ERR_INVAL


@pytest.mark.parametrize("offset", [0, 1, 1 << 63, END - 1])
def test_lock_to_eof(mine: Locker, theirs: Locker, offset: int) -> None:
    """A length of all ones means to the end of the file, from any offset, however far the file grows."""
    assert mine.lock(offset, TO_EOF) == nfs4.NFS4_OK
    assert theirs.ask(END - 1, TO_EOF) == (offset, TO_EOF, W)
    assert mine.unlock(offset, TO_EOF) == nfs4.NFS4_OK
    assert theirs.ask() is None


# -- opens and locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "kind", "status"), [
    (ops.READ, W, nfs4.NFS4ERR_OPENMODE), (ops.WRITE, R, nfs4.NFS4ERR_OPENMODE), (ops.READ, R, nfs4.NFS4_OK),
    (ops.WRITE, W, nfs4.NFS4_OK), (ops.READ, nfs4.WRITEW_LT, nfs4.NFS4ERR_OPENMODE),
])  # fmt: skip
def test_lock_openmode(session: Session, name: bytes, share: int, kind: int, status: int) -> None:
    """A write lock needs an open for writing, a read lock one for reading."""
    opened = session.create(name, share=share)
    assert Locker(session, opened, b"locker").lock(0, 1, kind) == status


def test_lockt_needs_no_open(mine: Locker, other: Session) -> None:
    """LOCKT asks without an open, and takes nothing."""
    mine.lock(0, 10)
    handle = mine.opened.handle
    assert other.status(ops.putfh(handle), ops.lockt(10, 10)) == nfs4.NFS4_OK
    assert other.status(ops.putfh(handle), ops.lockt(5, 10)) == nfs4.NFS4ERR_DENIED
    assert mine.lock(10, 10) == nfs4.NFS4_OK


def test_lockt_own_lock(mine: Locker) -> None:
    """LOCKT does not report the asker's own locks."""
    mine.lock(0, 10)
    assert mine.ask(0, 10) is None


def test_lock_stateid_moves_on(mine: Locker) -> None:
    """Each LOCK and LOCKU of an owner moves one stateid on by one."""
    mine.lock(0, 10)
    first = mine.stateid
    mine.lock(20, 10)
    mine.unlock(0, 10)
    assert first is not None and mine.stateid is not None
    assert (first.seqid, mine.stateid.seqid) == (1, 3) and mine.stateid.other == first.other


def test_lock_does_not_move_the_open(mine: Locker) -> None:
    """LOCK leaves the open's stateid as it is, and READ and WRITE take the lock's."""
    mine.lock(0, 10)
    handle = mine.opened.handle
    assert mine.stateid is not None
    for stateid in (mine.opened.stateid, mine.stateid):
        mine.session.ok(ops.putfh(handle), ops.write(stateid, b"data"), ops.read(stateid))


def test_locks_are_advisory(mine: Locker, theirs: Locker) -> None:
    """A lock stops nobody's READ or WRITE."""
    mine.lock()
    theirs.session.ok(
        ops.putfh(mine.opened.handle), ops.write(theirs.opened.stateid, b"data"), ops.read(theirs.opened.stateid)
    )


def test_close_with_locks(mine: Locker, theirs: Locker) -> None:
    """CLOSE frees the locks that were made with the open, and their stateid."""
    mine.lock(0, 10)
    assert theirs.lock(0, 10) == nfs4.NFS4ERR_DENIED
    mine.session.ok(ops.putfh(mine.opened.handle), ops.close(mine.opened.stateid))
    assert theirs.lock(0, 10) == nfs4.NFS4_OK
    assert mine.unlock(0, 10) == nfs4.NFS4ERR_BAD_STATEID


def test_close_leaves_other_owners_locks(mine: Locker, theirs: Locker, name: bytes) -> None:
    """CLOSE of one open owner leaves the locks under another owner's open."""
    second = Locker(mine.session, mine.session.open(name, owner=b"second"), b"second")
    assert mine.lock(0, 10) == second.lock(10, 10) == nfs4.NFS4_OK
    mine.session.ok(ops.putfh(mine.opened.handle), ops.close(mine.opened.stateid))
    assert theirs.ask() == (10, 10, W)


def test_close_leaves_locks_made_with_another_open(mine: Locker, theirs: Locker, name: bytes) -> None:
    """CLOSE of one open leaves the lock that the same lock owner took with another open that is still there."""
    second = Locker(mine.session, mine.session.open(name, owner=b"second"), mine.owner)
    assert mine.lock(0, 10) == second.lock(20, 10) == nfs4.NFS4_OK
    mine.session.ok(ops.putfh(mine.opened.handle), ops.close(mine.opened.stateid))
    assert theirs.ask(20, 10) == (20, 10, W)


def test_locku_everything_leaves_stateid(mine: Locker, theirs: Locker) -> None:
    """After the last LOCKU the stateid can lock again."""
    mine.lock()
    mine.unlock()
    assert theirs.ask() is None
    assert mine.lock(5, 5) == nfs4.NFS4_OK


def test_lock_reclaim(mine: Locker) -> None:
    """There is nothing to reclaim: NO_GRACE."""
    locking = ops.lock_new(mine.opened.stateid, reclaim=True)
    assert mine.session.status(ops.putfh(mine.opened.handle), locking) == nfs4.NFS4ERR_NO_GRACE


def test_lock_other_file_of_the_owner(mine: Locker) -> None:
    """One lock owner has a stateid a file."""
    second = Locker(mine.session, mine.session.create(unique(b"file")), b"mine")
    assert mine.lock() == second.lock() == nfs4.NFS4_OK
    assert mine.stateid is not None and second.stateid is not None
    assert mine.stateid.other != second.stateid.other


def test_lock_no_regular_file(mine: Locker) -> None:
    """A directory cannot be locked."""
    session = mine.session
    for asking in (ops.lockt(), ops.lock_new(mine.opened.stateid)):
        assert session.status(ops.putfh(session.directory), asking) == nfs4.NFS4ERR_ISDIR
