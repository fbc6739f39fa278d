"""The RPC layer and what every COMPOUND has in common (RFC 5531; RFC 8881 2.10.6, 16.2)."""

from __future__ import annotations

import struct

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Session, unique
from tests.support.rpc import AUTH_NONE, LAST_FRAGMENT, NULL, RpcReply, auth_sys
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

# accept_stat, reject_stat and auth_stat of RFC 5531 9
SUCCESS, PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS = range(5)
RPC_MISMATCH, AUTH_ERROR = 0, 1
AUTH_BADCRED, AUTH_TOOWEAK = 1, 5
RPCSEC_GSS = 6


def end_of(connection: Connection) -> bool:
    """Whether the server closes the connection without another reply."""
    try:
        connection.receive_record()
    except EOFError:
        return True
    return False


def test_null(connection: Connection) -> None:
    """The NULL procedure answers with no bytes."""
    reply = connection.null()
    assert (reply.denied, reply.stat, reply.body) == (0, SUCCESS, b"")


def test_call_wrong_program(connection: Connection) -> None:
    """A program that is not NFS is unavailable, and the connection goes on."""
    reply = connection.rpc(connection.message(program=100005, version=3, procedure=NULL))
    assert (reply.denied, reply.stat) == (0, PROG_UNAVAIL)
    assert connection.null().stat == SUCCESS


@pytest.mark.parametrize("version", [2, 3, 5])
def test_call_wrong_version(connection: Connection, version: int) -> None:
    """Another version of NFS is answered with the only one there is."""
    reply = connection.rpc(connection.message(version=version, procedure=NULL))
    assert (reply.denied, reply.stat, reply.words()) == (0, PROG_MISMATCH, (4, 4))


def test_call_wrong_procedure(connection: Connection) -> None:
    """NFSv4 has two procedures."""
    assert connection.rpc(connection.message(procedure=2)).stat == PROC_UNAVAIL


@pytest.mark.parametrize("flavor", [2, 3, RPCSEC_GSS, 390003])
def test_call_unknown_flavour(connection: Connection, flavor: int) -> None:
    """A flavour that is not offered is an authentication error."""
    reply = connection.rpc(connection.message(flavor=flavor, credential=bytes(8)))
    assert (reply.denied, reply.stat) == (1, AUTH_ERROR)
    assert reply.words() == (AUTH_TOOWEAK,)


def test_call_wrong_rpc_version(connection: Connection) -> None:
    """RPC version 3 is denied with the versions that there are."""
    reply = connection.rpc(connection.message(rpc_version=3))
    assert (reply.denied, reply.stat, reply.words()) == (1, RPC_MISMATCH, (2, 2))


BAD_CREDENTIALS = {
    "empty": b"",
    "truncated": auth_sys()[:-4],
    "left_over": auth_sys() + bytes(4),
    "17_groups": auth_sys(groups=tuple(range(17))),
    "machine_256": auth_sys(machine=b"m" * 256),
    "uid_minus_1": auth_sys(uid=0xFFFFFFFF),
    "name_beyond_end": struct.pack(">5I", 1, 200, 0, 0, 0),
}


@pytest.mark.parametrize("credential", BAD_CREDENTIALS.values(), ids=BAD_CREDENTIALS)
def test_call_bad_auth_sys(connection: Connection, credential: bytes) -> None:
    """A malformed AUTH_SYS body is a bad credential, and the connection goes on."""
    reply = connection.rpc(connection.message(credential=credential))
    assert (reply.denied, reply.stat, reply.words()) == (1, AUTH_ERROR, (AUTH_BADCRED,))
    assert connection.null().stat == SUCCESS


def test_call_credential_too_long(connection: Connection) -> None:
    """A credential has 400 bytes at most (RFC 5531 8.2)."""
    reply = connection.rpc(connection.message(credential=bytes(404)))
    assert (reply.denied, reply.stat) == (1, AUTH_ERROR)


def nameless(connection: Connection, *operations: ops.Op) -> int:
    """The status of a COMPOUND whose caller has no name (AUTH_NONE)."""
    packer = nfs4.Nfs4Packer()
    packer.pack_COMPOUND4args(nfs4.COMPOUND4args(b"", 0, list(operations)))
    reply = connection.rpc(connection.message(packer.get_buffer(), flavor=AUTH_NONE))
    assert (reply.denied, reply.stat) == (0, SUCCESS)
    return int(struct.unpack_from(">I", reply.body)[0])


def test_compound_auth_none_on_sys_export(connection: Connection) -> None:
    """An export with sec=sys is not for a caller without a name; the pseudo root shows it the way."""
    assert nameless(connection, ops.putrootfh(), ops.getattr_()) == nfs4.NFS4_OK
    status = nameless(connection, ops.putrootfh(), ops.lookup(b"export"), ops.lookup(b"x"))
    assert status == nfs4.NFS4ERR_WRONGSEC


