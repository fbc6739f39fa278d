"""Records that are read by hand say the same as the generated decoder."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.state import records
from nfsd.state.clients import Client
from nfsd.state.opens import OpenState
from nfsd.vfs.interface import Credentials
from xdr.codec import XdrError

U32 = some.integers(0, 2**32 - 1)


def record(owner: bytes, handle: bytes, caller: Credentials, numbers: tuple[int, int, int]) -> bytes:
    """An open's record."""
    client = Client(clientid=numbers[0], family=1, owner=b"c", verifier=bytes(8), principal=b"p", now=0.0)
    held = OpenState(client, os.urandom(16), handle, owner, numbers[1], caller)
    held.access, held.deny, held.seqid = 3, 1, numbers[2]
    return records.encode_open(held)


@given(
    some.binary(max_size=64), some.binary(min_size=1, max_size=64), U32, U32, some.lists(U32, max_size=16),
    some.tuples(some.integers(0, 2**64 - 1), some.integers(0, 2**48 - 1), U32),
)  # fmt: skip
def test_open_fields(
    owner: bytes, handle: bytes, uid: int, gid: int, groups: list[int], numbers: tuple[int, int, int]
) -> None:
    """Every field is the one that the generated decoder finds."""
    value = record(owner, handle, Credentials(uid, gid, tuple(groups)), numbers)
    kept = records.decode_open(value)
    assert records.open_fields(value) == (
        kept.clientid, kept.access, kept.deny, kept.access_seen, kept.deny_seen, kept.seqid, kept.instance,
        kept.owner, kept.object, Credentials(kept.uid, kept.gid, tuple(kept.groups)),
    )  # fmt: skip


def test_open_fields_truncated() -> None:
    """A record that lacks bytes at its end, or has more, is refused."""
    value = record(b"owner", b"handle", Credentials(1, 2, (3, 4)), (1, 2, 3))
    for size in range(len(value)):
        with pytest.raises(XdrError):
            records.open_fields(value[:size])
    with pytest.raises(XdrError):
        records.open_fields(value + bytes(4))
