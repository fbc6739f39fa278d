"""Comparing attributes a client sends with those of an object, for VERIFY and NVERIFY.

Owns what "the same" means (RFC 8881 18.31, 18.15): the encoded values are equal, owners when
they name the same id.  It must not know the two operations.
"""

import os
import struct

from nfsd.attributes.encode import Environment, encode
from nfsd.attributes.owners import resolve_owner
from nfsd.attributes.rows import ATTRIBUTES, SUPPORTED, WRITE_ONLY
from nfsd.attributes.wire import U32
from nfsd.errors import Nfs4Error
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

_OWNERS = (nfs4.FATTR4_OWNER, nfs4.FATTR4_OWNER_GROUP)


def same(c: Environment, node: Node, st: os.stat_result, mask: int, attr_vals: bytes) -> bool:
    """Whether the object has exactly these attribute values.

    Raises Nfs4Error ATTRNOTSUPP for attributes that are not offered, INVAL for write-only ones and
    rdattr_error, BADXDR for values that end early or leave bytes over.
    """
    if mask & (WRITE_ONLY[c.minor] | 1 << nfs4.FATTR4_RDATTR_ERROR):
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "attribute cannot be compared")
    if mask & ~SUPPORTED[c.minor]:
        raise Nfs4Error(nfs4.NFS4ERR_ATTRNOTSUPP, "attribute not supported")
    returned, values = encode(c, node, st, mask)
    if returned == mask and values == attr_vals:
        return True
    theirs = split(mask, attr_vals)
    ours = split(returned, values)
    return all(_equal(number, ours.get(number), value) for number, value in theirs.items())


def split(mask: int, attr_vals: bytes) -> dict[int, bytes]:
    """Each attribute's encoded value by its number.  Raises Nfs4Error BADXDR on a bad length."""
    position = 0
    values: dict[int, bytes] = {}
    for number in sorted(ATTRIBUTES):
        if mask >> number & 1:
            end = position + _size_at(number, attr_vals, position)
            values[number] = attr_vals[position:end]
            position = end
    if position != len(attr_vals):
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "attribute values of the wrong length")
    return values


def _size_at(number: int, data: bytes, position: int) -> int:
    row = ATTRIBUTES[number]
    if row.shape == "fixed":
        return struct.calcsize(">" + row.format)
    if len(data) < position + 4:
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "attribute values end early")
    (count,) = U32.unpack_from(data, position)
    return 4 + ((count + 3) & ~3 if row.shape == "opaque" else 4 * int(count))


def _equal(number: int, ours: bytes | None, theirs: bytes) -> bool:
    if ours == theirs:
        return True
    if ours is None or number not in _OWNERS:
        return False
    try:
        ids = [resolve_owner(_text(value), group=number == _OWNERS[1]) for value in (ours, theirs)]
    except Nfs4Error:
        return False
    return ids[0] == ids[1]


def _text(encoded: bytes) -> bytes:
    (size,) = U32.unpack_from(encoded)
    return encoded[4 : 4 + size]
