"""Extended attributes: GETXATTR, SETXATTR, LISTXATTRS, REMOVEXATTR (RFC 8276).

Owns the rules for their names and the paging of lists.  Must not know how a file system stores them,
nor the local name space: names are those on the wire, without a prefix.
"""

from __future__ import annotations

import os

from nfsd.errors import Nfs4Error
from nfsd.ops import once
from nfsd.ops.change import begun, change_info, change_of
from nfsd.ops.once import Before
from nfsd.ops.request import Request
from nfsd.ops.require import require_writable
from nfsd.ops.touched import note_attribute
from xdr.generated import nfs4

# The kernel's XATTR_NAME_MAX less the "user." that is put in front, and its XATTR_SIZE_MAX.
XATTR_NAME_MAX = 255 - len("user.")
XATTR_VALUE_MAX = 65536

# lxr_cookie, the number of names, lxr_eof.
_LIST_FRAME_SIZE = 16

_FLAGS = {
    nfs4.SETXATTR4_EITHER: 0,
    nfs4.SETXATTR4_CREATE: os.XATTR_CREATE,
    nfs4.SETXATTR4_REPLACE: os.XATTR_REPLACE,
}


def _checked_name(name: bytes) -> bytes:
    """`name`, if an extended attribute may have it.  Raises Nfs4Error INVAL, BADCHAR or NAMETOOLONG."""
    if not name:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "empty extended attribute name")
    if b"\0" in name:
        raise Nfs4Error(nfs4.NFS4ERR_BADCHAR, "NUL in an extended attribute name")
    if len(name) > XATTR_NAME_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_NAMETOOLONG, f"an extended attribute name of {len(name)} bytes")
    return name


def op_getxattr(c: Request, args: nfs4.GETXATTR4args) -> bytes:
    """GETXATTR (RFC 8276 8.4.1): the value.  Raises OSError ENODATA (NOXATTR) where there is none."""
    node = c.node()
    return node.fs.getxattr(node, _checked_name(args.gxa_name), c.as_caller(node))


def op_setxattr(c: Request, args: nfs4.SETXATTR4args) -> nfs4.change_info4:
    """SETXATTR (RFC 8276 8.4.2): the change of the object whose attribute was set."""
    node = c.node()
    name = _checked_name(args.sxa_key)
    if len(args.sxa_value) > XATTR_VALUE_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_XATTR2BIG, f"a value of {len(args.sxa_value)} bytes")
    cred = c.as_caller(node)
    require_writable(node)
    note_attribute(c, node, name, args.sxa_value)
    creating = args.sxa_option == nfs4.SETXATTR4_CREATE
    before, done = begun(
        c,
        lambda: Before(change_of(node), once.value_digest(node, name, cred)),
        lambda before: once.is_value_set(node, name, args.sxa_value, cred, before, creating=creating),
    )
    if not done:
        node.fs.setxattr(node, name, args.sxa_value, _FLAGS[args.sxa_option], cred)
    return change_info(node, before.change)


def op_listxattrs(c: Request, args: nfs4.LISTXATTRS4args) -> nfs4.LISTXATTRS4resok:
    """LISTXATTRS (RFC 8276 8.4.3): names from a cookie on, as many as `lxa_maxcount` bytes hold.

    The cookie is how many of the sorted names have been told.  Raises Nfs4Error BAD_COOKIE beyond the
    last, TOOSMALL where not even one more name fits.
    """
    node = c.node()
    names = sorted(node.fs.listxattr(node, c.as_caller(node)))
    first = args.lxa_cookie
    if first > len(names):
        raise Nfs4Error(nfs4.NFS4ERR_BAD_COOKIE, "cookie beyond the last extended attribute")
    room = args.lxa_maxcount - _LIST_FRAME_SIZE
    last = first
    for name in names[first:]:
        room -= 4 + len(name) + (-len(name) & 3)
        if room < 0:
            break
        last += 1
    if room < 0 and last == first:
        raise Nfs4Error(nfs4.NFS4ERR_TOOSMALL, "maxcount below the next name")
    return nfs4.LISTXATTRS4resok(last, names[first:last], last == len(names))


def op_removexattr(c: Request, args: nfs4.REMOVEXATTR4args) -> nfs4.change_info4:
    """REMOVEXATTR (RFC 8276 8.4.4): the change of the object that lost the attribute."""
    node = c.node()
    name = _checked_name(args.rxa_name)
    cred = c.as_caller(node)
    require_writable(node)
    note_attribute(c, node, name, None)
    before, done = begun(
        c,
        lambda: Before(change_of(node), once.value_digest(node, name, cred)),
        lambda before: once.is_value_removed(node, name, cred, before),
    )
    if not done:
        node.fs.removexattr(node, name, cred)
    return change_info(node, before.change)
