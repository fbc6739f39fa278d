"""OPEN, OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE (RFC 8881 18.2, 18.16-18.18; RFC 7530 16.2, 16.16-16.19).

Owns the order in which an OPEN is decided: owner, claim, name, kind, permission, shares; then it is applied.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct

from nfsd.attributes import SetAttrs, decode_settable
from nfsd.errors import Nfs4Error
from nfsd.ops import once, touched
from nfsd.ops.attributes import finish_creation, set_once
from nfsd.ops.change import begun, change_info, change_of
from nfsd.ops.client40 import confirmed_client
from nfsd.ops.once import Before
from nfsd.ops.owner40 import begin, begin_by_stateid, open_owner
from nfsd.ops.request import Request
from nfsd.ops.require import check_name, require_passable, require_regular
from nfsd.state import conflicts, leftovers, locks, opens, owners, records
from nfsd.state.model import Client, SeqidOwner
from nfsd.state.stateids import find_open, next_seqid, require_confirmed
from nfsd.vfs.attributes import verifier_times_ns
from nfsd.vfs.credentials import switching
from nfsd.vfs.interface import Credentials, Node
from xdr.generated import nfs4

_READ, _WRITE = nfs4.OPEN4_SHARE_ACCESS_READ, nfs4.OPEN4_SHARE_ACCESS_WRITE
_NAMED = (nfs4.CLAIM_NULL, nfs4.CLAIM_DELEGATE_CUR, nfs4.CLAIM_DELEGATE_PREV)
_BY_HANDLE_41 = (nfs4.CLAIM_FH, nfs4.CLAIM_DELEG_CUR_FH, nfs4.CLAIM_DELEG_PREV_FH)
_NO_DELEGATION = nfs4.open_delegation4(nfs4.OPEN_DELEGATE_NONE)
_NONE_WANTED = nfs4.open_delegation4(
    nfs4.OPEN_DELEGATE_NONE_EXT, od_whynone=nfs4.open_none_delegation4(nfs4.WND4_NOT_WANTED)
)
_NONE_TO_GIVE = nfs4.open_delegation4(
    nfs4.OPEN_DELEGATE_NONE_EXT, od_whynone=nfs4.open_none_delegation4(nfs4.WND4_NOT_SUPP_FTYPE)
)
_WANT_MASK = 0xFF00
_WANT_NO_DELEGATION = 0x0400
# The signalling bits of RFC 8881 18.16.3 and OPEN_XOR_DELEGATION's of later extensions are taken and not used.
_ACCESS_BITS_41 = 3 | _WANT_MASK | 0x30000 | 0x300000
_VERIFIER_ATTRIBUTES = 1 << nfs4.FATTR4_TIME_ACCESS | 1 << nfs4.FATTR4_TIME_MODIFY
_CREATE_MODE_DEFAULT = 0o666
# OPEN4resok up to rflags; then, most often, an empty attrset and no delegation.
_OPENED = struct.Struct(">3I12sI2QI")
_NOTHING_MORE = struct.pack(">2I", 0, nfs4.OPEN_DELEGATE_NONE)
_CLOSED = struct.Struct(">3I12s")
# Nobody can use an NFSv4.1 stateid again after CLOSE (RFC 8881 18.2.4).
_CLOSED_FOR_EVER = _CLOSED.pack(nfs4.OP_CLOSE, nfs4.NFS4_OK, 0xFFFFFFFF, bytes(12))
_TAKEN = b"taken"
_SIZE_BIT = 1 << nfs4.FATTR4_SIZE


class _Found:
    """The file that an OPEN is about, and what finding or making it did."""

    __slots__ = ("node", "created", "attrset", "info", "size", "identity")

    def __init__(self, node: Node, created: bool, attrset: int, info: nfs4.change_info4, size: int | None) -> None:
        self.node = node
        self.created = created
        self.attrset = attrset
        self.info = info
        self.size = size
        self.identity = b""


def op_open(c: Request, args: nfs4.OPEN4args) -> bytes:
    """Open a regular file, which becomes the current file handle (RFC 8881 18.16): the encoded OPEN4res."""
    client, seqid_owner = _who(c, args)
    access, deny = _modes(c, args)
    granted = access
    claim = args.claim.claim
    creating = args.openhow.opentype == nfs4.OPEN4_CREATE
    if c.state.filter.blackouts.standing:
        touched.admit_open(c, args, client)
    if claim == nfs4.CLAIM_NULL:
        found = _by_name(c, args, creating)
    elif claim == nfs4.CLAIM_PREVIOUS:
        found, granted = _claimed(c, args, client, access, deny)
    elif claim == nfs4.CLAIM_FH and c.minor:
        if creating:
            raise Nfs4Error(nfs4.NFS4ERR_INVAL, "creating by file handle")
        found = _Found(c.node(), False, 0, nfs4.change_info4(False, 0, 0), None)
    else:
        raise _claim_error(c, claim)
    node = found.node
    if node.kind != stat.S_IFREG:
        require_regular(c, node, in_40=nfs4.NFS4ERR_SYMLINK)
    cred = c.as_caller(node)
    state = c.state
    if claim != nfs4.CLAIM_PREVIOUS:
        if state.filter.claims is not None:
            conflicts.check_claims(state, c, node.handle, client)
        if not found.created:
            _require_permission(c, node, cred, access)
    truncating = not found.created and found.size is not None
    conflicts.check_shares(state, c, node.handle, access | (_WRITE if truncating else 0), deny)
    if state.leftovers:
        leftovers.make_way(state, c, client, args.owner.owner, node.handle)
    if truncating:
        wanted = SetAttrs(_SIZE_BIT)
        wanted.size = found.size
        found.attrset = set_once(
            c, node, cred, wanted, by_open=bool(access & _WRITE), change=found.info.before, found=found.identity
        )
    held = opens.grant(state, c, client, args.owner.owner, node, access, deny, cred, granted, seqid_owner)
    c.current = node
    c.stateid = (held.seqid, held.other)
    rflags = nfs4.OPEN4_RESULT_LOCKTYPE_POSIX
    if node.fs.keeps_unlinked and c.minor:
        rflags |= nfs4.OPEN4_RESULT_PRESERVE_UNLINKED
    if seqid_owner is not None and claim == nfs4.CLAIM_PREVIOUS:
        seqid_owner.confirmed = True  # No confirmation may be asked for then (RFC 7530 9.1.11).
    if seqid_owner is not None and not seqid_owner.confirmed:
        rflags |= nfs4.OPEN4_RESULT_CONFIRM
    want = args.share_access & _WANT_MASK if c.minor else 0
    info = found.info
    opened = _OPENED.pack(
        nfs4.OP_OPEN, nfs4.NFS4_OK, held.seqid, held.other, info.atomic, info.before, info.after, rflags
    )
    if not want and not found.attrset:
        return opened + _NOTHING_MORE
    packer = nfs4.Nfs4Packer()
    packer.pack_bitmap4(found.attrset)
    packer.pack_open_delegation4(_delegation(want) if want else _NO_DELEGATION)
    return opened + packer.get_buffer()


def _who(c: Request, args: nfs4.OPEN4args) -> tuple[Client, SeqidOwner | None]:
    """The client, and for NFSv4.0 the open owner with its sequence id admitted."""
    if c.minor:
        client = c.client
        assert client is not None
        if not client.reclaim_complete and args.claim.claim not in (
            nfs4.CLAIM_PREVIOUS, nfs4.CLAIM_DELEGATE_PREV, nfs4.CLAIM_DELEG_PREV_FH
        ):  # fmt: skip
            raise Nfs4Error(nfs4.NFS4ERR_GRACE, "RECLAIM_COMPLETE has not come yet (RFC 8881 18.51.3)")
        return client, None
    client = confirmed_client(c, args.owner.clientid)
    client.heard = c.now
    c.client = client
    owner = open_owner(c, client, args.owner.owner, args.seqid)
    begin(c, owner, args.seqid)
    return client, owner


def _modes(c: Request, args: nfs4.OPEN4args) -> tuple[int, int]:
    """The access and denial asked for.  Raises INVAL."""
    access, deny = args.share_access, args.share_deny
    if c.minor and not access & ~_ACCESS_BITS_41:
        access &= 3
    if not 1 <= access <= 3 or deny > 3:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"access {args.share_access:#x}, deny {deny:#x}")
    return access, deny


def _claimed(c: Request, args: nfs4.OPEN4args, client: Client, access: int, deny: int) -> tuple[_Found, int]:
    """CLAIM_PREVIOUS: the record of before decides (RFC 8881 8.4.2.1), also what this caller was granted.

    Raises NO_GRACE, RECLAIM_BAD.
    """
    node = c.node()
    state = c.state
    claims = state.filter.claims
    if claims is None or c.minor and client.reclaim_complete:
        raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, f"{client.label} has nothing to reclaim")
    key = opens.key_of(state, client, args.owner.owner, node.handle)
    conflicts.require_granted(claims.claim_open(key, access, deny, c.now), "open")
    granted = access & records.recorded_grant(claims.private(key), c.as_caller(node))
    return _Found(node, False, 0, nfs4.change_info4(False, 0, 0), None), granted


def _claim_error(c: Request, claim: int) -> Nfs4Error:
    """Why a claim cannot be met: no delegations are given out."""
    if claim in (nfs4.CLAIM_DELEGATE_PREV, nfs4.CLAIM_DELEG_PREV_FH):
        return Nfs4Error(nfs4.NFS4ERR_NOTSUPP, "delegations are not kept over a client's restart")
    if claim == nfs4.CLAIM_DELEGATE_CUR or c.minor and claim == nfs4.CLAIM_DELEG_CUR_FH:
        return Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "no such delegation")
    return Nfs4Error(nfs4.NFS4ERR_INVAL, f"claim {claim}")


def _by_name(c: Request, args: nfs4.OPEN4args, creating: bool) -> _Found:
    """Find or make the file that a name in the current directory stands for."""
    parent = c.node()
    require_passable(parent)
    assert args.claim.file is not None
    name = check_name(parent, args.claim.file)
    cred = c.as_caller(parent)
    if not creating:
        # The directory stays as it is: what clients were told of it last is as true as ever.
        change = parent.seen or change_of(parent)
        return _Found(parent.fs.lookup(parent, name, cred), False, 0, nfs4.change_info4(False, change, change), None)
    if not c.may_write(parent):
        raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only for this client")
    return _create(c, parent, name, cred, args.openhow.how)


def _create(c: Request, parent: Node, name: bytes, cred: Credentials, how: nfs4.createhow4 | None) -> _Found:
    """OPEN4_CREATE in its four modes (RFC 8881 18.16.3)."""
    assert how is not None
    wanted, verifier = _initial(c, how)
    if verifier is not None:
        # Linux makes it of its clock and a process id: two clients may well come with the same one.
        assert c.client is not None
        verifier = hashlib.blake2b(c.client.identity + verifier, digest_size=8).digest()
    before, node = begun(
        c,
        lambda: Before(change_of(parent), parent.fs.identify(parent, name, cred)),
        lambda before: once.made(parent, name, cred, before, stat.S_IFREG, wanted),
        only_if_free=True,
    )
    created = True
    if node is None:
        node, created = _make(parent, name, cred, how, wanted, verifier)
    elif verifier is not None:
        atime_ns, mtime_ns = verifier_times_ns(verifier)
        node.fs.setattr(node, cred, atime_ns=atime_ns, mtime_ns=mtime_ns)
    attrset = 0
    if created:
        attrset = finish_creation(node, cred, wanted)
        if verifier is not None:
            attrset |= _VERIFIER_ATTRIBUTES
    elif verifier is not None:
        attrset = _VERIFIER_ATTRIBUTES | wanted.creation_mask()
        # A retry of the create that made it: its maker may open it whatever the mode says.
        created = not switching() or node.fs.stat(node).st_uid == cred.uid
    size = 0 if wanted.size == 0 and not created else None
    found = _Found(node, created, attrset, change_info(parent, before.change), size)
    # A name that was free and is not ours was taken meanwhile by a program on this machine.
    found.identity = before.found if created else before.found or _TAKEN
    return found


def _make(
    parent: Node, name: bytes, cred: Credentials, how: nfs4.createhow4, wanted: SetAttrs, verifier: bytes | None
) -> tuple[Node, bool]:
    """The file of a name, and whether it was made now.  Raises OSError EEXIST where that forbids it."""
    fs = parent.fs
    mode = wanted.creation_mode(_CREATE_MODE_DEFAULT if verifier is None else 0)
    if verifier is not None:
        return fs.create(parent, name, cred, mode, exclusive=True, verifier=verifier)
    try:
        return fs.create(parent, name, cred, mode, exclusive=True)
    except OSError as error:
        if error.errno != errno.EEXIST or how.mode == nfs4.GUARDED4:
            raise
    return fs.lookup(parent, name, cred), False


def _initial(c: Request, how: nfs4.createhow4) -> tuple[SetAttrs, bytes | None]:
    """The attributes and the verifier of a create.  Raises INVAL, ATTRNOTSUPP."""
    if how.mode == nfs4.EXCLUSIVE4:
        return SetAttrs(), how.createverf
    if how.mode == nfs4.EXCLUSIVE4_1:
        if not c.minor:
            raise Nfs4Error(nfs4.NFS4ERR_INVAL, "EXCLUSIVE4_1 in NFSv4.0")
        both = how.ch_createboth
        assert both is not None
        fattr = both.cva_attrs
        wanted = decode_settable(fattr.attrmask, fattr.attr_vals, creating=True, minor=c.minor)
        times = 1 << nfs4.FATTR4_TIME_ACCESS_SET | 1 << nfs4.FATTR4_TIME_MODIFY_SET
        if wanted.mask & times:
            raise Nfs4Error(nfs4.NFS4ERR_INVAL, "times hold the verifier (suppattr_exclcreat)")
        return wanted, both.cva_verf
    fattr_given = how.createattrs
    assert fattr_given is not None
    return decode_settable(fattr_given.attrmask, fattr_given.attr_vals, creating=True, minor=c.minor), None


def _require_permission(c: Request, node: Node, cred: Credentials, access: int) -> None:
    want = (os.R_OK if access & _READ else 0) | (os.W_OK if access & _WRITE else 0)
    if access & _WRITE and not c.may_write(node):
        raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only for this client")
    if node.fs.access(node, want, cred) != want:
        raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the file's permissions forbid it")


def _delegation(want: int) -> nfs4.open_delegation4:
    """The answer to somebody who says what delegation he wants: none are given out (RFC 8881 18.16.3)."""
    return _NONE_WANTED if want == _WANT_NO_DELEGATION else _NONE_TO_GIVE


def op_open_confirm(c: Request, args: nfs4.OPEN_CONFIRM4args) -> nfs4.OPEN_CONFIRM4resok:
    """Confirm a new open owner (RFC 7530 16.18).  Raises BAD_STATEID, BAD_SEQID."""
    node = c.node()
    begin_by_stateid(c, args.open_stateid, args.seqid)
    held = find_open(c.state, c, args.open_stateid, node)
    owner = held.seqid_owner
    if owner is None or owner.confirmed:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "nothing to confirm")
    opens.confirm(c, held)
    return nfs4.OPEN_CONFIRM4resok(held.stateid())


def op_open_downgrade(c: Request, args: nfs4.OPEN_DOWNGRADE4args) -> nfs4.OPEN_DOWNGRADE4resok:
    """Give back a part of an open (RFC 8881 18.18)."""
    node = c.node()
    if not c.minor:
        begin_by_stateid(c, args.open_stateid, args.seqid)
    held = find_open(c.state, c, args.open_stateid, node)
    access = args.share_access & 3 if c.minor else args.share_access
    if not 1 <= access <= 3 or args.share_deny > 3:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"access {args.share_access:#x}, deny {args.share_deny:#x}")
    require_confirmed(held)
    opens.downgrade(c.state, c, held, access, args.share_deny)
    c.stateid = (held.seqid, held.other)
    return nfs4.OPEN_DOWNGRADE4resok(held.stateid())


def op_close(c: Request, args: nfs4.CLOSE4args) -> bytes:
    """End an open, and the locks under it (RFC 8881 18.2): the encoded CLOSE4res.

    Raises DELAY after a portion of very many locks, BAD_STATEID, OLD_STATEID, BAD_SEQID.
    """
    node = c.node()
    if not c.minor:
        begin_by_stateid(c, args.open_stateid, args.seqid)
    state = c.state
    held = find_open(state, c, args.open_stateid, node)
    require_confirmed(held)
    if held.locks and not locks.release_all(state, c.changes, held):
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "many locks go with it")
    opens.release(state, c.changes, held)
    if c.minor:
        c.stateid = None
        return _CLOSED_FOR_EVER
    owner = held.seqid_owner
    if owner is not None:
        owners.closed(state, owner, held.other)
    return _CLOSED.pack(nfs4.OP_CLOSE, nfs4.NFS4_OK, next_seqid(held.seqid), held.other)
