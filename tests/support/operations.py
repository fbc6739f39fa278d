"""Operations as short calls: each builds one nfs_argop4 for a COMPOUND.

Owns defaults that most tests want and nothing else.  Must not know connections, sessions or what a server answers.
"""

from __future__ import annotations

import struct
from typing import Any

from xdr.generated import nfs4

Op = nfs4.nfs_argop4

READ, WRITE, BOTH = (
    nfs4.OPEN4_SHARE_ACCESS_READ,
    nfs4.OPEN4_SHARE_ACCESS_WRITE,
    nfs4.OPEN4_SHARE_ACCESS_BOTH,
)
DENY_NONE = nfs4.OPEN4_SHARE_DENY_NONE
TO_EOF = nfs4.NFS4_UINT64_MAX

ANONYMOUS = nfs4.stateid4(0, bytes(12))
BYPASS = nfs4.stateid4(0xFFFFFFFF, b"\xff" * 12)
CURRENT = nfs4.stateid4(1, bytes(12))
UNKNOWN = nfs4.stateid4(1, b"no such one.")

NO_ATTRS = nfs4.fattr4(0, b"")


def encoded(name: str, arguments: Any = None) -> bytes:
    """An operation by its RFC name, with its number, as bytes; `arguments` is the XDR value, None for void."""
    packer = nfs4.Nfs4Packer()
    packer.pack_uint(getattr(nfs4, f"OP_{name}"))
    if arguments is not None:
        getattr(packer, f"pack_{name}4args")(arguments)
    return packer.get_buffer()


def with_seqid(stateid: nfs4.stateid4, seqid: int) -> nfs4.stateid4:
    """A stateid at another point of its life."""
    return nfs4.stateid4(seqid, stateid.other)


def attrs(*, mode: int | None = None, size: int | None = None) -> nfs4.fattr4:
    """A fattr4 with a size, a mode, both, or nothing."""
    mask, values = 0, b""
    if size is not None:
        mask |= 1 << nfs4.FATTR4_SIZE
        values += struct.pack(">Q", size)
    if mode is not None:
        mask |= 1 << nfs4.FATTR4_MODE
        values += struct.pack(">I", mode)
    return nfs4.fattr4(mask, values)


# -- file handles and names -----------------------------------------------------------------------------------


def putrootfh() -> Op:
    """PUTROOTFH."""
    return Op(nfs4.OP_PUTROOTFH)


def putfh(handle: bytes) -> Op:
    """PUTFH."""
    return Op(nfs4.OP_PUTFH, nfs4.PUTFH4args(handle))


def getfh() -> Op:
    """GETFH."""
    return Op(nfs4.OP_GETFH)


def savefh() -> Op:
    """SAVEFH."""
    return Op(nfs4.OP_SAVEFH)


def restorefh() -> Op:
    """RESTOREFH."""
    return Op(nfs4.OP_RESTOREFH)


def lookup(name: bytes) -> Op:
    """LOOKUP."""
    return Op(nfs4.OP_LOOKUP, nfs4.LOOKUP4args(name))


def getattr_(*attributes: int) -> Op:
    """GETATTR of these attributes; of the type where none is named."""
    mask = sum(1 << number for number in attributes or (nfs4.FATTR4_TYPE,))
    return Op(nfs4.OP_GETATTR, nfs4.GETATTR4args(mask))


def setattr_(stateid: nfs4.stateid4, values: nfs4.fattr4) -> Op:
    """SETATTR."""
    return Op(nfs4.OP_SETATTR, nfs4.SETATTR4args(stateid, values))


def readdir(cookie: int = 0, maxcount: int = 4096, mask: int = 0) -> Op:
    """READDIR without a limit on names alone."""
    return Op(nfs4.OP_READDIR, nfs4.READDIR4args(cookie, bytes(8), 0, maxcount, mask))


def symlink(name: bytes, target: bytes) -> Op:
    """CREATE of a symbolic link."""
    return Op(nfs4.OP_CREATE, nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4LNK, linkdata=target), name, attrs()))


def mkdir(name: bytes) -> Op:
    """CREATE of a directory."""
    return Op(nfs4.OP_CREATE, nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4DIR), name, attrs(mode=0o755)))


def remove(name: bytes) -> Op:
    """REMOVE."""
    return Op(nfs4.OP_REMOVE, nfs4.REMOVE4args(name))


def rename(oldname: bytes, newname: bytes) -> Op:
    """RENAME from the saved directory to the current one."""
    return Op(nfs4.OP_RENAME, nfs4.RENAME4args(oldname, newname))


def link(name: bytes) -> Op:
    """LINK of the saved object into the current directory."""
    return Op(nfs4.OP_LINK, nfs4.LINK4args(name))


def setxattr(name: bytes, value: bytes) -> Op:
    """SETXATTR."""
    return Op(nfs4.OP_SETXATTR, nfs4.SETXATTR4args(nfs4.SETXATTR4_EITHER, name, value))


def removexattr(name: bytes) -> Op:
    """REMOVEXATTR."""
    return Op(nfs4.OP_REMOVEXATTR, nfs4.REMOVEXATTR4args(name))


