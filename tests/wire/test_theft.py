"""Whoever is not a client uses nothing of it: sessions, clientids, stateids, owner strings, replies.

There are four peers on loopback addresses: the client, a neighbour whom the export admits too, a stranger whom it does
not, and one whom it admits from reserved ports alone and who calls from another. After each attempt the client goes on
as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Opened, Owner40, Reply, Session, begin_session, mount, unique
from tests.support.operations import Op
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

HERE, NEIGHBOUR, STRANGER, LOW_PORT = "127.0.0.1", "127.0.0.2", "127.0.0.9", "127.0.0.3"
OUTSIDERS = (STRANGER, LOW_PORT)
OTHERS = (NEIGHBOUR, *OUTSIDERS)
BOOT, OTHER_BOOT = b"verifier", b"boot two"
OPTIONS = "rw,insecure,no_root_squash"


@pytest.fixture(scope="module")
def guarded(make_server: MakeServer) -> ServerProcess:
    """A server whose one export is for some."""
    admitted = [(HERE, OPTIONS), (NEIGHBOUR, OPTIONS), (LOW_PORT, "secure")]
    # Thieves come from few addresses, and each is to be read of.
    limits = {"log_lines_per_address_max": 1_000_000, "log_lines_max": 1_000_000}
    return make_server(exports={"/export": OPTIONS}, clients={"/export": admitted}, limits=limits)


class Victim:
    """A client of NFSv4.1 and one of 4.0, each with a file open and a lock on it."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.connection = connect(server)
        self.owner = unique(b"victim")
        self.session = mount(self.connection, owner=self.owner)
        self.opened = self.session.create(unique(b"file"))
        self.lock = self.session.lock(self.opened, 0, 10)
        self.client40 = Client40(self.connection)
        self.opener = Owner40(self.client40)
        self.opened40 = self.opener.create(unique(b"file40"))

    @property
    def sequence(self) -> int:
        """The csa_sequence of its last CREATE_SESSION."""
        return self.session.create_sequence

    def notices_nothing(self) -> None:
        """Everything that it has is as it was."""
        session, opened = self.session, self.opened
        session.ok(ops.putfh(opened.handle), ops.write(opened.stateid, b"mine"), ops.read(opened.stateid))
        session.ok(ops.putfh(opened.handle), ops.locku(self.lock, 5, 5))
        self.lock = ops.with_seqid(self.lock, self.lock.seqid + 1)
        session.ok(ops.putfh(opened.handle), ops.lock_more(self.lock, 5, 5))
        self.lock = ops.with_seqid(self.lock, self.lock.seqid + 1)
        self.client40.ok(ops.renew(self.client40.clientid))
        self.client40.ok(ops.putfh(self.opened40.handle), ops.read(self.opened40.stateid))
        again = begin_session(self.connection, session.clientid, self.sequence + 1)
        session.create_sequence += 1
        assert self.connection.status(ops.destroy_session(again.sessionid)) == nfs4.NFS4_OK


@pytest.fixture
def victim(guarded: ServerProcess, connect: Connect) -> Iterator[Victim]:
    """Clients that must not notice what the test does."""
    victim = Victim(guarded, connect)
    yield victim
    victim.notices_nothing()
    assert not guarded.faults()


def peer(server: ServerProcess, connect: Connect, address: str, uid: int = 0) -> Connection:
    """A connection from an address, and a port that is not reserved."""
    return connect(server, source=address, uid=uid)


def neighbour(server: ServerProcess, connect: Connect) -> Session:
    """A client of the neighbour's own."""
    return mount(peer(server, connect, NEIGHBOUR))


# -- becoming a client --------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", OUTSIDERS)
def test_outsider_becomes_no_client(guarded: ServerProcess, connect: Connect, address: str) -> None:
    """Who is admitted by no export gets no clientid in any minor version."""
    outsider = peer(guarded, connect, address)
    assert outsider.status(ops.exchange_id(unique(b"x"))) == nfs4.NFS4ERR_CLID_INUSE
    reply = outsider.call(ops.setclientid(unique(b"x")), minor=0)
    assert reply.status == nfs4.NFS4ERR_CLID_INUSE
    assert reply.results[0].client_using == nfs4.netaddr4(b"", b"")


@pytest.mark.root
def test_reserved_port_becomes_a_client(guarded: ServerProcess, connect: Connect) -> None:
    """An export that is `secure` admits the same address from a reserved port."""
    for port in range(650, 1000):
        try:
            connection = connect(guarded, source=LOW_PORT, source_port=port)
        except OSError:
            continue
        mount(connection)
        return
    pytest.fail("no reserved port is free")


