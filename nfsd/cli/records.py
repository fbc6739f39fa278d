"""What the store's records say, for `understudy store dump`: values read with nfsd's own decoders.

Owns the mapping from a record's kind to its decoder. Must not interpret: it shows what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import statestore
from nfsd.state import records
from xdr.codec import XdrError

DECODERS: dict[int, Callable[[bytes], object]] = {
    statestore.HOLDER: records.decode_client,
    statestore.STREAM: records.decode_session,
    statestore.OWNER: records.decode_owner,
    statestore.OPEN: records.decode_open,
    statestore.RANGE: records.decode_lock,
}


def plain(value: object) -> Any:
    """A decoded value as JSON-able values; bytes are text if printable ASCII, else hexadecimal."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        text = data.decode("ascii", "replace")
        return text if text.isprintable() and "\ufffd" not in text else f"0x{data.hex()}"
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    slots = getattr(type(value), "__slots__", ())
    return {name: plain(getattr(value, name)) for name in slots} if slots else value


def describer(decode: Callable[[bytes], object]) -> Callable[[bytes, bytes], Mapping[str, Any]]:
    """What `statestore.dump` wants for one kind: key and value to fields.

    The function raises ValueError for a value that cannot be read.
    """

    def describe(_key: bytes, value: bytes) -> Mapping[str, Any]:
        try:
            fields: dict[str, Any] = plain(decode(value))
        except XdrError as error:
            raise ValueError(str(error)) from error
        return fields

    return describe


DESCRIBERS = {kind: describer(decode) for kind, decode in DECODERS.items()}
