"""GETATTR, SETATTR, VERIFY, NVERIFY and ACCESS.

Owns how attribute requests become file system calls and in which order changes are applied.  Must
not know how a value is encoded (`nfsd.attributes`) or who may write by a stateid (`nfsd.ops.io`).
"""

from __future__ import annotations

import errno
import stat
from typing import Any

from nfsd import attributes
from nfsd.attributes import SetAttrs
from nfsd.errors import Nfs4Error, status_of
from nfsd.ops import once
from nfsd.ops.change import begun
from nfsd.ops.io import file_for
from nfsd.ops.once import Before
from nfsd.ops.request import Request
from nfsd.ops.require import require_regular, require_writable
from nfsd.vfs.interface import Credentials, Node
from xdr.generated import nfs4

R, W, X = 4, 2, 1

_SIZE_BIT = 1 << nfs4.FATTR4_SIZE
_OWNER_BITS = 1 << nfs4.FATTR4_OWNER | 1 << nfs4.FATTR4_OWNER_GROUP
_MODE_BITS = 1 << nfs4.FATTR4_MODE | 1 << nfs4.FATTR4_MODE_SET_MASKED
# Setting these takes the set-id bits of a mode away (truncate(2), chown(2)).
_DROPS_SETID = _SIZE_BIT | _OWNER_BITS
_SETID_BITS = stat.S_ISUID | stat.S_ISGID
_TIME_BITS = 1 << nfs4.FATTR4_TIME_ACCESS_SET | 1 << nfs4.FATTR4_TIME_MODIFY_SET


def op_getattr(c: Request, args: nfs4.GETATTR4args) -> bytes:
    """GETATTR (RFC 8881 18.7): the result is an encoded fattr4, ready for the reply."""
    node = c.node()
    return attributes.encode_fattr(c, node, node.fs.stat(node), args.attr_request)


def op_setattr(c: Request, args: nfs4.SETATTR4args) -> int:
    """SETATTR (RFC 8881 18.30): the mask of attributes that were set.

    A failure's body is the same mask, of what had been set when it failed.
    """
    node = c.node()
    fattr = args.obj_attributes
    wanted = attributes.decode_settable(fattr.attrmask, fattr.attr_vals, creating=False, minor=c.minor)
    cred = c.as_caller(node)
    require_writable(node)
    if wanted.size is None:
        return set_once(c, node, cred, wanted, by_open=False)
    require_regular(c, node, link=nfs4.NFS4ERR_WRONG_TYPE)
    file_for(c, args.stateid, node, True)
    try:
        return set_once(c, node, cred, wanted, by_open=True)
    finally:
        if not node.opens and not node.pinned:
            node.fs.release(node)  # A program may be run again.


def set_once(
    c: Request, node: Node, cred: Credentials, wanted: SetAttrs, *, by_open: bool, change: int = 0, found: bytes = b""
) -> int:
    """`apply_attributes`, exactly once; `change` and `found` are what an OPEN wants to know again after a crash."""
    if not wanted.mask:
        return 0

    def look() -> Before:
        st = node.fs.stat(node)
        return Before(
            change, found, size=st.st_size, mode=stat.S_IMODE(st.st_mode), uid=st.st_uid, gid=st.st_gid,
            atime_ns=st.st_atime_ns, mtime_ns=st.st_mtime_ns,
        )  # fmt: skip

    before, crashed = begun(c, look, lambda _before: True)
    return apply_attributes(node, cred, wanted, by_open=by_open, before=before if crashed else None)


def apply_attributes(
    node: Node, cred: Credentials, wanted: SetAttrs, *, by_open: bool = False, before: Before | None = None
) -> int:
    """Set what is wanted, in the order size, owner, mode, times; returns the mask that was set.

    `by_open`: the caller has been found permitted to change the size.  Raises Nfs4Error whose body is the mask
    set before the failure.  In recovery, `before` is what there was: steps that were taken are not taken again.
    """
    done = 0
    steps = _steps(node, wanted, by_open=by_open)
    taken = 0 if before is None else once.attributes_done(node, before, [changes for _bits, changes in steps])
    for number, (bits, changes) in enumerate(steps):
        if number < taken:
            done |= bits
            continue
        try:
            node.fs.setattr(node, cred, **changes)
        except OSError as error:
            if not done:
                raise
            raise Nfs4Error(status_of(error), str(error), done) from error
        done |= bits
    return done


def _steps(node: Node, wanted: SetAttrs, *, by_open: bool) -> list[tuple[int, dict[str, Any]]]:
    """The file system calls that set what is wanted, each with the attribute bits it covers.

    The mode follows the owner because the kernel drops set-id bits when the owner changes.  A
    symbolic link has no mode of its own: setting one does nothing, and is not reported as set.
    """
    steps: list[tuple[int, dict[str, Any]]] = []
    mask = wanted.mask
    if wanted.size is not None:
        steps.append((_SIZE_BIT, {"size": wanted.size, "by_open": by_open}))
    if mask & _OWNER_BITS:
        steps.append((mask & _OWNER_BITS, {"uid": wanted.uid, "gid": wanted.gid}))
    if mask & _MODE_BITS and node.kind != stat.S_IFLNK:
        mode = wanted.mode
        if wanted.masked_mode is not None:
            mode = wanted.creation_mode(stat.S_IMODE(node.fs.stat(node).st_mode))
        steps.append((mask & _MODE_BITS, {"mode": mode}))
    if mask & _TIME_BITS:
        times: dict[str, Any] = {
            "atime_ns": wanted.atime_ns,
            "mtime_ns": wanted.mtime_ns,
            "now_atime": wanted.now_atime,
            "now_mtime": wanted.now_mtime,
        }
        steps.append((mask & _TIME_BITS, times))
    return steps