# -- clientids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("address", OTHERS)
def test_create_session_from_elsewhere(
    guarded: ServerProcess, connect: Connect, victim: Victim, address: str, ahead: int
) -> None:
    """A clientid and the right csa_sequence get neither the cached reply nor a session."""
    thief = peer(guarded, connect, address)
    request = ops.create_session(victim.session.clientid, victim.sequence + ahead)
    reply = thief.call(request)
    assert reply.status == nfs4.NFS4ERR_STALE_CLIENTID
    assert victim.session.sessionid not in reply.body


@pytest.mark.parametrize("address", OTHERS)
def test_confirm_elsewhere(guarded: ServerProcess, connect: Connect, address: str) -> None:
    """Only who was told a clientid confirms it."""
    mine = connect(guarded)
    found = mine.call(ops.exchange_id(unique(b"new"))).results[0].eir_resok4
    thief = peer(guarded, connect, address)
    status = thief.status(ops.create_session(found.eir_clientid, found.eir_sequenceid))
    assert status == nfs4.NFS4ERR_STALE_CLIENTID
    begin_session(mine, found.eir_clientid, found.eir_sequenceid)
    told = mine.call(ops.setclientid(unique(b"new")), minor=0).results[0].resok4
    confirming = ops.setclientid_confirm(told.clientid, told.setclientid_confirm)
    assert thief.status(confirming, minor=0) == nfs4.NFS4ERR_STALE_CLIENTID
    assert mine.status(confirming, minor=0) == nfs4.NFS4_OK


@pytest.mark.parametrize("address", OTHERS)
def test_destroy_clientid_of_another(guarded: ServerProcess, connect: Connect, address: str) -> None:
    """A client without state is destroyed by itself alone."""
    mine = connect(guarded)
    found = mine.call(ops.exchange_id(unique(b"idle"))).results[0].eir_resok4
    destroy = ops.destroy_clientid(found.eir_clientid)
    assert peer(guarded, connect, address).status(destroy) == nfs4.NFS4ERR_STALE_CLIENTID
    assert neighbour(guarded, connect).status(destroy) == nfs4.NFS4ERR_STALE_CLIENTID
    assert connect(guarded, uid=1000).status(destroy) == nfs4.NFS4ERR_STALE_CLIENTID
    assert mine.status(destroy) == nfs4.NFS4_OK


def by_clientid(victim: Victim) -> list[list[Op]]:
    """What NFSv4.0 asks for by a clientid."""
    clientid, handle = victim.client40.clientid, victim.opened40.handle
    return [
        [ops.renew(clientid)],
        [ops.release_lockowner(clientid, b"owner")],
        [ops.putrootfh(), ops.open_(b"x", clientid=clientid, seqid=1)],
        [ops.putfh(handle), ops.lockt(clientid=clientid)],
    ]


@pytest.mark.parametrize("address", OUTSIDERS)
def test_clientid_of_outsider_v40(guarded: ServerProcess, connect: Connect, victim: Victim, address: str) -> None:
    """A clientid of NFSv4.0, even if it were known, is of no use where no export admits."""
    thief = peer(guarded, connect, address)
    for operations in by_clientid(victim):
        assert thief.status(*operations, minor=0) in (nfs4.NFS4ERR_STALE_CLIENTID, nfs4.NFS4ERR_ACCESS)


def test_renew_by_another_principal(guarded: ServerProcess, connect: Connect, victim: Victim) -> None:
    """RENEW is the client's principal's (RFC 7530 16.29)."""
    other = connect(guarded, uid=1000)
    assert other.status(ops.renew(victim.client40.clientid), minor=0) == nfs4.NFS4ERR_ACCESS


# -- sessions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", OUTSIDERS)
def test_session_of_outsider(guarded: ServerProcess, connect: Connect, victim: Victim, address: str) -> None:
    """A session id is of no use where no export admits: no request, no reply again, no binding."""
    session = victim.session
    message = session.message(ops.putfh(session.directory), ops.getfh(), cache=True)
    first = session.connection.rpc(message)
    session.seqids[0] += 1
    thief = peer(guarded, connect, address)
    assert Reply(first).status == nfs4.NFS4_OK
    assert Reply(thief.rpc(message)).status == nfs4.NFS4ERR_BADSESSION
    next_one = session.message(ops.putrootfh())
    assert Reply(thief.rpc(next_one)).status == nfs4.NFS4ERR_BADSESSION
    assert thief.status(ops.bind_conn_to_session(session.sessionid)) == nfs4.NFS4ERR_BADSESSION


@pytest.mark.parametrize("address", OTHERS)
def test_destroy_session_of_another_client(
    guarded: ServerProcess, connect: Connect, victim: Victim, address: str
) -> None:
    """A session is destroyed by its client alone."""
    destroy = ops.destroy_session(victim.session.sessionid)
    assert peer(guarded, connect, address).status(destroy) == nfs4.NFS4ERR_BADSESSION
    assert neighbour(guarded, connect).status(destroy) == nfs4.NFS4ERR_BADSESSION
    assert connect(guarded, uid=1000).status(destroy) == nfs4.NFS4ERR_BADSESSION


