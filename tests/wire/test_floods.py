"""Floods in small: what one peer can do to the memory of the server and to the time of the others."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Connection, Reply, mount, unique
from tests.support.rpc import LAST_FRAGMENT, marked
from tests.support.waiting import let_pass, until
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

MIB = 1 << 20
RPC_HEAD_SIZE = 24
NEIGHBOUR = "127.0.0.2"
# A turn is 5 ms; the rest is for a machine that has other things to do, and far below what floods cost without turns.
LATENCY_MAX_S = 0.25


@pytest.fixture(scope="module")
def flooded(make_server: MakeServer) -> ServerProcess:
    """A server for floods alone, so that its memory is theirs."""
    server = make_server()
    (server.export / "large").write_bytes(b"x" * MIB)
    (server.export / "large").chmod(0o666)
    return server


def memory(server: ServerProcess) -> int:
    """The server's resident bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    return 1024 * int(status.partition("VmRSS:")[2].split()[0])


def drops(server: ServerProcess, limit: str) -> int:
    """Connections that the log says were ended by a limit."""
    return sum(event["reason"] == limit for event in server.events("connection.dropped"))


def ended(connection: Connection) -> bool:
    """Whether the server has ended a connection that nothing is sent on."""
    connection.socket.setblocking(False)
    try:
        return connection.socket.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def latency_s(connection: Connection, count: int = 100) -> float:
    """The longest that somebody else waits for an answer."""
    longest = 0.0
    for _ in range(count):
        began_s = time.monotonic()
        connection.null()
        longest = max(longest, time.monotonic() - began_s)
    return longest


def push(connection: Connection, data: bytes) -> None:
    """Send as much as goes at once."""
    connection.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while data:
            data = data[connection.socket.send(data) :]


def test_reply_size_v40(client40: Client40, server: ServerProcess) -> None:
    """READs of an NFSv4.0 compound are bounded together, and what follows a full reply is RESOURCE."""
    name = unique(b"large")
    (server.export / name.decode()).write_bytes(b"x" * MIB)
    (server.export / name.decode()).chmod(0o666)
    walk = [ops.putrootfh(), ops.lookup(b"export"), ops.lookup(name)]
    reply = client40.call(*walk, *[ops.read(ops.ANONYMOUS, 0, MIB)] * 10)
    data = [len(reply[index].resok4.data) for index in range(3, len(reply.results) - 1)]
    assert reply.status == nfs4.NFS4ERR_RESOURCE
    assert data[0] == MIB and MIB < sum(data) < MIB + 65_536
    made = unique(b"made")
    small = client40.call(*walk, *[ops.read(ops.ANONYMOUS, 0, 0)] * 2, *walk[:2])
    room = MIB + 65_536 - RPC_HEAD_SIZE - len(small.body) - MIB
    full = [ops.read(ops.ANONYMOUS, 0, MIB), ops.read(ops.ANONYMOUS, 0, room - 20)]
    assert client40.status(*walk, *full, *walk[:2]) == nfs4.NFS4_OK
    reply = client40.call(*walk, *full, *walk[:2], ops.mkdir(made))
    assert (reply.status, reply.numbers[-1]) == (nfs4.NFS4ERR_RESOURCE, nfs4.OP_CREATE)
    assert not (server.export / made.decode()).exists(), "a change was made that the reply does not tell of"


def test_readdirs_of_a_compound(client40: Client40, server: ServerProcess) -> None:
    """A compound of many READDIRs has a reply that is no larger than any other."""
    directory = server.export / unique(b"directory").decode()
    directory.mkdir()
    for number in range(2000):
        (directory / f"{number:0200}").write_bytes(b"")
    walk = [ops.putrootfh(), ops.lookup(b"export"), ops.lookup(directory.name.encode())]
    message = client40.connection.compound(*walk, *[ops.readdir(maxcount=0xFFFFFFFF)] * 60, minor=0)
    reply = client40.connection.rpc(message)
    assert len(reply.body) <= MIB + 65_536
    assert Reply(reply).status in (nfs4.NFS4_OK, nfs4.NFS4ERR_RESOURCE)


