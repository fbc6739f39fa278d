"""EXCHANGE_ID's cases, numbered as in RFC 8881 18.35.4; CREATE_SESSION; DESTROY_CLIENTID; RECLAIM_COMPLETE."""

from __future__ import annotations

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Session, begin_session, identify, mount, unique
from tests.wire.conftest import Connect
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

UPDATE = nfs4.EXCHGID4_FLAG_UPD_CONFIRMED_REC_A
CONFIRMED = nfs4.EXCHGID4_FLAG_CONFIRMED_R
FIRST, SECOND = b"boot one", b"boot two"


@pytest.fixture
def owner() -> bytes:
    """A client owner that nobody uses."""
    return unique(b"owner")


def create_status(connection: Connection, clientid: int, sequence: int, **settings: object) -> int:
    """The status of a CREATE_SESSION."""
    return connection.status(ops.create_session(clientid, sequence, **settings))  # type: ignore[arg-type]


# -- EXCHANGE_ID --------------------------------------------------------------------------------------------


def test_exchange_id_new_owner(connection: Connection, owner: bytes) -> None:
    """Case 1: a new owner gets an unconfirmed clientid, which has no pNFS roles."""
    found = identify(connection, owner)
    assert found.eir_flags == nfs4.EXCHGID4_FLAG_USE_NON_PNFS
    assert found.eir_sequenceid and found.eir_server_owner.so_major_id and found.eir_server_scope


def test_exchange_id_two_owners(connection: Connection) -> None:
    """Two owners get two clientids of one and the same server."""
    one, two = identify(connection, unique(b"a")), identify(connection, unique(b"b"))
    assert one.eir_clientid != two.eir_clientid
    assert one.eir_server_owner == two.eir_server_owner and one.eir_server_scope == two.eir_server_scope


def test_exchange_id_confirmed_again(connection: Connection, owner: bytes) -> None:
    """Case 2: the same instance asks again: the same clientid, confirmed, and its session lives on."""
    session = mount(connection, owner=owner)
    again = identify(connection, owner)
    assert again.eir_clientid == session.clientid
    assert again.eir_flags & CONFIRMED
    assert again.eir_sequenceid == session.create_sequence + 1
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_exchange_id_collision_with_state(server: ServerProcess, connect: Connect, owner: bytes) -> None:
    """Case 3: another principal uses the owner of a client with state: CLID_INUSE, and the state stays."""
    session = mount(connect(server, uid=1000), owner=owner)
    session.create(unique(b"file"))
    intruder = connect(server, uid=1001)
    assert intruder.status(ops.exchange_id(owner, SECOND)) == nfs4.NFS4ERR_CLID_INUSE
    assert intruder.status(ops.exchange_id(owner)) == nfs4.NFS4ERR_CLID_INUSE
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_exchange_id_collision_without_state(server: ServerProcess, connect: Connect, owner: bytes) -> None:
    """Case 3: without state and sessions the owner goes over to the other principal."""
    connection = connect(server, uid=1000)
    session = mount(connection, owner=owner)
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK
    taken = identify(connect(server, uid=1001), owner)
    assert taken.eir_clientid != session.clientid and not taken.eir_flags & CONFIRMED
    assert create_status(connection, session.clientid, 99) == nfs4.NFS4ERR_STALE_CLIENTID


@pytest.mark.parametrize("verifier", [FIRST, SECOND])
def test_exchange_id_unconfirmed_replaced(connection: Connection, owner: bytes, verifier: bytes) -> None:
    """Case 4: an unconfirmed record gives way to the new one, whose clientid is another."""
    old = identify(connection, owner, FIRST)
    new = identify(connection, owner, verifier)
    assert new.eir_clientid != old.eir_clientid
    assert create_status(connection, old.eir_clientid, old.eir_sequenceid) == nfs4.NFS4ERR_STALE_CLIENTID
    begin_session(connection, new.eir_clientid, new.eir_sequenceid)


def test_exchange_id_unconfirmed_other_principal(server: ServerProcess, connect: Connect, owner: bytes) -> None:
    """Case 4: an unconfirmed record gives way to another principal's too; the first cannot confirm it."""
    identify(connect(server, uid=1000), owner)
    theirs = connect(server, uid=1001)
    new = identify(theirs, owner)
    refused = create_status(connect(server, uid=1000), new.eir_clientid, new.eir_sequenceid)
    assert refused == nfs4.NFS4ERR_CLID_INUSE
    begin_session(theirs, new.eir_clientid, new.eir_sequenceid)


