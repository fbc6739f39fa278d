"""The values of nfsd's records in the store: live objects to bytes and back, in every version.

Owns the mapping between the state's classes and the stored blobs of `xdr/x/stored.x`, and the reading of older
versions.  The heads of opens and ranges are `statestore`'s (`statestore/heads.py`).  Must not decide anything.
"""

from __future__ import annotations

import functools
import struct
from typing import Final

from nfsd.state.model import Channel, Client, Grants, LockState, OpenState, SeqidOwner, Session, Slot
from nfsd.vfs.interface import Credentials
from statestore import (
    HOLDER,
    META,
    NEWEST,
    OPEN,
    OWNER,
    RANGE,
    SLOT,
    STREAM,
    ChangeSet,
    Damage,
    Range,
    Upgrades,
    decode_open,
    encode_ranges,
    put_ranges,
    useless,
)
from statestore import (
    put_open as put_open_head,
)
from xdr.codec import XdrError
from xdr.generated import stored

_OPEN_HEAD: Final = struct.Struct(">3IQ")
_OPEN_FULL: Final = struct.Struct(">3IQI")
_LOCK_REST: Final = struct.Struct(">IQ")
_COUNT: Final = struct.Struct(">I")
_GRANT: Final = struct.Struct(">4I")
_SLOT: Final = struct.Struct(">II")
_HAS_REPLY: Final = 1
_ADDRESS_PREFIX: Final = b"address."
_REMOVED_PREFIX: Final = b"removed."


def unreadable(kind: int, key: bytes, value: bytes, error: Exception) -> Damage:
    """A sound record whose value means nothing."""
    return _useless(kind, key, value, f"cannot be read: {error!r}")


def orphaned(kind: int, key: bytes, value: bytes) -> Damage:
    """A sound record that names what is not there."""
    return _useless(kind, key, value, "what it belongs to is missing")


def _useless(kind: int, key: bytes, value: bytes, reason: str) -> Damage:
    return useless(kind, key, value, reason, version=NEWEST[kind])


# -- clients --------------------------------------------------------------------------------------------------


def put_client(changes: ChangeSet, client: Client) -> None:
    """Put a client's record, and that of its address; only confirmed clients are ever stored."""
    assert client.confirmed
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
    changes.put(HOLDER, client.key, packer.get_buffer())
    if client.address:
        put_address(changes, client)


def put_address(changes: ChangeSet, client: Client) -> None:
    """Put the record of where a client comes from."""
    changes.put(META, address_key(client.key), client.address.encode())


def remove_client(changes: ChangeSet, client: Client) -> None:
    """Remove a client's record, that of its address, and its mark."""
    changes.remove(HOLDER, client.key)
    changes.remove(META, address_key(client.key))
    changes.remove(META, removed_key(client.key))


def put_removed(changes: ChangeSet, client: Client) -> None:
    """Mark a client as removed, whose record stays until all that it had is taken away."""
    changes.put(META, removed_key(client.key), b"")


def decode_client(value: bytes) -> stored.stored_client:
    """The stored form of a client.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    client = unpacker.unpack_stored_client()
    unpacker.done()
    return client


def address_key(holder_key: bytes) -> bytes:
    """The key of the META record that says from which address a client came."""
    return _ADDRESS_PREFIX + holder_key


def holder_of_address(key: bytes) -> bytes | None:
    """Whose address a META record says, by the client's key; None for another record."""
    return key[len(_ADDRESS_PREFIX) :] if key.startswith(_ADDRESS_PREFIX) else None


def removed_key(holder_key: bytes) -> bytes:
    """The key of the META record that says that a client was removed."""
    return _REMOVED_PREFIX + holder_key


def holder_of_mark(key: bytes) -> bytes | None:
    """Which client a META record says was removed, by the client's key; None for another record."""
    return key[len(_REMOVED_PREFIX) :] if key.startswith(_REMOVED_PREFIX) else None


# -- sessions -------------------------------------------------------------------------------------------------


def _stored_channel(channel: Channel) -> stored.stored_channel:
    return stored.stored_channel(
        request_size_max=channel.request_size_max,
        reply_size_max=channel.reply_size_max,
        reply_cached_max=channel.reply_cached_max,
        operations_max=channel.operations_max,
        slots=channel.slots,
    )


