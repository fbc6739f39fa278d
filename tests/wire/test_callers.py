"""Permission follows the caller, not the stateid: what another user can do with an open, a lock, an owner's name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Opened, Owner40, Session, mount, unique
from tests.support.rpc import auth_sys
from tests.wire.conftest import Connect, MakeServer, needs_root
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

ALICE, BOB, CAROL = 1000, 2000, 3000
ACCESS, OK = nfs4.NFS4ERR_ACCESS, nfs4.NFS4_OK

pytestmark = needs_root


@contextmanager
def acting_as(connection: Connection, uid: int) -> Iterator[None]:
    """Inside, requests over the connection are a user's."""
    before, connection.credential = connection.credential, auth_sys(uid, uid, ())
    try:
        yield
    finally:
        connection.credential = before


def uses(handle: bytes, stateid: nfs4.stateid4) -> dict[str, list[ops.Op]]:
    """Each operation that may use a file under a stateid."""
    put, save = ops.putfh(handle), ops.savefh()
    copying = nfs4.COPY4args(stateid, stateid, 0, 8, 2, True, True, [])
    return {
        "READ": [put, ops.read(stateid)],
        "WRITE": [put, ops.write(stateid, b"stolen")],
        "SETATTR": [put, ops.setattr_(stateid, ops.attrs(size=0))],
        "COPY": [put, save, ops.Op(nfs4.OP_COPY, copying)],
        "CLONE": [put, save, ops.Op(nfs4.OP_CLONE, nfs4.CLONE4args(stateid, stateid, 0, 4096, 0))],
        "ALLOCATE": [put, ops.Op(nfs4.OP_ALLOCATE, nfs4.ALLOCATE4args(stateid, 0, 99))],
        "DEALLOCATE": [put, ops.Op(nfs4.OP_DEALLOCATE, nfs4.DEALLOCATE4args(stateid, 0, 3))],
        "SEEK": [put, ops.Op(nfs4.OP_SEEK, nfs4.SEEK4args(stateid, 0, nfs4.NFS4_CONTENT_DATA))],
        "IO_ADVISE": [put, ops.Op(nfs4.OP_IO_ADVISE, nfs4.IO_ADVISE4args(stateid, 0, 1, 0))],
    }


OF_40 = ["READ", "WRITE", "SETATTR"]
OF_42 = [*OF_40, "COPY", "CLONE", "ALLOCATE", "DEALLOCATE", "SEEK", "IO_ADVISE"]


@pytest.fixture
def path(server: ServerProcess, name: bytes) -> Path:
    """A file of root's with data in it, which nobody else may use."""
    path = server.export / name.decode()
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("kind", ["open", "lock"])
@pytest.mark.parametrize("operation", OF_42)
def test_stolen_stateid(
    server: ServerProcess, connect: Connect, path: Path, name: bytes, operation: str, kind: str
) -> None:
    """Another user's open, or a lock under it, lets nobody use a file that he may not; its owner notices nothing."""
    session = mount(connect(server), minor=2)
    opened = session.open(name)
    stateid = opened.stateid if kind == "open" else session.lock(opened, 0, 5)
    with acting_as(session.connection, ALICE):
        assert session.status(*uses(opened.handle, stateid)[operation]) == ACCESS
    assert path.read_bytes() == b"secret"
    session.ok(ops.putfh(opened.handle), ops.write(stateid, b"mine"), ops.close(opened.stateid))
    assert path.read_bytes() == b"mineet"


@pytest.mark.parametrize("kind", ["open", "lock"])
@pytest.mark.parametrize("operation", OF_40)
def test_stolen_stateid_40(client40: Client40, path: Path, name: bytes, operation: str, kind: str) -> None:
    """Another user's stateid of NFSv4.0 lets nobody use a file that he may not; its owner notices nothing."""
    owner = Owner40(client40)
    opened = owner.open(name)
    stateid = opened.stateid
    if kind == "lock":
        taking = ops.lock_new(
            stateid, clientid=client40.clientid, open_seqid=owner.next(), lock_seqid=1, owner=unique(b"locker")
        )
        stateid = client40.ok(ops.putfh(opened.handle), taking)[-1].resok4.lock_stateid
    with acting_as(client40.connection, ALICE):
        assert client40.status(*uses(opened.handle, stateid)[operation]) == ACCESS
    assert path.read_bytes() == b"secret"
    client40.ok(ops.putfh(opened.handle), ops.write(stateid, b"mine"))


def test_stolen_stateid_lock(session: Session, path: Path, name: bytes) -> None:
    """Nobody locks a file that he may not use by another's open, nor takes more by another's lock."""
    opened = session.open(name)
    lock = session.lock(opened, 0, 5)
    with acting_as(session.connection, ALICE):
        for locking in (ops.lock_new(opened.stateid, 50, 5, owner=unique(b"locker")), ops.lock_more(lock, 50, 5)):
            assert session.status(ops.putfh(opened.handle), locking) == ACCESS
    session.ok(ops.putfh(opened.handle), ops.lock_more(lock, 50, 5))
    path.chmod(0o604)
    with acting_as(session.connection, ALICE):
        reading = ops.lock_new(opened.stateid, 100, 5, nfs4.READ_LT, owner=unique(b"locker"))
        writing = ops.lock_new(opened.stateid, 200, 5, nfs4.WRITE_LT, owner=unique(b"locker"))
        assert [session.status(ops.putfh(opened.handle), each) for each in (reading, writing)] == [OK, ACCESS]


