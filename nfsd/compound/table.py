"""The one operation table: what every operation of NFSv4.0, 4.1 and 4.2 is, as rows.

Owns, for each operation: its function, the minor versions that have it, its argument and result types, and the
rules that `nfsd/compound/evaluate.py` keeps for it.  Must not hold any behaviour of an operation.
"""

from __future__ import annotations

from typing import Any

from nfsd.errors import Nfs4Error
from nfsd.ops import (
    attributes,
    client,
    client40,
    copy,
    directory,
    filehandle,
    io,
    links,
    lock,
    session,
    space,
    stateid,
    xattr,
)
from nfsd.ops import (
    open as open_ops,
)
from nfsd.ops.row import ENCODED, FailureArm, Handler, Operation
from xdr.generated import nfs4


def _failing(status: int, why: str) -> Handler:
    def fail(_compound: Any, _args: Any) -> None:
        raise Nfs4Error(status, why)

    return fail


def _unsupported(name: str, minors: tuple[int, int], args: str | None = "") -> Operation:
    """An operation that this server knows and does not offer: its arguments decode, its answer is NOTSUPP."""
    types = f"{name}4args" if args == "" else args
    return Operation(name, _failing(nfs4.NFS4ERR_NOTSUPP, "not offered"), types, minors=minors)


ILLEGAL = Operation("ILLEGAL", _failing(nfs4.NFS4ERR_OP_ILLEGAL, "no such operation"), sessionless=True, last=True)

_V0, _V1, _V2 = (0, 0), (1, 2), (2, 2)
_DENIED: FailureArm = ("LOCK4denied", (nfs4.NFS4ERR_DENIED,))
_DENIED_SIZE = 8 + 8 + 8 + 4 + 8 + 4 + nfs4.NFS4_OPAQUE_LIMIT
_CHANGE_SIZE = 8 + 20
_HANDLE_SIZE = 8 + 4 + nfs4.NFS4_FHSIZE
# All attributes but ACLs, with owners' names of any length that is real.
_GETATTR_SIZE = 2048
_OPEN_SIZE = 8 + 16 + 20 + 4 + 16 + 8

