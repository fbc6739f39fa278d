"""Generated from xdr/x/rpc.x by `python -m xdr.compiler`: do not edit.

Every constant is an int; every struct and union a class with the description's field names;
opaques and strings are bytes, bitmaps are ints. Pack and unpack methods raise XdrError.
"""

# ruff: noqa
# mypy: ignore-errors
from __future__ import annotations

import struct as _struct
from typing import Any as _Any, TypeAlias as _TypeAlias

from xdr.codec import (
    PADDING, Packer, Unpacker, XdrError, XdrValue, XdrWideUnion, bad_bool, bad_enum, bad_length, bad_size,
    truncated, unpackable,
)

_new = object.__new__
_pack = _struct.pack
_unpack_from = _struct.unpack_from
_struct_error = _struct.error

FALSE = 0
TRUE = 1
RPC_VERSION = 2
RPC_AUTH_BODY_MAX = 400
RPC_MACHINENAME_MAX = 255
RPC_GIDS_MAX = 16
AUTH_NONE = 0
AUTH_SYS = 1
AUTH_SHORT = 2
AUTH_DH = 3
RPCSEC_GSS = 6
CALL = 0
REPLY = 1
MSG_ACCEPTED = 0
MSG_DENIED = 1
SUCCESS = 0
PROG_UNAVAIL = 1
PROG_MISMATCH = 2
PROC_UNAVAIL = 3
GARBAGE_ARGS = 4
SYSTEM_ERR = 5
RPC_MISMATCH = 0
AUTH_ERROR = 1
AUTH_OK = 0
AUTH_BADCRED = 1
AUTH_REJECTEDCRED = 2
AUTH_BADVERF = 3
AUTH_REJECTEDVERF = 4
AUTH_TOOWEAK = 5
AUTH_INVALIDRESP = 6
AUTH_FAILED = 7
AUTH_KERB_GENERIC = 8
AUTH_TIMEEXPIRE = 9
AUTH_TKT_FILE = 10
AUTH_DECODE = 11
AUTH_NET_ADDR = 12
RPCSEC_GSS_CREDPROBLEM = 13
RPCSEC_GSS_CTXPROBLEM = 14
RPCSEC_GSS_VERS_1 = 1
RPCSEC_GSS_MAXSEQ = 2147483648
RPCSEC_GSS_DATA = 0
RPCSEC_GSS_INIT = 1
RPCSEC_GSS_CONTINUE_INIT = 2
RPCSEC_GSS_DESTROY = 3
rpc_gss_svc_none = 1
rpc_gss_svc_integrity = 2
rpc_gss_svc_privacy = 3

auth_flavor_names: dict[int, str] = {
    AUTH_NONE: "AUTH_NONE",
    AUTH_SYS: "AUTH_SYS",
    AUTH_SHORT: "AUTH_SHORT",
    AUTH_DH: "AUTH_DH",
    RPCSEC_GSS: "RPCSEC_GSS",
}
auth_flavor: _TypeAlias = int

msg_type_names: dict[int, str] = {
    CALL: "CALL",
    REPLY: "REPLY",
}
msg_type: _TypeAlias = int

reply_stat_names: dict[int, str] = {
    MSG_ACCEPTED: "MSG_ACCEPTED",
    MSG_DENIED: "MSG_DENIED",
}
reply_stat: _TypeAlias = int

accept_stat_names: dict[int, str] = {
    SUCCESS: "SUCCESS",
    PROG_UNAVAIL: "PROG_UNAVAIL",
    PROG_MISMATCH: "PROG_MISMATCH",
    PROC_UNAVAIL: "PROC_UNAVAIL",
    GARBAGE_ARGS: "GARBAGE_ARGS",
    SYSTEM_ERR: "SYSTEM_ERR",
}
accept_stat: _TypeAlias = int

reject_stat_names: dict[int, str] = {
    RPC_MISMATCH: "RPC_MISMATCH",
    AUTH_ERROR: "AUTH_ERROR",
}
reject_stat: _TypeAlias = int

