"""Decoding a fattr4 that a client wants set.

Owns the order of the checks: unknown attributes, read-only ones, contradictions, values, length.
It must not know single attributes; the table's rows bring their decoders.
"""

import struct

from nfsd.attributes.rows import ATTRIBUTES, SETTABLE, SUPPORTED
from nfsd.attributes.settable import MODE_ATTRIBUTES, SetAttrs
from nfsd.errors import Nfs4Error
from xdr.generated import nfs4

NOTHING = SetAttrs()

_DECODERS = {number: row.decode for number, row in ATTRIBUTES.items() if row.decode is not None}
_MODE_UMASK_BIT = 1 << nfs4.FATTR4_MODE_UMASK


def decode_settable(mask: int, attr_vals: bytes | memoryview, *, creating: bool, minor: int) -> SetAttrs:
    """The attributes a client sets, decoded and checked.

    `creating` allows what only CREATE and OPEN may carry (mode_umask).  Raises Nfs4Error
    ATTRNOTSUPP for attributes this minor version does not offer, INVAL for read-only attributes
    and bad values, BADOWNER for unknown owners, FBIG for a size no file can have, BADXDR for
    values that end early or leave bytes over.
    """
    if not mask:
        if attr_vals:
            raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "attribute values without attributes")
        return NOTHING
    _check_mask(mask, creating=creating, minor=minor)
    decoded = SetAttrs(mask)
    position = 0
    remaining = mask
    try:
        while remaining:
            lowest = remaining & -remaining
            remaining ^= lowest
            position = _DECODERS[lowest.bit_length() - 1](attr_vals, position, decoded)
    except struct.error:
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "attribute values end early") from None
    if position != len(attr_vals):
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "bytes left over after the attribute values")
    return decoded


def _check_mask(mask: int, *, creating: bool, minor: int) -> None:
    if mask & ~SUPPORTED[minor]:
        raise Nfs4Error(nfs4.NFS4ERR_ATTRNOTSUPP, "attribute not supported")
    if mask & ~SETTABLE[minor]:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "attribute is read-only")
    modes = mask & MODE_ATTRIBUTES
    if modes & (modes - 1):
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "more than one of mode, mode_set_masked, mode_umask")
    if modes & _MODE_UMASK_BIT and not creating:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "mode_umask is for creating only (RFC 8275 5)")
