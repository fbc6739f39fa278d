"""Slots and their reply cache, and the life of a session (RFC 8881 2.10.6, 18.34, 18.37, 18.46)."""

from __future__ import annotations

import struct

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Reply, Session, begin_session, identify, mount, unique
from tests.wire.conftest import Connect
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

SLOTS = 8
SIZE = nfs4.FATTR4_SIZE


def sequence_status(
    connection: Connection, sessionid: bytes, seqid: int, slot: int = 0, *, highest: int | None = None
) -> int:
    """The status of a SEQUENCE alone."""
    return connection.status(ops.sequence(sessionid, seqid, slot, highest=highest))


# -- SEQUENCE -----------------------------------------------------------------------------------------------


def test_sequence_result(session: Session) -> None:
    """SEQUENCE says the session, the slot, the highest slots, and that nothing is amiss."""
    result = session.call(slot=3).results[0].sr_resok4
    assert (result.sr_sessionid, result.sr_sequenceid, result.sr_slotid) == (session.sessionid, 1, 3)
    assert result.sr_highest_slotid == result.sr_target_highest_slotid == SLOTS - 1
    assert result.sr_status_flags == 0


def test_sequence_unknown_session(connection: Connection) -> None:
    """A session that nobody has is BADSESSION."""
    assert sequence_status(connection, b"no such session.", 1) == nfs4.NFS4ERR_BADSESSION


def test_sequence_bad_slot(session: Session) -> None:
    """A slot beyond the session's is BADSLOT, a highest slot beyond them BAD_HIGH_SLOT."""
    for slot in (SLOTS, 0xFFFFFFFF):
        assert sequence_status(session.connection, session.sessionid, 1, slot) == nfs4.NFS4ERR_BADSLOT
    status = sequence_status(session.connection, session.sessionid, 1, 0, highest=SLOTS)
    assert status == nfs4.NFS4ERR_BAD_HIGH_SLOT
    assert session.status() == nfs4.NFS4_OK


@pytest.mark.parametrize("ahead", [2, 3, 0x7FFFFFFF, -1, -2])
def test_sequence_misordered(session: Session, ahead: int) -> None:
    """A sequence id that is neither the slot's last nor its next is SEQ_MISORDERED, and changes nothing."""
    for _ in range(2):
        session.ok(ops.putrootfh())
    wrong = session.seqids[0] + ahead & 0xFFFFFFFF
    status = sequence_status(session.connection, session.sessionid, wrong)
    assert status == nfs4.NFS4ERR_SEQ_MISORDERED
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_sequence_first_of_a_slot(session: Session) -> None:
    """A slot that was never used begins with 1; 0 is no retry of anything."""
    for wrong in (0, 2):
        status = sequence_status(session.connection, session.sessionid, wrong, 5)
        assert status == nfs4.NFS4ERR_SEQ_MISORDERED
    assert sequence_status(session.connection, session.sessionid, 1, 5) == nfs4.NFS4_OK


def test_sequence_slots_are_independent(session: Session) -> None:
    """Each slot has its own sequence id."""
    for slot in range(SLOTS):
        for _ in range(slot + 1):
            assert session.call(ops.putrootfh(), slot=slot).status == nfs4.NFS4_OK
    assert session.seqids[0] == 1 + 2 and session.seqids[1:] == list(range(2, SLOTS + 1))


def test_sequence_not_first(session: Session) -> None:
    """A second SEQUENCE is SEQUENCE_POS; none at all OP_NOT_IN_SESSION."""
    again = ops.sequence(session.sessionid, 9)
    assert session.status(ops.putrootfh(), again) == nfs4.NFS4ERR_SEQUENCE_POS
    connection = session.connection
    assert connection.status(ops.putrootfh(), again) == nfs4.NFS4ERR_OP_NOT_IN_SESSION
    assert connection.status(ops.putrootfh()) == nfs4.NFS4ERR_OP_NOT_IN_SESSION


def test_sequence_too_many_operations(connection: Connection) -> None:
    """More operations than the session's are TOO_MANY_OPS, and the slot does not move."""
    session = mount(connection, fore=ops.channel(operations=6))
    reply = session.call(*[ops.putrootfh()] * 6)
    assert (reply.status, reply.results[0].sr_status) == (nfs4.NFS4ERR_TOO_MANY_OPS, nfs4.NFS4ERR_TOO_MANY_OPS)
    assert session.status(*[ops.putrootfh()] * 5) == nfs4.NFS4_OK


