"""kill -9 and a new process on the same state directory: what a client finds again (RFC 8881 2.10.6, 9.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from tests.support import operations as ops
from tests.support.client import (
    Client40,
    Connection,
    Opened,
    Owner40,
    Reply,
    Session,
    begin_session,
    identify,
    mount,
    unique,
)
from tests.wire.conftest import Connect, MakeServer, needs_root
from tests.wire.server import ServerProcess
from tests.wire.test_v40_owners import Locker40
from xdr.generated import nfs4


@pytest.fixture(scope="module")
def mortal_server(make_server: MakeServer) -> ServerProcess:
    """A server that is killed by every test of this file."""
    return make_server()


@pytest.fixture
def mortal(mortal_server: ServerProcess) -> Iterator[ServerProcess]:
    """The server that is killed; it must have loaded every record again when the test is over."""
    yield mortal_server
    assert mortal_server.alive()
    assert not mortal_server.faults()


class Survivor:
    """A client of NFSv4.1 that connects again after the server has been killed."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.server = server
        self.connect = connect
        self.session = mount(connect(server))

    def kill(self) -> None:
        """kill -9, restart, and a new connection for the session."""
        self.server.restart()
        self.session.connection = self.connect(self.server)


@pytest.fixture
def survivor(mortal: ServerProcess, connect: Connect) -> Survivor:
    """A client with a session."""
    return Survivor(mortal, connect)


def again(connection: Connection, message: bytes) -> Reply:
    """The reply to a request sent again with a fresh xid."""
    return Reply(connection.rpc(struct.pack(">I", connection.next_xid()) + message[4:]))


# -- clients and sessions -----------------------------------------------------------------------------------


def test_restart_clientid(mortal: ServerProcess, connect: Connect) -> None:
    """The clientid, its confirmation and its sequence of sessions survive."""
    owner = unique(b"owner")
    session = mount(connect(mortal), owner=owner)
    mortal.restart()
    connection = connect(mortal)
    found = identify(connection, owner)
    assert found.eir_clientid == session.clientid and found.eir_flags & nfs4.EXCHGID4_FLAG_CONFIRMED_R
    assert found.eir_sequenceid == session.create_sequence + 1
    assert begin_session(connection, found.eir_clientid, found.eir_sequenceid).status() == nfs4.NFS4_OK


def test_restart_server_is_the_same(mortal: ServerProcess, connect: Connect) -> None:
    """Server owner and scope survive; a new clientid has never been seen before."""
    before = identify(connect(mortal), unique(b"owner"))
    mortal.restart()
    after = identify(connect(mortal), unique(b"owner"))
    assert after.eir_server_owner == before.eir_server_owner
    assert after.eir_server_scope == before.eir_server_scope
    assert after.eir_clientid != before.eir_clientid


def test_restart_create_session_replay(mortal: ServerProcess, connect: Connect) -> None:
    """The last CREATE_SESSION is replayed with the same bytes."""
    connection = connect(mortal)
    found = identify(connection, unique(b"owner"))
    creating = ops.create_session(found.eir_clientid, found.eir_sequenceid)
    first = connection.call(creating)
    mortal.restart()
    assert connect(mortal).call(creating).body == first.body


def test_restart_unconfirmed_client(mortal: ServerProcess, connect: Connect) -> None:
    """An unconfirmed client is not kept."""
    found = identify(connect(mortal), unique(b"owner"))
    mortal.restart()
    status = connect(mortal).status(ops.create_session(found.eir_clientid, found.eir_sequenceid))
    assert status == nfs4.NFS4ERR_STALE_CLIENTID


def test_restart_session_goes_on(survivor: Survivor, name: bytes) -> None:
    """The session's slots go on where they were, and RECLAIM_COMPLETE has been said."""
    session = survivor.session
    for slot in range(4):
        session.ok(ops.putrootfh(), slot=slot)
    fore = session.fore
    survivor.kill()
    for slot in range(8):
        session.ok(ops.putfh(session.directory), ops.getattr_(), slot=slot)
    assert session.status(ops.reclaim_complete()) == nfs4.NFS4ERR_COMPLETE_ALREADY
    session.create(name)
    assert session.fore == fore


