"""Refusals that no other test brings about: each names the rule, by the status that the RFC has for it."""

from __future__ import annotations

import os
import struct

import pytest

from tests.support import operations as ops
from tests.support.client import (
    Client40,
    Connection,
    Owner40,
    Session,
    begin_session,
    identify,
    mount,
    unique,
)
from tests.support.operations import Op
from tests.support.waiting import until
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

OFFSET_MAX = nfs4.NFS4_UINT64_MAX
RANGES_MAX = 2048
"""Ranges of one owner on one file, as docs/limits.md has it."""

Handles = dict[str, bytes]


@pytest.fixture
def handles(server: ServerProcess, session: Session, name: bytes) -> Handles:
    """The file handles of a directory, a symbolic link and a named pipe."""
    path = server.export / name.decode()
    path.mkdir()
    (path / "dir").mkdir()
    (path / "link").symlink_to("dir")
    os.mkfifo(path / "fifo")
    look = [ops.putfh(session.directory), ops.lookup(name)]
    return {kind: session.ok(*look, ops.lookup(kind.encode()), ops.getfh())[-1].resok4.object for kind in KINDS}


KINDS = ("dir", "link", "fifo")
INVAL, ISDIR, SYMLINK = nfs4.NFS4ERR_INVAL, nfs4.NFS4ERR_ISDIR, nfs4.NFS4ERR_SYMLINK
WRONG_TYPE = nfs4.NFS4ERR_WRONG_TYPE


def commit(offset: int = 0, count: int = 0) -> Op:
    """COMMIT."""
    return Op(nfs4.OP_COMMIT, nfs4.COMMIT4args(offset, count))


@pytest.mark.parametrize(("kind", "status", "status40"), [
    ("dir", ISDIR, ISDIR), ("link", SYMLINK, INVAL), ("fifo", WRONG_TYPE, INVAL),
])  # fmt: skip
def test_io_no_regular_file(
    session: Session, client40: Client40, handles: Handles, kind: str, status: int, status40: int
) -> None:
    """READ, WRITE and COMMIT of what has no data say what it is; NFSv4.0 has no word for most of it."""
    for operation in (ops.read(), ops.write(ops.ANONYMOUS, b"x"), commit()):
        assert session.status(ops.putfh(handles[kind]), operation) == status
        assert client40.status(ops.putfh(handles[kind]), operation) == status40


@pytest.mark.parametrize(("kind", "status"), [("dir", ISDIR), ("link", SYMLINK), ("fifo", WRONG_TYPE)])
def test_lockt_no_regular_file(session: Session, handles: Handles, kind: str, status: int) -> None:
    """Only regular files are locked (RFC 8881 18.10.3)."""
    assert session.status(ops.putfh(handles[kind]), ops.lockt()) == status


def test_write_beyond_largest_offset(session: Session, name: bytes) -> None:
    """A WRITE that would end beyond the largest file is FBIG, and writes nothing."""
    opened = session.create(name)
    put = ops.putfh(opened.handle)
    assert session.status(put, ops.write(opened.stateid, b"xx", (1 << 63) - 1)) == nfs4.NFS4ERR_FBIG
    assert session.status(put, ops.write(opened.stateid, b"x", OFFSET_MAX)) == nfs4.NFS4ERR_FBIG
    assert session.ok(put, ops.read(opened.stateid))[-1].resok4.data == b""


def test_commit_beyond_last_byte(session: Session, name: bytes) -> None:
    """A COMMIT whose range has no end in 64 bits is INVAL (RFC 8881 18.3.3)."""
    opened = session.create(name)
    assert session.status(ops.putfh(opened.handle), commit(OFFSET_MAX, 2)) == INVAL


def test_rename_without_saved_handle(session: Session) -> None:
    """RENAME and LINK need two file handles."""
    for operation in (ops.rename(b"a", b"b"), ops.link(b"a")):
        assert session.status(ops.putfh(session.directory), operation) == nfs4.NFS4ERR_NOFILEHANDLE


