"""A start with `--recovery reclaim`: what may be claimed again, and by whom (RFC 8881 8.4.2, RFC 7530 9.6.2)."""

from __future__ import annotations

import time

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Opened, Owner40, Reply, Session, begin_session, identify, mount, unique
from tests.support.rpc import auth_sys
from tests.wire.conftest import Connect, MakeServer, needs_root
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

BLACKOUT_S = 60
SHORT_BLACKOUT_S = 1
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def reclaiming(make_server: MakeServer) -> ServerProcess:
    """A server that lets its clients claim their state again, and waits for them for longer than any test takes."""
    return make_server(settings={"recovery": "reclaim", "blackout_s": BLACKOUT_S})


@pytest.fixture(scope="module")
def hasty(make_server: MakeServer) -> ServerProcess:
    """A server that lets its clients claim their state again, with a blackout of a second."""
    return make_server(settings={"recovery": "reclaim", "blackout_s": SHORT_BLACKOUT_S})


class Claimer:
    """A client of NFSv4.1 with an open and a lock, before and after the server's death."""

    def __init__(self, server: ServerProcess, connect: Connect, share: int = ops.BOTH) -> None:
        self.server = server
        self.connect = connect
        self.owner = unique(b"claimer")
        self.session = mount(connect(server), owner=self.owner)
        self.name = unique(b"claimed")
        self.opened: Opened = self.session.create(self.name, share=share)
        self.lock = self.session.lock(self.opened, 100, 50)

    def come_back(self) -> None:
        """kill -9 and a new server; the client finds out and makes a new clientid and session."""
        before = self.session
        self.server.restart()
        self.session = self.again(before)

    def again(self, before: Session) -> Session:
        """What a client does that finds its session gone."""
        connection = self.connect(self.server)
        before.connection = connection
        assert before.call(ops.putrootfh()).status == nfs4.NFS4ERR_BADSESSION
        found = identify(connection, self.owner)
        assert found.eir_clientid != before.clientid
        session = begin_session(connection, found.eir_clientid, found.eir_sequenceid)
        session.directory = before.directory
        return session

    def claim(self, share: int = ops.BOTH, deny: int = ops.DENY_NONE, owner: bytes = b"owner") -> Reply:
        """OPEN with CLAIM_PREVIOUS."""
        return self.session.call(ops.putfh(self.opened.handle), claim_previous(share, deny, owner=owner))


def claim_previous(
    share: int, deny: int = ops.DENY_NONE, *, owner: bytes = b"owner", clientid: int = 0, seqid: int = 0
) -> ops.Op:
    """OPEN of the current file handle with CLAIM_PREVIOUS."""
    claim = nfs4.open_claim4(nfs4.CLAIM_PREVIOUS, delegate_type=nfs4.OPEN_DELEGATE_NONE)
    how = nfs4.openflag4(nfs4.OPEN4_NOCREATE)
    return ops.Op(nfs4.OP_OPEN, nfs4.OPEN4args(seqid, share, deny, nfs4.state_owner4(clientid, owner), how, claim))


@pytest.fixture
def claimer(reclaiming: ServerProcess, connect: Connect) -> Claimer:
    """A client that has come back."""
    claimer = Claimer(reclaiming, connect)
    claimer.come_back()
    return claimer


def test_reclaim_open_and_lock(claimer: Claimer) -> None:
    """What was held is granted again, with stateids that begin at seqid 1, and is the client's own afterwards."""
    result = claimer.claim()
    assert result.status == nfs4.NFS4_OK
    stateid = result.results[-1].resok4.stateid
    assert stateid.seqid == 1
    assert stateid.other != claimer.opened.stateid.other
    locked = claimer.session.call(
        ops.putfh(claimer.opened.handle), ops.lock_new(stateid, 100, 50, owner=b"locker", reclaim=True)
    )
    assert locked.status == nfs4.NFS4_OK
    assert claimer.session.status(ops.reclaim_complete()) == nfs4.NFS4_OK
    assert claimer.session.status(ops.putfh(claimer.opened.handle), ops.write(stateid, b"mine")) == nfs4.NFS4_OK
    other = mount(claimer.connect(claimer.server))
    assert other.status(ops.putfh(claimer.opened.handle), ops.lockt(120, 1)) == nfs4.NFS4ERR_DENIED
    assert other.status(ops.putfh(claimer.opened.handle), ops.lockt(150, 10)) == nfs4.NFS4_OK