auth_stat_names: dict[int, str] = {
    AUTH_OK: "AUTH_OK",
    AUTH_BADCRED: "AUTH_BADCRED",
    AUTH_REJECTEDCRED: "AUTH_REJECTEDCRED",
    AUTH_BADVERF: "AUTH_BADVERF",
    AUTH_REJECTEDVERF: "AUTH_REJECTEDVERF",
    AUTH_TOOWEAK: "AUTH_TOOWEAK",
    AUTH_INVALIDRESP: "AUTH_INVALIDRESP",
    AUTH_FAILED: "AUTH_FAILED",
    AUTH_KERB_GENERIC: "AUTH_KERB_GENERIC",
    AUTH_TIMEEXPIRE: "AUTH_TIMEEXPIRE",
    AUTH_TKT_FILE: "AUTH_TKT_FILE",
    AUTH_DECODE: "AUTH_DECODE",
    AUTH_NET_ADDR: "AUTH_NET_ADDR",
    RPCSEC_GSS_CREDPROBLEM: "RPCSEC_GSS_CREDPROBLEM",
    RPCSEC_GSS_CTXPROBLEM: "RPCSEC_GSS_CTXPROBLEM",
}
auth_stat: _TypeAlias = int

rpc_gss_proc_t_names: dict[int, str] = {
    RPCSEC_GSS_DATA: "RPCSEC_GSS_DATA",
    RPCSEC_GSS_INIT: "RPCSEC_GSS_INIT",
    RPCSEC_GSS_CONTINUE_INIT: "RPCSEC_GSS_CONTINUE_INIT",
    RPCSEC_GSS_DESTROY: "RPCSEC_GSS_DESTROY",
}
rpc_gss_proc_t: _TypeAlias = int

rpc_gss_service_t_names: dict[int, str] = {
    rpc_gss_svc_none: "rpc_gss_svc_none",
    rpc_gss_svc_integrity: "rpc_gss_svc_integrity",
    rpc_gss_svc_privacy: "rpc_gss_svc_privacy",
}
rpc_gss_service_t: _TypeAlias = int

class opaque_auth(XdrValue):
    __slots__ = ("flavor", "body",)
    flavor: int
    body: bytes
    def __init__(self, flavor: int, body: bytes) -> None:
        self.flavor = flavor
        self.body = body

class authsys_parms(XdrValue):
    __slots__ = ("stamp", "machinename", "uid", "gid", "gids",)
    stamp: int
    machinename: bytes
    uid: int
    gid: int
    gids: list[int]
    def __init__(self, stamp: int, machinename: bytes, uid: int, gid: int, gids: list[int]) -> None:
        self.stamp = stamp
        self.machinename = machinename
        self.uid = uid
        self.gid = gid
        self.gids = gids

class call_body(XdrValue):
    __slots__ = ("rpcvers", "prog", "vers", "proc", "cred", "verf",)
    rpcvers: int
    prog: int
    vers: int
    proc: int
    cred: opaque_auth
    verf: opaque_auth
    def __init__(self, rpcvers: int, prog: int, vers: int, proc: int, cred: opaque_auth, verf: opaque_auth) -> None:
        self.rpcvers = rpcvers
        self.prog = prog
        self.vers = vers
        self.proc = proc
        self.cred = cred
        self.verf = verf

class mismatch_versions(XdrValue):
    __slots__ = ("low", "high",)
    low: int
    high: int
    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high

class accepted_data(XdrValue):
    __slots__ = ("stat", "mismatch_info",)
    stat: int
    mismatch_info: mismatch_versions | None
    def __init__(self, stat: int, mismatch_info: mismatch_versions | None = None) -> None:
        self.stat = stat
        self.mismatch_info = mismatch_info

class accepted_reply(XdrValue):
    __slots__ = ("verf", "reply_data",)
    verf: opaque_auth
    reply_data: accepted_data
    def __init__(self, verf: opaque_auth, reply_data: accepted_data) -> None:
        self.verf = verf
        self.reply_data = reply_data

class rejected_reply(XdrValue):
    __slots__ = ("stat", "mismatch_info", "astat",)
    stat: int
    mismatch_info: mismatch_versions | None
    astat: int | None
    def __init__(self, stat: int, mismatch_info: mismatch_versions | None = None, astat: int | None = None) -> None:
        self.stat = stat
        self.mismatch_info = mismatch_info
        self.astat = astat

class reply_body(XdrValue):
    __slots__ = ("stat", "areply", "rreply",)
    stat: int
    areply: accepted_reply | None
    rreply: rejected_reply | None
    def __init__(self, stat: int, areply: accepted_reply | None = None, rreply: rejected_reply | None = None) -> None:
        self.stat = stat
        self.areply = areply
        self.rreply = rreply

class rpc_msg_body(XdrValue):
    __slots__ = ("mtype", "cbody", "rbody",)
    mtype: int
    cbody: call_body | None
    rbody: reply_body | None
    def __init__(self, mtype: int, cbody: call_body | None = None, rbody: reply_body | None = None) -> None:
        self.mtype = mtype
        self.cbody = cbody
        self.rbody = rbody

