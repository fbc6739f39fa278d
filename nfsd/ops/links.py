"""Operations that move and multiply names: LINK, RENAME, READLINK.

Owns their argument rules.  Must not know how a file system keeps an open file that lost its name.
"""

from __future__ import annotations

import contextlib
import stat

from nfsd.errors import Nfs4Error
from nfsd.ops import once
from nfsd.ops.change import begun, change_info, change_of
from nfsd.ops.directory import open_handle, outliving
from nfsd.ops.once import Before
from nfsd.ops.request import Request
from nfsd.ops.require import check_name, require_directory, require_same_fs, require_unclaimed, require_writable
from xdr.generated import nfs4


def op_link(c: Request, args: nfs4.LINK4args) -> nfs4.LINK4resok:
    """LINK (RFC 8881 18.9): one more name, in the current directory, for the saved object."""
    node = c.saved_node()
    parent = c.node()
    require_directory(parent)
    if node.kind == stat.S_IFDIR:
        raise Nfs4Error(nfs4.NFS4ERR_ISDIR, "hard link to a directory")
    name = check_name(parent, args.newname)
    require_same_fs(node, parent)
    cred = c.as_caller(parent)
    require_writable(parent)
    before, done = begun(
        c,
        lambda: Before(change_of(parent), parent.fs.identify(parent, name, cred)),
        lambda before: once.is_linked(node, parent, name, cred, before),
    )
    if not done:
        parent.fs.link(node, parent, name, cred)
    return nfs4.LINK4resok(change_info(parent, before.change))


def op_rename(c: Request, args: nfs4.RENAME4args) -> nfs4.RENAME4resok:
    """RENAME (RFC 8881 18.26): a name of the saved directory becomes one of the current directory.

    Renaming an object to another name of itself changes nothing, nor the directories' change
    attributes.
    """
    source = c.saved_node()
    target = c.node()
    require_directory(source)
    require_directory(target)
    oldname = check_name(source, args.oldname)
    newname = check_name(target, args.newname)
    require_same_fs(source, target)
    cred = c.as_caller(target)
    require_writable(target)
    fs = source.fs
    moved = replaced = b""
    if c.unfinished() is None:
        moved, replaced = fs.identify(source, oldname, cred), fs.identify(target, newname, cred)
        if moved and moved == replaced:
            unchanged = change_of(source), change_of(target)
            return nfs4.RENAME4resok(*(nfs4.change_info4(True, value, value) for value in unchanged))
        require_unclaimed(c, source, oldname, cred)
        with contextlib.suppress(FileNotFoundError):
            require_unclaimed(c, target, newname, cred)
    before, done = begun(
        c,
        lambda: Before(change_of(source), moved, change_of(target), replaced),
        lambda before: once.is_renamed(source, oldname, target, newname, cred, before),
    )
    if handle := open_handle(c, fs, before.other_found):
        with outliving(c, target, newname, before.other_found, handle, done=bool(done)):
            if not done:
                fs.rename(source, oldname, target, newname, cred)
    elif not done:
        fs.rename(source, oldname, target, newname, cred)
    return nfs4.RENAME4resok(change_info(source, before.change), change_info(target, before.other_change))


def op_readlink(c: Request, _args: None) -> nfs4.READLINK4resok:
    """READLINK (RFC 8881 18.24): where the current symbolic link points."""
    node = c.node()
    if node.kind != stat.S_IFLNK:
        status = nfs4.NFS4ERR_WRONG_TYPE if c.minor else nfs4.NFS4ERR_INVAL
        raise Nfs4Error(status, "not a symbolic link")
    return nfs4.READLINK4resok(node.fs.readlink(node, c.as_caller(node)))