def access(mask: int = nfs4.ACCESS4_READ) -> Op:
    """ACCESS."""
    return Op(nfs4.OP_ACCESS, nfs4.ACCESS4args(mask))


# -- data -----------------------------------------------------------------------------------------------------


def read(stateid: nfs4.stateid4 = ANONYMOUS, offset: int = 0, count: int = 4096) -> Op:
    """READ."""
    return Op(nfs4.OP_READ, nfs4.READ4args(stateid, offset, count))


def write(stateid: nfs4.stateid4, data: bytes, offset: int = 0, stable: int = nfs4.UNSTABLE4) -> Op:
    """WRITE."""
    return Op(nfs4.OP_WRITE, nfs4.WRITE4args(stateid, offset, stable, data))


# -- opens ----------------------------------------------------------------------------------------------------


def unchecked(values: nfs4.fattr4 = NO_ATTRS) -> nfs4.createhow4:
    """How to create: take what is there."""
    return nfs4.createhow4(nfs4.UNCHECKED4, createattrs=values)


def guarded(values: nfs4.fattr4 = NO_ATTRS) -> nfs4.createhow4:
    """How to create: fail if it is there."""
    return nfs4.createhow4(nfs4.GUARDED4, createattrs=values)


def exclusive(verifier: bytes) -> nfs4.createhow4:
    """How to create: exactly once."""
    return nfs4.createhow4(nfs4.EXCLUSIVE4, createverf=verifier)


def exclusive41(verifier: bytes, values: nfs4.fattr4 = NO_ATTRS) -> nfs4.createhow4:
    """How to create: exactly once, with attributes."""
    return nfs4.createhow4(nfs4.EXCLUSIVE4_1, ch_createboth=nfs4.creatverfattr(verifier, values))


def open_(
    name: bytes | None,
    share: int = BOTH,
    deny: int = DENY_NONE,
    *,
    owner: bytes = b"owner",
    how: nfs4.createhow4 | None = None,
    clientid: int = 0,
    seqid: int = 0,
) -> Op:
    """OPEN by name, or of the current file handle where the name is None."""
    opening = nfs4.openflag4(nfs4.OPEN4_CREATE if how else nfs4.OPEN4_NOCREATE, how)
    claim = nfs4.open_claim4(nfs4.CLAIM_FH) if name is None else nfs4.open_claim4(nfs4.CLAIM_NULL, file=name)
    return Op(nfs4.OP_OPEN, nfs4.OPEN4args(seqid, share, deny, nfs4.state_owner4(clientid, owner), opening, claim))


def open_confirm(stateid: nfs4.stateid4, seqid: int) -> Op:
    """OPEN_CONFIRM."""
    return Op(nfs4.OP_OPEN_CONFIRM, nfs4.OPEN_CONFIRM4args(stateid, seqid))


def open_downgrade(stateid: nfs4.stateid4, share: int, deny: int = DENY_NONE, seqid: int = 0) -> Op:
    """OPEN_DOWNGRADE."""
    return Op(nfs4.OP_OPEN_DOWNGRADE, nfs4.OPEN_DOWNGRADE4args(stateid, seqid, share, deny))


def close(stateid: nfs4.stateid4, seqid: int = 0) -> Op:
    """CLOSE."""
    return Op(nfs4.OP_CLOSE, nfs4.CLOSE4args(seqid, stateid))


# -- locks ----------------------------------------------------------------------------------------------------


def lock_new(
    stateid: nfs4.stateid4,
    offset: int = 0,
    length: int = TO_EOF,
    kind: int = nfs4.WRITE_LT,
    *,
    owner: bytes = b"locker",
    clientid: int = 0,
    open_seqid: int = 0,
    lock_seqid: int = 0,
    reclaim: bool = False,
) -> Op:
    """LOCK by a lock owner's first stateid on the file, made from an open's."""
    locker = nfs4.locker4(
        True, nfs4.open_to_lock_owner4(open_seqid, stateid, lock_seqid, nfs4.state_owner4(clientid, owner))
    )
    return Op(nfs4.OP_LOCK, nfs4.LOCK4args(kind, reclaim, offset, length, locker))


def lock_more(
    stateid: nfs4.stateid4,
    offset: int = 0,
    length: int = TO_EOF,
    kind: int = nfs4.WRITE_LT,
    *,
    lock_seqid: int = 0,
) -> Op:
    """LOCK by a lock stateid."""
    locker = nfs4.locker4(False, lock_owner=nfs4.exist_lock_owner4(stateid, lock_seqid))
    return Op(nfs4.OP_LOCK, nfs4.LOCK4args(kind, False, offset, length, locker))


def lockt(
    offset: int = 0,
    length: int = TO_EOF,
    kind: int = nfs4.WRITE_LT,
    *,
    owner: bytes = b"asker",
    clientid: int = 0,
) -> Op:
    """LOCKT."""
    return Op(nfs4.OP_LOCKT, nfs4.LOCKT4args(kind, offset, length, nfs4.state_owner4(clientid, owner)))