class rpc_msg(XdrValue):
    __slots__ = ("xid", "body",)
    xid: int
    body: rpc_msg_body
    def __init__(self, xid: int, body: rpc_msg_body) -> None:
        self.xid = xid
        self.body = body

class rpc_gss_cred_vers_1_t(XdrValue):
    __slots__ = ("gss_proc", "seq_num", "service", "handle",)
    gss_proc: int
    seq_num: int
    service: int
    handle: bytes
    def __init__(self, gss_proc: int, seq_num: int, service: int, handle: bytes) -> None:
        self.gss_proc = gss_proc
        self.seq_num = seq_num
        self.service = service
        self.handle = handle

class rpc_gss_cred_t(XdrValue):
    __slots__ = ("vers", "cred",)
    vers: int
    cred: rpc_gss_cred_vers_1_t | None
    def __init__(self, vers: int, cred: rpc_gss_cred_vers_1_t | None = None) -> None:
        self.vers = vers
        self.cred = cred

class rpc_gss_init_arg(XdrValue):
    __slots__ = ("gss_token",)
    gss_token: bytes
    def __init__(self, gss_token: bytes) -> None:
        self.gss_token = gss_token

class rpc_gss_init_res(XdrValue):
    __slots__ = ("handle", "gss_major", "gss_minor", "seq_window", "gss_token",)
    handle: bytes
    gss_major: int
    gss_minor: int
    seq_window: int
    gss_token: bytes
    def __init__(self, handle: bytes, gss_major: int, gss_minor: int, seq_window: int, gss_token: bytes) -> None:
        self.handle = handle
        self.gss_major = gss_major
        self.gss_minor = gss_minor
        self.seq_window = seq_window
        self.gss_token = gss_token

class rpc_gss_integ_data(XdrValue):
    __slots__ = ("databody_integ", "checksum",)
    databody_integ: bytes
    checksum: bytes
    def __init__(self, databody_integ: bytes, checksum: bytes) -> None:
        self.databody_integ = databody_integ
        self.checksum = checksum

class rpc_gss_priv_data(XdrValue):
    __slots__ = ("databody_priv",)
    databody_priv: bytes
    def __init__(self, databody_priv: bytes) -> None:
        self.databody_priv = databody_priv

_u_2I = (_s := _struct.Struct(">2I")).unpack_from
_p_2I = _s.pack
_u_2i = (_s := _struct.Struct(">2i")).unpack_from
_p_2i = _s.pack
_u_2iI = (_s := _struct.Struct(">2iI")).unpack_from
_p_2iI = _s.pack
_u_3I = (_s := _struct.Struct(">3I")).unpack_from
_p_3I = _s.pack
_u_4I = (_s := _struct.Struct(">4I")).unpack_from
_p_4I = _s.pack
_u_4IiI = (_s := _struct.Struct(">4IiI")).unpack_from
_p_4IiI = _s.pack
_u_I = (_s := _struct.Struct(">I")).unpack_from
_p_I = _s.pack
_u_IiIiI = (_s := _struct.Struct(">IiIiI")).unpack_from
_p_IiIiI = _s.pack
_u_i = (_s := _struct.Struct(">i")).unpack_from
_p_i = _s.pack
_u_i2I = (_s := _struct.Struct(">i2I")).unpack_from
_p_i2I = _s.pack
_u_i4IiI = (_s := _struct.Struct(">i4IiI")).unpack_from
_p_i4IiI = _s.pack
_u_iI = (_s := _struct.Struct(">iI")).unpack_from
_p_iI = _s.pack
_u_iIiI = (_s := _struct.Struct(">iIiI")).unpack_from
_p_iIiI = _s.pack