def test_replies_never_read(flooded: ServerProcess, connect: Connect) -> None:
    """Requests whose replies nobody takes cost a bounded memory, which is given back; nobody else waits."""
    neighbour = connect(flooded, source=NEIGHBOUR)
    neighbour.null()
    before = memory(flooded)
    greedy = [connect(flooded) for _ in range(40)]
    for connection in greedy:
        walk = [ops.putrootfh(), ops.lookup(b"export"), ops.lookup(b"large"), ops.read(ops.ANONYMOUS, 0, MIB)]
        push(connection, b"".join(marked(connection.compound(*walk, minor=0)) for _ in range(500)))
    assert latency_s(neighbour) < LATENCY_MAX_S
    limits = 64 * MIB + 32 * MIB
    assert memory(flooded) - before < 1.5 * limits
    neighbour_mounts = mount(connect(flooded, source=NEIGHBOUR))
    neighbour_mounts.create(unique(b"file"))
    for connection in greedy:
        connection.close()
    until(lambda: memory(flooded) - before < limits // 2, "the memory is given back")


def test_records_never_sent(flooded: ServerProcess, connect: Connect) -> None:
    """Marks of large records take nothing; halves of them are bounded, and who sends whole ones is served meanwhile."""
    neighbour = mount(connect(flooded, source=NEIGHBOUR))
    opened = neighbour.create(unique(b"file"))
    before = memory(flooded)
    empty = [connect(flooded) for _ in range(100)]
    for connection in empty:
        push(connection, struct.pack(">I", LAST_FRAGMENT | MIB))
    assert latency_s(neighbour.connection) < LATENCY_MAX_S
    assert memory(flooded) - before < 16 * MIB
    half = [connect(flooded) for _ in range(80)]
    for connection in half:
        with contextlib.suppress(OSError):
            connection.socket.sendall(struct.pack(">I", LAST_FRAGMENT | MIB) + bytes(MIB - 1000))
    writing = ops.write(opened.stateid, bytes(MIB - 4096))
    assert neighbour.status(ops.putfh(opened.handle), writing) == nfs4.NFS4_OK
    until(lambda: sum(map(ended, half)) >= 80 - 32, "what is too much has been closed")
    assert memory(flooded) - before < 1.5 * 32 * MIB + 16 * MIB
    assert not any(map(ended, half[-16:])), "the last ones have room"
    assert drops(flooded, "receiving_per_address_max") >= 80 - 32
    assert neighbour.status(ops.putfh(opened.handle), writing) == nfs4.NFS4_OK


def test_large_batches(flooded: ServerProcess, connect: Connect) -> None:
    """Thousands of requests in one piece, on many connections of one address, are answered between those of others."""
    neighbour = connect(flooded, source=NEIGHBOUR)
    neighbour.null()
    busy = [connect(flooded) for _ in range(8)]
    calls = 1500
    walk = [ops.putrootfh(), ops.lookup(b"export"), *[ops.getattr_(nfs4.FATTR4_SIZE)] * 20]
    for connection in busy:
        push(connection, b"".join(marked(connection.compound(*walk, minor=0)) for _ in range(calls)))
    longest = latency_s(neighbour, 20)
    for connection in busy:
        connection.socket.setblocking(True)
        connection.socket.settimeout(60)
        connection.receive()
    assert longest < LATENCY_MAX_S


def test_idle_connections(make_server: MakeServer, connect: Connect) -> None:
    """A connection that nobody has mounted over ends when it is idle; those of clients of both kinds stay."""
    server = make_server(limits={"idle_s": 1})
    idle = [connect(server, source="127.0.0.9") for _ in range(3)]
    idle[0].null()
    session = mount(connect(server))
    old = Client40(connect(server, source=NEIGHBOUR))
    until(lambda: all(map(ended, idle)), "idle connections end")
    let_pass(1.5, "clients may be idle")
    session.ok(ops.putrootfh())
    old.ok(ops.putrootfh())
    assert drops(server, "idle_s") == 3


def test_log_storm(make_server: MakeServer, connect: Connect) -> None:
    """What one peer does wrong fills no log: a bounded number of lines, then counts; others' lines are still there."""
    server = make_server(limits={"log_lines_per_address_max": 20})
    connection = connect(server)
    for _ in range(200):
        connection.rpc(connection.message(program=100005))
        connection.rpc(connection.message(bytes(6)))
    other = connect(server, source=NEIGHBOUR)
    other.rpc(other.message(bytes(6)))
    lines = server.events("rpc.refused", "rpc.garbage")
    assert len([line for line in lines if line["peer"].startswith("127.0.0.1:")]) == 20
    assert len([line for line in lines if line["peer"].startswith(f"{NEIGHBOUR}:")]) == 1
    server.stop()
    left_out = {(line["suppressed"], line["about"]): line["count"] for line in server.events("log.suppressed")}
    assert left_out == {("rpc.refused", "127.0.0.1"): 190, ("rpc.garbage", "127.0.0.1"): 190}
