"""The values of nfsd's records in the store: live objects to bytes and back.

Owns the mapping between the state's classes and the stored blobs of `xdr/x/stored.x`.  Must not decide anything.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING

from nfsd.vfs.interface import Credentials
from statestore import Damage, useless
from xdr.codec import XdrError
from xdr.generated import stored

if TYPE_CHECKING:
    from nfsd.state.clients import Client
    from nfsd.state.locks import LockState
    from nfsd.state.opens import OpenState
    from nfsd.state.owners import SeqidOwner
    from nfsd.state.sessions import Channel, Session

_OPEN_HEAD = struct.Struct(">Q5IQI")
_LENGTH = struct.Struct(">I")
_CALLER = struct.Struct(">3I")
_PADS = (b"", bytes(3), bytes(2), bytes(1))


def unreadable(kind: int, key: bytes, value: bytes, error: Exception) -> Damage:
    """A sound record that could not be loaded: its value means nothing, or names what is not there (KeyError)."""
    reason = "what it belongs to is missing" if isinstance(error, KeyError) else f"cannot be read: {error!r}"
    return useless(kind, key, value, reason)


def encode_client(client: Client) -> bytes:
    """The value of a client's record."""
    callback = client.callback
    packer = stored.StoredPacker()
    packer.pack_stored_client(
        stored.stored_client(
            clientid=client.clientid,
            minor=client.family,
            owner=client.owner,
            verifier=client.verifier,
            principal=client.principal,
            reclaim_complete=client.reclaim_complete,
            create_sequence=client.create_sequence,
            create_reply=client.create_reply,
            confirm=client.confirm,
            callback_program=callback.program,
            callback_netid=callback.netid,
            callback_address=callback.address,
            callback_ident=callback.ident,
        )
    )
    return packer.get_buffer()


def decode_client(value: bytes) -> stored.stored_client:
    """The stored form of a client.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    client = unpacker.unpack_stored_client()
    unpacker.done()
    return client


def _channel(channel: Channel) -> stored.stored_channel:
    return stored.stored_channel(
        request_size_max=channel.request_size_max,
        reply_size_max=channel.reply_size_max,
        reply_cached_max=channel.reply_cached_max,
        operations_max=channel.operations_max,
        slots=channel.slots,
    )


def encode_session(session: Session) -> bytes:
    """The value of a session's record."""
    packer = stored.StoredPacker()
    packer.pack_stored_session(
        stored.stored_session(
            clientid=session.client.clientid,
            flags=session.flags,
            callback_program=session.callback_program,
            fore=_channel(session.fore),
            back=_channel(session.back),
        )
    )
    return packer.get_buffer()


def decode_session(value: bytes) -> stored.stored_session:
    """The stored form of a session.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    session = unpacker.unpack_stored_session()
    unpacker.done()
    return session


def encode_open(state: OpenState) -> bytes:
    """The value of an open's record: stored_open, by hand, because every OPEN and CLOSE waits for it."""
    owner, handle = state.owner, state.handle
    return b"".join(
        (
            _OPEN_HEAD.pack(
                state.client.clientid,
                state.access,
                state.deny,
                state.access_seen,
                state.deny_seen,
                state.seqid,
                state.instance,
                len(owner),
            ),
            owner,
            _PADS[len(owner) & 3],
            _LENGTH.pack(len(handle)),
            handle,
            _PADS[len(handle) & 3],
            _caller(state.caller),
        )
    )


@functools.lru_cache(maxsize=1024)
def _caller(caller: Credentials) -> bytes:
    """The end of stored_open: who opened it."""
    groups = caller.groups
    return struct.pack(f">{3 + len(groups)}I", caller.uid, caller.gid, len(groups), *groups)


def decode_open(value: bytes) -> stored.stored_open:
    """The stored form of an open.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    state = unpacker.unpack_stored_open()
    unpacker.done()
    return state


def open_fields(value: bytes) -> tuple[int, int, int, int, int, int, int, bytes, bytes, Credentials]:
    """The fields of `decode_open`, its end as Credentials: by hand, because a takeover waits for thousands.

    Raises XdrError.
    """
    try:
        clientid, access, deny, access_seen, deny_seen, seqid, instance, size = _OPEN_HEAD.unpack_from(value)
        end = _OPEN_HEAD.size + size
        owner = value[_OPEN_HEAD.size : end]
        end += -size & 3
        (size,) = _LENGTH.unpack_from(value, end)
        start = end + _LENGTH.size
        end = start + size
        handle = value[start:end]
        caller = _caller_of(value[end + (-size & 3) :])
    except struct.error as error:
        raise XdrError(f"stored_open of {len(value)} bytes: {error}") from error
    return clientid, access, deny, access_seen, deny_seen, seqid, instance, owner, handle, caller


@functools.lru_cache(maxsize=1024)
def _caller_of(value: bytes) -> Credentials:
    """Whom the end of stored_open names.  Raises struct.error unless it is exactly that."""
    count = (len(value) - _CALLER.size) // 4
    uid, gid, stated, *groups = struct.unpack(f">{3 + max(0, count)}I", value)
    if stated != count:
        raise struct.error(f"{stated} groups, room for {count}")
    return Credentials(uid, gid, tuple(groups))


def encode_lock(state: LockState) -> bytes:
    """The value of a lock owner's record on one file."""
    ranges = [
        stored.stored_range(start=held.start, last=held.end - 1, exclusive=held.exclusive) for held in state.held()
    ]
    packer = stored.StoredPacker()
    packer.pack_stored_lock(
        stored.stored_lock(seqid=state.seqid, instance=state.instance, owner=state.owner, ranges=ranges)
    )
    return packer.get_buffer()


def decode_lock(value: bytes) -> stored.stored_lock:
    """The stored form of a lock.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    state = unpacker.unpack_stored_lock()
    unpacker.done()
    return state


def encode_owner(owner: SeqidOwner) -> bytes:
    """The value of an NFSv4.0 owner's record."""
    packer = stored.StoredPacker()
    packer.pack_stored_owner(
        stored.stored_owner(
            is_lock_owner=owner.is_lock_owner,
            confirmed=owner.confirmed,
            seqid=owner.seqid or 0,
            operation=owner.operation,
            status=owner.status,
            result=owner.result or b"",
            owner=owner.owner,
            object=owner.handle,
            closed=owner.closed,
        )
    )
    return packer.get_buffer()


def decode_owner(value: bytes) -> stored.stored_owner:
    """The stored form of an owner.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    owner = unpacker.unpack_stored_owner()
    unpacker.done()
    return owner