class RpcPacker(Packer):
    __slots__ = ()
    def pack_auth_flavor(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("auth_flavor", error) from None
    def pack_msg_type(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("msg_type", error) from None
    def pack_reply_stat(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("reply_stat", error) from None
    def pack_accept_stat(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("accept_stat", error) from None
    def pack_reject_stat(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("reject_stat", error) from None
    def pack_auth_stat(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("auth_stat", error) from None
    def pack_opaque_auth(self, v: opaque_auth) -> None:
        add = self._add
        try:
            s1 = v.body
            n2 = len(s1)
            if n2 > 400: raise bad_size("opaque_auth.body", n2, 400)
            add(_p_iI(v.flavor, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
        except _struct_error as error:
            raise unpackable("opaque_auth", error) from None
    def pack_authsys_parms(self, v: authsys_parms) -> None:
        add = self._add
        try:
            s1 = v.machinename
            n2 = len(s1)
            if n2 > 255: raise bad_size("authsys_parms.machinename", n2, 255)
            add(_p_2I(v.stamp, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.gids
            n4 = len(s3)
            if n4 > 16: raise bad_size("authsys_parms.gids", n4, 16)
            add(_p_3I(v.uid, v.gid, n4))
            add(_pack(f">{n4}I", *s3))
        except _struct_error as error:
            raise unpackable("authsys_parms", error) from None
    def pack_call_body(self, v: call_body) -> None:
        add = self._add
        try:
            o1 = v.cred
            s2 = o1.body
            n3 = len(s2)
            if n3 > 400: raise bad_size("call_body.body", n3, 400)
            add(_p_4IiI(v.rpcvers, v.prog, v.vers, v.proc, o1.flavor, n3))
            add(s2)
            if n3 & 3: add(PADDING[n3 & 3])
            o4 = v.verf
            s5 = o4.body
            n6 = len(s5)
            if n6 > 400: raise bad_size("call_body.body", n6, 400)
            add(_p_iI(o4.flavor, n6))
            add(s5)
            if n6 & 3: add(PADDING[n6 & 3])
        except _struct_error as error:
            raise unpackable("call_body", error) from None
    def pack_mismatch_versions(self, v: mismatch_versions) -> None:
        add = self._add
        try:
            add(_p_2I(v.low, v.high))
        except _struct_error as error:
            raise unpackable("mismatch_versions", error) from None
    def pack_accepted_data(self, v: accepted_data) -> None:
        add = self._add
        try:
            d = v.stat
            if d == 2:
                o1 = v.mismatch_info
                add(_p_i2I(d, o1.low, o1.high))
            else:
                add(_p_i(d))
        except _struct_error as error:
            raise unpackable("accepted_data", error) from None
    def pack_accepted_reply(self, v: accepted_reply) -> None:
        add = self._add
        try:
            o1 = v.verf
            s2 = o1.body
            n3 = len(s2)
            if n3 > 400: raise bad_size("accepted_reply.body", n3, 400)
            add(_p_iI(o1.flavor, n3))
            add(s2)
            if n3 & 3: add(PADDING[n3 & 3])
            self.pack_accepted_data(v.reply_data)
        except _struct_error as error:
            raise unpackable("accepted_reply", error) from None
    def pack_rejected_reply(self, v: rejected_reply) -> None:
        add = self._add
        try:
            d = v.stat
            if d == 0:
                o1 = v.mismatch_info
                add(_p_i2I(d, o1.low, o1.high))
            elif d == 1:
                add(_p_2i(d, v.astat))
            else:
                raise bad_enum("rejected_reply", d)
        except _struct_error as error:
            raise unpackable("rejected_reply", error) from None
    def pack_reply_body(self, v: reply_body) -> None:
        add = self._add
        try:
            d = v.stat
            if d == 0:
                o1 = v.areply
                o2 = o1.verf
                s3 = o2.body
                n4 = len(s3)
                if n4 > 400: raise bad_size("reply_body.body", n4, 400)
                add(_p_2iI(d, o2.flavor, n4))
                add(s3)
                if n4 & 3: add(PADDING[n4 & 3])
                self.pack_accepted_data(o1.reply_data)
            elif d == 1:
                add(_p_i(d))
                self.pack_rejected_reply(v.rreply)
            else:
                raise bad_enum("reply_body", d)
        except _struct_error as error:
            raise unpackable("reply_body", error) from None
    def pack_rpc_msg_body(self, v: rpc_msg_body) -> None:
        add = self._add
        try:
            d = v.mtype
            if d == 0:
                o1 = v.cbody
                o2 = o1.cred
                s3 = o2.body
                n4 = len(s3)
                if n4 > 400: raise bad_size("rpc_msg_body.body", n4, 400)
                add(_p_i4IiI(d, o1.rpcvers, o1.prog, o1.vers, o1.proc, o2.flavor, n4))
                add(s3)
                if n4 & 3: add(PADDING[n4 & 3])
                o5 = o1.verf
                s6 = o5.body
                n7 = len(s6)
                if n7 > 400: raise bad_size("rpc_msg_body.body", n7, 400)
                add(_p_iI(o5.flavor, n7))
                add(s6)
                if n7 & 3: add(PADDING[n7 & 3])
            elif d == 1:
                add(_p_i(d))
                self.pack_reply_body(v.rbody)
            else:
                raise bad_enum("rpc_msg_body", d)
        except _struct_error as error:
            raise unpackable("rpc_msg_body", error) from None
    def pack_rpc_msg(self, v: rpc_msg) -> None:
        add = self._add
        try:
            add(_p_I(v.xid))
            self.pack_rpc_msg_body(v.body)
        except _struct_error as error:
            raise unpackable("rpc_msg", error) from None
    def pack_rpc_gss_proc_t(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("rpc_gss_proc_t", error) from None
    def pack_rpc_gss_service_t(self, v: int) -> None:
        add = self._add
        try:
            add(_p_i(v))
        except _struct_error as error:
            raise unpackable("rpc_gss_service_t", error) from None
    def pack_rpc_gss_cred_vers_1_t(self, v: rpc_gss_cred_vers_1_t) -> None:
        add = self._add
        try:
            s1 = v.handle
            n2 = len(s1)
            add(_p_iIiI(v.gss_proc, v.seq_num, v.service, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
        except _struct_error as error:
            raise unpackable("rpc_gss_cred_vers_1_t", error) from None
    def pack_rpc_gss_cred_t(self, v: rpc_gss_cred_t) -> None:
        add = self._add
        try:
            d = v.vers
            if d == 1:
                o1 = v.cred
                s2 = o1.handle
                n3 = len(s2)
                add(_p_IiIiI(d, o1.gss_proc, o1.seq_num, o1.service, n3))
                add(s2)
                if n3 & 3: add(PADDING[n3 & 3])
            else:
                raise bad_enum("rpc_gss_cred_t", d)
        except _struct_error as error:
            raise unpackable("rpc_gss_cred_t", error) from None
    def pack_rpc_gss_init_arg(self, v: rpc_gss_init_arg) -> None:
        add = self._add
        try:
            s1 = v.gss_token
            n2 = len(s1)
            add(_p_I(n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
        except _struct_error as error:
            raise unpackable("rpc_gss_init_arg", error) from None
    def pack_rpc_gss_init_res(self, v: rpc_gss_init_res) -> None:
        add = self._add
        try:
            s1 = v.handle
            n2 = len(s1)
            add(_p_I(n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.gss_token
            n4 = len(s3)
            add(_p_4I(v.gss_major, v.gss_minor, v.seq_window, n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
        except _struct_error as error:
            raise unpackable("rpc_gss_init_res", error) from None
    def pack_rpc_gss_integ_data(self, v: rpc_gss_integ_data) -> None:
        add = self._add
        try:
            s1 = v.databody_integ
            n2 = len(s1)
            add(_p_I(n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.checksum
            n4 = len(s3)
            add(_p_I(n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
        except _struct_error as error:
            raise unpackable("rpc_gss_integ_data", error) from None
    def pack_rpc_gss_priv_data(self, v: rpc_gss_priv_data) -> None:
        add = self._add
        try:
            s1 = v.databody_priv
            n2 = len(s1)
            add(_p_I(n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
        except _struct_error as error:
            raise unpackable("rpc_gss_priv_data", error) from None

class RpcUnpacker(Unpacker):
    __slots__ = ()
    def unpack_auth_flavor(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in auth_flavor_names: raise bad_enum("auth_flavor", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("auth_flavor", self) from None
    def unpack_msg_type(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in msg_type_names: raise bad_enum("msg_type", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("msg_type", self) from None
    def unpack_reply_stat(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in reply_stat_names: raise bad_enum("reply_stat", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("reply_stat", self) from None
    def unpack_accept_stat(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in accept_stat_names: raise bad_enum("accept_stat", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("accept_stat", self) from None
    def unpack_reject_stat(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in reject_stat_names: raise bad_enum("reject_stat", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("reject_stat", self) from None
    def unpack_auth_stat(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in auth_stat_names: raise bad_enum("auth_stat", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("auth_stat", self) from None
    def unpack_opaque_auth(self) -> opaque_auth:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, n2 = _u_iI(b, p)
            p += 8
            e = p + n2 + (-n2 & 3)
            if e > end or n2 > 400: raise bad_length("opaque_auth.body", n2, end - p, 400)
            v3 = b[p:p + n2]
            if v3.__class__ is not bytes: v3 = bytes(v3)
            p = e
            r4 = _new(opaque_auth)
            r4.flavor = v1
            r4.body = v3
            self.position = p
            return r4
        except _struct_error:
            raise truncated("opaque_auth", self) from None
    def unpack_authsys_parms(self) -> authsys_parms:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, n2 = _u_2I(b, p)
            p += 8
            e = p + n2 + (-n2 & 3)
            if e > end or n2 > 255: raise bad_length("authsys_parms.machinename", n2, end - p, 255)
            v3 = b[p:p + n2]
            if v3.__class__ is not bytes: v3 = bytes(v3)
            p = e
            v4, v5, n6 = _u_3I(b, p)
            p += 12
            if n6 * 4 > end - p or n6 > 16: raise bad_length("authsys_parms.gids", n6, end - p, 16)
            v7 = list(_unpack_from(f">{n6}I", b, p))
            p += n6 * 4
            r8 = _new(authsys_parms)
            r8.stamp = v1
            r8.machinename = v3
            r8.uid = v4
            r8.gid = v5
            r8.gids = v7
            self.position = p
            return r8
        except _struct_error:
            raise truncated("authsys_parms", self) from None
    def unpack_call_body(self) -> call_body:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, v5, n6 = _u_4IiI(b, p)
            p += 24
            e = p + n6 + (-n6 & 3)
            if e > end or n6 > 400: raise bad_length("call_body.body", n6, end - p, 400)
            v7 = b[p:p + n6]
            if v7.__class__ is not bytes: v7 = bytes(v7)
            p = e
            r8 = _new(opaque_auth)
            r8.flavor = v5
            r8.body = v7
            v9, n10 = _u_iI(b, p)
            p += 8
            e = p + n10 + (-n10 & 3)
            if e > end or n10 > 400: raise bad_length("call_body.body", n10, end - p, 400)
            v11 = b[p:p + n10]
            if v11.__class__ is not bytes: v11 = bytes(v11)
            p = e
            r12 = _new(opaque_auth)
            r12.flavor = v9
            r12.body = v11
            r13 = _new(call_body)
            r13.rpcvers = v1
            r13.prog = v2
            r13.vers = v3
            r13.proc = v4
            r13.cred = r8
            r13.verf = r12
            self.position = p
            return r13
        except _struct_error:
            raise truncated("call_body", self) from None
    def unpack_mismatch_versions(self) -> mismatch_versions:
        b = self._buf
        p = self.position
        try:
            v1, v2 = _u_2I(b, p)
            p += 8
            r3 = _new(mismatch_versions)
            r3.low = v1
            r3.high = v2
            self.position = p
            return r3
        except _struct_error:
            raise truncated("mismatch_versions", self) from None
    def unpack_accepted_data(self) -> accepted_data:
        b = self._buf
        p = self.position
        try:
            (d1,) = _u_i(b, p)
            p += 4
            self.position = p
            r = _new(accepted_data)
            r.stat = d1
            r.mismatch_info = None
            if d1 == 2:
                v2, v3 = _u_2I(b, p)
                p += 8
                r4 = _new(mismatch_versions)
                r4.low = v2
                r4.high = v3
                self.position = p
                r.mismatch_info = r4
            elif d1 not in accept_stat_names:
                raise bad_enum("accepted_data", d1)
            return r
        except _struct_error:
            raise truncated("accepted_data", self) from None
    def unpack_accepted_reply(self) -> accepted_reply:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, n2 = _u_iI(b, p)
            p += 8
            e = p + n2 + (-n2 & 3)
            if e > end or n2 > 400: raise bad_length("accepted_reply.body", n2, end - p, 400)
            v3 = b[p:p + n2]
            if v3.__class__ is not bytes: v3 = bytes(v3)
            p = e
            r4 = _new(opaque_auth)
            r4.flavor = v1
            r4.body = v3
            self.position = p
            v5 = self.unpack_accepted_data()
            r6 = _new(accepted_reply)
            r6.verf = r4
            r6.reply_data = v5
            return r6
        except _struct_error:
            raise truncated("accepted_reply", self) from None
    def unpack_rejected_reply(self) -> rejected_reply:
        b = self._buf
        p = self.position
        try:
            (d1,) = _u_i(b, p)
            p += 4
            self.position = p
            r = _new(rejected_reply)
            r.stat = d1
            r.mismatch_info = r.astat = None
            if d1 == 0:
                v2, v3 = _u_2I(b, p)
                p += 8
                r4 = _new(mismatch_versions)
                r4.low = v2
                r4.high = v3
                self.position = p
                r.mismatch_info = r4
            elif d1 == 1:
                (v5,) = _u_i(b, p)
                p += 4
                if v5 not in auth_stat_names: raise bad_enum("auth_stat", v5)
                self.position = p
                r.astat = v5
            else:
                raise bad_enum("rejected_reply", d1)
            return r
        except _struct_error:
            raise truncated("rejected_reply", self) from None
    def unpack_reply_body(self) -> reply_body:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (d1,) = _u_i(b, p)
            p += 4
            self.position = p
            r = _new(reply_body)
            r.stat = d1
            r.areply = r.rreply = None
            if d1 == 0:
                v2, n3 = _u_iI(b, p)
                p += 8
                e = p + n3 + (-n3 & 3)
                if e > end or n3 > 400: raise bad_length("reply_body.body", n3, end - p, 400)
                v4 = b[p:p + n3]
                if v4.__class__ is not bytes: v4 = bytes(v4)
                p = e
                r5 = _new(opaque_auth)
                r5.flavor = v2
                r5.body = v4
                self.position = p
                v6 = self.unpack_accepted_data()
                r7 = _new(accepted_reply)
                r7.verf = r5
                r7.reply_data = v6
                r.areply = r7
            elif d1 == 1:
                v8 = self.unpack_rejected_reply()
                r.rreply = v8
            else:
                raise bad_enum("reply_body", d1)
            return r
        except _struct_error:
            raise truncated("reply_body", self) from None
    def unpack_rpc_msg_body(self) -> rpc_msg_body:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (d1,) = _u_i(b, p)
            p += 4
            self.position = p
            r = _new(rpc_msg_body)
            r.mtype = d1
            r.cbody = r.rbody = None
            if d1 == 0:
                v2, v3, v4, v5, v6, n7 = _u_4IiI(b, p)
                p += 24
                e = p + n7 + (-n7 & 3)
                if e > end or n7 > 400: raise bad_length("rpc_msg_body.body", n7, end - p, 400)
                v8 = b[p:p + n7]
                if v8.__class__ is not bytes: v8 = bytes(v8)
                p = e
                r9 = _new(opaque_auth)
                r9.flavor = v6
                r9.body = v8
                v10, n11 = _u_iI(b, p)
                p += 8
                e = p + n11 + (-n11 & 3)
                if e > end or n11 > 400: raise bad_length("rpc_msg_body.body", n11, end - p, 400)
                v12 = b[p:p + n11]
                if v12.__class__ is not bytes: v12 = bytes(v12)
                p = e
                r13 = _new(opaque_auth)
                r13.flavor = v10
                r13.body = v12
                r14 = _new(call_body)
                r14.rpcvers = v2
                r14.prog = v3
                r14.vers = v4
                r14.proc = v5
                r14.cred = r9
                r14.verf = r13
                self.position = p
                r.cbody = r14
            elif d1 == 1:
                v15 = self.unpack_reply_body()
                r.rbody = v15
            else:
                raise bad_enum("rpc_msg_body", d1)
            return r
        except _struct_error:
            raise truncated("rpc_msg_body", self) from None
    def unpack_rpc_msg(self) -> rpc_msg:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_I(b, p)
            p += 4
            self.position = p
            v2 = self.unpack_rpc_msg_body()
            r3 = _new(rpc_msg)
            r3.xid = v1
            r3.body = v2
            return r3
        except _struct_error:
            raise truncated("rpc_msg", self) from None
    def unpack_rpc_gss_proc_t(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in rpc_gss_proc_t_names: raise bad_enum("rpc_gss_proc_t", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("rpc_gss_proc_t", self) from None
    def unpack_rpc_gss_service_t(self) -> int:
        b = self._buf
        p = self.position
        try:
            (v1,) = _u_i(b, p)
            p += 4
            if v1 not in rpc_gss_service_t_names: raise bad_enum("rpc_gss_service_t", v1)
            self.position = p
            return v1
        except _struct_error:
            raise truncated("rpc_gss_service_t", self) from None
    def unpack_rpc_gss_cred_vers_1_t(self) -> rpc_gss_cred_vers_1_t:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, n4 = _u_iIiI(b, p)
            p += 16
            if v1 not in rpc_gss_proc_t_names: raise bad_enum("rpc_gss_proc_t", v1)
            if v3 not in rpc_gss_service_t_names: raise bad_enum("rpc_gss_service_t", v3)
            e = p + n4 + (-n4 & 3)
            if e > end: raise bad_length("rpc_gss_cred_vers_1_t.handle", n4, end - p, None)
            v5 = b[p:p + n4]
            if v5.__class__ is not bytes: v5 = bytes(v5)
            p = e
            r6 = _new(rpc_gss_cred_vers_1_t)
            r6.gss_proc = v1
            r6.seq_num = v2
            r6.service = v3
            r6.handle = v5
            self.position = p
            return r6
        except _struct_error:
            raise truncated("rpc_gss_cred_vers_1_t", self) from None
    def unpack_rpc_gss_cred_t(self) -> rpc_gss_cred_t:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (d1,) = _u_I(b, p)
            p += 4
            self.position = p
            r = _new(rpc_gss_cred_t)
            r.vers = d1
            r.cred = None
            if d1 == 1:
                v2, v3, v4, n5 = _u_iIiI(b, p)
                p += 16
                if v2 not in rpc_gss_proc_t_names: raise bad_enum("rpc_gss_proc_t", v2)
                if v4 not in rpc_gss_service_t_names: raise bad_enum("rpc_gss_service_t", v4)
                e = p + n5 + (-n5 & 3)
                if e > end: raise bad_length("rpc_gss_cred_t.handle", n5, end - p, None)
                v6 = b[p:p + n5]
                if v6.__class__ is not bytes: v6 = bytes(v6)
                p = e
                r7 = _new(rpc_gss_cred_vers_1_t)
                r7.gss_proc = v2
                r7.seq_num = v3
                r7.service = v4
                r7.handle = v6
                self.position = p
                r.cred = r7
            else:
                raise bad_enum("rpc_gss_cred_t", d1)
            return r
        except _struct_error:
            raise truncated("rpc_gss_cred_t", self) from None
    def unpack_rpc_gss_init_arg(self) -> rpc_gss_init_arg:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (n1,) = _u_I(b, p)
            p += 4
            e = p + n1 + (-n1 & 3)
            if e > end: raise bad_length("rpc_gss_init_arg.gss_token", n1, end - p, None)
            v2 = b[p:p + n1]
            if v2.__class__ is not bytes: v2 = bytes(v2)
            p = e
            r3 = _new(rpc_gss_init_arg)
            r3.gss_token = v2
            self.position = p
            return r3
        except _struct_error:
            raise truncated("rpc_gss_init_arg", self) from None
    def unpack_rpc_gss_init_res(self) -> rpc_gss_init_res:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (n1,) = _u_I(b, p)
            p += 4
            e = p + n1 + (-n1 & 3)
            if e > end: raise bad_length("rpc_gss_init_res.handle", n1, end - p, None)
            v2 = b[p:p + n1]
            if v2.__class__ is not bytes: v2 = bytes(v2)
            p = e
            v3, v4, v5, n6 = _u_4I(b, p)
            p += 16
            e = p + n6 + (-n6 & 3)
            if e > end: raise bad_length("rpc_gss_init_res.gss_token", n6, end - p, None)
            v7 = b[p:p + n6]
            if v7.__class__ is not bytes: v7 = bytes(v7)
            p = e
            r8 = _new(rpc_gss_init_res)
            r8.handle = v2
            r8.gss_major = v3
            r8.gss_minor = v4
            r8.seq_window = v5
            r8.gss_token = v7
            self.position = p
            return r8
        except _struct_error:
            raise truncated("rpc_gss_init_res", self) from None
    def unpack_rpc_gss_integ_data(self) -> rpc_gss_integ_data:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (n1,) = _u_I(b, p)
            p += 4
            e = p + n1 + (-n1 & 3)
            if e > end: raise bad_length("rpc_gss_integ_data.databody_integ", n1, end - p, None)
            v2 = b[p:p + n1]
            if v2.__class__ is not bytes: v2 = bytes(v2)
            p = e
            (n3,) = _u_I(b, p)
            p += 4
            e = p + n3 + (-n3 & 3)
            if e > end: raise bad_length("rpc_gss_integ_data.checksum", n3, end - p, None)
            v4 = b[p:p + n3]
            if v4.__class__ is not bytes: v4 = bytes(v4)
            p = e
            r5 = _new(rpc_gss_integ_data)
            r5.databody_integ = v2
            r5.checksum = v4
            self.position = p
            return r5
        except _struct_error:
            raise truncated("rpc_gss_integ_data", self) from None
    def unpack_rpc_gss_priv_data(self) -> rpc_gss_priv_data:
        b = self._buf
        p = self.position
        end = self._end
        try:
            (n1,) = _u_I(b, p)
            p += 4
            e = p + n1 + (-n1 & 3)
            if e > end: raise bad_length("rpc_gss_priv_data.databody_priv", n1, end - p, None)
            v2 = b[p:p + n1]
            if v2.__class__ is not bytes: v2 = bytes(v2)
            p = e
            r3 = _new(rpc_gss_priv_data)
            r3.databody_priv = v2
            self.position = p
            return r3
        except _struct_error:
            raise truncated("rpc_gss_priv_data", self) from None
