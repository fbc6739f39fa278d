"""What an object or a name has to be before an operation works on it.

Owns the statuses for the wrong kind, the wrong name and the wrong file system.  Must not know any operation's
arguments.
"""

from __future__ import annotations

import stat

from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request
from nfsd.state.conflicts import check_claims
from nfsd.vfs.interface import Credentials, Node
from xdr.generated import nfs4


def require_regular(
    c: Request, node: Node, *, link: int = nfs4.NFS4ERR_SYMLINK, in_40: int = nfs4.NFS4ERR_INVAL
) -> None:
    """Raise Nfs4Error unless the object is a regular file.

    A directory is ISDIR to everybody.  To 4.1 and later a symbolic link is `link` and all else WRONG_TYPE (RFC 8881
    15.1.2.9); 4.0 has one status for all of them, `in_40` (RFC 7530 13.1.4).
    """
    kind = node.kind
    if kind == stat.S_IFREG:
        return
    if kind == stat.S_IFDIR:
        raise Nfs4Error(nfs4.NFS4ERR_ISDIR, "a directory where a regular file is needed")
    if not c.minor:
        status = in_40
    else:
        status = link if kind == stat.S_IFLNK else nfs4.NFS4ERR_WRONG_TYPE
    raise Nfs4Error(status, "not a regular file")


def require_directory(node: Node) -> None:
    """Raise Nfs4Error NOTDIR unless the object is a directory."""
    if node.kind != stat.S_IFDIR:
        raise Nfs4Error(nfs4.NFS4ERR_NOTDIR, "not a directory")


def require_passable(node: Node) -> None:
    """Raise Nfs4Error SYMLINK or NOTDIR unless names can be looked up in the object (RFC 8881 18.13.4)."""
    if node.kind == stat.S_IFLNK:
        raise Nfs4Error(nfs4.NFS4ERR_SYMLINK, "lookup in a symbolic link")
    require_directory(node)


def require_writable(node: Node) -> None:
    """Raise Nfs4Error ROFS where the object's export is read-only."""
    if node.fs.read_only:
        raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only export")


def require_unclaimed(c: Request, parent: Node, name: bytes, cred: Credentials) -> None:
    """Raise Nfs4Error GRACE where the name's object may still be claimed by somebody else (RFC 8881 8.4.2.1)."""
    if c.state.filter.claims is not None:
        check_claims(c.state, c, parent.fs.lookup(parent, name, cred).handle, c.client)


def require_same_fs(node: Node, other: Node) -> None:
    """Raise Nfs4Error XDEV unless both objects are in one file system."""
    if node.fs is not other.fs:
        raise Nfs4Error(nfs4.NFS4ERR_XDEV, "objects in different file systems")


def check_name(node: Node, name: bytes) -> bytes:
    """`name`, if it may stand for an entry of the directory `node` (RFC 8881 14.3, 15.1.9).

    Raises Nfs4Error INVAL for an empty name, NAMETOOLONG beyond the file system's limit, BADCHAR
    for "/" or NUL in it, BADNAME for "." and "..".  Bytes that are not UTF-8 pass, as local programs
    may have made such names.
    """
    if not name:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "empty name")
    if len(name) > node.fs.maxname:
        raise Nfs4Error(nfs4.NFS4ERR_NAMETOOLONG, f"a name of {len(name)} bytes")
    if b"/" in name or b"\0" in name:
        raise Nfs4Error(nfs4.NFS4ERR_BADCHAR, "slash or NUL in a name")
    if name in (b".", b".."):
        raise Nfs4Error(nfs4.NFS4ERR_BADNAME, "dot name")
    return name