def test_exchange_id_restart(connection: Connection, owner: bytes, name: bytes) -> None:
    """Case 5: a client that has restarted gets a new clientid; the old one's state goes with the confirmation."""
    old = mount(connection, owner=owner)
    opened = old.create(name)
    new = identify(connection, owner, SECOND)
    assert new.eir_clientid != old.clientid and not new.eir_flags & CONFIRMED
    assert old.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK
    session = begin_session(connection, new.eir_clientid, new.eir_sequenceid)
    assert old.status() == nfs4.NFS4ERR_BADSESSION
    assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4ERR_BAD_STATEID


def test_exchange_id_restart_twice(connection: Connection, owner: bytes) -> None:
    """Case 5 again before the confirmation: only the newest clientid can be confirmed."""
    mount(connection, owner=owner)
    second = identify(connection, owner, SECOND)
    third = identify(connection, owner, b"boot 333")
    assert create_status(connection, second.eir_clientid, 1) == nfs4.NFS4ERR_STALE_CLIENTID
    begin_session(connection, third.eir_clientid, third.eir_sequenceid)


def test_exchange_id_restart_taken_back(connection: Connection, owner: bytes) -> None:
    """Case 2 with a restarted instance unconfirmed: the confirmed one is found again."""
    session = mount(connection, owner=owner)
    identify(connection, owner, SECOND)
    assert identify(connection, owner).eir_clientid == session.clientid


def test_exchange_id_update(connection: Connection, owner: bytes) -> None:
    """Case 6: an update of a confirmed record keeps its clientid."""
    session = mount(connection, owner=owner)
    reply = connection.call(ops.exchange_id(owner, flags=UPDATE))
    assert reply.status == nfs4.NFS4_OK
    assert reply.results[0].eir_resok4.eir_clientid == session.clientid
    assert reply.results[0].eir_resok4.eir_flags & CONFIRMED


def test_exchange_id_update_nobody(connection: Connection, owner: bytes) -> None:
    """Case 7: an update of no confirmed record is NOENT, even where there is an unconfirmed one."""
    assert connection.status(ops.exchange_id(owner, flags=UPDATE)) == nfs4.NFS4ERR_NOENT
    identify(connection, owner)
    assert connection.status(ops.exchange_id(owner, flags=UPDATE)) == nfs4.NFS4ERR_NOENT


def test_exchange_id_update_other_verifier(connection: Connection, owner: bytes) -> None:
    """Case 8: an update by another instance is NOT_SAME."""
    mount(connection, owner=owner)
    assert connection.status(ops.exchange_id(owner, SECOND, UPDATE)) == nfs4.NFS4ERR_NOT_SAME


def test_exchange_id_update_other_principal(server: ServerProcess, connect: Connect, owner: bytes) -> None:
    """Case 9: an update by another principal is PERM."""
    mount(connect(server, uid=1000), owner=owner)
    assert connect(server, uid=1001).status(ops.exchange_id(owner, flags=UPDATE)) == nfs4.NFS4ERR_PERM


@pytest.mark.parametrize("flags", [CONFIRMED, 0x8, 0x00100000, 0x20000000])
def test_exchange_id_unknown_flags(connection: Connection, owner: bytes, flags: int) -> None:
    """Flags that a client may not set are INVAL."""
    assert connection.status(ops.exchange_id(owner, flags=flags)) == nfs4.NFS4ERR_INVAL


def test_exchange_id_state_protection(connection: Connection, owner: bytes) -> None:
    """State protection needs RPCSEC_GSS, which is not offered."""
    for how in (nfs4.SP4_MACH_CRED, nfs4.SP4_SSV):
        status = connection.status(ops.exchange_id(owner, how=how))
        assert status in (nfs4.NFS4ERR_INVAL, nfs4.NFS4ERR_ENCR_ALG_UNSUPP)


def test_exchange_id_not_alone(connection: Connection, owner: bytes) -> None:
    """Without SEQUENCE it has to be the only operation (RFC 8881 18.35.3)."""
    status = connection.status(ops.exchange_id(owner), ops.putrootfh())
    assert status == nfs4.NFS4ERR_NOT_ONLY_OP


def test_exchange_id_in_session(session: Session, owner: bytes) -> None:
    """After SEQUENCE it may stand beside others."""
    assert session.status(ops.exchange_id(owner), ops.putrootfh()) == nfs4.NFS4_OK


