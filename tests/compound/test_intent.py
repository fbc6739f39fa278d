"""Intents: what is encoded by hand is what the generated codec has, and comes back as it was."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nfsd.compound.evaluate import Compound
from nfsd.compound.intent import Intent, encode_intent, intent_key, session_of
from nfsd.ops.once import Before
from nfsd.rpc.message import Call
from nfsd.state.model import Slot
from nfsd.state.reply_cache import key_of, record_key
from nfsd.vfs.interface import Credentials, Node
from tests.compound.core import Core, Wire
from xdr.codec import Buffer, XdrError
from xdr.generated import stored

U32, U64 = some.integers(0, 2**32 - 1), some.integers(0, 2**64 - 1)
NS = some.integers(-(2**63), 2**63 - 1)
OPAQUE = some.binary(max_size=40)
STATEID = some.none() | some.tuples(U32, some.binary(min_size=12, max_size=12))
BEFORE = some.builds(
    Before, U64, OPAQUE, U64, OPAQUE, at_ns=U64, size=U64, mode=U32, uid=U32, gid=U32, atime_ns=NS, mtime_ns=NS
)


@pytest.fixture(scope="module")
def core() -> Iterator[Core]:
    """One server for all of them."""
    made = Core()
    yield made
    made.close()


def compound(core: Core, data: bytes = b"request", address: str = "192.0.2.1") -> Compound:
    """A request."""
    return Compound(core.engine, Wire(1, address), Call(7, 1, 1, Credentials(0, 0), data, 0), 0.0)


def node(core: Core, handle: bytes) -> Node | None:
    """An object with a handle; None for an empty one."""
    return Node(handle, core.namespace.root().fs, 0, b"") if handle else None


@settings(max_examples=200)
@given(
    some.none() | BEFORE, OPAQUE, OPAQUE, STATEID, STATEID, some.lists(OPAQUE, max_size=3), OPAQUE,
    some.tuples(U32, U32),
)  # fmt: skip
def test_round_trip(
    core: Core, before: Before | None, current: bytes, saved: bytes, stateid: tuple[int, bytes] | None,
    saved_stateid: tuple[int, bytes] | None, results: list[Buffer], data: bytes, numbers: tuple[int, int],
) -> None:  # fmt: skip
    """Every field comes back, and the generated codec writes the same bytes."""
    request = compound(core, data)
    request.index, attempts = numbers
    request.current, request.saved = node(core, current), node(core, saved)
    request.stateid, request.saved_stateid = stateid, saved_stateid
    value = encode_intent(request, results, before, attempts)
    intent = Intent(b"key", value)
    assert intent.encode() == value
    kept, was = intent.kept, before or Before(0)
    assert (kept.undecided, kept.attempts, kept.index) == (before is not None, attempts, numbers[0])
    assert (kept.address, kept.port) == (b"192.0.2.1", 700)
    assert (kept.current, kept.saved, kept.results, kept.request) == (current, saved, b"".join(results), data)
    assert (intent.stateid, intent.saved_stateid) == (stateid, saved_stateid)
    for name in ("change", "found", "other_change", "other_found", "size", "mode", "uid", "gid", "at_ns"):
        assert getattr(intent.before, name) == getattr(was, name), name
    packer = stored.StoredPacker()
    packer.pack_stored_intent(kept)
    assert packer.get_buffer() == value


def test_truncated(core: Core) -> None:
    """A value that lacks bytes, or has more, is refused."""
    request = compound(core)
    request.current, request.stateid = node(core, b"handle"), (1, bytes(12))
    value = encode_intent(request, [b"result"], Before(5, b"found"), 1)
    Intent(b"key", value)
    for wrong in (*(value[:size] for size in range(len(value))), value + bytes(4)):
        with pytest.raises((XdrError, struct.error)):
            Intent(b"key", wrong)


def test_key_of_a_slot(core: Core) -> None:
    """A request of a session is found by its slot, and its session by the key."""
    request = compound(core)
    request.slot = Slot(bytes(range(16)), 3)
    key = intent_key(request, None)
    assert key == b"s" + bytes(range(16)) + b"\0\0\0\3"
    assert session_of(key) == bytes(range(16))


def test_key_of_a_duplicate(core: Core) -> None:
    """A request of NFSv4.0 is found by what a retransmission has in common with it; no session is named."""
    request = compound(core)
    duplicate = key_of("192.0.2.1", 7, b"request")
    key = intent_key(request, duplicate)
    assert key == b"d" + record_key(duplicate)
    assert session_of(key) == b""
    with pytest.raises(AssertionError):
        intent_key(request, None)