def test_restart_destroyed_session(survivor: Survivor) -> None:
    """A destroyed session stays destroyed, a destroyed client too."""
    session = survivor.session
    session.connection.call(ops.destroy_session(session.sessionid))
    gone = identify(session.connection, unique(b"owner"))
    second = begin_session(session.connection, gone.eir_clientid, gone.eir_sequenceid)
    second.connection.call(ops.destroy_session(second.sessionid))
    assert second.connection.status(ops.destroy_clientid(second.clientid)) == nfs4.NFS4_OK
    survivor.kill()
    assert session.status() == nfs4.NFS4ERR_BADSESSION
    status = session.connection.status(ops.create_session(second.clientid, second.create_sequence + 1))
    assert status == nfs4.NFS4ERR_STALE_CLIENTID


@pytest.mark.parametrize("cache", [True, False])
def test_restart_slot_replay(survivor: Survivor, name: bytes, cache: bool) -> None:
    """A retry of the slot's last changing request is answered with the same bytes, and done once."""
    session = survivor.session
    message = session.message(ops.putfh(session.directory), ops.mkdir(name), ops.getfh(), cache=cache)
    first = again(session.connection, message)
    assert first.status == nfs4.NFS4_OK
    for _ in range(2):
        survivor.kill()
        assert again(session.connection, message).body == first.body
    session.seqids[0] += 1
    assert session.status(ops.putfh(session.directory), ops.mkdir(name)) == nfs4.NFS4ERR_EXIST


@pytest.mark.parametrize("operation", ["OPEN", "CLOSE", "LOCK", "LOCKU", "REMOVE", "RENAME", "SETATTR", "LINK"])
def test_restart_operation_replay(survivor: Survivor, name: bytes, operation: str) -> None:
    """Every changing operation is answered from the slot after the kill, with the same bytes."""
    session = survivor.session
    opened = session.create(name)
    lock = session.lock(opened)
    put, root = ops.putfh(opened.handle), ops.putfh(session.directory)
    compounds = {
        "OPEN": [root, ops.open_(unique(b"file"), how=ops.guarded()), ops.getfh()],
        "CLOSE": [put, ops.close(opened.stateid)],
        "LOCK": [put, ops.lock_more(lock, 50, 10)],
        "LOCKU": [put, ops.locku(lock, 0, 10)],
        "REMOVE": [root, ops.remove(name)],
        "RENAME": [root, ops.savefh(), root, ops.Op(nfs4.OP_RENAME, nfs4.RENAME4args(name, unique(b"moved")))],
        "SETATTR": [put, ops.setattr_(opened.stateid, ops.attrs(size=10))],
        "LINK": [put, ops.savefh(), root, ops.Op(nfs4.OP_LINK, nfs4.LINK4args(unique(b"link")))],
    }
    message = session.message(*compounds[operation])
    first = again(session.connection, message)
    assert first.status == nfs4.NFS4_OK
    survivor.kill()
    assert again(session.connection, message).body == first.body


def test_restart_slot_misordered(survivor: Survivor, name: bytes) -> None:
    """A sequence id below the stored one stays misordered."""
    session = survivor.session
    for number in range(3):
        session.ok(ops.putfh(session.directory), ops.mkdir(name + b"%d" % number))
    survivor.kill()
    reply = session.call(seqid=session.seqids[0] - 1)
    assert reply.status == nfs4.NFS4ERR_SEQ_MISORDERED
    assert session.status() == nfs4.NFS4_OK


# -- opens and locks ----------------------------------------------------------------------------------------