def test_sequence_request_too_big(connection: Connection, name: bytes) -> None:
    """A request above the session's size is REQ_TOO_BIG, and nothing of it is done."""
    session = mount(connection, fore=ops.channel(request=1024))
    opened = session.create(name)
    status = session.status(ops.putfh(opened.handle), ops.write(opened.stateid, bytes(1024)))
    assert status == nfs4.NFS4ERR_REQ_TOO_BIG
    assert session.status(ops.putfh(opened.handle), ops.write(opened.stateid, bytes(512))) == nfs4.NFS4_OK


# -- the reply cache ----------------------------------------------------------------------------------------


def retry(session: Session, message: bytes, connection: Connection | None = None) -> Reply:
    """The reply to the same request sent again with a fresh xid."""
    connection = connection or session.connection
    return Reply(connection.rpc(struct.pack(">I", connection.next_xid()) + message[4:]))


def test_retry_cached(session: Session, name: bytes) -> None:
    """A retry of a cached request is answered with the same bytes, and done once."""
    message = session.message(ops.putfh(session.directory), ops.mkdir(name), ops.getfh(), cache=True)
    first = retry(session, message)
    assert first.status == nfs4.NFS4_OK
    for _ in range(3):
        assert retry(session, message).body == first.body
    session.seqids[0] += 1
    assert session.status(ops.putfh(session.directory), ops.mkdir(name)) == nfs4.NFS4ERR_EXIST


def test_retry_changing_not_asked_to_be_cached(session: Session, name: bytes) -> None:
    """A request that changed something is answered from the cache even if the client did not ask for it."""
    message = session.message(ops.putfh(session.directory), ops.mkdir(name))
    first = retry(session, message)
    assert first.status == nfs4.NFS4_OK and retry(session, message).body == first.body


def test_retry_cached_failure(session: Session, name: bytes) -> None:
    """A cached failure stays one, even when it would succeed now."""
    message = session.message(ops.putfh(session.directory), ops.lookup(name), cache=True)
    first = retry(session, message)
    assert first.status == nfs4.NFS4ERR_NOENT
    assert session.call(ops.putfh(session.directory), ops.mkdir(name), slot=1).status == nfs4.NFS4_OK
    assert retry(session, message).body == first.body


def test_retry_uncached(session: Session) -> None:
    """A retry of a request that was not to be cached is RETRY_UNCACHED_REP, and the slot goes on."""
    message = session.message(ops.putrootfh(), ops.getfh())
    assert retry(session, message).status == nfs4.NFS4_OK
    again = retry(session, message)
    assert again.status == nfs4.NFS4ERR_RETRY_UNCACHED_REP
    session.seqids[0] += 1
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_retry_other_operations(session: Session) -> None:
    """A sequence id used again with other operations is SEQ_FALSE_RETRY."""
    first = session.message(ops.putrootfh(), ops.getfh(), cache=True)
    assert retry(session, first).status == nfs4.NFS4_OK
    for false in (
        session.message(ops.putrootfh(), ops.getattr_(), cache=True),
        session.message(ops.putrootfh(), cache=True),
        session.message(ops.putrootfh(), ops.getfh(), ops.getfh(), cache=True),
    ):
        assert retry(session, false).status == nfs4.NFS4ERR_SEQ_FALSE_RETRY
    assert retry(session, first).status == nfs4.NFS4_OK


def test_retry_on_another_connection(session: Session, server: ServerProcess, connect: Connect, name: bytes) -> None:
    """A retry may come over another connection, as after a broken one."""
    message = session.message(ops.putfh(session.directory), ops.mkdir(name), cache=True)
    first = retry(session, message)
    session.connection.close()
    assert retry(session, message, connect(server)).body == first.body


def test_retry_while_running(session: Session, server: ServerProcess, connect: Connect, name: bytes) -> None:
    """A retry of a request that still runs gets the same answer, and the work is done once."""
    opened = session.create(name)
    other = connect(server)
    for round_ in range(5):
        data = bytes([round_]) * 200_000
        writing = ops.write(opened.stateid, data, stable=nfs4.FILE_SYNC4)
        message = session.message(ops.putfh(opened.handle), writing, ops.getattr_(SIZE), cache=True)
        session.connection.send(message)
        session.connection.send(struct.pack(">I", 1) + message[4:])
        other.send(struct.pack(">I", 2) + message[4:])
        replies = [Reply(session.connection.receive()), Reply(session.connection.receive()), Reply(other.receive())]
        assert {reply.status for reply in replies} == {nfs4.NFS4_OK}
        assert len({reply.body for reply in replies}) == 1
        session.seqids[0] += 1
    assert (server.export / name.decode()).read_bytes() == data


