"""NFSv4.0's clients: SETCLIENTID's cases (RFC 7530 16.33.5), RENEW, and the duplicate request cache."""

from __future__ import annotations

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Owner40, Session, unique
from tests.wire.conftest import Connect
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

FIRST, SECOND = b"boot one", b"boot two"


def ask(connection: Connection, owner: bytes, verifier: bytes = FIRST) -> nfs4.SETCLIENTID4resok:
    """SETCLIENTID that must succeed."""
    reply = connection.call(ops.setclientid(owner, verifier), minor=0)
    assert reply.status == nfs4.NFS4_OK
    resok: nfs4.SETCLIENTID4resok = reply.results[0].resok4
    return resok


def confirm(connection: Connection, found: nfs4.SETCLIENTID4resok) -> int:
    """SETCLIENTID_CONFIRM; the status."""
    return connection.status(ops.setclientid_confirm(found.clientid, found.setclientid_confirm), minor=0)


def renew(connection: Connection, clientid: int) -> int:
    """RENEW; the status."""
    return connection.status(ops.renew(clientid), minor=0)


@pytest.fixture
def owner() -> bytes:
    """A client's name that nobody uses."""
    return unique(b"owner")


def test_setclientid_new(connection: Connection, owner: bytes) -> None:
    """A new client is unknown until it is confirmed."""
    found = ask(connection, owner)
    assert renew(connection, found.clientid) == nfs4.NFS4ERR_STALE_CLIENTID
    assert confirm(connection, found) == nfs4.NFS4_OK
    assert renew(connection, found.clientid) == nfs4.NFS4_OK


def test_setclientid_confirm_retry(connection: Connection, owner: bytes) -> None:
    """SETCLIENTID_CONFIRM may be repeated."""
    found = ask(connection, owner)
    assert confirm(connection, found) == confirm(connection, found) == nfs4.NFS4_OK


def test_setclientid_confirm_wrong(connection: Connection, owner: bytes) -> None:
    """A wrong verifier or clientid confirms nothing."""
    found = ask(connection, owner)
    for clientid, verifier in ((found.clientid, b"nonsense"), (found.clientid + 999, found.setclientid_confirm)):
        status = connection.status(ops.setclientid_confirm(clientid, verifier), minor=0)
        assert status == nfs4.NFS4ERR_STALE_CLIENTID
    assert confirm(connection, found) == nfs4.NFS4_OK


def test_setclientid_unconfirmed_replaced(connection: Connection, owner: bytes) -> None:
    """A second SETCLIENTID before the confirmation replaces the first."""
    old, new = ask(connection, owner), ask(connection, owner, SECOND)
    assert old.setclientid_confirm != new.setclientid_confirm
    assert confirm(connection, old) == nfs4.NFS4ERR_STALE_CLIENTID
    assert confirm(connection, new) == nfs4.NFS4_OK


def test_setclientid_same_instance(connection: Connection, name: bytes) -> None:
    """A client instance with a new callback keeps its clientid and its state, before and after it is confirmed."""
    client = Client40(connection)
    opened = Owner40(client).create(name)
    found = ask(connection, client.owner, b"verifier")
    assert found.clientid == client.clientid and found.setclientid_confirm != client.confirm
    reading = [ops.putfh(opened.handle), ops.read(opened.stateid)]
    assert client.status(*reading) == nfs4.NFS4_OK
    assert confirm(connection, found) == nfs4.NFS4_OK
    assert client.status(*reading) == nfs4.NFS4_OK


def test_setclientid_restart(connection: Connection, name: bytes) -> None:
    """A restarted client gets a new clientid; its old state goes when that is confirmed, not before."""
    client = Client40(connection)
    opened = Owner40(client).create(name)
    found = ask(connection, client.owner, SECOND)
    assert found.clientid != client.clientid
    reading = [ops.putfh(opened.handle), ops.read(opened.stateid)]
    assert client.status(*reading) == nfs4.NFS4_OK
    assert confirm(connection, found) == nfs4.NFS4_OK
    assert client.status(*reading) != nfs4.NFS4_OK
    assert renew(connection, client.clientid) in (nfs4.NFS4ERR_STALE_CLIENTID, nfs4.NFS4ERR_EXPIRED)


