"""What the store's records say, for `understudy store dump`: values read with nfsd's own decoders.

Owns the mapping from a record's kind to its decoder. Must not interpret: it shows what is stored.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import statestore
from nfsd.state import records
from xdr.codec import XdrError


def plain(value: object) -> Any:
    """A decoded value as JSON-able values; bytes are text if printable ASCII, else hexadecimal."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        text = data.decode("ascii", "replace")
        return text if text.isprintable() and "\ufffd" not in text else f"0x{data.hex()}"
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    slots = getattr(type(value), "__slots__", ())
    return {name: plain(getattr(value, name)) for name in slots} if slots else value


def _decode_open(value: bytes) -> object:
    holder_key, access, deny, handle, rest = statestore.decode_open(value)
    access_seen, deny_seen, seqid, instance, owner, grants = records.open_rest(rest)
    return {
        "clientid": int.from_bytes(holder_key, "big"),
        "access": access,
        "deny": deny,
        "access_seen": access_seen,
        "deny_seen": deny_seen,
        "seqid": seqid,
        "instance": instance,
        "owner": owner,
        "object": handle,
        "grants": [
            {"access": access, "uid": caller.uid, "gid": caller.gid, "groups": caller.groups}
            for caller, access in grants
        ],
    }


def _decode_ranges(value: bytes) -> object:
    owner, ranges, rest = statestore.decode_ranges(value)
    seqid, instance = records.lock_rest(rest)
    held = [{"start": each.start, "last": each.end - 1, "exclusive": each.exclusive} for each in ranges]
    return {"seqid": seqid, "instance": instance, "owner": owner, "ranges": held}


DECODERS: dict[int, Callable[[bytes], object]] = {
    statestore.HOLDER: records.decode_client,
    statestore.STREAM: records.decode_session,
    statestore.OWNER: records.decode_owner,
    statestore.OPEN: _decode_open,
    statestore.RANGE: _decode_ranges,
}


def describer(decode: Callable[[bytes], object]) -> Callable[[bytes, bytes], Mapping[str, Any]]:
    """What `statestore.dump` wants for one kind: key and value to fields.

    The function raises ValueError for a value that cannot be read.
    """

    def describe(_key: bytes, value: bytes) -> Mapping[str, Any]:
        try:
            fields: dict[str, Any] = plain(decode(value))
        except (XdrError, struct.error) as error:
            raise ValueError(str(error)) from error
        return fields

    return describe


DESCRIBERS = {kind: describer(decode) for kind, decode in DECODERS.items()}