def channel_of(kept: stored.stored_channel) -> Channel:
    """A channel from its stored form."""
    return Channel(
        request_size_max=kept.request_size_max,
        reply_size_max=kept.reply_size_max,
        reply_cached_max=kept.reply_cached_max,
        operations_max=kept.operations_max,
        slots=kept.slots,
    )


def put_session(changes: ChangeSet, session: Session) -> None:
    """Put a session's record."""
    packer = stored.StoredPacker()
    packer.pack_stored_session(
        stored.stored_session(
            clientid=session.client.clientid,
            flags=session.flags,
            callback_program=session.callback_program,
            fore=_stored_channel(session.fore),
            back=_stored_channel(session.back),
        )
    )
    changes.put(STREAM, session.sessionid, packer.get_buffer())


def decode_session(value: bytes) -> stored.stored_session:
    """The stored form of a session.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    session = unpacker.unpack_stored_session()
    unpacker.done()
    return session


def put_slot(changes: ChangeSet, slot: Slot) -> None:
    """Put a slot's sequence id, and its reply if that was kept."""
    if slot.reply is None:
        changes.put(SLOT, slot.key, _SLOT.pack(slot.seqid, 0))
    else:
        changes.put(SLOT, slot.key, _SLOT.pack(slot.seqid, _HAS_REPLY) + slot.reply)


def decode_slot(value: bytes) -> tuple[int, bytes | None]:
    """The sequence id and the reply of a slot's record.  Raises struct.error."""
    seqid, flags = _SLOT.unpack_from(value)
    return seqid, value[_SLOT.size :] if flags & _HAS_REPLY else None


# -- opens ----------------------------------------------------------------------------------------------------


def put_open(changes: ChangeSet, held: OpenState) -> None:
    """Put an open's record: by hand, because every OPEN and CLOSE waits for it."""
    numbers = _OPEN_HEAD.pack(held.access_seen, held.deny_seen, held.seqid, held.instance)
    put_open_head(changes, held, numbers + _who(held.owner, held.caller, held.granted, held.others))


@functools.lru_cache(maxsize=1024)
def _who(owner: bytes, caller: Credentials, granted: int, others: Grants) -> bytes:
    """The end of stored_open_rest: the open owner and who has opened in its name, few in number."""
    size = len(owner)
    parts = [struct.pack(f">I{size}s{-size & 3}xI", size, owner, 1 + len(others))]
    for each, access in ((caller, granted), *others):
        groups = each.groups
        parts.append(_GRANT.pack(access, each.uid, each.gid, len(groups)) + struct.pack(f">{len(groups)}I", *groups))
    return b"".join(parts)


def open_rest(rest: bytes) -> tuple[int, int, int, int, bytes, Grants]:
    """access_seen, deny_seen, seqid, instance, owner and grants of stored_open_rest: by hand, because a takeover reads
    thousands.

    Of the grants, one at least, the first is the last caller's.  Raises struct.error.
    """
    access_seen, deny_seen, seqid, instance, size = _OPEN_FULL.unpack_from(rest)
    end = _OPEN_FULL.size + size
    return access_seen, deny_seen, seqid, instance, rest[_OPEN_FULL.size : end], _grants_of(rest[end + (-size & 3) :])


def recorded_grant(rest: bytes, caller: Credentials) -> int:
    """The access that stored_open_rest says a caller, as squashed, was granted.  Raises struct.error."""
    return next((access for each, access in open_rest(rest)[5] if each == caller), 0)


@functools.lru_cache(maxsize=1024)
def _grants_of(value: bytes) -> Grants:
    """What the end of stored_open_rest names.  Raises struct.error unless it is exactly that."""
    (count,) = _COUNT.unpack_from(value)
    grants, at = [], _COUNT.size
    for _ in range(count):
        access, uid, gid, size = _GRANT.unpack_from(value, at)
        at += _GRANT.size
        groups = struct.unpack_from(f">{size}I", value, at)
        at += 4 * size
        grants.append((Credentials(uid, gid, groups), access))
    if not grants or at != len(value):
        raise struct.error(f"{count} grants, which take {at} bytes, in {len(value)}")
    return tuple(grants)