def test_setclientid_in_use(server: ServerProcess, connect: Connect, owner: bytes, name: bytes) -> None:
    """Another principal with the name of a client that has state is CLID_INUSE, and is told where that one is."""
    client = Client40(connect(server, uid=1000), owner)
    Owner40(client).create(name)
    reply = connect(server, uid=1001).call(ops.setclientid(owner, SECOND), minor=0)
    assert reply.status == nfs4.NFS4ERR_CLID_INUSE
    assert reply.results[0].client_using == nfs4.netaddr4(b"tcp", b"127.0.0.1.3.231")
    assert renew(client.connection, client.clientid) == nfs4.NFS4_OK


def test_setclientid_confirm_other_principal(server: ServerProcess, connect: Connect, owner: bytes) -> None:
    """Nobody confirms another principal's SETCLIENTID."""
    mine = connect(server, uid=1000)
    found = ask(mine, owner)
    assert confirm(connect(server, uid=1001), found) == nfs4.NFS4ERR_CLID_INUSE
    assert confirm(mine, found) == nfs4.NFS4_OK


def test_renew_of_v41_client(session: Session) -> None:
    """RENEW knows clients of NFSv4.0 only."""
    assert renew(session.connection, session.clientid) == nfs4.NFS4ERR_STALE_CLIENTID


def test_open_unknown_client(client40: Client40, name: bytes) -> None:
    """OPEN, LOCKT and RELEASE_LOCKOWNER by an unknown clientid are STALE_CLIENTID."""
    unknown = 0xABCDEF
    opening = ops.open_(name, clientid=unknown, seqid=1)
    assert client40.status(ops.putfh(client40.directory), opening) == nfs4.NFS4ERR_STALE_CLIENTID
    opened = Owner40(client40).create(name)
    asking = ops.lockt(clientid=unknown)
    assert client40.status(ops.putfh(opened.handle), asking) == nfs4.NFS4ERR_STALE_CLIENTID
    assert client40.status(ops.release_lockowner(unknown, b"x")) == nfs4.NFS4ERR_STALE_CLIENTID


def test_restorefh_nothing_saved_v40(client40: Client40) -> None:
    """RESTOREFH without SAVEFH has an error of its own in NFSv4.0."""
    assert client40.status(ops.putrootfh(), ops.restorefh()) == nfs4.NFS4ERR_RESTOREFH


# -- the duplicate request cache ----------------------------------------------------------------------------


def test_duplicate_mkdir(client40: Client40, name: bytes) -> None:
    """A request sent again with its xid is answered with the same bytes; another xid is another request."""
    making = [ops.putfh(client40.directory), ops.mkdir(name), ops.getfh()]
    first = client40.call(*making, xid=0x11223344)
    again = client40.call(*making, xid=0x11223344)
    assert first.status == nfs4.NFS4_OK and again.body == first.body
    assert client40.call(*making, xid=0x11223345).status == nfs4.NFS4ERR_EXIST


def test_duplicate_remove_over_another_connection(
    client40: Client40, server: ServerProcess, connect: Connect, name: bytes
) -> None:
    """A retransmission comes over a new connection when the old one broke."""
    (server.export / name.decode()).write_bytes(b"")
    removing = [ops.putfh(client40.directory), ops.remove(name)]
    first = client40.call(*removing, xid=77)
    client40.connection.close()
    client40.connection = connect(server)
    assert first.status == nfs4.NFS4_OK and client40.call(*removing, xid=77).body == first.body


def test_duplicate_xid_of_another_request(client40: Client40, name: bytes) -> None:
    """An xid used again with other contents is no duplicate."""
    put = ops.putfh(client40.directory)
    assert client40.call(put, ops.mkdir(name), xid=5).status == nfs4.NFS4_OK
    assert client40.call(put, ops.remove(name), xid=5).status == nfs4.NFS4_OK
    assert client40.call(put, ops.lookup(name), xid=5).status == nfs4.NFS4ERR_NOENT


def test_duplicate_of_another_address(server: ServerProcess, connect: Connect, name: bytes) -> None:
    """Equal bytes from another address are another client's request."""
    here, there = connect(server), connect(server, source="127.0.0.2")
    making = [ops.putrootfh(), ops.lookup(b"export"), ops.mkdir(name)]
    assert here.call(*making, minor=0, xid=6).status == nfs4.NFS4_OK
    assert there.call(*making, minor=0, xid=6).status == nfs4.NFS4ERR_EXIST
