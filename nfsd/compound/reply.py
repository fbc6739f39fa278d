"""The shape of a COMPOUND's reply: its head, and the size that it may have.

Owns these two.  Must not know results.
"""

from __future__ import annotations

import struct
from typing import Final

from nfsd.errors import REPLY_HEAD_SIZE, Nfs4Error
from nfsd.ops.request import Request
from xdr.codec import Buffer
from xdr.generated import nfs4

REPLY_SIZE_UNLIMITED: Final = 1 << 62

_UNTAGGED: Final = struct.Struct(">III")


def head(status: int, tag: bytes, count: int) -> bytes:
    """Status, tag and number of results (COMPOUND4res without them)."""
    size = len(tag)
    if not size:
        return _UNTAGGED.pack(status, 0, count)
    return struct.pack(f">2I{size}s{-size & 3}xI", status, size, tag, count)


def fit(request: Request, results: list[Buffer], first: int) -> None:
    """The reply may be too large: count it, and take the results from `first` on back if it is.  Raises Nfs4Error."""
    request.reply_size = REPLY_HEAD_SIZE + len(request.tag) + sum(map(len, results))
    try:
        check_size(request, request.reply_size)
    except Nfs4Error:
        del results[first:]
        raise


def check_size(request: Request, size: int) -> None:
    """Refuse what the session's channel could not carry (RFC 8881 2.10.6.4), or NFSv4.0's limit.  Raises Nfs4Error."""
    if size <= request.reply_size_max:
        return
    if request.session is None:
        raise Nfs4Error(nfs4.NFS4ERR_RESOURCE, f"a reply of {size} bytes")
    if size > request.session.reply_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_REP_TOO_BIG, f"a reply of {size} bytes")
    raise Nfs4Error(nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE, f"a cached reply of {size} bytes")