# -- CREATE_SESSION -----------------------------------------------------------------------------------------


def test_create_session_unknown_client(connection: Connection) -> None:
    """A clientid that nobody has is STALE_CLIENTID."""
    assert create_status(connection, 0x1234567, 1) == nfs4.NFS4ERR_STALE_CLIENTID


def test_create_session_replay(connection: Connection, owner: bytes) -> None:
    """A retry of CREATE_SESSION is answered with the same bytes, and makes no second session."""
    found = identify(connection, owner)
    request = ops.create_session(found.eir_clientid, found.eir_sequenceid)
    first, again = connection.call(request), connection.call(request)
    assert first.status == nfs4.NFS4_OK and again.body == first.body
    sessionid = first.results[0].csr_resok4.csr_sessionid
    assert connection.status(ops.destroy_session(sessionid)) == nfs4.NFS4_OK
    assert connection.status(ops.destroy_clientid(found.eir_clientid)) == nfs4.NFS4_OK


@pytest.mark.parametrize("ahead", [-1, 1, 0x7FFFFFFF])
def test_create_session_misordered(connection: Connection, owner: bytes, ahead: int) -> None:
    """A sequence id that is neither the next nor the last is SEQ_MISORDERED, before and after the first session."""
    found = identify(connection, owner)
    wrong = (found.eir_sequenceid + ahead) & 0xFFFFFFFF
    assert create_status(connection, found.eir_clientid, wrong) == nfs4.NFS4ERR_SEQ_MISORDERED
    begin_session(connection, found.eir_clientid, found.eir_sequenceid)
    wrong = (found.eir_sequenceid + 1 + (ahead if ahead > 0 else -2)) & 0xFFFFFFFF
    assert create_status(connection, found.eir_clientid, wrong) == nfs4.NFS4ERR_SEQ_MISORDERED


def test_create_session_second(connection: Connection) -> None:
    """A client may have several sessions, each with slots of its own."""
    first = mount(connection)
    second = begin_session(connection, first.clientid, first.create_sequence + 1)
    assert first.sessionid != second.sessionid
    for session in (first, second, first):
        assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_create_session_unknown_flags(connection: Connection, owner: bytes) -> None:
    """Unknown flags are INVAL, and the sequence id is not used up."""
    found = identify(connection, owner)
    status = create_status(connection, found.eir_clientid, found.eir_sequenceid, flags=0x10)
    assert status == nfs4.NFS4ERR_INVAL
    begin_session(connection, found.eir_clientid, found.eir_sequenceid)


def test_create_session_persist_not_granted(connection: Connection, owner: bytes) -> None:
    """PERSIST is asked for and not promised."""
    found = identify(connection, owner)
    flags = nfs4.CREATE_SESSION4_FLAG_PERSIST | nfs4.CREATE_SESSION4_FLAG_CONN_RDMA
    reply = connection.call(ops.create_session(found.eir_clientid, found.eir_sequenceid, flags=flags))
    assert (reply.status, reply.results[0].csr_resok4.csr_flags) == (nfs4.NFS4_OK, 0)


TOO_SMALL = {
    "request": ops.channel(request=20),
    "reply": ops.channel(reply=20),
    "operations": ops.channel(operations=0),
    "slots": ops.channel(slots=0),
}


@pytest.mark.parametrize("fore", TOO_SMALL.values(), ids=TOO_SMALL)
def test_create_session_too_small(connection: Connection, owner: bytes, fore: nfs4.channel_attrs4) -> None:
    """A channel that could carry no request is TOOSMALL."""
    found = identify(connection, owner)
    status = create_status(connection, found.eir_clientid, found.eir_sequenceid, fore=fore)
    assert status == nfs4.NFS4ERR_TOOSMALL


def test_create_session_limits(connection: Connection, owner: bytes) -> None:
    """What is too much is cut down, what is less is granted as it is."""
    found = identify(connection, owner)
    largest = 0xFFFFFFFF
    fore = ops.channel(request=largest, reply=largest, cached=largest, operations=largest, slots=largest)
    granted = begin_session(connection, found.eir_clientid, found.eir_sequenceid, fore=fore).fore
    assert granted.ca_maxrequests == 64 and granted.ca_maxoperations == 64
    assert granted.ca_maxrequestsize == granted.ca_maxresponsesize == (1 << 20) + (64 << 10)
    assert granted.ca_maxresponsesize_cached <= granted.ca_maxresponsesize
    modest = ops.channel(request=5000, reply=6000, cached=700, operations=9, slots=3)
    granted = begin_session(connection, found.eir_clientid, found.eir_sequenceid + 1, fore=modest).fore
    assert granted == modest