# -- locks ----------------------------------------------------------------------------------------------------


def put_lock(changes: ChangeSet, lock: LockState) -> None:
    """Put the record of a lock owner's ranges under one open."""
    put_ranges(changes, lock.key, lock.owner, lock.held(), _LOCK_REST.pack(lock.seqid, lock.instance))


def lock_rest(rest: bytes) -> tuple[int, int]:
    """seqid and instance of stored_lock_rest.  Raises struct.error."""
    seqid, instance = _LOCK_REST.unpack(rest)
    return seqid, instance


# -- NFSv4.0's owners -----------------------------------------------------------------------------------------


def put_owner(changes: ChangeSet, owner: SeqidOwner) -> None:
    """Put an NFSv4.0 owner's record."""
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
    changes.put(OWNER, owner.key, packer.get_buffer())


def decode_owner(value: bytes) -> stored.stored_owner:
    """The stored form of an owner.  Raises XdrError."""
    unpacker = stored.StoredUnpacker(value)
    owner = unpacker.unpack_stored_owner()
    unpacker.done()
    return owner


# -- older versions -------------------------------------------------------------------------------------------


def _open_from_1(key: bytes, value: bytes) -> bytes:
    """Version 1 of OPEN was stored_open.  Raises ValueError."""
    try:
        unpacker = stored.StoredUnpacker(value)
        kept = unpacker.unpack_stored_open()
        unpacker.done()
        packer = stored.StoredPacker()
        packer.pack_stored_open_rest_2(
            stored.stored_open_rest_2(
                access_seen=kept.access_seen,
                deny_seen=kept.deny_seen,
                seqid=kept.seqid,
                instance=kept.instance,
                owner=kept.owner,
                uid=kept.uid,
                gid=kept.gid,
                groups=kept.groups,
            )
        )
        head = _HEAD_2.pack(kept.clientid, kept.access, kept.deny, len(kept.object))
    except (XdrError, struct.error) as error:
        raise ValueError(str(error)) from error
    return head + kept.object + packer.get_buffer()


_HEAD_2: Final = struct.Struct(">QBBH")


def _range_from_1(key: bytes, value: bytes) -> bytes:
    """Version 1 of RANGE was stored_lock.  Raises ValueError."""
    try:
        unpacker = stored.StoredUnpacker(value)
        kept = unpacker.unpack_stored_lock()
        unpacker.done()
    except XdrError as error:
        raise ValueError(str(error)) from error
    ranges = [Range(kept.owner, item.start, item.last + 1, item.exclusive) for item in kept.ranges]
    return encode_ranges(kept.owner, ranges, _LOCK_REST.pack(kept.seqid, kept.instance))


def _open_from_2(key: bytes, value: bytes) -> bytes:
    """Version 2 of OPEN named only who opened it last: what every OPEN asked for is surely its own.

    Raises ValueError.
    """
    _holder_key, access, _deny, _object, rest = decode_open(value)
    try:
        unpacker = stored.StoredUnpacker(rest)
        kept = unpacker.unpack_stored_open_rest_2()
        unpacker.done()
    except XdrError as error:
        raise ValueError(str(error)) from error
    granted = functools.reduce(int.__and__, (n for n in range(4) if kept.access_seen >> n & 1), access)
    packer = stored.StoredPacker()
    packer.pack_stored_open_rest(
        stored.stored_open_rest(
            access_seen=kept.access_seen,
            deny_seen=kept.deny_seen,
            seqid=kept.seqid,
            instance=kept.instance,
            owner=kept.owner,
            grants=[stored.stored_grant(access=granted, uid=kept.uid, gid=kept.gid, groups=kept.groups)],
        )
    )
    return value[: len(value) - len(rest)] + packer.get_buffer()


UPGRADES: Final[Upgrades] = {(OPEN, 1): _open_from_1, (OPEN, 2): _open_from_2, (RANGE, 1): _range_from_1}
"""What turns records of older releases into today's."""
