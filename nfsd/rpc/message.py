"""ONC RPC version 2 (RFC 5531): the call's header in, the reply's header out.

Owns the decoding of calls and the accepted and denied replies.  Must not know what any procedure does, nor how a
flavour names its caller (`auth_sys.py`).
"""

from __future__ import annotations

import struct

from nfsd.rpc.auth_sys import caller_of, known_callers
from nfsd.vfs.interface import NOBODY, Credentials

LAST_FRAGMENT = 0x80000000
MSG_CALL, MSG_REPLY = 0, 1
AUTH_NONE, AUTH_SYS, RPCSEC_GSS = 0, 1, 6
NFS_PROGRAM, NFS_VERSION = 100003, 4
PROC_NULL, PROC_COMPOUND = 0, 1

AUTH_BODY_MAX = 400  # RFC 5531 8.2

# accept_stat and auth_stat (RFC 5531 9)
PROG_UNAVAIL, PROG_MISMATCH, PROC_UNAVAIL, GARBAGE_ARGS, SYSTEM_ERR = 1, 2, 3, 4, 5
AUTH_BADCRED, AUTH_BADVERF, AUTH_TOOWEAK = 1, 3, 5

_CALL = struct.Struct(">8I")
_TWO = struct.Struct(">2I")
_ONE = struct.Struct(">I")
_SUCCESS = struct.Struct(">7I")
_ACCEPTED = struct.Struct(">7I")


class CallError(Exception):
    """The bytes are no call that could be answered: the connection has to be closed."""


class ReplyCame(Exception):
    """The record is a peer's reply to a call of ours."""

    def __init__(self, xid: int) -> None:
        super().__init__(xid)
        self.xid = xid


class CallRefused(Exception):
    """The call is refused by the RPC layer; `reply` is the whole record to send."""

    def __init__(self, why: str, reply: bytes) -> None:
        super().__init__(why)
        self.reply = reply


class Call:
    """One call: `body` starts at `start` of `data`; `flavor` and `cred` say who asks (before squashing)."""

    __slots__ = ("xid", "procedure", "flavor", "cred", "data", "start")

    def __init__(
        self, xid: int, procedure: int, flavor: int, cred: Credentials, data: bytes | bytearray, start: int
    ) -> None:
        self.xid = xid
        self.procedure = procedure
        self.flavor = flavor
        self.cred = cred
        self.data = data
        self.start = start


def decode_call(data: bytes | bytearray) -> Call:
    """Decode a call's header (RFC 5531 9).

    Raises ReplyCame for a reply to a call of ours, CallError where no reply is possible, CallRefused where the reply
    is the RPC layer's own.
    """
    try:
        xid, kind, version, program, program_version, procedure, flavor, size = _CALL.unpack_from(data)
    except struct.error:
        raise _too_short(data) from None
    if kind == MSG_REPLY:
        raise ReplyCame(xid)
    if kind != MSG_CALL:
        raise CallError(f"message type {kind} instead of a call")
    if version != 2:
        raise CallRefused(f"RPC version {version}", _denied(xid, 0, 2, 2))
    stop = 32 + size
    if size > AUTH_BODY_MAX or stop + 8 > len(data) or size & 3:
        raise CallRefused("bad credential length", _denied(xid, 1, AUTH_BADCRED))
    verifier_size = _ONE.unpack_from(data, stop + 4)[0]
    start = stop + 8 + verifier_size
    if verifier_size > AUTH_BODY_MAX or start > len(data) or verifier_size & 3:
        raise CallRefused("bad verifier length", _denied(xid, 1, AUTH_BADVERF))
    if program != NFS_PROGRAM:
        raise CallRefused(f"program {program}", accepted(xid, PROG_UNAVAIL))
    if program_version != NFS_VERSION:
        raise CallRefused(f"version {program_version}", accepted(xid, PROG_MISMATCH, NFS_VERSION, NFS_VERSION))
    if procedure > PROC_COMPOUND:
        raise CallRefused(f"procedure {procedure}", accepted(xid, PROC_UNAVAIL))
    if flavor == AUTH_SYS:
        body = bytes(data[32:stop])
        cred = known_callers.get(body) or caller_of(body)
        if cred is None:
            raise CallRefused("bad AUTH_SYS credential", _denied(xid, 1, AUTH_BADCRED))
    elif flavor == AUTH_NONE:
        cred = NOBODY
    else:
        raise CallRefused(f"flavour {flavor}", _denied(xid, 1, AUTH_TOOWEAK))
    return Call(xid, procedure, flavor, cred, data, start)


def _too_short(data: bytes | bytearray) -> Exception:
    """What to make of bytes that are no whole call: replies are shorter."""
    if len(data) >= _TWO.size:
        xid, kind = _TWO.unpack_from(data)
        if kind == MSG_REPLY:
            return ReplyCame(xid)
    return CallError(f"a call of {len(data)} bytes")


def success(xid: int, body_size: int) -> bytes:
    """Record mark and header of a successful reply whose body has `body_size` bytes."""
    return _SUCCESS.pack(LAST_FRAGMENT | 24 + body_size, xid, MSG_REPLY, 0, AUTH_NONE, 0, 0)


def accepted(xid: int, accept_stat: int, *words: int) -> bytes:
    """A whole accepted reply without results, or with the two words of PROG_MISMATCH."""
    head = _ACCEPTED.pack(LAST_FRAGMENT | 24 + 4 * len(words), xid, MSG_REPLY, 0, AUTH_NONE, 0, accept_stat)
    return head + struct.pack(f">{len(words)}I", *words)


def _denied(xid: int, *words: int) -> bytes:
    return struct.pack(f">{4 + len(words)}I", LAST_FRAGMENT | 12 + 4 * len(words), xid, MSG_REPLY, 1, *words)