def test_create_session_sessions_max(connection: Connection) -> None:
    """A client has at most limits.sessions_per_client_max sessions."""
    session = mount(connection)
    for number in range(1, 64):
        begin_session(connection, session.clientid, session.create_sequence + number, fore=ops.channel(slots=1))
    status = create_status(connection, session.clientid, session.create_sequence + 64)
    assert status == nfs4.NFS4ERR_NOSPC
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK


# -- the rest -----------------------------------------------------------------------------------------------


def test_destroy_clientid_busy(connection: Connection) -> None:
    """A client with a session is busy; without one it is gone, and so is its clientid."""
    session = mount(connection)
    assert session.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4ERR_CLIENTID_BUSY
    assert connection.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4ERR_CLIENTID_BUSY
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK
    assert connection.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4_OK
    assert connection.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4ERR_STALE_CLIENTID
    assert create_status(connection, session.clientid, 2) == nfs4.NFS4ERR_STALE_CLIENTID


def test_destroy_clientid_with_opens(connection: Connection, name: bytes) -> None:
    """A client with an open is busy even when its sessions are gone."""
    session = mount(connection)
    opened = session.create(name)
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK
    assert connection.status(ops.destroy_clientid(session.clientid)) == nfs4.NFS4ERR_CLIENTID_BUSY
    again = begin_session(connection, session.clientid, session.create_sequence + 1)
    assert again.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK


def test_destroy_clientid_unconfirmed(connection: Connection, owner: bytes) -> None:
    """An unconfirmed clientid can be given back."""
    found = identify(connection, owner)
    assert connection.status(ops.destroy_clientid(found.eir_clientid)) == nfs4.NFS4_OK
    assert create_status(connection, found.eir_clientid, 1) == nfs4.NFS4ERR_STALE_CLIENTID


def test_destroy_clientid_by_another(session: Session, connection: Connection, owner: bytes) -> None:
    """A client may destroy another clientid than that of its session."""
    found = identify(connection, owner)
    assert session.status(ops.destroy_clientid(found.eir_clientid)) == nfs4.NFS4_OK


def test_reclaim_complete_twice(connection: Connection) -> None:
    """The second RECLAIM_COMPLETE of a client is COMPLETE_ALREADY."""
    session = mount(connection, complete=False)
    assert session.status(ops.reclaim_complete()) == nfs4.NFS4_OK
    assert session.status(ops.reclaim_complete()) == nfs4.NFS4ERR_COMPLETE_ALREADY


def test_reclaim_complete_one_fs(connection: Connection) -> None:
    """For one file system it wants a current file handle, and does not count for all of them."""
    session = mount(connection, complete=False)
    assert session.status(ops.reclaim_complete(one_fs=True)) == nfs4.NFS4ERR_NOFILEHANDLE
    assert session.status(ops.putfh(session.directory), ops.reclaim_complete(one_fs=True)) == nfs4.NFS4_OK
    assert session.status(ops.reclaim_complete()) == nfs4.NFS4_OK


def test_open_before_reclaim_complete(connection: Connection, name: bytes) -> None:
    """Before RECLAIM_COMPLETE only reclaims are possible: an ordinary OPEN is GRACE (RFC 8881 18.51.3)."""
    session = mount(connection, complete=False)
    assert session.open_status(name, how=ops.unchecked()) == nfs4.NFS4ERR_GRACE
    session.ok(ops.reclaim_complete())
    assert session.open_status(name, how=ops.unchecked()) == nfs4.NFS4_OK


def test_open_reclaim_without_record(connection: Connection, name: bytes, session: Session) -> None:
    """CLAIM_PREVIOUS of what nobody had is NO_GRACE."""
    handle = session.create(name).handle
    late = mount(connection, complete=False)
    opening = ops.open_(None)
    opening.arm.claim = nfs4.open_claim4(nfs4.CLAIM_PREVIOUS, delegate_type=nfs4.OPEN_DELEGATE_NONE)
    assert late.status(ops.putfh(handle), opening) == nfs4.NFS4ERR_NO_GRACE