def test_reclaim_part_of_a_lock(claimer: Claimer) -> None:
    """A part of a range that was held may be claimed, and as a shared lock."""
    stateid = claimer.claim().results[-1].resok4.stateid
    lock = ops.lock_new(stateid, 110, 5, nfs4.READ_LT, owner=b"locker", reclaim=True)
    assert claimer.session.status(ops.putfh(claimer.opened.handle), lock) == nfs4.NFS4_OK


@pytest.mark.parametrize(("offset", "length"), [(99, 50), (100, 51), (0, 10), (100, ops.TO_EOF)])
def test_reclaim_lock_never_held(claimer: Claimer, offset: int, length: int) -> None:
    """A range that goes beyond the record's is refused."""
    stateid = claimer.claim().results[-1].resok4.stateid
    lock = ops.lock_new(stateid, offset, length, owner=b"locker", reclaim=True)
    assert claimer.session.status(ops.putfh(claimer.opened.handle), lock) == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_lock_of_another_owner(claimer: Claimer) -> None:
    """The range was another lock owner's."""
    stateid = claimer.claim().results[-1].resok4.stateid
    lock = ops.lock_new(stateid, 100, 50, owner=b"somebody else", reclaim=True)
    assert claimer.session.status(ops.putfh(claimer.opened.handle), lock) == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_more_than_was_open(reclaiming: ServerProcess, connect: Connect) -> None:
    """Neither more access nor a denial that the open did not have is granted."""
    claimer = Claimer(reclaiming, connect, share=ops.WRITE)
    claimer.come_back()
    assert claimer.claim(ops.BOTH).status == nfs4.NFS4ERR_RECLAIM_BAD
    assert claimer.claim(ops.WRITE, nfs4.OPEN4_SHARE_DENY_READ).status == nfs4.NFS4ERR_RECLAIM_BAD
    assert claimer.claim(ops.WRITE, owner=b"never seen").status == nfs4.NFS4ERR_RECLAIM_BAD
    assert claimer.claim(ops.WRITE).status == nfs4.NFS4_OK


def test_reclaim_by_another_client(claimer: Claimer) -> None:
    """A client cannot claim what was another's."""
    connection = claimer.connect(claimer.server)
    found = identify(connection, unique(b"thief"))
    thief = begin_session(connection, found.eir_clientid, found.eir_sequenceid)
    status = thief.status(ops.putfh(claimer.opened.handle), claim_previous(ops.BOTH))
    assert status == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_after_complete(claimer: Claimer) -> None:
    """After RECLAIM_COMPLETE nothing can be claimed any more, and what was not claimed is anybody's."""
    assert claimer.session.status(ops.reclaim_complete()) == nfs4.NFS4_OK
    assert claimer.claim().status == nfs4.NFS4ERR_NO_GRACE
    other = mount(claimer.connect(claimer.server))
    assert other.open_status(claimer.name, deny=nfs4.OPEN4_SHARE_DENY_BOTH) == nfs4.NFS4_OK


def test_reclaim_twice_over_a_second_death(claimer: Claimer) -> None:
    """A server that dies while its clients claim loses none of their claims."""
    assert claimer.claim().status == nfs4.NFS4_OK
    claimer.come_back()
    assert claimer.claim().status == nfs4.NFS4_OK


def test_blackout_of_claimed_file_only(claimer: Claimer) -> None:
    """In the first second a file with records is closed to others, and every other file is open to them."""
    other = mount(claimer.connect(claimer.server))
    assert other.open_status(claimer.name) == nfs4.NFS4ERR_GRACE
    assert other.status(ops.putfh(other.directory), ops.remove(claimer.name)) == nfs4.NFS4ERR_GRACE
    reading = ops.read(ops.ANONYMOUS)
    assert other.status(ops.putfh(claimer.opened.handle), reading) == nfs4.NFS4ERR_GRACE
    other.create(unique(b"unclaimed"))