def test_restart_open_stateid(survivor: Survivor, name: bytes) -> None:
    """An open's stateid reads and writes, is upgraded and closed, as if nothing had happened."""
    session = survivor.session
    opened = session.create(name)
    session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, b"before"))
    survivor.kill()
    data = session.ok(ops.putfh(opened.handle), ops.read(opened.stateid))[-1].resok4.data
    assert data == b"before"
    session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, b"after"))
    wider = session.open(name)
    assert wider.stateid == nfs4.stateid4(opened.stateid.seqid + 1, opened.stateid.other)
    session.ok(ops.putfh(opened.handle), ops.close(wider.stateid))
    survivor.kill()
    assert session.status(ops.putfh(opened.handle), ops.read(wider.stateid)) == nfs4.NFS4ERR_BAD_STATEID


def test_restart_stateids_are_new(survivor: Survivor) -> None:
    """A stateid that is given after the kill is none that was given before it."""
    session = survivor.session
    before = {session.create(unique(b"file")).stateid.other for _ in range(5)}
    name = unique(b"file")
    closed = session.create(name)
    session.ok(ops.putfh(closed.handle), ops.close(closed.stateid))
    survivor.kill()
    after = {session.create(unique(b"file")).stateid.other for _ in range(5)} | {session.open(name).stateid.other}
    assert not after & (before | {closed.stateid.other})


def test_restart_openmode(survivor: Survivor, name: bytes) -> None:
    """The access of an open survives: what was for reading is not for writing."""
    session = survivor.session
    opened = session.create(name, share=ops.READ)
    survivor.kill()
    status = session.status(ops.putfh(opened.handle), ops.write(opened.stateid, b"x"))
    assert status == nfs4.NFS4ERR_OPENMODE


@needs_root
def test_restart_io_after_chmod(mortal: ServerProcess, connect: Connect, name: bytes) -> None:
    """Who had opened a file before its mode changed goes on reading and writing it, as before the kill."""
    path = mortal.export / name.decode()
    path.write_bytes(b"data")
    path.chmod(0o666)
    session = mount(connect(mortal, uid=1000, gid=1000))
    opened = session.open(name)
    path.chmod(0o600)
    using = [ops.putfh(opened.handle), ops.write(opened.stateid, b"x"), ops.read(opened.stateid)]
    assert session.status(*using) == nfs4.NFS4_OK
    mortal.restart()
    session.connection = connect(mortal, uid=1000, gid=1000)
    assert session.status(*using) == nfs4.NFS4_OK


def test_restart_share_denied(survivor: Survivor, name: bytes) -> None:
    """A denial holds against others before its owner has returned, and after."""
    session = survivor.session
    session.open(name, ops.READ, nfs4.OPEN4_SHARE_DENY_WRITE, how=ops.unchecked())
    survivor.kill()
    rival = mount(survivor.connect(survivor.server))
    refusals = (nfs4.NFS4ERR_SHARE_DENIED, nfs4.NFS4ERR_DELAY)
    assert rival.open_status(name, ops.WRITE) in refusals
    assert session.status() == nfs4.NFS4_OK
    assert rival.open_status(name, ops.WRITE) == nfs4.NFS4ERR_SHARE_DENIED


def test_restart_lock_denied(survivor: Survivor, name: bytes) -> None:
    """A lock holds against others, who are told the same owner; its holder unlocks it with the old stateid."""
    session = survivor.session
    opened = session.create(name)
    lock = session.lock(opened, 10, 20)
    asking = [ops.putfh(opened.handle), ops.lockt(0, 100)]
    before = mount(survivor.connect(survivor.server)).call(*asking)
    survivor.kill()
    rival = mount(survivor.connect(survivor.server))
    reply = rival.call(*asking)
    assert reply.status == before.status == nfs4.NFS4ERR_DENIED
    denied = reply.results[-1].denied
    assert (denied.offset, denied.length, denied.owner.owner) == (10, 20, b"locker")
    assert denied == before.results[-1].denied
    result = session.ok(ops.putfh(opened.handle), ops.locku(lock, 10, 20))[-1]
    assert result.lock_stateid == nfs4.stateid4(lock.seqid + 1, lock.other)
    assert rival.status(ops.putfh(opened.handle), ops.lockt(0, 100)) == nfs4.NFS4_OK


