"""The suites' own RPC layer: records in any pieces, replies that are none."""

from __future__ import annotations

import struct

import pytest

from tests.support.client import Reply, compound
from tests.support.operations import encoded
from tests.support.rpc import AUTH_NONE, LAST_FRAGMENT, Records, RpcReply, WireError, authentic, call, marked
from xdr.generated import nfs4

MESSAGES = [b"", b"abcd", bytes(range(200)), b"last"]


def replied(*words: int) -> bytes:
    """A reply made of these words."""
    return struct.pack(f">{len(words)}I", *words)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1000])
def test_records_pieces(size: int) -> None:
    """However the stream is cut, the same records come out, each as soon as it is whole."""
    stream = b"".join(map(marked, MESSAGES))
    records, found = Records(), []
    for at in range(0, len(stream), size):
        records.feed(stream[at : at + size])
        while (record := records.next()) is not None:
            found.append(record)
    assert found == MESSAGES


def test_records_fragments() -> None:
    """Fragments make one record, which ends with the last of them."""
    records = Records()
    records.feed(struct.pack(">I", 2) + b"ab" + struct.pack(">I", 0))
    assert records.next() is None
    records.feed(struct.pack(">I", LAST_FRAGMENT | 1) + b"c" + marked(b"next"))
    assert [records.next(), records.next(), records.next()] == [b"abc", b"next", None]


@pytest.mark.parametrize("size", range(24))
def test_reply_truncated(size: int) -> None:
    """A header that is cut off is no reply."""
    with pytest.raises(WireError):
        RpcReply(replied(7, 1, 0, 0, 0, 0)[:size])


def test_reply_not_one() -> None:
    """A call, or a reply with a verifier that nobody asked for, is no reply to us."""
    for words in ((7, 0, 0, 0, 0, 0), (7, 1, 0, 1, 4, 0)):
        with pytest.raises(WireError):
            RpcReply(replied(*words))


def test_reply_refused() -> None:
    """A COMPOUND that the RPC layer refuses has no results."""
    for words in ((7, 1, 1, 0, 2, 2), (7, 1, 0, 0, 0, 4)):
        with pytest.raises(WireError, match="refused"):
            Reply(RpcReply(replied(*words)))


def test_reply_value() -> None:
    """An operation's value is what came with its success; without success there is none to have."""
    body = replied(nfs4.NFS4ERR_NOFILEHANDLE, 0, 2, nfs4.OP_GETFH, 0, 4)
    body += b"file" + replied(nfs4.OP_GETFH, nfs4.NFS4ERR_NOFILEHANDLE)
    reply = Reply(RpcReply(replied(7, 1, 0, 0, 0, 0) + body))
    assert (reply.xid, reply.body, reply.numbers) == (7, body, [nfs4.OP_GETFH] * 2)
    assert reply.value(0).object == b"file"
    assert reply.statuses() == [0, nfs4.NFS4ERR_NOFILEHANDLE]
    for index in (1, 2):
        with pytest.raises(WireError, match="NFS4ERR_NOFILEHANDLE"):
            reply.value(index)


def test_call_bytes() -> None:
    """A call is what RFC 5531 9 says: xid, CALL, version 2, program, version, procedure, credential, verifier, body."""
    body = compound(1, [encoded("PUTROOTFH"), encoded("GETFH")], b"tag")
    unpacker = nfs4.Nfs4Unpacker(body)
    arguments = unpacker.unpack_COMPOUND4args()
    unpacker.done()
    assert (arguments.tag, arguments.minorversion) == (b"tag", 1)
    assert [each.argop for each in arguments.argarray] == [nfs4.OP_PUTROOTFH, nfs4.OP_GETFH]
    message = call(9, body, authentic(b"", AUTH_NONE))
    assert message == replied(9, 0, 2, 100003, 4, 1, 0, 0, 0, 0) + body