def test_blackout_ends_with_the_last_claim(claimer: Claimer) -> None:
    """RECLAIM_COMPLETE of the holder ends its files' blackout at once."""
    assert claimer.claim().status == nfs4.NFS4_OK
    other = mount(claimer.connect(claimer.server))
    assert other.open_status(claimer.name) == nfs4.NFS4ERR_GRACE
    assert claimer.session.status(ops.reclaim_complete()) == nfs4.NFS4_OK
    assert other.open_status(claimer.name) == nfs4.NFS4_OK


def test_blackout_ends_in_time(hasty: ServerProcess, connect: Connect) -> None:
    """When the blackout ends the file is free, and a holder who comes later has lost it."""
    claimer = Claimer(hasty, connect)
    claimer.come_back()
    other = mount(connect(hasty))
    deadline = time.monotonic() + DEADLINE_S
    while (status := other.open_status(claimer.name)) == nfs4.NFS4ERR_GRACE:
        assert time.monotonic() < deadline
    assert status == nfs4.NFS4_OK
    assert claimer.claim().status == nfs4.NFS4ERR_NO_GRACE


def test_reclaim_v40(reclaiming: ServerProcess, connect: Connect) -> None:
    """A client of NFSv4.0 claims its open again under a new clientid."""
    owner = unique(b"claimer40")
    client = Client40(connect(reclaiming), owner)
    opener = Owner40(client)
    opened = opener.create(unique(b"claimed40"))
    reclaiming.restart()
    again = Client40(connect(reclaiming), owner)
    assert again.clientid != client.clientid
    claim = claim_previous(ops.BOTH, owner=opener.name, clientid=again.clientid, seqid=1)
    result = again.call(ops.putfh(opened.handle), claim)
    assert result.status == nfs4.NFS4_OK
    # A claim needs no OPEN_CONFIRM (RFC 7530 9.1.11), and one that is met in full closes the file to nobody.
    assert not result.results[-1].resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM
    other = mount(connect(reclaiming))
    assert other.status(ops.putfh(opened.handle), ops.lockt(0, 1)) == nfs4.NFS4_OK
    stranger = Client40(connect(reclaiming))
    claim = claim_previous(ops.BOTH, owner=opener.name, clientid=stranger.clientid, seqid=1)
    assert stranger.call(ops.putfh(opened.handle), claim).status == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_old_stateid_v40(reclaiming: ServerProcess, connect: Connect) -> None:
    """A stateid of before is stale for NFSv4.0, so that its client claims what it had (RFC 7530 9.1.4.2)."""
    client = Client40(connect(reclaiming))
    opened = Owner40(client).create(unique(b"stale40"))
    reclaiming.restart()
    client.connection = connect(reclaiming)
    assert client.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4ERR_STALE_STATEID


def test_reclaim_close_drops_unclaimed_locks(reclaiming: ServerProcess, connect: Connect) -> None:
    """Closing a claimed open ends what was not claimed under it: nothing is left for the next start."""
    claimer = Claimer(reclaiming, connect)
    claimer.come_back()
    stateid = claimer.claim().results[-1].resok4.stateid
    assert claimer.session.status(ops.putfh(claimer.opened.handle), ops.close(stateid)) == nfs4.NFS4_OK
    other = mount(connect(reclaiming))
    assert other.open_status(claimer.name) == nfs4.NFS4_OK
    reclaiming.restart()
    assert not reclaiming.faults()


@needs_root
def test_reclaim_by_another_user(reclaiming: ServerProcess, connect: Connect) -> None:
    """Who claims an open of before gets what it was granted himself; the file's permissions decide on the rest."""
    claimer = Claimer(reclaiming, connect)
    path = reclaiming.export / claimer.name.decode()
    path.chmod(0o666)
    claimer.session.connection.credential = auth_sys(1000, 1000, ())
    opened = claimer.session.open(claimer.name, ops.WRITE, owner=b"shared")
    path.chmod(0o600)
    claimer.come_back()
    for uid, writing in ((2000, nfs4.NFS4ERR_ACCESS), (1000, nfs4.NFS4_OK), (2000, nfs4.NFS4ERR_ACCESS)):
        claimer.session.connection.credential = auth_sys(uid, uid, ())
        claimed = claimer.claim(ops.WRITE, owner=b"shared")
        assert claimed.status == nfs4.NFS4_OK
        stateid = claimed.results[-1].resok4.stateid
        assert claimer.session.status(ops.putfh(opened.handle), ops.write(stateid, b"mine")) == writing