def claiming(claim: nfs4.open_claim4, clientid: int = 0, seqid: int = 0) -> Op:
    """OPEN for reading with any claim."""
    owner = nfs4.state_owner4(clientid, b"owner")
    how = nfs4.openflag4(nfs4.OPEN4_NOCREATE)
    return Op(nfs4.OP_OPEN, nfs4.OPEN4args(seqid, ops.READ, ops.DENY_NONE, owner, how, claim))


def test_open_claims_of_delegations(session: Session, client40: Client40, name: bytes) -> None:
    """There are no delegations to claim; NFSv4.0 does not know the claims by file handle."""
    session.create(name)
    current = nfs4.open_claim_delegate_cur4(ops.UNKNOWN, name)
    by_handle = nfs4.open_claim4(nfs4.CLAIM_DELEG_CUR_FH, oc_delegate_stateid=ops.UNKNOWN)
    wanted = [
        (nfs4.open_claim4(nfs4.CLAIM_DELEGATE_PREV, file_delegate_prev=name), nfs4.NFS4ERR_NOTSUPP),
        (nfs4.open_claim4(nfs4.CLAIM_DELEG_PREV_FH), nfs4.NFS4ERR_NOTSUPP),
        (nfs4.open_claim4(nfs4.CLAIM_DELEGATE_CUR, delegate_cur_info=current), nfs4.NFS4ERR_BAD_STATEID),
        (by_handle, nfs4.NFS4ERR_BAD_STATEID),
    ]
    for claim, status in wanted:
        assert session.status(ops.putfh(session.directory), claiming(claim)) == status
    owner = Owner40(client40)
    opening = claiming(by_handle, client40.clientid, owner.next())
    assert client40.status(ops.putfh(client40.directory), opening) == INVAL


def test_open_exclusive41(session: Session, client40: Client40, name: bytes) -> None:
    """EXCLUSIVE4_1 is not of NFSv4.0, and cannot set the times that hold its verifier (RFC 8881 18.16.3)."""
    owner = Owner40(client40)
    assert client40.status(*owner.opening(name, how=ops.exclusive41(bytes(8)))) == INVAL
    times = nfs4.fattr4(1 << nfs4.FATTR4_TIME_MODIFY_SET, bytes(4))
    assert session.open_status(name, how=ops.exclusive41(bytes(8), times)) == INVAL
    assert session.open_status(name) == nfs4.NFS4ERR_NOENT


def test_unconfirmed_open_owner(client40: Client40, name: bytes) -> None:
    """Until its open is confirmed, an owner can neither lock, nor narrow it, nor do I/O (RFC 7530 16.18.5)."""
    owner = Owner40(client40)
    _put, opened, handle = client40.ok(*owner.opening(name, how=ops.unchecked()))
    stateid, put = opened.resok4.stateid, ops.putfh(handle.resok4.object)
    assert opened.resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM
    # BAD_STATEID does not use up the owner's sequence id (RFC 7530 9.1.7).
    seqid = owner.next()
    lock = ops.lock_new(stateid, clientid=client40.clientid, open_seqid=seqid)
    assert client40.status(put, lock) == nfs4.NFS4ERR_BAD_STATEID
    assert client40.status(put, ops.open_downgrade(stateid, ops.READ, seqid=seqid)) == nfs4.NFS4ERR_BAD_STATEID
    assert client40.status(put, ops.open_confirm(stateid, seqid)) == nfs4.NFS4_OK


def test_lock_owner_of_another_client(client40: Client40, name: bytes) -> None:
    """A lock owner is of the client whose open it locks under."""
    owner = Owner40(client40)
    opened = owner.create(name)
    lock = ops.lock_new(opened.stateid, clientid=client40.clientid + 1, open_seqid=owner.next())
    assert client40.status(ops.putfh(opened.handle), lock) == nfs4.NFS4ERR_STALE_CLIENTID