def test_lookup_auth_none_into_sys_export(connection: Connection) -> None:
    """LOOKUP into an export with sec=sys shows its root's attributes to nobody without a name (RFC 8881 2.6.3.1)."""
    status = nameless(connection, ops.putrootfh(), ops.lookup(b"export"), ops.getattr_())
    assert status == nfs4.NFS4ERR_WRONGSEC


@pytest.mark.parametrize("rest", [struct.pack(">5I", 0, 0, 0, 0, 0), struct.pack(">4I", 1, 0, 2, 2), bytes(44)])
def test_call_reply_instead_of_call(server: ServerProcess, connect: Connect, rest: bytes) -> None:
    """A reply that nobody asked for, accepted, denied or longer, is ignored, and the connection goes on."""
    connection = connect(server)
    connection.send(struct.pack(">2I", 1, 1) + rest)
    assert connection.null().stat == SUCCESS


def test_record_too_short_for_call(server: ServerProcess, connect: Connect) -> None:
    """A record that cannot be a call ends the connection; another one goes on."""
    bystander, connection = connect(server), connect(server)
    connection.send(bytes(12))
    assert end_of(connection)
    assert bystander.null().stat == SUCCESS


@pytest.mark.parametrize("size", [1, 3, 7])
def test_record_in_fragments(connection: Connection, size: int) -> None:
    """A record may come in many fragments of any size."""
    message = connection.message(procedure=NULL)
    pieces = [message[at : at + size] for at in range(0, len(message), size)][:60]
    pieces = [*pieces[:-1], message[sum(map(len, pieces[:-1])) :]]
    stream = b"".join(
        struct.pack(">I", len(piece) | (LAST_FRAGMENT if piece is pieces[-1] else 0)) + piece for piece in pieces
    )
    connection.socket.sendall(stream)
    assert connection.receive().stat == SUCCESS


def test_record_byte_by_byte(connection: Connection) -> None:
    """A record may arrive one byte at a time, its mark too."""
    message = connection.compound(ops.putrootfh(), ops.getfh(), minor=0)
    for byte in struct.pack(">I", LAST_FRAGMENT | len(message)) + message:
        connection.socket.sendall(bytes([byte]))
    assert connection.receive().stat == SUCCESS


def test_record_several_at_once(connection: Connection) -> None:
    """Requests that arrive in one piece are all answered, in any order."""
    messages = [connection.message(procedure=NULL) for _ in range(20)]
    connection.socket.sendall(b"".join(struct.pack(">I", LAST_FRAGMENT | len(m)) + m for m in messages))
    answered = {connection.receive().xid for _ in messages}
    assert answered == {struct.unpack(">I", message[:4])[0] for message in messages}


def test_record_too_many_fragments(server: ServerProcess, connect: Connect) -> None:
    """A flood of empty fragments ends the connection with a log line, and others go on."""
    bystander, connection = connect(server), connect(server)
    before = len(server.events("connection.dropped"))
    connection.socket.sendall(struct.pack(">I", 0) * 100_000)
    assert end_of(connection)
    assert len(server.events("connection.dropped")) == before + 1
    assert bystander.null().stat == SUCCESS


@pytest.mark.parametrize("size", [(1 << 20) + (64 << 10) + 1, 0x7FFFFFFF])
def test_record_oversized(server: ServerProcess, connect: Connect, size: int) -> None:
    """A record above the limit ends its connection at its mark, with a log line, and others go on."""
    bystander, connection = connect(server), connect(server)
    before = len(server.events("connection.dropped"))
    connection.socket.sendall(struct.pack(">I", LAST_FRAGMENT | size) + bytes(64))
    assert end_of(connection)
    dropped = server.events("connection.dropped")[before:]
    assert len(dropped) == 1 and str(size) in dropped[0]["reason"]
    assert bystander.null().stat == SUCCESS


def test_compound_left_over_bytes(server: ServerProcess, connection: Connection) -> None:
    """Bytes after the last operation are GARBAGE_ARGS, with a log line, and the connection goes on."""
    before = len(server.events("rpc.garbage"))
    reply = connection.rpc(connection.compound(ops.putrootfh(), minor=0) + bytes(4))
    assert (reply.denied, reply.stat) == (0, GARBAGE_ARGS)
    assert len(server.events("rpc.garbage")) == before + 1
    assert connection.null().stat == SUCCESS


def test_compound_no_compound_at_all(connection: Connection) -> None:
    """A body that ends within the COMPOUND's head is GARBAGE_ARGS."""
    assert connection.rpc(connection.message(bytes(6))).stat == GARBAGE_ARGS


