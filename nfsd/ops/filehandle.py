"""PUTFH, PUTROOTFH, PUTPUBFH, GETFH, SAVEFH, RESTOREFH (RFC 8881 18.8, 18.19-18.21, 18.27, 18.28)."""

from __future__ import annotations

import struct

from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request
from xdr.codec import PADDING
from xdr.generated import nfs4

_GETFH = struct.Struct(">3I")


def op_putfh(c: Request, args: nfs4.PUTFH4args) -> None:
    """Make a file handle the current one.  Raises BADHANDLE, STALE, WRONGSEC, ACCESS."""
    node = c.services.namespace.resolve(args.object)
    if node.fs.export is None:
        node = c.seen(node)
    c.as_caller(node)
    c.current = node
    c.stateid = None


def op_putrootfh(c: Request, _args: None) -> None:
    """Make the root of what this client may see the current file handle (PUTPUBFH does the same here)."""
    node = c.services.namespace.root_for(c.connection.address)
    c.as_caller(node)
    c.current = node
    c.stateid = None


def op_getfh(c: Request, _args: None) -> bytes:
    """Tell the current file handle: the encoded GETFH4res."""
    handle = c.node().handle
    size = len(handle)
    return _GETFH.pack(nfs4.OP_GETFH, nfs4.NFS4_OK, size) + handle + PADDING[size & 3]


def op_savefh(c: Request, _args: None) -> None:
    """Save the current file handle, and the current stateid with it."""
    c.saved = c.node()
    c.saved_stateid = c.stateid


def op_restorefh(c: Request, _args: None) -> None:
    """Make the saved file handle the current one.  Raises RESTOREFH or NOFILEHANDLE when there is none."""
    if c.saved is None:
        status = nfs4.NFS4ERR_NOFILEHANDLE if c.minor else nfs4.NFS4ERR_RESTOREFH
        raise Nfs4Error(status, "no saved file handle")
    c.current = c.saved
    c.stateid = c.saved_stateid
