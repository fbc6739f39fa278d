"""Operations on directories and their names: LOOKUP(P), READDIR, CREATE, REMOVE, SECINFO(_NO_NAME).

Owns the rules for names on the wire and the layout of READDIR replies.  Must not know how a
directory is read or changed; that is the file system's.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from nfsd import attributes
from nfsd.attributes.wire import opaque
from nfsd.errors import Nfs4Error, status_of
from nfsd.ops import once
from nfsd.ops.attributes import finish_creation, give_set_id_bits
from nfsd.ops.change import begun, change_info, change_of
from nfsd.ops.once import Before
from nfsd.ops.request import Request
from nfsd.ops.require import check_name, require_directory, require_passable, require_unclaimed, require_writable
from nfsd.vfs.interface import BadCookie, Credentials, FileSystem, Node
from xdr.generated import nfs4

# -- LOOKUP and LOOKUPP --------------------------------------------------------------------------------


def op_lookup(c: Request, args: nfs4.LOOKUP4args) -> None:
    """LOOKUP (RFC 8881 18.13): the current file handle becomes the named object's."""
    node = c.node()
    if node.kind != stat.S_IFDIR:
        require_passable(node)
    name = check_name(node, args.objname)
    child = node.fs.lookup(node, name, c.as_caller(node))
    if child.fs is not node.fs:
        c.as_caller(child)
    c.set_node(child)


def op_lookupp(c: Request, _args: None) -> None:
    """LOOKUPP (RFC 8881 18.14): the current file handle becomes the parent directory's."""
    node = c.node()
    require_passable(node)
    parent = node.fs.parent(node, c.as_caller(node))
    if parent.fs is not node.fs:
        parent = c.seen(parent)
        c.as_caller(parent)
    c.set_node(parent)


# -- READDIR -------------------------------------------------------------------------------------------

# Cookies 1 and 2 are reserved by the protocol (RFC 8881 18.23.3).
_RESERVED_COOKIES = (1, 2)
_NO_VERIFIER = bytes(8)
# cookieverf4, the end of the list, eof.
_REPLY_FRAME_SIZE = 16
_ENTRY_HEAD = struct.Struct(">IQ")
_EMPTY_FATTR = bytes(8)
# The clock is looked at before every so many entries.
_TIMED_ENTRIES = 8
_RDATTR_ERROR_BIT = 1 << nfs4.FATTR4_RDATTR_ERROR


def op_readdir(c: Request, args: nfs4.READDIR4args) -> bytes:
    """READDIR (RFC 8881 18.23): the encoded READDIR4resok.

    `maxcount` bounds the whole result, `dircount` (0: unbounded) the names and cookies; the first
    entry goes out whatever `dircount` says, and whatever time its compound has taken: others only until its turn of the
    event loop is over.  Raises Nfs4Error TOOSMALL where not even one entry fits.
    """
    node = c.node()
    require_directory(node)
    attributes.check_readable(c.minor, args.attr_request)
    cookie = args.cookie
    if cookie in _RESERVED_COOKIES:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_COOKIE, "reserved cookie")
    if cookie and args.cookieverf != _NO_VERIFIER:
        raise Nfs4Error(nfs4.NFS4ERR_NOT_SAME, "cookie verifier this server never gave")
    maxcount = min(args.maxcount, c.services.limits.readdir_size_max)
    room = maxcount - _REPLY_FRAME_SIZE
    if room < 0:
        raise Nfs4Error(nfs4.NFS4ERR_TOOSMALL, "maxcount below an empty result")
    cred = c.as_caller(node)
    describe = _describer(c, node, cred, args.attr_request)
    try:
        parts, eof = _fill(c, node, cred, cookie, room, args.dircount or maxcount, describe)
    except BadCookie:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_COOKIE, "no such cookie") from None
    parts.insert(0, _NO_VERIFIER)
    parts.append(b"\0\0\0\0\0\0\0\1" if eof else b"\0\0\0\0\0\0\0\0")
    return b"".join(parts)


