"""The shape of a reply: its head, and what may not be larger than a session's channel."""

from __future__ import annotations

import pytest

from nfsd.compound.evaluate import Compound
from nfsd.compound.reply import REPLY_SIZE_UNLIMITED, check_size, fit, head
from nfsd.errors import REPLY_HEAD_SIZE, Nfs4Error
from nfsd.rpc.message import Call
from nfsd.state.model import Channel, Client, Session
from nfsd.vfs.interface import Credentials
from tests.compound.core import Core
from xdr.codec import Buffer
from xdr.generated import nfs4

REPLY_SIZE, CACHED_SIZE = 1000, 200


def compound(core: Core, *, cached: bool = False, tag: bytes = b"") -> Compound:
    """A request in a session whose channel carries 1000 bytes, and 200 into the cache."""
    made = Compound(core.engine, core.wire, Call(1, 1, 1, Credentials(0, 0), b"", 0), 0.0)
    client = Client(clientid=1, family=1, owner=b"", verifier=bytes(8), principal=b"", now=0.0)
    fore = Channel(
        request_size_max=1000, reply_size_max=REPLY_SIZE, reply_cached_max=CACHED_SIZE, operations_max=8, slots=1
    )  # fmt: skip
    made.session = Session(bytes(16), client, flags=0, callback_program=0, fore=fore, back=fore)
    made.reply_size_max = CACHED_SIZE if cached else REPLY_SIZE
    made.tag = tag
    return made


@pytest.mark.parametrize("tag", [b"", b"a", b"tag", b"tags", b"a longer tag"])
def test_head(tag: bytes) -> None:
    """Status, tag and count as the generated codec has them."""
    packer = nfs4.Nfs4Packer()
    packer.pack_COMPOUND4res(nfs4.COMPOUND4res(nfs4.NFS4ERR_DELAY, tag, []))
    whole = packer.get_buffer()
    assert head(nfs4.NFS4ERR_DELAY, tag, 0) == whole
    assert head(nfs4.NFS4ERR_DELAY, tag, 7) == whole[:-1] + b"\x07"


def test_check_size(core: Core) -> None:
    """What fits passes; what is too large to be cached and what is too large at all are different errors."""
    request = compound(core, cached=True)
    check_size(request, CACHED_SIZE)
    for size, status in (
        (CACHED_SIZE + 1, nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE),
        (REPLY_SIZE, nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE),
        (REPLY_SIZE + 1, nfs4.NFS4ERR_REP_TOO_BIG),
    ):
        with pytest.raises(Nfs4Error) as caught:
            check_size(request, size)
        assert caught.value.status == status
    check_size(compound(core), REPLY_SIZE)
    with pytest.raises(Nfs4Error) as caught:
        check_size(compound(core), REPLY_SIZE + 1)
    assert caught.value.status == nfs4.NFS4ERR_REP_TOO_BIG


def test_check_size_without_session(core: Core) -> None:
    """Without a session nothing is too large in NFSv4.1; in NFSv4.0 what is larger than the largest record."""
    request = Compound(core.engine, core.wire, Call(1, 1, 1, Credentials(0, 0), b"", 0), 0.0)
    assert request.reply_size_max == REPLY_SIZE_UNLIMITED
    check_size(request, 1 << 40)
    request._bound_reply()
    check_size(request, core.config.limits.record_size_max)
    with pytest.raises(Nfs4Error) as caught:
        check_size(request, core.config.limits.record_size_max + 1)
    assert caught.value.status == nfs4.NFS4ERR_RESOURCE


@pytest.mark.parametrize("tag", [b"", b"tag"])
def test_fit(core: Core, tag: bytes) -> None:
    """A reply that just fits is counted exactly; one byte more takes the last result back, and nothing else."""
    request = compound(core, tag=tag)
    room = REPLY_SIZE - REPLY_HEAD_SIZE - len(tag) - 8
    results: list[Buffer] = [bytes(8), bytes(room)]
    fit(request, results, 1)
    assert request.reply_size == REPLY_SIZE and len(results) == 2
    results = [bytes(8), bytes(1), bytes(room)]
    with pytest.raises(Nfs4Error) as caught:
        fit(request, results, 1)
    assert caught.value.status == nfs4.NFS4ERR_REP_TOO_BIG
    assert results == [bytes(8)]