def test_compound_truncated_operation(connection: Connection) -> None:
    """An operation whose arguments end early is BADXDR, after the results of those before it."""
    message = connection.compound(ops.putrootfh(), ops.lookup(b"export"), minor=0)
    reply = connection.rpc(message[:-8])
    status, _tag, count = struct.unpack_from(">3I", reply.body)
    assert (reply.stat, status, count) == (SUCCESS, nfs4.NFS4ERR_BADXDR, 2)


def test_compound_length_beyond_record(connection: Connection) -> None:
    """A length that no record could hold is BADXDR, not memory."""
    message = connection.compound(ops.putrootfh(), ops.lookup(b"x"), minor=0)
    reply = connection.rpc(message[:-8] + struct.pack(">I", 0xFFFFFFF0) + b"x\0\0\0")
    assert struct.unpack_from(">I", reply.body)[0] == nfs4.NFS4ERR_BADXDR


def test_compound_empty(connection: Connection) -> None:
    """A COMPOUND without operations succeeds, and its tag comes back."""
    reply = connection.call(minor=0, tag=b"a tag")
    assert (reply.status, reply.tag, reply.results) == (nfs4.NFS4_OK, b"a tag", [])


def test_compound_too_many_operations_v40(connection: Connection) -> None:
    """NFSv4.0 says RESOURCE above the limit of operations, and evaluates none."""
    reply = connection.call(*[ops.putrootfh()] * 65, minor=0)
    assert (reply.status, reply.results) == (nfs4.NFS4ERR_RESOURCE, [])
    assert connection.status(*[ops.putrootfh()] * 64, minor=0) == nfs4.NFS4_OK


def test_compound_too_many_operations_v41(connection: Connection) -> None:
    """NFSv4.1 says TOO_MANY_OPS above the limit of operations."""
    assert connection.status(*[ops.putrootfh()] * 65, minor=1) == nfs4.NFS4ERR_TOO_MANY_OPS


def test_compound_count_of_a_billion(connection: Connection) -> None:
    """A count of operations that nobody could send costs nothing."""
    reply = connection.rpc(connection.message(struct.pack(">3I", 0, 0, 1 << 30)))
    assert struct.unpack_from(">I", reply.body)[0] == nfs4.NFS4ERR_RESOURCE


@pytest.mark.parametrize("minor", [3, 0xFFFFFFFF])
def test_compound_unknown_minor_version(connection: Connection, minor: int) -> None:
    """A minor version from 3 on is a mismatch, without results."""
    reply = connection.call(ops.putrootfh(), minor=minor)
    assert (reply.status, reply.results) == (nfs4.NFS4ERR_MINOR_VERS_MISMATCH, [])


def unknown_operation(connection: Connection, number: int, minor: int, before: int = 0) -> tuple[int, int, int, int]:
    """(status, count of results, the last one's operation, its status) for an operation without arguments."""
    body = struct.pack(">3I", 0, minor, before + 1) + struct.pack(">I", nfs4.OP_PUTROOTFH) * before
    reply = connection.rpc(connection.message(body + struct.pack(">I", number)))
    status, _tag, count = struct.unpack_from(">3I", reply.body)
    number, last = struct.unpack(">2I", reply.body[-8:])
    return status, count, number, last


@pytest.mark.parametrize("number", [0, 2, 77, 10044, 0xFFFFFFFF])
@pytest.mark.parametrize("minor", [0, 1, 2])
def test_compound_illegal_operation(connection: Connection, number: int, minor: int) -> None:
    """A number that is no operation is answered as OP_ILLEGAL."""
    found = unknown_operation(connection, number, minor)
    assert found == (nfs4.NFS4ERR_OP_ILLEGAL, 1, nfs4.OP_ILLEGAL, nfs4.NFS4ERR_OP_ILLEGAL)


def test_compound_illegal_after_others(connection: Connection) -> None:
    """An illegal operation does not undo those before it."""
    found = unknown_operation(connection, 9999, 0, before=2)
    assert found == (nfs4.NFS4ERR_OP_ILLEGAL, 3, nfs4.OP_ILLEGAL, nfs4.NFS4ERR_OP_ILLEGAL)


def test_compound_illegal_before_others(connection: Connection) -> None:
    """An illegal operation is one wherever it stands: NFSv4.1 does not ask first whether it may be alone."""
    body = struct.pack(">5I", 0, 1, 2, 9999, nfs4.OP_PUTROOTFH)
    reply = connection.rpc(connection.message(body))
    assert struct.unpack(">5I", reply.body) == (
        nfs4.NFS4ERR_OP_ILLEGAL, 0, 1, nfs4.OP_ILLEGAL, nfs4.NFS4ERR_OP_ILLEGAL
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "minor"),
    [
        (nfs4.OP_SEQUENCE, 0), (nfs4.OP_EXCHANGE_ID, 0), (nfs4.OP_ALLOCATE, 0), (nfs4.OP_ALLOCATE, 1),
        (nfs4.OP_GETXATTR, 1),
    ],
)  # fmt: skip
def test_compound_operation_of_later_minor(connection: Connection, number: int, minor: int) -> None:
    """An operation that this minor version does not have yet is illegal in it."""
    assert unknown_operation(connection, number, minor)[0] == nfs4.NFS4ERR_OP_ILLEGAL