def test_create_session_back_channel_too_small(session: Session) -> None:
    """A back channel in which no callback fits is TOOSMALL."""
    connection = session.connection
    found = connection.call(ops.exchange_id(unique(b"small"))).results[0].eir_resok4
    create = ops.create_session(found.eir_clientid, found.eir_sequenceid, back=ops.channel(request=10, slots=1))
    assert connection.status(create) == nfs4.NFS4ERR_TOOSMALL


def test_seek_unknown_content(server: ServerProcess, connect: Connect, name: bytes) -> None:
    """SEEK knows data and holes (RFC 7862 15.11.3)."""
    session = mount(connect(server), minor=2)
    opened = session.create(name)
    seek = Op(nfs4.OP_SEEK, nfs4.SEEK4args(opened.stateid, 0, 7))
    assert session.status(ops.putfh(opened.handle), seek) == nfs4.NFS4ERR_UNION_NOTSUPP


def test_delegreturn_nothing(session: Session, name: bytes) -> None:
    """An open's stateid is no delegation's, nor is one that nobody knows."""
    opened = session.create(name)
    for stateid in (opened.stateid, ops.UNKNOWN):
        operation = Op(nfs4.OP_DELEGRETURN, nfs4.DELEGRETURN4args(stateid))
        assert session.status(ops.putfh(opened.handle), operation) == nfs4.NFS4ERR_BAD_STATEID


def test_lock_ranges_of_one_owner(session: Session, name: bytes) -> None:
    """One owner has so many ranges on a file and no more: DELAY; giving one back makes room."""
    opened = session.create(name)
    # Sequence id 0 is whatever the stateid has come to.
    put, lock = ops.putfh(opened.handle), ops.with_seqid(session.lock(opened, 0, 1), 0)
    for number in range(1, RANGES_MAX, 16):
        more = [ops.lock_more(lock, 2 * at, 1) for at in range(number, min(number + 16, RANGES_MAX))]
        session.ok(put, *more)
    assert session.status(put, ops.lock_more(lock, 2 * RANGES_MAX, 1)) == nfs4.NFS4ERR_DELAY
    session.ok(put, ops.locku(lock, 0, 1))
    assert session.status(put, ops.lock_more(lock, 2 * RANGES_MAX, 1)) == nfs4.NFS4_OK


def test_clients_and_opens_limits(make_server: MakeServer, connect: Connect, name: bytes) -> None:
    """A client or an open too many has to wait: DELAY, or RESOURCE for NFSv4.0; nobody else is harmed."""
    server = make_server(limits={"clients_max": 2, "opens_max": 2})
    session, client40 = mount(connect(server)), Client40(connect(server))
    found = identify(connect(server), unique(b"third"))
    creating = ops.create_session(found.eir_clientid, found.eir_sequenceid)
    assert connect(server).status(creating) == nfs4.NFS4ERR_DELAY
    told = connect(server).call(ops.setclientid(unique(b"third")), minor=0).results[0].resok4
    confirming = ops.setclientid_confirm(told.clientid, told.setclientid_confirm)
    assert connect(server).status(confirming, minor=0) == nfs4.NFS4ERR_DELAY
    opened = session.create(name)
    Owner40(client40).create(unique(b"second"))
    assert session.open_status(unique(b"third"), how=ops.unchecked(), owner=b"another") == nfs4.NFS4ERR_DELAY
    opening = Owner40(client40).opening(unique(b"fourth"), how=ops.unchecked())
    assert client40.status(*opening) == nfs4.NFS4ERR_RESOURCE
    assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK
    session.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    assert session.connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK
    assert session.connection.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4_OK
    assert connect(server).status(creating) == nfs4.NFS4_OK