def test_restart_lock_to_eof(survivor: Survivor, name: bytes) -> None:
    """A lock to the end of the file is still one, and several ranges are still several."""
    session = survivor.session
    opened = session.create(name)
    lock = session.lock(opened, 100)
    lock = session.ok(ops.putfh(opened.handle), ops.lock_more(lock, 0, 10, nfs4.READ_LT))[-1].resok4.lock_stateid
    survivor.kill()
    rival = mount(survivor.connect(survivor.server))
    for asked, expected in ((0, (0, 10, nfs4.READ_LT)), (1 << 62, (100, ops.TO_EOF, nfs4.WRITE_LT))):
        denied = rival.call(ops.putfh(opened.handle), ops.lockt(asked, 1)).results[-1].denied
        assert (denied.offset, denied.length, denied.locktype) == expected
    assert rival.status(ops.putfh(opened.handle), ops.lockt(10, 90)) == nfs4.NFS4_OK


def test_restart_open_then_removed(survivor: Survivor, name: bytes) -> None:
    """A file that is removed after the kill, before its holder has touched it, is read until it is closed."""
    session = survivor.session
    opened = session.create(name)
    session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, b"data"))
    survivor.kill()
    rival = mount(survivor.connect(survivor.server))
    rival.ok(ops.putfh(rival.directory), ops.remove(name))
    assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK


def test_restart_write_verifier(survivor: Survivor, name: bytes) -> None:
    """The write verifier stays: the kernel still has what was written (RFC 8881 18.32.4)."""
    session = survivor.session
    opened = session.create(name)
    writing = [ops.putfh(opened.handle), ops.write(opened.stateid, b"data")]
    before = session.ok(*writing)[-1].resok4.writeverf
    survivor.kill()
    assert session.ok(*writing)[-1].resok4.writeverf == before


def test_restart_exclusive_create(survivor: Survivor, name: bytes) -> None:
    """The retry of an exclusive create in another session finds the file that it made."""
    session = survivor.session
    made = session.open(name, how=ops.exclusive(b"verify01"))
    survivor.kill()
    assert session.open(name, how=ops.exclusive(b"verify01")).handle == made.handle
    assert session.open_status(name, how=ops.exclusive(b"verify02")) == nfs4.NFS4ERR_EXIST


# -- NFSv4.0 ------------------------------------------------------------------------------------------------


class Survivor40:
    """A client of NFSv4.0, one open owner and one lock owner with a lock on one file."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.server = server
        self.connect = connect
        self.client = Client40(connect(server))
        self.owner = Owner40(self.client)
        self.opened: Opened = self.owner.create(unique(b"file"))

    def kill(self) -> None:
        """kill -9, restart, and a new connection."""
        self.server.restart()
        self.client.connection = self.connect(self.server)

    def locker(self) -> Locker40:
        """A lock owner with a lock."""
        locker = Locker40(self.owner, self.opened)
        locker.lock()
        return locker

    def replayed_over_kill(self, *operations: ops.Op) -> int:
        """Send a request, kill the server, send it again: the same bytes; the status."""
        first = self.client.call(*operations)
        self.kill()
        assert self.client.call(*operations).body == first.body
        return first.status


@pytest.fixture
def survivor40(mortal: ServerProcess, connect: Connect) -> Survivor40:
    """A client of NFSv4.0."""
    return Survivor40(mortal, connect)


def test_restart_v40_client(survivor40: Survivor40) -> None:
    """The clientid is renewed, the open's stateid reads, the owner goes on and need not confirm."""
    survivor40.kill()
    client, opened = survivor40.client, survivor40.opened
    assert client.status(ops.renew(client.clientid)) == nfs4.NFS4_OK
    assert client.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK
    result = client.ok(*survivor40.owner.opening(unique(b"file"), how=ops.unchecked()))[1]
    assert not result.resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM


def test_restart_v40_bad_seqid(survivor40: Survivor40) -> None:
    """The owner's sequence id goes on: what was out of order still is."""
    survivor40.kill()
    owner = survivor40.owner
    wrong = owner.opening(unique(b"file"), how=ops.unchecked(), seqid=owner.seqid + 2)
    assert owner.client.status(*wrong) == nfs4.NFS4ERR_BAD_SEQID
    closing = ops.close(survivor40.opened.stateid, owner.next())
    assert owner.client.status(ops.putfh(survivor40.opened.handle), closing) == nfs4.NFS4_OK