def test_retry_while_running_uncached(session: Session, name: bytes) -> None:
    """A retry that meets the running request is answered with it; one that comes later may find nothing kept."""
    opened = session.create(name)
    writing = ops.write(opened.stateid, bytes(200_000), stable=nfs4.FILE_SYNC4)
    message = session.message(ops.putfh(opened.handle), writing)
    for xid in (1, 2):
        session.connection.send(struct.pack(">I", xid) + message[4:])
    replies = sorted((Reply(session.connection.receive()) for _ in range(2)), key=lambda reply: reply.xid)
    assert replies[0].status == nfs4.NFS4_OK
    assert replies[1].status in (nfs4.NFS4_OK, nfs4.NFS4ERR_RETRY_UNCACHED_REP)


# -- sizes of replies ---------------------------------------------------------------------------------------


def test_reply_too_big(connection: Connection) -> None:
    """A reply above the session's size is REP_TOO_BIG from the operation that does not fit."""
    session = mount(connection, fore=ops.channel(reply=512, operations=64))
    reply = session.call(ops.putrootfh(), *[ops.getfh()] * 60)
    assert reply.status == nfs4.NFS4ERR_REP_TOO_BIG
    assert 2 < len(reply.results) < 60
    assert len(reply.body) <= 512
    assert session.status(ops.putrootfh(), ops.getfh()) == nfs4.NFS4_OK


def test_reply_too_big_to_cache(connection: Connection) -> None:
    """One above the size of a cached reply is REP_TOO_BIG_TO_CACHE if it is to be cached."""
    session = mount(connection, fore=ops.channel(cached=512, operations=64))
    many = [ops.putrootfh(), *[ops.getfh()] * 60]
    assert session.call(*many, cache=True).status == nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE
    assert session.call(*many).status == nfs4.NFS4_OK


def test_reply_too_big_for_a_change(connection: Connection, server: ServerProcess, name: bytes) -> None:
    """A change whose result might not fit is refused before it is done."""
    session = mount(connection, fore=ops.channel(reply=512, operations=64))
    handles = 1
    while session.call(ops.putfh(session.directory), *[ops.getfh()] * (handles + 1)).status == nfs4.NFS4_OK:
        handles += 1
    filled = [ops.putfh(session.directory), *[ops.getfh()] * handles]
    assert session.status(*filled, ops.mkdir(name)) == nfs4.NFS4ERR_REP_TOO_BIG
    assert not (server.export / name.decode()).exists()


def test_retry_of_a_change_too_big_to_keep(connection: Connection, name: bytes) -> None:
    """A change whose whole reply is larger than the cache takes is done once and says so."""
    session = mount(connection, fore=ops.channel(cached=300, operations=64))
    message = session.message(ops.putfh(session.directory), ops.mkdir(name), *[ops.getfh()] * 40)
    assert retry(session, message).status == nfs4.NFS4_OK
    assert retry(session, message).status == nfs4.NFS4ERR_RETRY_UNCACHED_REP


# -- the life of a session ----------------------------------------------------------------------------------


def test_destroy_session_alone(connection: Connection, name: bytes) -> None:
    """A destroyed session is BADSESSION; the client and its opens live on in another one."""
    session = mount(connection)
    opened = session.create(name)
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4_OK
    assert session.status() == nfs4.NFS4ERR_BADSESSION
    assert connection.status(ops.destroy_session(session.sessionid)) == nfs4.NFS4ERR_BADSESSION
    again = begin_session(connection, session.clientid, session.create_sequence + 1)
    assert again.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK


def test_destroy_session_from_within(session: Session) -> None:
    """A session may destroy itself only as its compound's last operation."""
    destroy = ops.destroy_session(session.sessionid)
    assert session.status(destroy, ops.putrootfh()) == nfs4.NFS4ERR_NOT_ONLY_OP
    assert session.status(ops.putrootfh(), destroy) == nfs4.NFS4_OK
    assert session.status() == nfs4.NFS4ERR_BADSESSION


def test_destroy_session_of_another(session: Session, connection: Connection) -> None:
    """One session may destroy another of the client, anywhere in its compound."""
    second = begin_session(connection, session.clientid, session.create_sequence + 1)
    assert session.status(ops.destroy_session(second.sessionid), ops.putrootfh()) == nfs4.NFS4_OK
    assert second.status() == nfs4.NFS4ERR_BADSESSION