def test_bind_by_another_principal(guarded: ServerProcess, connect: Connect, victim: Victim) -> None:
    """Another user of the client's machine does not get its callbacks."""
    binding = ops.bind_conn_to_session(victim.session.sessionid, nfs4.CDFC4_BACK)
    assert connect(guarded, uid=1000).status(binding) == nfs4.NFS4ERR_BADSESSION


@pytest.mark.parametrize("cache", [True, False])
def test_reply_of_another_caller(guarded: ServerProcess, connect: Connect, victim: Victim, cache: bool) -> None:
    """A reply is given again to the caller whom it was for (RFC 8881 2.10.6.1.3.1)."""
    session = victim.session
    operations = [ops.putfh(session.directory), ops.mkdir(unique(b"dir"))]
    first = session.call(*operations, cache=cache)
    mine, session.connection = session.connection, connect(guarded, uid=1000)
    again = session.call(*operations, cache=cache, seqid=session.seqids[0])
    assert again.status == nfs4.NFS4ERR_SEQ_FALSE_RETRY
    session.connection = mine
    assert session.call(*operations, cache=cache, seqid=session.seqids[0]).body == first.body


# -- stateids -----------------------------------------------------------------------------------------------


def by_stateid(opened: Opened, lock: nfs4.stateid4) -> list[Op]:
    """What may be asked for by a stateid."""
    stateid = opened.stateid
    return [
        ops.read(stateid),
        ops.write(stateid, b"theirs"),
        ops.setattr_(stateid, ops.attrs(size=0)),
        ops.open_downgrade(stateid, ops.READ),
        ops.close(stateid),
        ops.lock_new(stateid, owner=b"thief"),
        ops.lock_more(lock),
        ops.locku(lock),
        ops.free_stateid(lock),
    ]


def test_stateid_in_another_session(guarded: ServerProcess, connect: Connect, victim: Victim) -> None:
    """Another client's stateids are BAD_STATEID in every operation."""
    thief = neighbour(guarded, connect)
    for operation in by_stateid(victim.opened, victim.lock):
        assert thief.status(ops.putfh(victim.opened.handle), operation) == nfs4.NFS4ERR_BAD_STATEID


@pytest.mark.parametrize("address", OUTSIDERS)
def test_stateid_of_outsider_v40(guarded: ServerProcess, connect: Connect, victim: Victim, address: str) -> None:
    """Where no export admits nobody comes as far as to use a stateid."""
    thief = peer(guarded, connect, address)
    opened = victim.opened40
    for operation in by_stateid(opened, opened.stateid)[:6]:
        assert thief.status(ops.putfh(opened.handle), operation, minor=0) == nfs4.NFS4ERR_ACCESS
        assert thief.status(operation, minor=0) == nfs4.NFS4ERR_NOFILEHANDLE


# -- owner strings ------------------------------------------------------------------------------------------


def test_owner_from_another_address(guarded: ServerProcess, connect: Connect, victim: Victim) -> None:
    """A machine of the same name does not throw the first one out; the log names both."""
    thief = peer(guarded, connect, NEIGHBOUR)
    assert thief.status(ops.exchange_id(victim.owner, OTHER_BOOT)) == nfs4.NFS4ERR_CLID_INUSE
    update = ops.exchange_id(victim.owner, OTHER_BOOT, nfs4.EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)
    assert thief.status(update) == nfs4.NFS4ERR_NOT_SAME
    reply = thief.call(ops.setclientid(victim.client40.owner, OTHER_BOOT), minor=0)
    assert reply.status == nfs4.NFS4ERR_CLID_INUSE
    told = [(line["owner"], line["before"], line["address"]) for line in guarded.events("client.in_use")]
    for owner in (victim.owner, victim.client40.owner):
        assert (owner.decode(), HERE, NEIGHBOUR) in told


def test_owner_taken_before_its_client_comes(guarded: ServerProcess, connect: Connect) -> None:
    """Who asks for a name before its client does, does not throw that out afterwards."""
    owner, mine, thief = unique(b"late"), connect(guarded), peer(guarded, connect, NEIGHBOUR)
    known = mount(mine, owner=owner)
    assert mine.status(ops.destroy_session(known.sessionid)) == nfs4.NFS4_OK
    early = thief.call(ops.exchange_id(owner, OTHER_BOOT)).results[0].eir_resok4
    again = begin_session(mine, known.clientid, known.create_sequence + 1)
    status = thief.status(ops.create_session(early.eir_clientid, early.eir_sequenceid))
    assert status == nfs4.NFS4ERR_CLID_INUSE
    assert again.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_owner_taken_before_its_client_comes_v40(guarded: ServerProcess, connect: Connect) -> None:
    """Who sends SETCLIENTID before the client has state does not throw it out by confirming afterwards."""
    mine, thief = Client40(connect(guarded)), peer(guarded, connect, NEIGHBOUR)
    early = thief.call(ops.setclientid(mine.owner, OTHER_BOOT), minor=0).results[0].resok4
    opened = Owner40(mine).create(unique(b"file"))
    confirming = ops.setclientid_confirm(early.clientid, early.setclientid_confirm)
    assert thief.status(confirming, minor=0) == nfs4.NFS4ERR_CLID_INUSE
    mine.ok(ops.putfh(opened.handle), ops.read(opened.stateid))