@pytest.mark.parametrize("stateid", [ops.ANONYMOUS, ops.BYPASS])
def test_setattr_size_special_stateid(session: Session, path: Path, name: bytes, stateid: nfs4.stateid4) -> None:
    """A size is set as data is written: by whoever may write the file, and by its owner whatever its mode."""
    handle = session.ok(ops.putfh(session.directory), ops.lookup(name), ops.getfh())[-1].resok4.object
    sizing = [ops.putfh(handle), ops.setattr_(stateid, ops.attrs(size=3))]
    with acting_as(session.connection, ALICE):
        assert session.status(*sizing) == session.status(ops.putfh(handle), ops.write(stateid, b"x")) == ACCESS
        assert path.stat().st_size == 6
        os.chown(path, ALICE, ALICE)
        path.chmod(0o400)
        assert session.status(*sizing) == session.status(ops.putfh(handle), ops.write(stateid, b"x")) == OK
    assert path.read_bytes() == b"xec"


def shared_open(session: Session, path: Path, name: bytes) -> Opened:
    """Alice has opened a file for writing and Bob, under the same owner, for reading; now it is Carol's alone."""
    path.chmod(0o666)
    with acting_as(session.connection, ALICE):
        session.open(name, ops.WRITE)
    with acting_as(session.connection, BOB):
        opened = session.open(name, ops.READ)
    os.chown(path, CAROL, CAROL)
    path.chmod(0o600)
    return opened


def rights(session: Session, opened: Opened, uid: int) -> tuple[int, int]:
    """The statuses of a user's READ and WRITE."""
    with acting_as(session.connection, uid):
        put, stateid = ops.putfh(opened.handle), opened.stateid
        return session.status(put, ops.read(stateid)), session.status(put, ops.write(stateid, b"secret"))


def test_shared_open(server: ServerProcess, session: Session, path: Path, name: bytes, connect: Connect) -> None:
    """Each of several callers of one open has what he was granted himself, over a restart of the server too."""
    opened = shared_open(session, path, name)
    for _ in range(2):
        assert rights(session, opened, ALICE) == (ACCESS, OK)
        assert rights(session, opened, BOB) == (OK, ACCESS)
        assert rights(session, opened, CAROL) == (OK, OK)
        assert rights(session, opened, 4000) == (ACCESS, ACCESS)
        server.restart()
        session.connection = connect(server)


def test_shared_open_downgrade(session: Session, path: Path, name: bytes) -> None:
    """What OPEN_DOWNGRADE gives back nobody has any more; the others keep the rest."""
    opened = shared_open(session, path, name)
    done = session.ok(ops.putfh(opened.handle), ops.open_downgrade(opened.stateid, ops.READ))[-1]
    opened.stateid = done.resok4.open_stateid
    assert rights(session, opened, ALICE) == (ACCESS, nfs4.NFS4ERR_OPENMODE)
    assert rights(session, opened, BOB)[0] == OK


def test_shared_open_many_callers(session: Session, path: Path, name: bytes) -> None:
    """Of more callers than are remembered the first is checked against the file again: safe, and no more than that."""
    opened = shared_open(session, path, name)
    path.chmod(0o666)
    for uid in range(5000, 5007):
        with acting_as(session.connection, uid):
            opened = session.open(name, ops.READ)
    assert rights(session, opened, ALICE) == (OK, OK)
    path.chmod(0o600)
    assert rights(session, opened, ALICE) == (ACCESS, ACCESS)
    assert rights(session, opened, BOB) == (OK, ACCESS)


@pytest.mark.parametrize("minor", [0, 1])
def test_open_another_owner_string(connection: Connection, path: Path, name: bytes, minor: int) -> None:
    """The owner string of another user's open opens nothing more than the file's permissions do."""
    if minor:
        session = mount(connection)
        opened = session.open(name, ops.READ)
        claiming = [ops.putfh(opened.handle), ops.open_(None, ops.WRITE)]
        with acting_as(connection, ALICE):
            assert session.open_status(name, ops.WRITE) == session.open_status(name, ops.READ) == ACCESS
            assert session.status(*claiming) == ACCESS
            assert session.status(ops.putfh(opened.handle), ops.write(opened.stateid, b"x")) == nfs4.NFS4ERR_OPENMODE
        assert session.status(*claiming) == OK
    else:
        client = Client40(connection)
        owner = Owner40(client)
        opened = owner.open(name, ops.READ)
        with acting_as(connection, ALICE):
            assert client.status(*owner.opening(name, ops.WRITE)) == ACCESS
        client.ok(ops.putfh(opened.handle), ops.read(opened.stateid))


