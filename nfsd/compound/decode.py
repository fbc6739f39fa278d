"""Decoding of a whole COMPOUND before its first operation runs (RFC 8881 16.2.2, RFC 7530 14.2).

Owns which requests cannot be evaluated at all.  Must not know what any operation means.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from nfsd.compound import table
from nfsd.ops.row import Operation
from xdr.codec import XdrError
from xdr.generated import nfs4

TAG_SIZE_MAX: Final = 1024  # Chosen here; RFC 8881 16.2.3 leaves it to the server.

_WORD: Final = struct.Struct(">I")
_UNTAGGED: Final = struct.Struct(">III")
_NO_TAG: Final = bytes(4)

Operations = list[tuple[Operation, Any]]


def decode(data: bytes | bytearray, start: int, operations_max: int) -> tuple[int, bytes, int, int, Operations]:
    """The status, tag, minor version, number of operations, and the operations with their arguments.

    A status other than NFS4_OK says why the request cannot be evaluated.  An operation whose arguments do not decode
    ends the list: it is answered BADXDR when its turn comes.  Raises XdrError where it is no COMPOUND at all.
    """
    unpacker = nfs4.Nfs4Unpacker(data, start)
    if data[start : start + 4] == _NO_TAG:
        try:
            _size, minor, count = _UNTAGGED.unpack_from(data, start)
        except struct.error:
            raise XdrError("the data ends before the operations") from None
        unpacker.position = start + 12
        tag = b""
    else:
        tag = unpacker.unpack_opaque()
        minor, count = unpacker.unpack_uint(), unpacker.unpack_uint()
    operations: Operations = []
    status = _whole_status(tag, minor, count, operations_max)
    if status:
        return status, tag, minor, count, operations
    by_number = table.BY_MINOR[minor]
    word, append = _WORD.unpack_from, operations.append
    try:
        for _ in range(count):
            (number,) = word(data, unpacker.position)
            unpacker.position += 4
            operation = by_number.get(number, table.ILLEGAL)
            if operation.unpack is not None:
                append((operation, operation.unpack(unpacker)))
            else:
                append((operation, None))
                if operation.last:
                    return nfs4.NFS4_OK, tag, minor, count, operations
    except XdrError as error:
        append((table.bad_xdr(operation), str(error)))
        return nfs4.NFS4_OK, tag, minor, count, operations
    except struct.error:
        raise XdrError(f"{count} operations, and the data ends after {len(operations)}") from None
    unpacker.done()
    return nfs4.NFS4_OK, tag, minor, count, operations


def _whole_status(tag: bytes, minor: int, count: int, operations_max: int) -> int:
    """The status of a request that cannot be evaluated at all, or NFS4_OK."""
    if minor > 2:
        return nfs4.NFS4ERR_MINOR_VERS_MISMATCH
    if len(tag) > TAG_SIZE_MAX:
        return nfs4.NFS4ERR_INVAL
    if count > operations_max:
        return nfs4.NFS4ERR_TOO_MANY_OPS if minor else nfs4.NFS4ERR_RESOURCE
    return nfs4.NFS4_OK