_ROWS = (
    # every minor version
    Operation("ACCESS", attributes.op_access, "ACCESS4args", "ACCESS4resok", needs_node=True, reply_size=16),
    Operation("CLOSE", open_ops.op_close, "CLOSE4args", ENCODED, needs_node=True, modifies=True, reply_size=24),
    Operation("COMMIT", io.op_commit, "COMMIT4args", "COMMIT4resok", needs_node=True, blocks=True, reply_size=16),
    Operation(
        "CREATE", directory.op_create, "CREATE4args", "CREATE4resok",
        needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE + 16,
    ),
    _unsupported("DELEGPURGE", (0, 2)),
    Operation("DELEGRETURN", stateid.op_delegreturn, "DELEGRETURN4args", needs_node=True, modifies=True),
    Operation("GETATTR", attributes.op_getattr, "GETATTR4args", "raw", needs_node=True, reply_size=_GETATTR_SIZE),
    Operation("GETFH", filehandle.op_getfh, None, ENCODED, needs_node=True, reply_size=_HANDLE_SIZE),
    Operation(
        "LINK", links.op_link, "LINK4args", "LINK4resok",
        needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE,
    ),
    Operation(
        "LOCK", lock.op_lock, "LOCK4args", ENCODED,
        needs_node=True, modifies=True, reply_size=_DENIED_SIZE, failure=_DENIED, when_full=nfs4.NFS4ERR_DELAY,
    ),
    Operation("LOCKT", lock.op_lockt, "LOCKT4args", needs_node=True, reply_size=_DENIED_SIZE, failure=_DENIED),
    Operation("LOCKU", lock.op_locku, "LOCKU4args", ENCODED, needs_node=True, modifies=True, reply_size=24),
    Operation("LOOKUP", directory.op_lookup, "LOOKUP4args", needs_node=True),
    Operation("LOOKUPP", directory.op_lookupp, needs_node=True),
    Operation("NVERIFY", attributes.op_nverify, "NVERIFY4args", needs_node=True),
    Operation(
        "OPEN", open_ops.op_open, "OPEN4args", ENCODED,
        needs_node=True, modifies=True, reply_size=_OPEN_SIZE, when_full=nfs4.NFS4ERR_NOSPC,
    ),
    _unsupported("OPENATTR", (0, 2)),
    Operation(
        "OPEN_CONFIRM", open_ops.op_open_confirm, "OPEN_CONFIRM4args", "OPEN_CONFIRM4resok",
        minors=_V0, needs_node=True, modifies=True, reply_size=24,
    ),
    Operation(
        "OPEN_DOWNGRADE", open_ops.op_open_downgrade, "OPEN_DOWNGRADE4args", "OPEN_DOWNGRADE4resok",
        needs_node=True, modifies=True, reply_size=24,
    ),
    Operation("PUTFH", filehandle.op_putfh, "PUTFH4args"),
    Operation("PUTPUBFH", filehandle.op_putrootfh),
    Operation("PUTROOTFH", filehandle.op_putrootfh),
    Operation("READ", io.op_read, "READ4args", "READ4resok", needs_node=True, blocks=True),
    Operation("READDIR", directory.op_readdir, "READDIR4args", "raw", needs_node=True),
    Operation("READLINK", links.op_readlink, None, "READLINK4resok", needs_node=True),
    Operation(
        "REMOVE", directory.op_remove, "REMOVE4args", "REMOVE4resok",
        needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE,
    ),
    Operation(
        "RENAME", links.op_rename, "RENAME4args", "RENAME4resok",
        needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE + 20,
    ),
    Operation("RENEW", client40.op_renew, "RENEW4args", minors=_V0),
    Operation("RESTOREFH", filehandle.op_restorefh),
    Operation("SAVEFH", filehandle.op_savefh, needs_node=True),
    Operation("SECINFO", directory.op_secinfo, "SECINFO4args", "SECINFO4resok", needs_node=True),
    Operation(
        "SETATTR", attributes.op_setattr, "SETATTR4args", "bitmap4",
        needs_node=True, writes=True, modifies=True, reply_size=24, failure=("bitmap4", None),
    ),
    Operation(
        "SETCLIENTID", client40.op_setclientid, "SETCLIENTID4args", "SETCLIENTID4resok",
        minors=_V0, modifies=True, reply_size=24, failure=("netaddr4", (nfs4.NFS4ERR_CLID_INUSE,)),
    ),
    Operation(
        "SETCLIENTID_CONFIRM", client40.op_setclientid_confirm, "SETCLIENTID_CONFIRM4args",
        minors=_V0, modifies=True, when_full=nfs4.NFS4ERR_RESOURCE,
    ),
    Operation("VERIFY", attributes.op_verify, "VERIFY4args", needs_node=True),
    Operation(
        "WRITE", io.op_write, "WRITE4args", "WRITE4resok", needs_node=True, writes=True, blocks=True, reply_size=24
    ),
    Operation("RELEASE_LOCKOWNER", lock.op_release_lockowner, "RELEASE_LOCKOWNER4args", minors=_V0, modifies=True),
    # NFSv4.1
    Operation("BACKCHANNEL_CTL", session.op_backchannel_ctl, "BACKCHANNEL_CTL4args", minors=_V1, modifies=True),
    Operation(
        "BIND_CONN_TO_SESSION", session.op_bind_conn_to_session, "BIND_CONN_TO_SESSION4args",
        "BIND_CONN_TO_SESSION4resok", minors=_V1, sessionless=True,
    ),
    Operation(
        "EXCHANGE_ID", client.op_exchange_id, "EXCHANGE_ID4args", "EXCHANGE_ID4resok", minors=_V1, sessionless=True
    ),
    Operation(
        "CREATE_SESSION", session.op_create_session, "CREATE_SESSION4args", "CREATE_SESSION4resok",
        minors=_V1, sessionless=True, when_full=nfs4.NFS4ERR_NOSPC,
    ),
    Operation(
        "DESTROY_SESSION", session.op_destroy_session, "DESTROY_SESSION4args",
        minors=_V1, sessionless=True, modifies=True,
    ),
    Operation("FREE_STATEID", stateid.op_free_stateid, "FREE_STATEID4args", minors=_V1, modifies=True),
    _unsupported("GET_DIR_DELEGATION", _V1),
    _unsupported("GETDEVICEINFO", _V1),
    _unsupported("GETDEVICELIST", _V1),
    _unsupported("LAYOUTCOMMIT", _V1),
    _unsupported("LAYOUTGET", _V1),
    _unsupported("LAYOUTRETURN", _V1),
    Operation(
        "SECINFO_NO_NAME", directory.op_secinfo_no_name, "SECINFO_NO_NAME4args", "SECINFO4resok",
        minors=_V1, needs_node=True,
    ),
    Operation(
        "SEQUENCE", session.op_sequence, "SEQUENCE4args", ENCODED, minors=_V1, sessionless=True, reply_size=44
    ),
    _unsupported("SET_SSV", _V1),
    Operation("TEST_STATEID", stateid.op_test_stateid, "TEST_STATEID4args", "TEST_STATEID4resok", minors=_V1),
    _unsupported("WANT_DELEGATION", _V1),
    Operation(
        "DESTROY_CLIENTID", client.op_destroy_clientid, "DESTROY_CLIENTID4args",
        minors=_V1, sessionless=True, modifies=True,
    ),
    Operation("RECLAIM_COMPLETE", client.op_reclaim_complete, "RECLAIM_COMPLETE4args", minors=_V1, modifies=True),
    # NFSv4.2 and RFC 8276
    Operation("ALLOCATE", space.op_allocate, "ALLOCATE4args", minors=_V2, needs_node=True, writes=True, blocks=True),
    Operation("COPY", copy.op_copy, "COPY4args", "COPY4resok", minors=_V2, needs_node=True, writes=True, blocks=True),
    _unsupported("COPY_NOTIFY", _V2),
    Operation(
        "DEALLOCATE", space.op_deallocate, "DEALLOCATE4args", minors=_V2, needs_node=True, writes=True, blocks=True
    ),
    Operation("IO_ADVISE", space.op_io_advise, "IO_ADVISE4args", "IO_ADVISE4resok", minors=_V2, needs_node=True),
    _unsupported("LAYOUTERROR", _V2),
    _unsupported("LAYOUTSTATS", _V2),
    _unsupported("OFFLOAD_CANCEL", _V2),
    _unsupported("OFFLOAD_STATUS", _V2),
    _unsupported("READ_PLUS", _V2),
    Operation("SEEK", space.op_seek, "SEEK4args", "seek_res4", minors=_V2, needs_node=True),
    _unsupported("WRITE_SAME", _V2),
    Operation("CLONE", copy.op_clone, "CLONE4args", minors=_V2, needs_node=True, writes=True, blocks=True),
    Operation("GETXATTR", xattr.op_getxattr, "GETXATTR4args", "xattrvalue4", minors=_V2, needs_node=True),
    Operation(
        "SETXATTR", xattr.op_setxattr, "SETXATTR4args", "change_info4",
        minors=_V2, needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE,
    ),
    Operation("LISTXATTRS", xattr.op_listxattrs, "LISTXATTRS4args", "LISTXATTRS4resok", minors=_V2, needs_node=True),
    Operation(
        "REMOVEXATTR", xattr.op_removexattr, "REMOVEXATTR4args", "change_info4",
        minors=_V2, needs_node=True, writes=True, modifies=True, reply_size=_CHANGE_SIZE,
    ),
)  # fmt: skip