def test_destroy_session_with_a_running_request(session: Session, name: bytes) -> None:
    """A session whose request still runs is DELAY, or the request had ended; its answer comes in both cases."""
    opened = session.create(name)
    connection = session.connection
    writing = ops.write(opened.stateid, b"data", stable=nfs4.FILE_SYNC4)
    calls = [
        session.message(ops.putfh(opened.handle), writing),
        connection.compound(ops.destroy_session(session.sessionid)),
    ]
    connection.socket.sendall(b"".join(struct.pack(">I", 0x80000000 | len(call)) + call for call in calls))
    replies = {reply.numbers[0]: reply.status for reply in (Reply(connection.receive()) for _ in calls)}
    assert replies[nfs4.OP_SEQUENCE] == nfs4.NFS4_OK
    assert replies[nfs4.OP_DESTROY_SESSION] in (nfs4.NFS4ERR_DELAY, nfs4.NFS4_OK)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (nfs4.CDFC4_FORE, nfs4.CDFS4_FORE),
        (nfs4.CDFC4_BACK, nfs4.CDFS4_BACK),
        (nfs4.CDFC4_FORE_OR_BOTH, nfs4.CDFS4_BOTH),
        (nfs4.CDFC4_BACK_OR_BOTH, nfs4.CDFS4_BOTH),
    ],
)
def test_bind_conn_to_session(
    session: Session, server: ServerProcess, connect: Connect, asked: int, given: int
) -> None:
    """A new connection is bound in the direction asked for, and carries the session."""
    second = connect(server)
    reply = second.call(ops.bind_conn_to_session(session.sessionid, asked))
    result = reply.results[0].bctsr_resok4
    assert (reply.status, result.bctsr_sessid, result.bctsr_dir) == (nfs4.NFS4_OK, session.sessionid, given)
    assert not result.bctsr_use_conn_in_rdma_mode
    session.connection = second
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_bind_conn_to_session_refused(session: Session) -> None:
    """An unknown session is BADSESSION, an unknown direction INVAL, company NOT_ONLY_OP."""
    connection = session.connection
    assert connection.status(ops.bind_conn_to_session(b"no such session.")) == nfs4.NFS4ERR_BADSESSION
    assert connection.status(ops.bind_conn_to_session(session.sessionid, 4)) == nfs4.NFS4ERR_INVAL
    status = connection.status(ops.bind_conn_to_session(session.sessionid), ops.putrootfh())
    assert status == nfs4.NFS4ERR_NOT_ONLY_OP


def test_session_on_an_unbound_connection(session: Session, server: ServerProcess, connect: Connect) -> None:
    """SEQUENCE on a new connection binds it by itself, as no state protection was asked for (RFC 8881 2.10.3.1)."""
    session.connection = connect(server)
    assert session.status(ops.putrootfh()) == nfs4.NFS4_OK


def test_backchannel_ctl(session: Session) -> None:
    """BACKCHANNEL_CTL takes a program and a flavour; without any flavour it is INVAL."""
    security = [nfs4.callback_sec_parms4(nfs4.AUTH_NONE)]
    control = ops.Op(nfs4.OP_BACKCHANNEL_CTL, nfs4.BACKCHANNEL_CTL4args(0x40000001, security))
    assert session.status(control) == nfs4.NFS4_OK
    control = ops.Op(nfs4.OP_BACKCHANNEL_CTL, nfs4.BACKCHANNEL_CTL4args(0x40000001, []))
    assert session.status(control) == nfs4.NFS4ERR_INVAL


def test_session_minor_2(connection: Connection, name: bytes) -> None:
    """A session carries compounds of NFSv4.2 as well."""
    session = mount(connection, minor=2)
    opened = session.create(name)
    allocate = ops.Op(nfs4.OP_ALLOCATE, nfs4.ALLOCATE4args(opened.stateid, 0, 4096))
    assert session.status(ops.putfh(opened.handle), allocate) == nfs4.NFS4_OK


def test_sessions_pipelined(session: Session) -> None:
    """Requests on all slots at once are all answered, each on its own slot."""
    for _ in range(5):
        for slot in range(SLOTS):
            session.connection.send(session.message(ops.putfh(session.directory), ops.getattr_(), slot=slot))
            session.seqids[slot] += 1
        replies = [Reply(session.connection.receive()) for _ in range(SLOTS)]
        assert {reply.status for reply in replies} == {nfs4.NFS4_OK}
        assert sorted(reply.results[0].sr_resok4.sr_slotid for reply in replies) == list(range(SLOTS))


def test_session_of_unconfirmed_owner_only(connection: Connection) -> None:
    """Before CREATE_SESSION a client can do nothing but make one."""
    found = identify(connection, unique(b"owner"))
    assert connection.status(ops.reclaim_complete()) == nfs4.NFS4ERR_OP_NOT_IN_SESSION
    begin_session(connection, found.eir_clientid, found.eir_sequenceid)
