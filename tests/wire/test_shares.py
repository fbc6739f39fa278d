"""The share reservations: every pair of access and denial, against a model of four lines (RFC 8881 9.7)."""

from __future__ import annotations

import itertools

import pytest

from tests.support import operations as ops
from tests.support.client import Session
from xdr.generated import nfs4

MODES = list(itertools.product((1, 2, 3), (0, 1, 2, 3)))
PAIRS = {f"access{share}-deny{deny}": (share, deny) for share, deny in MODES}


def compatible(one: tuple[int, int], two: tuple[int, int]) -> bool:
    """The model: neither's access meets the other's denial."""
    return not (one[0] & two[1] or one[1] & two[0])


@pytest.fixture
def file(session: Session, name: bytes) -> bytes:
    """The name of a file that nobody has open."""
    opened = session.create(name)
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    return name


@pytest.mark.parametrize("first", PAIRS.values(), ids=PAIRS)
def test_open_share_matrix(session: Session, other: Session, file: bytes, first: tuple[int, int]) -> None:
    """A second open is granted exactly if the model says so, to another client and to another owner."""
    session.open(file, *first)
    for number, second in enumerate(MODES):
        expected = nfs4.NFS4_OK if compatible(first, second) else nfs4.NFS4ERR_SHARE_DENIED
        for client, owner in ((other, b"other-%d" % number), (session, b"second-%d" % number)):
            reply = client.call(ops.putfh(client.directory), ops.open_(file, *second, owner=owner), ops.getfh())
            assert reply.status == expected, f"{second} after {first}"
            if reply.status == nfs4.NFS4_OK:
                stateid = reply.results[2].resok4.stateid
                client.ok(ops.putfh(reply.results[3].resok4.object), ops.close(stateid))


@pytest.mark.parametrize("first", PAIRS.values(), ids=PAIRS)
def test_open_share_upgrade_matrix(session: Session, other: Session, file: bytes, first: tuple[int, int]) -> None:
    """An upgrade is granted exactly if the model says so of the other's open and of the owner's own."""
    for second, third in itertools.product(MODES, MODES):
        if not compatible(first, second):
            continue
        mine = session.open(file, *first)
        handle = mine.handle
        theirs = other.open(file, *second).stateid
        granted = compatible(third, first) and compatible(third, second)
        upgrade = session.call(ops.putfh(session.directory), ops.open_(file, *third))
        expected = nfs4.NFS4_OK if granted else nfs4.NFS4ERR_SHARE_DENIED
        assert upgrade.status == expected, f"{third} after {first} beside {second}"
        # What the upgrade gave is denied to others from now on, and what it did not give is not.
        union = (first[0] | third[0], first[1] | third[1]) if granted else first
        other.ok(ops.putfh(handle), ops.close(theirs))
        opening = [ops.putfh(other.directory), ops.open_(file, ops.READ, nfs4.OPEN4_SHARE_DENY_WRITE)]
        again = other.call(*opening)
        assert (again.status == nfs4.NFS4_OK) == compatible((ops.READ, nfs4.OPEN4_SHARE_DENY_WRITE), union)
        if again.status == nfs4.NFS4_OK:
            other.ok(ops.putfh(handle), ops.close(again.results[2].resok4.stateid))
        session.ok(ops.putfh(handle), ops.close(ops.with_seqid(mine.stateid, 0)))


def test_open_share_denied_until_close(session: Session, other: Session, file: bytes) -> None:
    """A denial lasts until CLOSE."""
    opened = session.open(file, ops.READ, nfs4.OPEN4_SHARE_DENY_BOTH)
    assert other.open_status(file, ops.READ) == nfs4.NFS4ERR_SHARE_DENIED
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    assert other.open_status(file, ops.READ) == nfs4.NFS4_OK


@pytest.mark.parametrize(("deny", "reading", "writing"), [
    (nfs4.OPEN4_SHARE_DENY_READ, nfs4.NFS4ERR_LOCKED, nfs4.NFS4_OK),
    (nfs4.OPEN4_SHARE_DENY_WRITE, nfs4.NFS4_OK, nfs4.NFS4ERR_LOCKED),
    (nfs4.OPEN4_SHARE_DENY_BOTH, nfs4.NFS4ERR_LOCKED, nfs4.NFS4ERR_LOCKED),
])  # fmt: skip
def test_anonymous_io_denied(
    session: Session, other: Session, file: bytes, deny: int, reading: int, writing: int
) -> None:
    """I/O without an open meets the denials of those who have one (RFC 8881 8.2.3)."""
    handle = session.open(file, ops.READ, deny).handle
    assert other.status(ops.putfh(handle), ops.read(ops.ANONYMOUS)) == reading
    assert other.status(ops.putfh(handle), ops.write(ops.ANONYMOUS, b"x")) == writing
    assert other.status(ops.putfh(handle), ops.setattr_(ops.ANONYMOUS, ops.attrs(size=1))) == writing
    assert other.status(ops.putfh(handle), ops.read(ops.BYPASS)) == nfs4.NFS4_OK
