"""Intents: what a request is about to do to a file system, durable before it does it.

Owns the stored form of a request under way: the call itself, how far it has come, and what there was before the
change.  Must not decide whether a change has happened (`nfsd/ops/once.py`) nor what is done about it
(`nfsd/resume/requests.py`).

MUST: the record is durable before the first system call that changes anything, and it is removed in the
transaction that has the request's reply.  MUST NOT: anything else that changes names run in between.
"""

from __future__ import annotations

import struct

from nfsd.ops.once import Before, storable
from nfsd.ops.request import Request
from nfsd.state.reply_cache import Key, record_key
from xdr.codec import PADDING, Buffer
from xdr.generated import stored

_HEAD = struct.Struct(">4I4Q2q3I")
_LENGTH = struct.Struct(">I")
_EMPTY = bytes(4)
_STATEID = struct.Struct(">I12s")
_SLOT_PREFIX, _DUPLICATE_PREFIX = b"s", b"d"

Stateid = tuple[int, bytes]


_NOTHING = Before(0)


class Intent:
    """A stored intent, read back."""

    __slots__ = ("key", "kept", "before", "stateid", "saved_stateid")

    def __init__(self, key: bytes, value: bytes) -> None:
        """Raises XdrError, struct.error."""
        unpacker = stored.StoredUnpacker(value)
        kept = self.kept = unpacker.unpack_stored_intent()
        unpacker.done()
        self.key = key
        self.before = Before(
            kept.change, kept.found, kept.other_change, kept.other_found, at_ns=kept.at_ns, size=kept.size,
            mode=kept.mode, uid=kept.uid, gid=kept.gid, atime_ns=kept.atime_ns, mtime_ns=kept.mtime_ns,
        )  # fmt: skip
        self.stateid: Stateid | None = _stateid(kept.stateid)
        self.saved_stateid: Stateid | None = _stateid(kept.saved_stateid)

    def encode(self) -> bytes:
        """The value of its record."""
        packer = stored.StoredPacker()
        packer.pack_stored_intent(self.kept)
        return packer.get_buffer()


def _stateid(value: bytes) -> Stateid | None:
    if not value:
        return None
    seqid, other = _STATEID.unpack(value)
    return seqid, other


def intent_key(c: Request, duplicate_key: Key | None) -> bytes:
    """By what a retry finds its intent: session and slot, or NFSv4.0's address, xid, size and checksum."""
    if c.slot is not None:
        return _SLOT_PREFIX + c.slot.key
    assert duplicate_key is not None
    return _DUPLICATE_PREFIX + record_key(duplicate_key)


def session_of(key: bytes) -> bytes:
    """The session that an intent's key names; empty for NFSv4.0."""
    return key[1:17] if key[:1] == _SLOT_PREFIX else b""


def encode_intent(c: Request, results: list[Buffer], before: Before | None, attempts: int) -> bytes:
    """stored_intent, by hand, because every change of a file system waits for it.

    `results` are those so far.  `before` is None where the operations so far are done and nothing is under way.
    `attempts` is how often the request has been recovered.
    """
    connection, current, saved = c.connection, c.current, c.saved
    was = before or _NOTHING
    return b"".join(
        (
            _HEAD.pack(
                before is not None, attempts, c.index, connection.port,
                was.at_ns, was.change, was.other_change, was.size, storable(was.atime_ns), storable(was.mtime_ns),
                was.mode, was.uid, was.gid,
            ),
            _opaque(was.found) if was.found else _EMPTY,
            _opaque(was.other_found) if was.other_found else _EMPTY,
            _EMPTY if current is None else _opaque(current.handle),
            _EMPTY if saved is None else _opaque(saved.handle),
            _EMPTY if c.stateid is None else _opaque(_STATEID.pack(*c.stateid)),
            _EMPTY if c.saved_stateid is None else _opaque(_STATEID.pack(*c.saved_stateid)),
            _opaque(connection.address.encode()),
            _opaque(b"".join(results)),
            _opaque(c.call.data),
        )
    )  # fmt: skip


def _opaque(value: bytes | bytearray) -> bytes:
    size = len(value)
    return _LENGTH.pack(size) + value + PADDING[size & 3]