def test_owners_limit(make_server: MakeServer, connect: Connect) -> None:
    """An open owner or a lock owner too many is RESOURCE; the client's other ones go on."""
    server = make_server(limits={"owners_per_client_max": 2})
    client = Client40(connect(server))
    first, second, third = Owner40(client), Owner40(client), Owner40(client)
    opened = first.create(unique(b"file"))
    second.create(unique(b"file"))
    assert client.status(*third.opening(unique(b"file"), how=ops.unchecked())) == nfs4.NFS4ERR_RESOURCE
    statuses = []
    for owner in (b"1", b"2", b"3"):
        locking = ops.lock_new(
            opened.stateid, 0, 1, nfs4.READ_LT, owner=owner, clientid=client.clientid, open_seqid=first.next()
        )
        statuses.append(client.status(ops.putfh(opened.handle), locking))
    assert statuses == [nfs4.NFS4_OK, nfs4.NFS4_OK, nfs4.NFS4ERR_RESOURCE]
    assert Owner40(Client40(connect(server))).create(unique(b"file"))


def test_callback_address_too_long(connection: Connection) -> None:
    """A netid or a callback address that nobody can have is INVAL, and nothing is kept of it."""
    for netid, address in ((b"n" * 129, b"127.0.0.1.3.231"), (b"tcp", b"1" * 129), (b"tcp", b"1" * 900_000)):
        asking = ops.setclientid(unique(b"client"))
        asking.arm.callback.cb_location = nfs4.netaddr4(netid, address)
        assert connection.status(asking, minor=0) == nfs4.NFS4ERR_INVAL
    asking = ops.setclientid(unique(b"client"))
    asking.arm.callback.cb_location = nfs4.netaddr4(b"n" * 128, b"1" * 128)
    assert connection.status(asking, minor=0) == nfs4.NFS4_OK


def test_client_owner_too_long(connection: Connection) -> None:
    """An owner string has 1,024 bytes at most (RFC 8881 3.3.10)."""
    longest = unique(b"client").ljust(1024, b"x")
    assert connection.status(ops.exchange_id(longest)) == nfs4.NFS4_OK
    assert connection.status(ops.setclientid(longest), minor=0) == nfs4.NFS4_OK
    head, tail = (ops.encoded("EXCHANGE_ID", ops.exchange_id(longest).arm), bytes(4))
    at = head.index(struct.pack(">I", 1024) + longest)
    longer = head[:at] + struct.pack(">I", 1028) + longest + tail + head[at + 4 + 1024 :]
    assert connection.ask(longer).status == nfs4.NFS4ERR_BADXDR


def test_idle_session_makes_room(make_server: MakeServer, connect: Connect) -> None:
    """A client that has lost its connections with many sessions is not locked out; its newer ones live on."""
    server = make_server(limits={"sessions_per_client_max": 3})
    lost = connect(server)
    first = mount(lost)
    second = begin_session(lost, first.clientid, first.create_sequence + 1)
    connection = connect(server)
    third = begin_session(connection, first.clientid, first.create_sequence + 2)
    lost.close()

    def made() -> bool:
        request = ops.create_session(first.clientid, first.create_sequence + 3)
        return connection.status(request) == nfs4.NFS4_OK  # NOSPC until the server has seen the end of the connection.

    until(made, "there was room for a session")
    first.connection = second.connection = connection
    assert second.status(ops.putrootfh()) == third.status(ops.putrootfh()) == nfs4.NFS4_OK
    assert first.status(ops.putrootfh()) == nfs4.NFS4ERR_BADSESSION
    assert len(list(server.events("session.evicted"))) == 1


def test_clone_between_exports(make_server: MakeServer, connect: Connect, name: bytes) -> None:
    """Two exports are two file systems to a client: nothing is shared between them."""
    server = make_server(exports={"/one": "rw,insecure,no_root_squash,fsid=1", "/two": "rw,insecure,no_root_squash"})
    one = mount(connect(server), pseudo=b"one", minor=2)
    source = one.create(name)
    two = one.ok(ops.putrootfh(), ops.lookup(b"two"), ops.lookup(name), ops.getfh())[-1].resok4.object
    clone = Op(nfs4.OP_CLONE, nfs4.CLONE4args(ops.ANONYMOUS, ops.ANONYMOUS, 0, 0, 0))
    assert one.status(ops.putfh(source.handle), ops.savefh(), ops.putfh(two), clone) == nfs4.NFS4ERR_XDEV