def locku(stateid: nfs4.stateid4, offset: int = 0, length: int = TO_EOF, *, seqid: int = 0) -> Op:
    """LOCKU."""
    return Op(nfs4.OP_LOCKU, nfs4.LOCKU4args(nfs4.WRITE_LT, seqid, stateid, offset, length))


def release_lockowner(clientid: int, owner: bytes) -> Op:
    """RELEASE_LOCKOWNER."""
    return Op(nfs4.OP_RELEASE_LOCKOWNER, nfs4.RELEASE_LOCKOWNER4args(nfs4.state_owner4(clientid, owner)))


def test_stateid(*stateids: nfs4.stateid4) -> Op:
    """TEST_STATEID."""
    return Op(nfs4.OP_TEST_STATEID, nfs4.TEST_STATEID4args(list(stateids)))


test_stateid.__test__ = False  # type: ignore[attr-defined]  # An operation's name, not a test's.


def free_stateid(stateid: nfs4.stateid4) -> Op:
    """FREE_STATEID."""
    return Op(nfs4.OP_FREE_STATEID, nfs4.FREE_STATEID4args(stateid))


# -- clients and sessions -------------------------------------------------------------------------------------


def exchange_id(owner: bytes, verifier: bytes = b"verifier", flags: int = 0, how: int = nfs4.SP4_NONE) -> Op:
    """EXCHANGE_ID."""
    protect = nfs4.state_protect4_a(how)
    if how == nfs4.SP4_MACH_CRED:
        protect.spa_mach_ops = nfs4.state_protect_ops4(0, 0)
    if how == nfs4.SP4_SSV:
        protect.spa_ssv_parms = nfs4.ssv_sp_parms4(nfs4.state_protect_ops4(0, 0), [], [], 1, 1)
    arguments = nfs4.EXCHANGE_ID4args(nfs4.client_owner4(verifier, owner), flags, protect, [])
    return Op(nfs4.OP_EXCHANGE_ID, arguments)


def channel(
    *,
    request: int = 1 << 20,
    reply: int = 1 << 20,
    cached: int = 4096,
    operations: int = 32,
    slots: int = 8,
) -> nfs4.channel_attrs4:
    """What a channel is asked to carry: sizes in bytes, counts."""
    return nfs4.channel_attrs4(0, request, reply, cached, operations, slots, [])


def create_session(
    clientid: int,
    sequence: int,
    *,
    flags: int = 0,
    fore: nfs4.channel_attrs4 | None = None,
    back: nfs4.channel_attrs4 | None = None,
) -> Op:
    """CREATE_SESSION."""
    security = [nfs4.callback_sec_parms4(nfs4.AUTH_NONE)]
    arguments = nfs4.CREATE_SESSION4args(
        clientid, sequence, flags, fore or channel(), back or channel(slots=1), 0x40000000, security
    )
    return Op(nfs4.OP_CREATE_SESSION, arguments)


def sequence(sessionid: bytes, seqid: int, slot: int = 0, *, highest: int | None = None, cache: bool = False) -> Op:
    """SEQUENCE."""
    arguments = nfs4.SEQUENCE4args(sessionid, seqid, slot, slot if highest is None else highest, cache)
    return Op(nfs4.OP_SEQUENCE, arguments)


def reclaim_complete(one_fs: bool = False) -> Op:
    """RECLAIM_COMPLETE."""
    return Op(nfs4.OP_RECLAIM_COMPLETE, nfs4.RECLAIM_COMPLETE4args(one_fs))


def destroy_session(sessionid: bytes) -> Op:
    """DESTROY_SESSION."""
    return Op(nfs4.OP_DESTROY_SESSION, nfs4.DESTROY_SESSION4args(sessionid))


def destroy_clientid(clientid: int) -> Op:
    """DESTROY_CLIENTID."""
    return Op(nfs4.OP_DESTROY_CLIENTID, nfs4.DESTROY_CLIENTID4args(clientid))


def bind_conn_to_session(sessionid: bytes, direction: int = nfs4.CDFC4_FORE) -> Op:
    """BIND_CONN_TO_SESSION."""
    arguments = nfs4.BIND_CONN_TO_SESSION4args(sessionid, direction, False)
    return Op(nfs4.OP_BIND_CONN_TO_SESSION, arguments)


def setclientid(owner: bytes, verifier: bytes = b"verifier", program: int = 0x40000000) -> Op:
    """SETCLIENTID."""
    callback = nfs4.cb_client4(program, nfs4.netaddr4(b"tcp", b"127.0.0.1.3.231"))
    return Op(nfs4.OP_SETCLIENTID, nfs4.SETCLIENTID4args(nfs4.nfs_client_id4(verifier, owner), callback, 1))


def setclientid_confirm(clientid: int, confirm: bytes) -> Op:
    """SETCLIENTID_CONFIRM."""
    return Op(nfs4.OP_SETCLIENTID_CONFIRM, nfs4.SETCLIENTID_CONFIRM4args(clientid, confirm))


def renew(clientid: int) -> Op:
    """RENEW."""
    return Op(nfs4.OP_RENEW, nfs4.RENEW4args(clientid))