def _fill(
    c: Request, node: Node, cred: Credentials, cookie: int, room: int, name_room: int,
    describe: Callable[[bytes], bytes | None],
) -> tuple[list[bytes], bool]:  # fmt: skip
    """Encoded entries as far as room and time allow, and whether the directory ended."""
    parts: list[bytes] = []
    now, ends = c.services.now, c.now + c.services.limits.turn_ms / 1000
    for count, (entry_cookie, name) in enumerate(node.fs.readdir(node, cookie, cred)):
        if not count % _TIMED_ENTRIES and parts and now() >= ends:
            return parts, False
        name_room -= 12 + len(name) + (-len(name) & 3)
        if name_room < 0 and parts:
            return parts, False
        fattr = describe(name)
        if fattr is None:
            continue
        encoded = _ENTRY_HEAD.pack(1, entry_cookie) + opaque(name) + fattr
        room -= len(encoded)
        if room < 0:
            if not parts:
                raise Nfs4Error(nfs4.NFS4ERR_TOOSMALL, "maxcount below the first entry")
            return parts, False
        parts.append(encoded)
    return parts, True


def _describer(c: Request, directory: Node, cred: Credentials, mask: int) -> Callable[[bytes], bytes | None]:
    """A function from an entry's name to its encoded fattr4; None for an entry that is gone.

    An entry whose attributes cannot be read carries the error in rdattr_error where the client asked
    for that, and fails the operation where it did not (RFC 8881 18.23.3).
    """
    plan = attributes.plan_for(c.minor, mask)
    if not plan.mask:
        return lambda _name: _EMPTY_FATTR
    if not plan.needs_node:
        return lambda _name: attributes.rdattr_error_fattr(nfs4.NFS4_OK)
    fs = directory.fs
    lookup, encode = fs.lookup, attributes.encode_fattr

    def describe(name: bytes) -> bytes | None:
        try:
            node = lookup(directory, name, cred)
            return encode(c, node, node.fs.stat(node), mask)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if not mask & _RDATTR_ERROR_BIT:
                raise
            return attributes.rdattr_error_fattr(status_of(error))

    return describe


# -- CREATE and REMOVE ---------------------------------------------------------------------------------

_SPECIAL_KINDS = {
    nfs4.NF4SOCK: stat.S_IFSOCK,
    nfs4.NF4FIFO: stat.S_IFIFO,
    nfs4.NF4BLK: stat.S_IFBLK,
    nfs4.NF4CHR: stat.S_IFCHR,
}
_KINDS = {nfs4.NF4DIR: stat.S_IFDIR, nfs4.NF4LNK: stat.S_IFLNK, **_SPECIAL_KINDS}
_MODE_DEFAULT = 0o777
_SPECIAL_MODE_DEFAULT = 0o666


def op_create(c: Request, args: nfs4.CREATE4args) -> nfs4.CREATE4resok:
    """CREATE (RFC 8881 18.4): a new object that is no regular file, which becomes the current one."""
    parent = c.node()
    kind = args.objtype.type
    if kind not in (nfs4.NF4DIR, nfs4.NF4LNK) and kind not in _SPECIAL_KINDS:
        raise Nfs4Error(nfs4.NFS4ERR_BADTYPE, "CREATE of a type it does not make")
    require_directory(parent)
    name = check_name(parent, args.objname)
    fattr = args.createattrs
    wanted = attributes.decode_settable(fattr.attrmask, fattr.attr_vals, creating=True, minor=c.minor)
    if wanted.size is not None:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "size of an object that has none")
    cred = c.as_caller(parent)
    require_writable(parent)
    make = _maker(parent, name, cred, args.objtype, wanted)
    before, node = begun(
        c,
        lambda: Before(change_of(parent), parent.fs.identify(parent, name, cred)),
        lambda before: once.made(parent, name, cred, before, _KINDS[kind], wanted),
    )
    if node is None:
        node = make()
    elif kind == nfs4.NF4DIR:
        # The bits that mkdir(2) leaves out are set by a second call.
        give_set_id_bits(node, cred, wanted.creation_mode(0))
    attrset = finish_creation(node, cred, wanted, mode_done=node.kind != stat.S_IFLNK)
    info = change_info(parent, before.change)
    c.set_node(node)
    return nfs4.CREATE4resok(info, attrset)