def finish_creation(node: Node, cred: Credentials, wanted: SetAttrs, *, mode_done: bool = True) -> int:
    """Set what a new object was wanted with besides its mode; returns the mask that was set.

    The object exists already, so what its creator may not set is left out of the mask instead of
    failing the operation (RFC 8881 18.4.3, 18.16.3).  `mode_done`: the mode was given at creation.
    """
    done = wanted.creation_mask() if mode_done else 0
    if wanted.size == 0:
        done |= _SIZE_BIT  # A new file is empty already, and truncating it would take its set-id bits away.
    rest = wanted.mask & ~done
    if not rest:
        return done
    for bits, changes in _steps(node, wanted, by_open=True):
        if bits & rest and _set_if_allowed(node, cred, changes):
            done |= bits
    if mode_done and rest & _DROPS_SETID:
        give_set_id_bits(node, cred, wanted.creation_mode(0))
    return done


def give_set_id_bits(node: Node, cred: Credentials, mode: int) -> None:
    """Set those set-id bits of `mode` that a new object lacks, if its creator may.  Raises OSError."""
    if mode & _SETID_BITS:
        has = stat.S_IMODE(node.fs.stat(node).st_mode)
        if mode & _SETID_BITS & ~has:
            _set_if_allowed(node, cred, {"mode": has | mode & _SETID_BITS})


def _set_if_allowed(node: Node, cred: Credentials, changes: dict[str, Any]) -> bool:
    """Set attributes of a new object; returns whether its creator may.  Raises OSError for other failures."""
    try:
        node.fs.setattr(node, cred, **changes)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP):
            raise
        return False
    return True


def op_verify(c: Request, args: nfs4.VERIFY4args) -> None:
    """VERIFY (RFC 8881 18.31): go on only if the attributes are the same."""
    if not _same(c, args.obj_attributes):
        raise Nfs4Error(nfs4.NFS4ERR_NOT_SAME, "attributes differ")


def op_nverify(c: Request, args: nfs4.NVERIFY4args) -> None:
    """NVERIFY (RFC 8881 18.15): go on only if the attributes differ."""
    if _same(c, args.obj_attributes):
        raise Nfs4Error(nfs4.NFS4ERR_SAME, "attributes are the same")


def _same(c: Request, fattr: nfs4.fattr4) -> bool:
    node = c.node()
    return attributes.same(c, node, node.fs.stat(node), fattr.attrmask, bytes(fattr.attr_vals))


# -- ACCESS --------------------------------------------------------------------------------------------

_XATTR_RIGHTS = {nfs4.ACCESS4_XAREAD: R, nfs4.ACCESS4_XAWRITE: W, nfs4.ACCESS4_XALIST: R}

# What each ACCESS bit takes, all of the permissions named.  Bits that mean nothing for an object are
# absent and answered as not supported (RFC 8881 18.1.3); a directory's children are changed by writing
# to it and passing through it.
_DIRECTORY_RIGHTS = {
    nfs4.ACCESS4_READ: R,
    nfs4.ACCESS4_LOOKUP: X,
    nfs4.ACCESS4_MODIFY: W | X,
    nfs4.ACCESS4_EXTEND: W | X,
    nfs4.ACCESS4_DELETE: W | X,
}
_FILE_RIGHTS = {
    nfs4.ACCESS4_READ: R,
    nfs4.ACCESS4_MODIFY: W,
    nfs4.ACCESS4_EXTEND: W,
    nfs4.ACCESS4_EXECUTE: X,
}


class _Rights:
    """ACCESS bits of one kind of object, as tables over the eight combinations of R, W and X."""

    __slots__ = ("allowed", "needs", "supported")

    def __init__(self, rights: dict[int, int]) -> None:
        self.supported = sum(rights)
        # allowed[granted] has the bits whose every permission is in granted.
        self.allowed = tuple(sum(bit for bit, needs in rights.items() if needs & ~granted == 0) for granted in range(8))
        self.needs = tuple(rights.items())


def _by_minor(rights: dict[int, int]) -> tuple[_Rights, ...]:
    plain = _Rights(rights)
    return plain, plain, _Rights(rights | _XATTR_RIGHTS)


_OF_DIRECTORY, _OF_FILE = _by_minor(_DIRECTORY_RIGHTS), _by_minor(_FILE_RIGHTS)


def op_access(c: Request, args: nfs4.ACCESS4args) -> nfs4.ACCESS4resok:
    """ACCESS (RFC 8881 18.1, RFC 8276 8.4.1): the kernel decides, as the caller."""
    node = c.node()
    rights = (_OF_DIRECTORY if node.kind == stat.S_IFDIR else _OF_FILE)[c.minor]
    supported = rights.supported & args.access
    want = 0
    for bit, needs in rights.needs:
        if bit & supported:
            want |= needs
    granted = node.fs.access(node, want, c.as_caller(node)) if want else 0
    if granted & W and not c.may_write(node):
        granted &= ~W
    return nfs4.ACCESS4resok(supported, supported & rights.allowed[granted])