OPERATIONS: dict[int, Operation] = {row.number: row for row in _ROWS}

_OTHER_MINOR = {
    row.number: Operation(
        row.name, _failing(nfs4.NFS4ERR_NOTSUPP, "not in this minor version"), sessionless=True, last=True
    )
    for row in _ROWS
    if row.minor_first == 0
}
_BAD_XDR = {
    row.number: Operation(
        row.name,
        _failing(nfs4.NFS4ERR_BADXDR, "arguments that do not decode"),
        sessionless=row.sessionless,
        failure=("bitmap4", None) if row.name == "SETATTR" else None,
    )
    for row in _ROWS
}


def _of_minor(minor: int) -> dict[int, Operation]:
    """A minor version's operations; those that it has dropped answer NOTSUPP, those not yet born are ILLEGAL."""
    found = {}
    for row in _ROWS:
        if row.minor_first <= minor <= row.minor_last:
            found[row.number] = row
        elif minor > row.minor_last:
            found[row.number] = _OTHER_MINOR[row.number]
    return found


BY_MINOR: tuple[dict[int, Operation], ...] = tuple(_of_minor(minor) for minor in range(3))


def bad_xdr(operation: Operation) -> Operation:
    """The row that answers BADXDR in an operation's name."""
    return _BAD_XDR[operation.number]
