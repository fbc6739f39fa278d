"""Leases: what an expired client keeps by courtesy, and what it loses to whom (RFC 8881 8.3, 8.4.2.4).

The shortest lease that a server takes is five seconds.  All clients of this file go silent together, and the tests
wait for them once: until the one that was heard of last gives way to a conflicting open.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Opened, Owner40, Session, identify, mount, unique
from tests.support.waiting import until
from tests.wire.conftest import MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

LEASE_TIME_S = 5
DEADLINE_S = 4 * LEASE_TIME_S
NOT_MINE = {nfs4.NFS4ERR_BAD_STATEID, nfs4.NFS4ERR_EXPIRED}
STALE = {nfs4.NFS4ERR_STALE_CLIENTID, nfs4.NFS4ERR_EXPIRED}
DENY_WRITE, DENY_BOTH = nfs4.OPEN4_SHARE_DENY_WRITE, nfs4.OPEN4_SHARE_DENY_BOTH


class World:
    """Clients that have been silent for a lease time, two that have not, and one that asks."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.connections: list[Connection] = []
        self.active = self.session()
        self.renewing, self.renewing_name = self.session(), unique(b"file")
        self.renewing.open(self.renewing_name, deny=DENY_BOTH, how=ops.unchecked())
        self.renewing40, self.renewing40_name = Client40(self.connection()), unique(b"file")
        Owner40(self.renewing40).open(self.renewing40_name, how=ops.unchecked(), deny=DENY_BOTH)
        self.unconfirmed = identify(self.connection(), unique(b"unconfirmed"))
        self.empty = self.session()
        self.locking, self.locked_name = self.session(), unique(b"file")
        self.locked = self.locking.create(self.locked_name)
        self.lock = self.locking.lock(self.locked)
        self.left_alone = self.session()
        self.left_alone_file = self.left_alone.create(unique(b"file"))
        self.client40, self.name40 = Client40(self.connection()), unique(b"file")
        self.opened40 = Owner40(self.client40).open(self.name40, how=ops.unchecked(), deny=DENY_WRITE)
        self.sharing, self.shared_name = self.session(), unique(b"file")
        self.shared: Opened = self.sharing.open(self.shared_name, deny=DENY_WRITE, how=ops.unchecked())
        self.denials_before_expiry = 0

    def connection(self) -> Connection:
        """A connection that is closed with the world."""
        self.connections.append(Connection(self.server.port))
        return self.connections[-1]

    def session(self) -> Session:
        """A client of NFSv4.1."""
        return mount(self.connection())

    def gives_way(self) -> bool:
        """Renew two clients' leases, and try to open what the last of the silent ones denies."""
        assert self.renewing.status() == nfs4.NFS4_OK
        assert self.renewing40.status(ops.renew(self.renewing40.clientid)) == nfs4.NFS4_OK
        for name in (self.renewing_name, self.renewing40_name):
            assert self.active.open_status(name) == nfs4.NFS4ERR_SHARE_DENIED
        status = self.active.open_status(self.shared_name, ops.WRITE)
        if status == nfs4.NFS4ERR_SHARE_DENIED:
            self.denials_before_expiry += 1
            return False
        assert status == nfs4.NFS4_OK
        return True


@pytest.fixture(scope="module")
def world(make_server: MakeServer) -> Iterator[World]:
    """Everything as it is when the leases of the silent clients have run out."""
    world = World(make_server(lease_time_s=LEASE_TIME_S))
    until(world.gives_way, "the lease of a silent client ends", DEADLINE_S)
    yield world
    for connection in world.connections:
        connection.close()
    assert not world.server.faults()


def test_open_denied_until_expiry(world: World) -> None:
    """Until a lease has run out its client's denials stand, and those of clients that renew stand for ever."""
    assert world.denials_before_expiry


def test_open_conflict_with_expired(world: World) -> None:
    """Who has lost something to a conflict has neither session nor stateids any more, and may begin again."""
    reading = [ops.putfh(world.shared.handle), ops.read(world.shared.stateid)]
    assert world.sharing.status(*reading) == nfs4.NFS4ERR_BADSESSION
    assert mount(world.sharing.connection).status(*reading) in NOT_MINE


def test_lock_conflict_with_expired(world: World) -> None:
    """A lock held by courtesy gives way to another's; an open that does not conflict has taken nothing."""
    active = world.active
    opened = active.open(world.locked_name)
    assert active.status(ops.putfh(opened.handle), ops.lockt()) == nfs4.NFS4_OK
    active.lock(opened)
    status = world.locking.status(ops.putfh(opened.handle), ops.locku(world.lock))
    assert status in {nfs4.NFS4ERR_BADSESSION, *NOT_MINE}


def test_open_conflict_with_expired_v40(world: World) -> None:
    """An open of NFSv4.0 held by courtesy gives way; its stateid then says why, and SETCLIENTID begins anew."""
    assert world.active.open_status(world.name40, ops.WRITE) == nfs4.NFS4_OK
    client = world.client40
    reading = [ops.putfh(world.opened40.handle), ops.read(world.opened40.stateid)]
    assert client.status(*reading) in NOT_MINE
    assert client.status(ops.renew(client.clientid)) in STALE
    Owner40(Client40(client.connection, client.owner)).create(unique(b"file"))


def test_courtesy(world: World) -> None:
    """A client that nobody got in the way of comes back to all that it had."""
    kept = world.left_alone_file
    status = world.left_alone.status(ops.putfh(kept.handle), ops.write(kept.stateid, b"late"))
    assert status == nfs4.NFS4_OK


def test_expired_without_opens(world: World) -> None:
    """Clients without opens, and unconfirmed ones, are forgotten by themselves."""
    connection = world.active.connection
    creating = ops.create_session(world.unconfirmed.eir_clientid, 99)
    until(
        lambda: connection.status(creating) == nfs4.NFS4ERR_STALE_CLIENTID,
        "the client that was never confirmed is forgotten",
        DEADLINE_S,
    )
    assert world.empty.status() == nfs4.NFS4ERR_BADSESSION