@pytest.mark.parametrize("minor", [1, 2])
def test_compound_operation_of_minor_0(session: Session, minor: int) -> None:
    """What NFSv4.1 took away is NOTSUPP in it, whether its client exists or not (RFC 8881 18)."""
    session.minor = minor
    for operation in (ops.renew(session.clientid), ops.setclientid(unique(b"old")), ops.release_lockowner(1, b"x")):
        assert session.status(operation) == nfs4.NFS4ERR_NOTSUPP


def test_compound_no_file_handle(session: Session) -> None:
    """Operations on the current file handle want one."""
    for operation in (ops.getfh(), ops.getattr_(), ops.savefh(), ops.read(), ops.open_(b"x"), ops.lookup(b"x")):
        assert session.status(operation) == nfs4.NFS4ERR_NOFILEHANDLE


def test_putfh_forged_handle(session: Session) -> None:
    """A handle that this server has not made is BADHANDLE, whichever bit was changed."""
    handle = session.directory
    for at in (0, 1, len(handle) // 2, len(handle) - 1):
        forged = bytearray(handle)
        forged[at] ^= 1
        status = session.status(ops.putfh(bytes(forged)))
        assert status in (nfs4.NFS4ERR_BADHANDLE, nfs4.NFS4ERR_STALE)
    assert session.status(ops.putfh(b"")) == nfs4.NFS4ERR_BADHANDLE


def test_connection_limit_per_address(make_server: MakeServer, connect: Connect) -> None:
    """Above the limit of one address a connection is closed, with a log line; one that ends makes room."""
    server = make_server(limits={"connections_per_address_max": 3})
    accepted = [connect(server) for _ in range(3)]
    assert all(connection.null().stat == SUCCESS for connection in accepted)
    refused = connect(server)
    assert end_of(refused)
    assert server.events("connection.refused")[-1]["reason"] == "connections_per_address_max"
    assert connect(server, source="127.0.0.2").null().stat == SUCCESS
    assert accepted[0].null().stat == SUCCESS
    # The server closes in turn once it has seen the end, and has forgotten the connection by then.
    accepted[0].socket.shutdown(1)
    assert end_of(accepted[0])
    assert connect(server).null().stat == SUCCESS


def test_connection_limit_in_all(make_server: MakeServer, connect: Connect) -> None:
    """Above the limit of all connections one more is closed, wherever it comes from."""
    server = make_server(limits={"connections_max": 2})
    kept = [connect(server, source=f"127.0.0.{last}") for last in (1, 2)]
    assert all(connection.null().stat == SUCCESS for connection in kept)
    assert end_of(connect(server, source="127.0.0.3"))
    assert server.events("connection.refused")[-1]["reason"] == "connections_max"
    assert isinstance(kept[0].null(), RpcReply)


def test_requests_in_flight_limit(make_server: MakeServer, connect: Connect) -> None:
    """Above the limit of requests at work the rest waits in the kernel, and all are answered."""
    server = make_server(limits={"requests_in_flight_max": 4})
    connection = connect(server)
    (server.export / "file").write_bytes(b"")
    (server.export / "file").chmod(0o666)
    walk = [ops.putrootfh(), ops.lookup(b"export"), ops.lookup(b"file")]
    writes = [
        connection.compound(*walk, ops.write(ops.ANONYMOUS, b"x", offset, nfs4.FILE_SYNC4), minor=0)
        for offset in range(50)
    ]
    connection.socket.sendall(b"".join(struct.pack(">I", LAST_FRAGMENT | len(call)) + call for call in writes))
    answered = [connection.receive() for _ in writes]
    assert {reply.xid for reply in answered} == {struct.unpack(">I", call[:4])[0] for call in writes}
    assert (server.export / "file").read_bytes() == b"x" * 50


def test_replies_to_a_slow_reader(server: ServerProcess, connect: Connect, name: bytes) -> None:
    """Replies that the peer does not take are held back, not lost, and nobody else waits for them."""
    slow, bystander = connect(server), connect(server)
    (server.export / name.decode()).write_bytes(bytes(1 << 20))
    (server.export / name.decode()).chmod(0o666)
    reading = [ops.putrootfh(), ops.lookup(b"export"), ops.lookup(name), ops.read(ops.ANONYMOUS, 0, 1 << 20)]
    count = 40
    for _ in range(count):
        slow.send(slow.compound(*reading, minor=0))
    assert bystander.null().stat == SUCCESS
    assert all(len(slow.receive().body) > 1 << 20 for _ in range(count))
