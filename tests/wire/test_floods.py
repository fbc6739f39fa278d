"""Floods in small: what one peer can do to the memory of the server and to the time of the others."""

from __future__ import annotations

from tests.support import operations as ops
from tests.support.client import Client40, Reply, unique
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

MIB = 1 << 20
RPC_HEAD_SIZE = 24


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