def test_owner_from_another_address_always(make_server: MakeServer, connect: Connect) -> None:
    """With client_moves = "always" a client that has restarted comes from wherever it is; the log names both."""
    server = make_server(settings={"client_moves": "always"})
    owner = unique(b"moving")
    mine = mount(connect(server), owner=owner)
    client40 = Client40(connect(server))
    Owner40(client40).create(unique(b"file"))
    there = connect(server, source=NEIGHBOUR)
    found = there.call(ops.exchange_id(owner, OTHER_BOOT)).results[0].eir_resok4
    begin_session(there, found.eir_clientid, found.eir_sequenceid)
    assert mine.status() == nfs4.NFS4ERR_BADSESSION
    Client40(there, client40.owner)  # Its verifier is the same: it has moved.
    told = there.call(ops.setclientid(client40.owner, OTHER_BOOT), minor=0).results[0].resok4
    assert there.status(ops.setclientid_confirm(told.clientid, told.setclientid_confirm), minor=0) == nfs4.NFS4_OK
    [line] = [line for line in server.events("client.restarted") if line["owner"] == owner.decode()]
    assert (line["before"], line["address"]) == (HERE, NEIGHBOUR)


# -- a client that has moved --------------------------------------------------------------------------------


def moves(server: ServerProcess) -> list[tuple[str, str, str]]:
    """Owner, old and new address of every client that has moved."""
    return [(line["owner"], line["before"], line["address"]) for line in server.events("client.moved")]


def test_session_moves_with_its_client(make_server: MakeServer, connect: Connect) -> None:
    """Who has the session id is the client, from any admitted address: all it holds goes along, over a restart too."""
    server = make_server()
    owner = unique(b"moving")
    session = mount(connect(server), owner=owner)
    opened = session.create(unique(b"file"))
    message = session.message(ops.putfh(session.directory), ops.mkdir(unique(b"dir")), cache=True)
    first = session.connection.rpc(message)
    session.seqids[0] += 1
    session.connection.close()
    there = session.connection = connect(server, source=NEIGHBOUR)
    assert there.rpc(message).body == first.body
    assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK
    assert moves(server) == [(owner.decode(), HERE, NEIGHBOUR)]
    server.kill()
    server.start()
    session.connection = there = connect(server, source=NEIGHBOUR)
    request = ops.create_session(session.clientid, session.create_sequence + 1)
    assert connect(server).status(request) == nfs4.NFS4ERR_STALE_CLIENTID
    assert there.status(request) == nfs4.NFS4_OK
    assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK


def test_same_instance_moves(make_server: MakeServer, connect: Connect) -> None:
    """EXCHANGE_ID and SETCLIENTID with the known verifier from another address: the same clientid, and all it holds."""
    server = make_server()
    owner = unique(b"moving")
    session = mount(connect(server), owner=owner)
    client40 = Client40(connect(server))
    opened = Owner40(client40).create(unique(b"file"))
    there = connect(server, source=NEIGHBOUR)
    found = there.call(ops.exchange_id(owner, BOOT)).results[0].eir_resok4
    assert found.eir_clientid == session.clientid
    begin_session(there, found.eir_clientid, found.eir_sequenceid)
    moved = Client40(there, client40.owner)
    assert moved.clientid == client40.clientid
    moved.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
    assert moves(server) == [
        (owner.decode(), HERE, NEIGHBOUR), (client40.owner.decode(), HERE, NEIGHBOUR),
    ]  # fmt: skip


def test_clientid_moves_v40(make_server: MakeServer, connect: Connect) -> None:
    """NFSv4.0: who knows the clientid is the client, from any admitted address."""
    server = make_server()
    client = Client40(connect(server))
    opener = Owner40(client)
    opened = opener.create(unique(b"file"))
    client.connection = connect(server, source=NEIGHBOUR)
    client.ok(ops.renew(client.clientid), ops.putfh(opened.handle), ops.read(opened.stateid))
    opener.create(unique(b"file"))
    assert moves(server) == [(client.owner.decode(), HERE, NEIGHBOUR)]