def test_exclusive_create_again(session: Session, server: ServerProcess, name: bytes) -> None:
    """Only its maker may open a file whatever its mode by the repetition of an exclusive create."""
    how = ops.exclusive41(b"verifier", ops.attrs(mode=0o200))
    with acting_as(session.connection, ALICE):
        session.open(name, ops.BOTH, how=how)
        session.open(name, ops.BOTH, how=how)
    with acting_as(session.connection, BOB):
        assert session.open_status(name, ops.BOTH, how=how) == ACCESS
    assert (server.export / name.decode()).stat().st_uid == ALICE


@pytest.mark.parametrize("operation", ["WRITE", "SETATTR", "COPY", "ALLOCATE", "DEALLOCATE", "CLONE"])
def test_set_id_bits(server: ServerProcess, connect: Connect, path: Path, name: bytes, operation: str) -> None:
    """Set-id bits go with every change of data by an ordinary user, and stay with root's, whoever came before."""
    session = mount(connect(server), minor=2)
    os.chown(path, ALICE, ALICE)
    path.chmod(0o6755)
    handle = session.ok(ops.putfh(session.directory), ops.lookup(name), ops.getfh())[-1].resok4.object
    using = uses(handle, ops.ANONYMOUS)[operation]
    allowed = (OK, nfs4.NFS4ERR_NOTSUPP) if operation == "CLONE" else (OK,)
    for uid, before, mode in ((0, ALICE, 0o6755), (ALICE, 0, 0o755)):
        with acting_as(session.connection, before):
            session.ok(ops.putfh(handle), ops.access())
        with acting_as(session.connection, uid):
            assert session.status(*using) in allowed
        assert stat.S_IMODE(path.stat().st_mode) == mode


# -- squashing ------------------------------------------------------------------------------------------------

SQUASHED, ALL_SQUASHED, TRUSTED = "127.0.0.2", "127.0.0.3", "127.0.0.1"


@pytest.fixture(scope="module")
def squashing(make_server: MakeServer) -> ServerProcess:
    """A server whose export squashes by the client's address."""
    options = {SQUASHED: "root_squash", ALL_SQUASHED: "all_squash,anonuid=1234,anongid=1234", TRUSTED: "no_root_squash"}
    return make_server(exports={"/export": "rw,insecure"}, clients={"/export": list(options.items())})


@pytest.mark.parametrize("kind", ["open", "lock", "by handle"])
@pytest.mark.parametrize("operation", OF_42)
@pytest.mark.parametrize("address", [SQUASHED, ALL_SQUASHED])
def test_squashed_thief(
    squashing: ServerProcess, connect: Connect, name: bytes, address: str, operation: str, kind: str
) -> None:
    """What root has open where it is root is of no use to root where that is squashed, in one and the same session."""
    path = squashing.export / name.decode()
    path.write_bytes(b"secret")
    path.chmod(0o600)
    trusted = connect(squashing, source=TRUSTED)
    session = mount(trusted, minor=2)
    opened = session.open(name)
    stateid = opened.stateid
    if kind == "by handle":
        stateid = session.ok(ops.putfh(opened.handle), ops.open_(None, owner=b"by handle"))[-1].resok4.stateid
    if kind == "lock":
        stateid = session.lock(opened, 0, 5)
    session.connection = connect(squashing, source=address)
    assert session.status(*uses(opened.handle, stateid)[operation]) == ACCESS
    session.connection = trusted
    session.ok(ops.putfh(opened.handle), ops.read(stateid))
    assert path.read_bytes() == b"secret"


def test_squashed_open(squashing: ServerProcess, connect: Connect, name: bytes) -> None:
    """What the anonymous user has open is of no use to a user who is himself elsewhere, and the other way round."""
    path = squashing.export / name.decode()
    path.write_bytes(b"secret")
    path.chmod(0o666)
    here, there = (connect(squashing, uid=ALICE, gid=ALICE, source=address) for address in (TRUSTED, ALL_SQUASHED))
    session = mount(here)
    mine = session.open(name, owner=b"mine")
    session.connection = there
    anonymous = session.open(name, owner=b"anonymous")
    path.chmod(0o600)
    session.connection = here
    assert session.status(ops.putfh(mine.handle), ops.read(anonymous.stateid)) == ACCESS
    assert session.status(ops.putfh(mine.handle), ops.read(mine.stateid)) == OK
    session.connection = there
    assert session.status(ops.putfh(mine.handle), ops.read(anonymous.stateid)) == OK
    assert session.status(ops.putfh(mine.handle), ops.read(mine.stateid)) == ACCESS


def test_squashed_thief_40(squashing: ServerProcess, connect: Connect, name: bytes) -> None:
    """What root has open is of no use to a squashed root on NFSv4.0 either, where nothing ties it to a connection."""
    path = squashing.export / name.decode()
    path.write_bytes(b"secret")
    path.chmod(0o600)
    client = Client40(connect(squashing, source=TRUSTED))
    opened = Owner40(client).open(name)
    thief = connect(squashing, source=SQUASHED)
    for operation in OF_40:
        assert thief.status(*uses(opened.handle, opened.stateid)[operation], minor=0) == ACCESS
    assert path.read_bytes() == b"secret"
    client.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