def _maker(
    parent: Node, name: bytes, cred: Credentials, objtype: nfs4.createtype4, wanted: attributes.SetAttrs
) -> Callable[[], Node]:
    """What makes the object, once its arguments have been found good.  Raises Nfs4Error INVAL."""
    fs = parent.fs
    kind = objtype.type
    if kind == nfs4.NF4DIR:
        return partial(fs.mkdir, parent, name, cred, wanted.creation_mode(_MODE_DEFAULT))
    if kind == nfs4.NF4LNK:
        target = objtype.linkdata
        if not target or b"\0" in target:
            raise Nfs4Error(nfs4.NFS4ERR_INVAL, "symbolic link with an empty target or NUL in it")
        return partial(fs.symlink, parent, name, target, cred)
    rdev = 0
    if kind in (nfs4.NF4BLK, nfs4.NF4CHR):
        assert objtype.devdata is not None
        rdev = _device(objtype.devdata)
    mode = wanted.creation_mode(_SPECIAL_MODE_DEFAULT)
    return partial(fs.mknod, parent, name, cred, mode, _SPECIAL_KINDS[kind], rdev)


def _device(devdata: nfs4.specdata4) -> int:
    """The device number.  Raises Nfs4Error INVAL where the kernel's 12 and 20 bits cannot hold it."""
    if devdata.specdata1 >= 1 << 12 or devdata.specdata2 >= 1 << 20:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "device number too large")
    return os.makedev(devdata.specdata1, devdata.specdata2)


def op_remove(c: Request, args: nfs4.REMOVE4args) -> nfs4.REMOVE4resok:
    """REMOVE (RFC 8881 18.25): a name goes, be it a file's or an empty directory's."""
    parent = c.node()
    require_directory(parent)
    name = check_name(parent, args.target)
    cred = c.as_caller(parent)
    require_writable(parent)
    fs = parent.fs

    def look() -> Before:
        require_unclaimed(c, parent, name, cred)
        return Before(change_of(parent), fs.identify(parent, name, cred))

    before, done = begun(c, look, lambda before: once.is_removed(parent, name, cred, before))
    if handle := open_handle(c, fs, before.found):
        with outliving(c, parent, name, before.found, handle, done=bool(done)):
            if not done:
                fs.remove(parent, name, cred)
    elif not done:
        fs.remove(parent, name, cred)
    return nfs4.REMOVE4resok(change_info(parent, before.change))


def open_handle(c: Request, fs: FileSystem, identity: bytes) -> bytes:
    """The handle of a file that must outlive the loss of a name because it is open; empty for others.

    `identity` is what the name leads to, empty for nothing.
    """
    if not identity or not fs.keeps_unlinked:
        return b""
    handle = fs.handle_of(identity)
    return handle if handle in c.state.filter.shares else b""


@contextmanager
def outliving(c: Request, parent: Node, name: bytes, identity: bytes, handle: bytes, *, done: bool) -> Iterator[None]:
    """Around the loss of an open file's name: it lives on until its last close.  `done`: it is lost already."""
    fs = parent.fs
    kept = fs.is_buried(identity) if done else fs.bury(parent, name, identity)
    try:
        yield
    except OSError:
        if kept:
            fs.unbury(identity)
        raise
    if kept:
        c.state.filter.keep_pending(handle, c.changes)


# -- SECINFO -------------------------------------------------------------------------------------------


def op_secinfo(c: Request, args: nfs4.SECINFO4args) -> list[nfs4.secinfo4]:
    """SECINFO (RFC 8881 18.29): the flavours by which a name's object may be reached."""
    parent = c.node()
    require_directory(parent)
    name = check_name(parent, args.name)
    return _answer(c, parent.fs.lookup(parent, name, c.as_caller(parent)))


def op_secinfo_no_name(c: Request, args: int) -> list[nfs4.secinfo4]:
    """SECINFO_NO_NAME (RFC 8881 18.45): the same for the current object or its parent."""
    node = c.node()
    if args == nfs4.SECINFO_STYLE4_PARENT:
        require_directory(node)
        node = node.fs.parent(node, c.as_caller(node))
    return _answer(c, node)


def _answer(c: Request, node: Node) -> list[nfs4.secinfo4]:
    """The flavours of `node`; from 4.1 on the current file handle is used up (RFC 8881 2.6.3.1.1.8)."""
    flavours = c.services.namespace.flavours(node, c.connection.address)
    if not flavours:
        raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "export that is not for this client")
    if c.minor:
        c.set_node(None)
    return [nfs4.secinfo4(flavour) for flavour in flavours]