def test_restart_v40_open_replay(survivor40: Survivor40) -> None:
    """The owner's last OPEN is replayed with the same bytes, its file handle too."""
    creating = survivor40.owner.opening(unique(b"file"), how=ops.guarded())
    assert survivor40.replayed_over_kill(*creating) == nfs4.NFS4_OK


def test_restart_v40_open_replay_unconfirmed(survivor40: Survivor40) -> None:
    """A new owner's first OPEN is replayed, and confirmed after the kill."""
    owner = Owner40(survivor40.client)
    creating = owner.opening(unique(b"file"), how=ops.guarded())
    assert survivor40.replayed_over_kill(*creating) == nfs4.NFS4_OK
    _put, result, handle = survivor40.client.ok(*creating)
    confirm = ops.open_confirm(result.resok4.stateid, owner.next())
    assert survivor40.client.status(ops.putfh(handle.resok4.object), confirm) == nfs4.NFS4_OK


def test_restart_v40_close_replay(survivor40: Survivor40) -> None:
    """The owner's last CLOSE is replayed with the same bytes."""
    opened = survivor40.opened
    closing = [ops.putfh(opened.handle), ops.close(opened.stateid, survivor40.owner.next())]
    assert survivor40.replayed_over_kill(*closing) == nfs4.NFS4_OK


def test_restart_v40_first_lock_replay(survivor40: Survivor40) -> None:
    """A lock owner's first LOCK is replayed with the same bytes."""
    locker = Locker40(survivor40.owner, survivor40.opened)
    assert survivor40.replayed_over_kill(*locker.first()) == nfs4.NFS4_OK


def test_restart_v40_lock_replay(survivor40: Survivor40) -> None:
    """A lock owner's further LOCK and its LOCKU are replayed with the same bytes."""
    locker = survivor40.locker()
    assert survivor40.replayed_over_kill(*locker.more(50, 10)) == nfs4.NFS4_OK
    assert locker.stateid is not None
    locker.stateid = ops.with_seqid(locker.stateid, 2)
    assert survivor40.replayed_over_kill(*locker.unlocking(0, 5)) == nfs4.NFS4_OK


def test_restart_v40_lock_seqid_of_first_lock(survivor40: Survivor40) -> None:
    """The sequence id that a lock owner gave with its first LOCK survives: the next one follows it."""
    locker = survivor40.locker()
    survivor40.kill()
    locker.seqid += 5
    assert locker.client.status(*locker.more(50, 10)) == nfs4.NFS4ERR_BAD_SEQID
    locker.seqid = 0
    assert survivor40.replayed_over_kill(*locker.more(50, 10)) == nfs4.NFS4_OK


def test_restart_v40_lock_denied(survivor40: Survivor40) -> None:
    """The lock still denies others, NFSv4.1's clients too."""
    locker = survivor40.locker()
    survivor40.kill()
    rival: Session = mount(survivor40.connect(survivor40.server))
    reply = rival.call(ops.putfh(survivor40.opened.handle), ops.lockt(5, 1))
    assert reply.status == nfs4.NFS4ERR_DENIED
    assert reply.results[-1].denied.owner.owner == locker.name


def test_restart_v40_release_lockowner(survivor40: Survivor40) -> None:
    """RELEASE_LOCKOWNER still knows that locks are held, and a released owner stays released."""
    locker = survivor40.locker()
    release = ops.release_lockowner(survivor40.client.clientid, locker.name)
    survivor40.kill()
    assert survivor40.client.status(release) == nfs4.NFS4ERR_LOCKS_HELD
    survivor40.client.ok(*locker.unlocking(0, 10))
    assert survivor40.client.status(release) == nfs4.NFS4_OK
    survivor40.kill()
    locker.seqid = 70
    locker.lock()
