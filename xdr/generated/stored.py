"""Generated from xdr/x/stored.x by `python -m xdr.compiler`: do not edit.

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
STORED_OWNER_MAX = 1024
STORED_HANDLE_MAX = 128
STORED_OTHER_MAX = 12
STORED_GROUPS_MAX = 16

class stored_client(XdrValue):
    __slots__ = ("clientid", "minor", "owner", "verifier", "principal", "reclaim_complete", "create_sequence", "create_reply", "confirm", "callback_program", "callback_netid", "callback_address", "callback_ident",)
    clientid: int
    minor: int
    owner: bytes
    verifier: bytes
    principal: bytes
    reclaim_complete: bool
    create_sequence: int
    create_reply: bytes
    confirm: bytes
    callback_program: int
    callback_netid: bytes
    callback_address: bytes
    callback_ident: int
    def __init__(self, clientid: int, minor: int, owner: bytes, verifier: bytes, principal: bytes, reclaim_complete: bool, create_sequence: int, create_reply: bytes, confirm: bytes, callback_program: int, callback_netid: bytes, callback_address: bytes, callback_ident: int) -> None:
        self.clientid = clientid
        self.minor = minor
        self.owner = owner
        self.verifier = verifier
        self.principal = principal
        self.reclaim_complete = reclaim_complete
        self.create_sequence = create_sequence
        self.create_reply = create_reply
        self.confirm = confirm
        self.callback_program = callback_program
        self.callback_netid = callback_netid
        self.callback_address = callback_address
        self.callback_ident = callback_ident

class stored_channel(XdrValue):
    __slots__ = ("request_size_max", "reply_size_max", "reply_cached_max", "operations_max", "slots",)
    request_size_max: int
    reply_size_max: int
    reply_cached_max: int
    operations_max: int
    slots: int
    def __init__(self, request_size_max: int, reply_size_max: int, reply_cached_max: int, operations_max: int, slots: int) -> None:
        self.request_size_max = request_size_max
        self.reply_size_max = reply_size_max
        self.reply_cached_max = reply_cached_max
        self.operations_max = operations_max
        self.slots = slots

class stored_session(XdrValue):
    __slots__ = ("clientid", "flags", "callback_program", "fore", "back",)
    clientid: int
    flags: int
    callback_program: int
    fore: stored_channel
    back: stored_channel
    def __init__(self, clientid: int, flags: int, callback_program: int, fore: stored_channel, back: stored_channel) -> None:
        self.clientid = clientid
        self.flags = flags
        self.callback_program = callback_program
        self.fore = fore
        self.back = back

class stored_grant(XdrValue):
    __slots__ = ("access", "uid", "gid", "groups",)
    access: int
    uid: int
    gid: int
    groups: list[int]
    def __init__(self, access: int, uid: int, gid: int, groups: list[int]) -> None:
        self.access = access
        self.uid = uid
        self.gid = gid
        self.groups = groups

class stored_open_rest(XdrValue):
    __slots__ = ("access_seen", "deny_seen", "seqid", "instance", "owner", "grants",)
    access_seen: int
    deny_seen: int
    seqid: int
    instance: int
    owner: bytes
    grants: list[stored_grant]
    def __init__(self, access_seen: int, deny_seen: int, seqid: int, instance: int, owner: bytes, grants: list[stored_grant]) -> None:
        self.access_seen = access_seen
        self.deny_seen = deny_seen
        self.seqid = seqid
        self.instance = instance
        self.owner = owner
        self.grants = grants

class stored_open_rest_2(XdrValue):
    __slots__ = ("access_seen", "deny_seen", "seqid", "instance", "owner", "uid", "gid", "groups",)
    access_seen: int
    deny_seen: int
    seqid: int
    instance: int
    owner: bytes
    uid: int
    gid: int
    groups: list[int]
    def __init__(self, access_seen: int, deny_seen: int, seqid: int, instance: int, owner: bytes, uid: int, gid: int, groups: list[int]) -> None:
        self.access_seen = access_seen
        self.deny_seen = deny_seen
        self.seqid = seqid
        self.instance = instance
        self.owner = owner
        self.uid = uid
        self.gid = gid
        self.groups = groups

class stored_open(XdrValue):
    __slots__ = ("clientid", "access", "deny", "access_seen", "deny_seen", "seqid", "instance", "owner", "object", "uid", "gid", "groups",)
    clientid: int
    access: int
    deny: int
    access_seen: int
    deny_seen: int
    seqid: int
    instance: int
    owner: bytes
    object: bytes
    uid: int
    gid: int
    groups: list[int]
    def __init__(self, clientid: int, access: int, deny: int, access_seen: int, deny_seen: int, seqid: int, instance: int, owner: bytes, object: bytes, uid: int, gid: int, groups: list[int]) -> None:
        self.clientid = clientid
        self.access = access
        self.deny = deny
        self.access_seen = access_seen
        self.deny_seen = deny_seen
        self.seqid = seqid
        self.instance = instance
        self.owner = owner
        self.object = object
        self.uid = uid
        self.gid = gid
        self.groups = groups

class stored_blackout(XdrValue):
    __slots__ = ("what", "target", "name", "address", "until_ns", "retry",)
    what: int
    target: bytes
    name: bytes
    address: bytes
    until_ns: int
    retry: bool
    def __init__(self, what: int, target: bytes, name: bytes, address: bytes, until_ns: int, retry: bool) -> None:
        self.what = what
        self.target = target
        self.name = name
        self.address = address
        self.until_ns = until_ns
        self.retry = retry

class stored_range(XdrValue):
    __slots__ = ("start", "last", "exclusive",)
    start: int
    last: int
    exclusive: bool
    def __init__(self, start: int, last: int, exclusive: bool) -> None:
        self.start = start
        self.last = last
        self.exclusive = exclusive

class stored_lock_rest(XdrValue):
    __slots__ = ("seqid", "instance",)
    seqid: int
    instance: int
    def __init__(self, seqid: int, instance: int) -> None:
        self.seqid = seqid
        self.instance = instance

class stored_lock(XdrValue):
    __slots__ = ("seqid", "instance", "owner", "ranges",)
    seqid: int
    instance: int
    owner: bytes
    ranges: list[stored_range]
    def __init__(self, seqid: int, instance: int, owner: bytes, ranges: list[stored_range]) -> None:
        self.seqid = seqid
        self.instance = instance
        self.owner = owner
        self.ranges = ranges

class stored_owner(XdrValue):
    __slots__ = ("is_lock_owner", "confirmed", "seqid", "operation", "status", "result", "owner", "object", "closed",)
    is_lock_owner: bool
    confirmed: bool
    seqid: int
    operation: int
    status: int
    result: bytes
    owner: bytes
    object: bytes
    closed: bytes
    def __init__(self, is_lock_owner: bool, confirmed: bool, seqid: int, operation: int, status: int, result: bytes, owner: bytes, object: bytes, closed: bytes) -> None:
        self.is_lock_owner = is_lock_owner
        self.confirmed = confirmed
        self.seqid = seqid
        self.operation = operation
        self.status = status
        self.result = result
        self.owner = owner
        self.object = object
        self.closed = closed

class stored_intent(XdrValue):
    __slots__ = ("undecided", "attempts", "index", "port", "at_ns", "change", "other_change", "size", "atime_ns", "mtime_ns", "mode", "uid", "gid", "found", "other_found", "current", "saved", "stateid", "saved_stateid", "address", "results", "request",)
    undecided: int
    attempts: int
    index: int
    port: int
    at_ns: int
    change: int
    other_change: int
    size: int
    atime_ns: int
    mtime_ns: int
    mode: int
    uid: int
    gid: int
    found: bytes
    other_found: bytes
    current: bytes
    saved: bytes
    stateid: bytes
    saved_stateid: bytes
    address: bytes
    results: bytes
    request: bytes
    def __init__(self, undecided: int, attempts: int, index: int, port: int, at_ns: int, change: int, other_change: int, size: int, atime_ns: int, mtime_ns: int, mode: int, uid: int, gid: int, found: bytes, other_found: bytes, current: bytes, saved: bytes, stateid: bytes, saved_stateid: bytes, address: bytes, results: bytes, request: bytes) -> None:
        self.undecided = undecided
        self.attempts = attempts
        self.index = index
        self.port = port
        self.at_ns = at_ns
        self.change = change
        self.other_change = other_change
        self.size = size
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.found = found
        self.other_found = other_found
        self.current = current
        self.saved = saved
        self.stateid = stateid
        self.saved_stateid = saved_stateid
        self.address = address
        self.results = results
        self.request = request

class stored_reply(XdrValue):
    __slots__ = ("number", "reply",)
    number: int
    reply: bytes
    def __init__(self, number: int, reply: bytes) -> None:
        self.number = number
        self.reply = reply

_u_2I = (_s := _struct.Struct(">2I")).unpack_from
_p_2I = _s.pack
_u_2QI = (_s := _struct.Struct(">2QI")).unpack_from
_p_2QI = _s.pack
_u_3I = (_s := _struct.Struct(">3I")).unpack_from
_p_3I = _s.pack
_u_3IQI = (_s := _struct.Struct(">3IQI")).unpack_from
_p_3IQI = _s.pack
_u_4I = (_s := _struct.Struct(">4I")).unpack_from
_p_4I = _s.pack
_u_4I4Q2q4I = (_s := _struct.Struct(">4I4Q2q4I")).unpack_from
_p_4I4Q2q4I = _s.pack
_u_5I = (_s := _struct.Struct(">5I")).unpack_from
_p_5I = _s.pack
_u_6I = (_s := _struct.Struct(">6I")).unpack_from
_p_6I = _s.pack
_u_8s2I = (_s := _struct.Struct(">8s2I")).unpack_from
_p_8s2I = _s.pack
_u_8sI = (_s := _struct.Struct(">8sI")).unpack_from
_p_8sI = _s.pack
_u_I = (_s := _struct.Struct(">I")).unpack_from
_p_I = _s.pack
_u_IQ = (_s := _struct.Struct(">IQ")).unpack_from
_p_IQ = _s.pack
_u_IQI = (_s := _struct.Struct(">IQI")).unpack_from
_p_IQI = _s.pack
_u_Q12I = (_s := _struct.Struct(">Q12I")).unpack_from
_p_Q12I = _s.pack
_u_Q2I = (_s := _struct.Struct(">Q2I")).unpack_from
_p_Q2I = _s.pack
_u_Q5IQI = (_s := _struct.Struct(">Q5IQI")).unpack_from
_p_Q5IQI = _s.pack
_u_QI = (_s := _struct.Struct(">QI")).unpack_from
_p_QI = _s.pack

class StoredPacker(Packer):
    __slots__ = ()
    def pack_stored_client(self, v: stored_client) -> None:
        add = self._add
        try:
            s1 = v.owner
            n2 = len(s1)
            if n2 > 1024: raise bad_size("stored_client.owner", n2, 1024)
            add(_p_Q2I(v.clientid, v.minor, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.verifier
            if len(s3) != 8: raise bad_size("stored_client.verifier", len(s3), 8)
            s4 = v.principal
            n5 = len(s4)
            add(_p_8sI(s3, n5))
            add(s4)
            if n5 & 3: add(PADDING[n5 & 3])
            s6 = v.create_reply
            n7 = len(s6)
            add(_p_3I(1 if v.reclaim_complete else 0, v.create_sequence, n7))
            add(s6)
            if n7 & 3: add(PADDING[n7 & 3])
            s8 = v.confirm
            if len(s8) != 8: raise bad_size("stored_client.confirm", len(s8), 8)
            s9 = v.callback_netid
            n10 = len(s9)
            add(_p_8s2I(s8, v.callback_program, n10))
            add(s9)
            if n10 & 3: add(PADDING[n10 & 3])
            s11 = v.callback_address
            n12 = len(s11)
            add(_p_I(n12))
            add(s11)
            if n12 & 3: add(PADDING[n12 & 3])
            add(_p_I(v.callback_ident))
        except _struct_error as error:
            raise unpackable("stored_client", error) from None
    def pack_stored_channel(self, v: stored_channel) -> None:
        add = self._add
        try:
            add(_p_5I(v.request_size_max, v.reply_size_max, v.reply_cached_max, v.operations_max, v.slots))
        except _struct_error as error:
            raise unpackable("stored_channel", error) from None
    def pack_stored_session(self, v: stored_session) -> None:
        add = self._add
        try:
            o1 = v.fore
            o2 = v.back
            add(_p_Q12I(v.clientid, v.flags, v.callback_program, o1.request_size_max, o1.reply_size_max, o1.reply_cached_max, o1.operations_max, o1.slots, o2.request_size_max, o2.reply_size_max, o2.reply_cached_max, o2.operations_max, o2.slots))
        except _struct_error as error:
            raise unpackable("stored_session", error) from None
    def pack_stored_grant(self, v: stored_grant) -> None:
        add = self._add
        try:
            s1 = v.groups
            n2 = len(s1)
            if n2 > 16: raise bad_size("stored_grant.groups", n2, 16)
            add(_p_4I(v.access, v.uid, v.gid, n2))
            add(_pack(f">{n2}I", *s1))
        except _struct_error as error:
            raise unpackable("stored_grant", error) from None
    def pack_stored_open_rest(self, v: stored_open_rest) -> None:
        add = self._add
        try:
            s1 = v.owner
            n2 = len(s1)
            if n2 > 1024: raise bad_size("stored_open_rest.owner", n2, 1024)
            add(_p_3IQI(v.access_seen, v.deny_seen, v.seqid, v.instance, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.grants
            n4 = len(s3)
            add(_p_I(n4))
            for x in s3: self.pack_stored_grant(x)
        except _struct_error as error:
            raise unpackable("stored_open_rest", error) from None
    def pack_stored_open_rest_2(self, v: stored_open_rest_2) -> None:
        add = self._add
        try:
            s1 = v.owner
            n2 = len(s1)
            if n2 > 1024: raise bad_size("stored_open_rest_2.owner", n2, 1024)
            add(_p_3IQI(v.access_seen, v.deny_seen, v.seqid, v.instance, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.groups
            n4 = len(s3)
            if n4 > 16: raise bad_size("stored_open_rest_2.groups", n4, 16)
            add(_p_3I(v.uid, v.gid, n4))
            add(_pack(f">{n4}I", *s3))
        except _struct_error as error:
            raise unpackable("stored_open_rest_2", error) from None
    def pack_stored_open(self, v: stored_open) -> None:
        add = self._add
        try:
            s1 = v.owner
            n2 = len(s1)
            if n2 > 1024: raise bad_size("stored_open.owner", n2, 1024)
            add(_p_Q5IQI(v.clientid, v.access, v.deny, v.access_seen, v.deny_seen, v.seqid, v.instance, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.object
            n4 = len(s3)
            if n4 > 128: raise bad_size("stored_open.object", n4, 128)
            add(_p_I(n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
            s5 = v.groups
            n6 = len(s5)
            if n6 > 16: raise bad_size("stored_open.groups", n6, 16)
            add(_p_3I(v.uid, v.gid, n6))
            add(_pack(f">{n6}I", *s5))
        except _struct_error as error:
            raise unpackable("stored_open", error) from None
    def pack_stored_blackout(self, v: stored_blackout) -> None:
        add = self._add
        try:
            s1 = v.target
            n2 = len(s1)
            add(_p_2I(v.what, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.name
            n4 = len(s3)
            add(_p_I(n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
            s5 = v.address
            n6 = len(s5)
            add(_p_I(n6))
            add(s5)
            if n6 & 3: add(PADDING[n6 & 3])
            add(_p_QI(v.until_ns, 1 if v.retry else 0))
        except _struct_error as error:
            raise unpackable("stored_blackout", error) from None
    def pack_stored_range(self, v: stored_range) -> None:
        add = self._add
        try:
            add(_p_2QI(v.start, v.last, 1 if v.exclusive else 0))
        except _struct_error as error:
            raise unpackable("stored_range", error) from None
    def pack_stored_lock_rest(self, v: stored_lock_rest) -> None:
        add = self._add
        try:
            add(_p_IQ(v.seqid, v.instance))
        except _struct_error as error:
            raise unpackable("stored_lock_rest", error) from None
    def pack_stored_lock(self, v: stored_lock) -> None:
        add = self._add
        try:
            s1 = v.owner
            n2 = len(s1)
            if n2 > 1024: raise bad_size("stored_lock.owner", n2, 1024)
            add(_p_IQI(v.seqid, v.instance, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.ranges
            n4 = len(s3)
            add(_p_I(n4))
            for x in s3: self.pack_stored_range(x)
        except _struct_error as error:
            raise unpackable("stored_lock", error) from None
    def pack_stored_owner(self, v: stored_owner) -> None:
        add = self._add
        try:
            s1 = v.result
            n2 = len(s1)
            add(_p_6I(1 if v.is_lock_owner else 0, 1 if v.confirmed else 0, v.seqid, v.operation, v.status, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.owner
            n4 = len(s3)
            if n4 > 1024: raise bad_size("stored_owner.owner", n4, 1024)
            add(_p_I(n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
            s5 = v.object
            n6 = len(s5)
            if n6 > 128: raise bad_size("stored_owner.object", n6, 128)
            add(_p_I(n6))
            add(s5)
            if n6 & 3: add(PADDING[n6 & 3])
            s7 = v.closed
            n8 = len(s7)
            if n8 > 12: raise bad_size("stored_owner.closed", n8, 12)
            add(_p_I(n8))
            add(s7)
            if n8 & 3: add(PADDING[n8 & 3])
        except _struct_error as error:
            raise unpackable("stored_owner", error) from None
    def pack_stored_intent(self, v: stored_intent) -> None:
        add = self._add
        try:
            s1 = v.found
            n2 = len(s1)
            if n2 > 128: raise bad_size("stored_intent.found", n2, 128)
            add(_p_4I4Q2q4I(v.undecided, v.attempts, v.index, v.port, v.at_ns, v.change, v.other_change, v.size, v.atime_ns, v.mtime_ns, v.mode, v.uid, v.gid, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
            s3 = v.other_found
            n4 = len(s3)
            if n4 > 128: raise bad_size("stored_intent.other_found", n4, 128)
            add(_p_I(n4))
            add(s3)
            if n4 & 3: add(PADDING[n4 & 3])
            s5 = v.current
            n6 = len(s5)
            if n6 > 128: raise bad_size("stored_intent.current", n6, 128)
            add(_p_I(n6))
            add(s5)
            if n6 & 3: add(PADDING[n6 & 3])
            s7 = v.saved
            n8 = len(s7)
            if n8 > 128: raise bad_size("stored_intent.saved", n8, 128)
            add(_p_I(n8))
            add(s7)
            if n8 & 3: add(PADDING[n8 & 3])
            s9 = v.stateid
            n10 = len(s9)
            if n10 > 16: raise bad_size("stored_intent.stateid", n10, 16)
            add(_p_I(n10))
            add(s9)
            if n10 & 3: add(PADDING[n10 & 3])
            s11 = v.saved_stateid
            n12 = len(s11)
            if n12 > 16: raise bad_size("stored_intent.saved_stateid", n12, 16)
            add(_p_I(n12))
            add(s11)
            if n12 & 3: add(PADDING[n12 & 3])
            s13 = v.address
            n14 = len(s13)
            if n14 > 64: raise bad_size("stored_intent.address", n14, 64)
            add(_p_I(n14))
            add(s13)
            if n14 & 3: add(PADDING[n14 & 3])
            s15 = v.results
            n16 = len(s15)
            add(_p_I(n16))
            add(s15)
            if n16 & 3: add(PADDING[n16 & 3])
            s17 = v.request
            n18 = len(s17)
            add(_p_I(n18))
            add(s17)
            if n18 & 3: add(PADDING[n18 & 3])
        except _struct_error as error:
            raise unpackable("stored_intent", error) from None
    def pack_stored_reply(self, v: stored_reply) -> None:
        add = self._add
        try:
            s1 = v.reply
            n2 = len(s1)
            add(_p_QI(v.number, n2))
            add(s1)
            if n2 & 3: add(PADDING[n2 & 3])
        except _struct_error as error:
            raise unpackable("stored_reply", error) from None

class StoredUnpacker(Unpacker):
    __slots__ = ()
    def unpack_stored_client(self) -> stored_client:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, n3 = _u_Q2I(b, p)
            p += 16
            e = p + n3 + (-n3 & 3)
            if e > end or n3 > 1024: raise bad_length("stored_client.owner", n3, end - p, 1024)
            v4 = b[p:p + n3]
            if v4.__class__ is not bytes: v4 = bytes(v4)
            p = e
            v5, n6 = _u_8sI(b, p)
            p += 12
            e = p + n6 + (-n6 & 3)
            if e > end: raise bad_length("stored_client.principal", n6, end - p, None)
            v7 = b[p:p + n6]
            if v7.__class__ is not bytes: v7 = bytes(v7)
            p = e
            v8, v9, n10 = _u_3I(b, p)
            p += 12
            if v8 > 1: raise bad_bool(v8)
            e = p + n10 + (-n10 & 3)
            if e > end: raise bad_length("stored_client.create_reply", n10, end - p, None)
            v11 = b[p:p + n10]
            if v11.__class__ is not bytes: v11 = bytes(v11)
            p = e
            v12, v13, n14 = _u_8s2I(b, p)
            p += 16
            e = p + n14 + (-n14 & 3)
            if e > end: raise bad_length("stored_client.callback_netid", n14, end - p, None)
            v15 = b[p:p + n14]
            if v15.__class__ is not bytes: v15 = bytes(v15)
            p = e
            (n16,) = _u_I(b, p)
            p += 4
            e = p + n16 + (-n16 & 3)
            if e > end: raise bad_length("stored_client.callback_address", n16, end - p, None)
            v17 = b[p:p + n16]
            if v17.__class__ is not bytes: v17 = bytes(v17)
            p = e
            (v18,) = _u_I(b, p)
            p += 4
            r19 = _new(stored_client)
            r19.clientid = v1
            r19.minor = v2
            r19.owner = v4
            r19.verifier = v5
            r19.principal = v7
            r19.reclaim_complete = v8 == 1
            r19.create_sequence = v9
            r19.create_reply = v11
            r19.confirm = v12
            r19.callback_program = v13
            r19.callback_netid = v15
            r19.callback_address = v17
            r19.callback_ident = v18
            self.position = p
            return r19
        except _struct_error:
            raise truncated("stored_client", self) from None
    def unpack_stored_channel(self) -> stored_channel:
        b = self._buf
        p = self.position
        try:
            v1, v2, v3, v4, v5 = _u_5I(b, p)
            p += 20
            r6 = _new(stored_channel)
            r6.request_size_max = v1
            r6.reply_size_max = v2
            r6.reply_cached_max = v3
            r6.operations_max = v4
            r6.slots = v5
            self.position = p
            return r6
        except _struct_error:
            raise truncated("stored_channel", self) from None
    def unpack_stored_session(self) -> stored_session:
        b = self._buf
        p = self.position
        try:
            v1, v2, v3, v4, v5, v6, v7, v8, v10, v11, v12, v13, v14 = _u_Q12I(b, p)
            p += 56
            r9 = _new(stored_channel)
            r9.request_size_max = v4
            r9.reply_size_max = v5
            r9.reply_cached_max = v6
            r9.operations_max = v7
            r9.slots = v8
            r15 = _new(stored_channel)
            r15.request_size_max = v10
            r15.reply_size_max = v11
            r15.reply_cached_max = v12
            r15.operations_max = v13
            r15.slots = v14
            r16 = _new(stored_session)
            r16.clientid = v1
            r16.flags = v2
            r16.callback_program = v3
            r16.fore = r9
            r16.back = r15
            self.position = p
            return r16
        except _struct_error:
            raise truncated("stored_session", self) from None
    def unpack_stored_grant(self) -> stored_grant:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, n4 = _u_4I(b, p)
            p += 16
            if n4 * 4 > end - p or n4 > 16: raise bad_length("stored_grant.groups", n4, end - p, 16)
            v5 = list(_unpack_from(f">{n4}I", b, p))
            p += n4 * 4
            r6 = _new(stored_grant)
            r6.access = v1
            r6.uid = v2
            r6.gid = v3
            r6.groups = v5
            self.position = p
            return r6
        except _struct_error:
            raise truncated("stored_grant", self) from None
    def unpack_stored_open_rest(self) -> stored_open_rest:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, n5 = _u_3IQI(b, p)
            p += 24
            e = p + n5 + (-n5 & 3)
            if e > end or n5 > 1024: raise bad_length("stored_open_rest.owner", n5, end - p, 1024)
            v6 = b[p:p + n5]
            if v6.__class__ is not bytes: v6 = bytes(v6)
            p = e
            (n7,) = _u_I(b, p)
            p += 4
            if n7 * 16 > end - p: raise bad_length("stored_open_rest.grants", n7, end - p, None)
            self.position = p
            f = self.unpack_stored_grant
            v8 = [f() for _ in range(n7)]
            r9 = _new(stored_open_rest)
            r9.access_seen = v1
            r9.deny_seen = v2
            r9.seqid = v3
            r9.instance = v4
            r9.owner = v6
            r9.grants = v8
            return r9
        except _struct_error:
            raise truncated("stored_open_rest", self) from None
    def unpack_stored_open_rest_2(self) -> stored_open_rest_2:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, n5 = _u_3IQI(b, p)
            p += 24
            e = p + n5 + (-n5 & 3)
            if e > end or n5 > 1024: raise bad_length("stored_open_rest_2.owner", n5, end - p, 1024)
            v6 = b[p:p + n5]
            if v6.__class__ is not bytes: v6 = bytes(v6)
            p = e
            v7, v8, n9 = _u_3I(b, p)
            p += 12
            if n9 * 4 > end - p or n9 > 16: raise bad_length("stored_open_rest_2.groups", n9, end - p, 16)
            v10 = list(_unpack_from(f">{n9}I", b, p))
            p += n9 * 4
            r11 = _new(stored_open_rest_2)
            r11.access_seen = v1
            r11.deny_seen = v2
            r11.seqid = v3
            r11.instance = v4
            r11.owner = v6
            r11.uid = v7
            r11.gid = v8
            r11.groups = v10
            self.position = p
            return r11
        except _struct_error:
            raise truncated("stored_open_rest_2", self) from None
    def unpack_stored_open(self) -> stored_open:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, v5, v6, v7, n8 = _u_Q5IQI(b, p)
            p += 40
            e = p + n8 + (-n8 & 3)
            if e > end or n8 > 1024: raise bad_length("stored_open.owner", n8, end - p, 1024)
            v9 = b[p:p + n8]
            if v9.__class__ is not bytes: v9 = bytes(v9)
            p = e
            (n10,) = _u_I(b, p)
            p += 4
            e = p + n10 + (-n10 & 3)
            if e > end or n10 > 128: raise bad_length("stored_open.object", n10, end - p, 128)
            v11 = b[p:p + n10]
            if v11.__class__ is not bytes: v11 = bytes(v11)
            p = e
            v12, v13, n14 = _u_3I(b, p)
            p += 12
            if n14 * 4 > end - p or n14 > 16: raise bad_length("stored_open.groups", n14, end - p, 16)
            v15 = list(_unpack_from(f">{n14}I", b, p))
            p += n14 * 4
            r16 = _new(stored_open)
            r16.clientid = v1
            r16.access = v2
            r16.deny = v3
            r16.access_seen = v4
            r16.deny_seen = v5
            r16.seqid = v6
            r16.instance = v7
            r16.owner = v9
            r16.object = v11
            r16.uid = v12
            r16.gid = v13
            r16.groups = v15
            self.position = p
            return r16
        except _struct_error:
            raise truncated("stored_open", self) from None
    def unpack_stored_blackout(self) -> stored_blackout:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, n2 = _u_2I(b, p)
            p += 8
            e = p + n2 + (-n2 & 3)
            if e > end: raise bad_length("stored_blackout.target", n2, end - p, None)
            v3 = b[p:p + n2]
            if v3.__class__ is not bytes: v3 = bytes(v3)
            p = e
            (n4,) = _u_I(b, p)
            p += 4
            e = p + n4 + (-n4 & 3)
            if e > end: raise bad_length("stored_blackout.name", n4, end - p, None)
            v5 = b[p:p + n4]
            if v5.__class__ is not bytes: v5 = bytes(v5)
            p = e
            (n6,) = _u_I(b, p)
            p += 4
            e = p + n6 + (-n6 & 3)
            if e > end: raise bad_length("stored_blackout.address", n6, end - p, None)
            v7 = b[p:p + n6]
            if v7.__class__ is not bytes: v7 = bytes(v7)
            p = e
            v8, v9 = _u_QI(b, p)
            p += 12
            if v9 > 1: raise bad_bool(v9)
            r10 = _new(stored_blackout)
            r10.what = v1
            r10.target = v3
            r10.name = v5
            r10.address = v7
            r10.until_ns = v8
            r10.retry = v9 == 1
            self.position = p
            return r10
        except _struct_error:
            raise truncated("stored_blackout", self) from None
    def unpack_stored_range(self) -> stored_range:
        b = self._buf
        p = self.position
        try:
            v1, v2, v3 = _u_2QI(b, p)
            p += 20
            if v3 > 1: raise bad_bool(v3)
            r4 = _new(stored_range)
            r4.start = v1
            r4.last = v2
            r4.exclusive = v3 == 1
            self.position = p
            return r4
        except _struct_error:
            raise truncated("stored_range", self) from None
    def unpack_stored_lock_rest(self) -> stored_lock_rest:
        b = self._buf
        p = self.position
        try:
            v1, v2 = _u_IQ(b, p)
            p += 12
            r3 = _new(stored_lock_rest)
            r3.seqid = v1
            r3.instance = v2
            self.position = p
            return r3
        except _struct_error:
            raise truncated("stored_lock_rest", self) from None
    def unpack_stored_lock(self) -> stored_lock:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, n3 = _u_IQI(b, p)
            p += 16
            e = p + n3 + (-n3 & 3)
            if e > end or n3 > 1024: raise bad_length("stored_lock.owner", n3, end - p, 1024)
            v4 = b[p:p + n3]
            if v4.__class__ is not bytes: v4 = bytes(v4)
            p = e
            (n5,) = _u_I(b, p)
            p += 4
            if n5 * 20 > end - p: raise bad_length("stored_lock.ranges", n5, end - p, None)
            self.position = p
            f = self.unpack_stored_range
            v6 = [f() for _ in range(n5)]
            r7 = _new(stored_lock)
            r7.seqid = v1
            r7.instance = v2
            r7.owner = v4
            r7.ranges = v6
            return r7
        except _struct_error:
            raise truncated("stored_lock", self) from None
    def unpack_stored_owner(self) -> stored_owner:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, v5, n6 = _u_6I(b, p)
            p += 24
            if v1 > 1: raise bad_bool(v1)
            if v2 > 1: raise bad_bool(v2)
            e = p + n6 + (-n6 & 3)
            if e > end: raise bad_length("stored_owner.result", n6, end - p, None)
            v7 = b[p:p + n6]
            if v7.__class__ is not bytes: v7 = bytes(v7)
            p = e
            (n8,) = _u_I(b, p)
            p += 4
            e = p + n8 + (-n8 & 3)
            if e > end or n8 > 1024: raise bad_length("stored_owner.owner", n8, end - p, 1024)
            v9 = b[p:p + n8]
            if v9.__class__ is not bytes: v9 = bytes(v9)
            p = e
            (n10,) = _u_I(b, p)
            p += 4
            e = p + n10 + (-n10 & 3)
            if e > end or n10 > 128: raise bad_length("stored_owner.object", n10, end - p, 128)
            v11 = b[p:p + n10]
            if v11.__class__ is not bytes: v11 = bytes(v11)
            p = e
            (n12,) = _u_I(b, p)
            p += 4
            e = p + n12 + (-n12 & 3)
            if e > end or n12 > 12: raise bad_length("stored_owner.closed", n12, end - p, 12)
            v13 = b[p:p + n12]
            if v13.__class__ is not bytes: v13 = bytes(v13)
            p = e
            r14 = _new(stored_owner)
            r14.is_lock_owner = v1 == 1
            r14.confirmed = v2 == 1
            r14.seqid = v3
            r14.operation = v4
            r14.status = v5
            r14.result = v7
            r14.owner = v9
            r14.object = v11
            r14.closed = v13
            self.position = p
            return r14
        except _struct_error:
            raise truncated("stored_owner", self) from None
    def unpack_stored_intent(self) -> stored_intent:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, n14 = _u_4I4Q2q4I(b, p)
            p += 80
            e = p + n14 + (-n14 & 3)
            if e > end or n14 > 128: raise bad_length("stored_intent.found", n14, end - p, 128)
            v15 = b[p:p + n14]
            if v15.__class__ is not bytes: v15 = bytes(v15)
            p = e
            (n16,) = _u_I(b, p)
            p += 4
            e = p + n16 + (-n16 & 3)
            if e > end or n16 > 128: raise bad_length("stored_intent.other_found", n16, end - p, 128)
            v17 = b[p:p + n16]
            if v17.__class__ is not bytes: v17 = bytes(v17)
            p = e
            (n18,) = _u_I(b, p)
            p += 4
            e = p + n18 + (-n18 & 3)
            if e > end or n18 > 128: raise bad_length("stored_intent.current", n18, end - p, 128)
            v19 = b[p:p + n18]
            if v19.__class__ is not bytes: v19 = bytes(v19)
            p = e
            (n20,) = _u_I(b, p)
            p += 4
            e = p + n20 + (-n20 & 3)
            if e > end or n20 > 128: raise bad_length("stored_intent.saved", n20, end - p, 128)
            v21 = b[p:p + n20]
            if v21.__class__ is not bytes: v21 = bytes(v21)
            p = e
            (n22,) = _u_I(b, p)
            p += 4
            e = p + n22 + (-n22 & 3)
            if e > end or n22 > 16: raise bad_length("stored_intent.stateid", n22, end - p, 16)
            v23 = b[p:p + n22]
            if v23.__class__ is not bytes: v23 = bytes(v23)
            p = e
            (n24,) = _u_I(b, p)
            p += 4
            e = p + n24 + (-n24 & 3)
            if e > end or n24 > 16: raise bad_length("stored_intent.saved_stateid", n24, end - p, 16)
            v25 = b[p:p + n24]
            if v25.__class__ is not bytes: v25 = bytes(v25)
            p = e
            (n26,) = _u_I(b, p)
            p += 4
            e = p + n26 + (-n26 & 3)
            if e > end or n26 > 64: raise bad_length("stored_intent.address", n26, end - p, 64)
            v27 = b[p:p + n26]
            if v27.__class__ is not bytes: v27 = bytes(v27)
            p = e
            (n28,) = _u_I(b, p)
            p += 4
            e = p + n28 + (-n28 & 3)
            if e > end: raise bad_length("stored_intent.results", n28, end - p, None)
            v29 = b[p:p + n28]
            if v29.__class__ is not bytes: v29 = bytes(v29)
            p = e
            (n30,) = _u_I(b, p)
            p += 4
            e = p + n30 + (-n30 & 3)
            if e > end: raise bad_length("stored_intent.request", n30, end - p, None)
            v31 = b[p:p + n30]
            if v31.__class__ is not bytes: v31 = bytes(v31)
            p = e
            r32 = _new(stored_intent)
            r32.undecided = v1
            r32.attempts = v2
            r32.index = v3
            r32.port = v4
            r32.at_ns = v5
            r32.change = v6
            r32.other_change = v7
            r32.size = v8
            r32.atime_ns = v9
            r32.mtime_ns = v10
            r32.mode = v11
            r32.uid = v12
            r32.gid = v13
            r32.found = v15
            r32.other_found = v17
            r32.current = v19
            r32.saved = v21
            r32.stateid = v23
            r32.saved_stateid = v25
            r32.address = v27
            r32.results = v29
            r32.request = v31
            self.position = p
            return r32
        except _struct_error:
            raise truncated("stored_intent", self) from None
    def unpack_stored_reply(self) -> stored_reply:
        b = self._buf
        p = self.position
        end = self._end
        try:
            v1, n2 = _u_QI(b, p)
            p += 12
            e = p + n2 + (-n2 & 3)
            if e > end: raise bad_length("stored_reply.reply", n2, end - p, None)
            v3 = b[p:p + n2]
            if v3.__class__ is not bytes: v3 = bytes(v3)
            p = e
            r4 = _new(stored_reply)
            r4.number = v1
            r4.reply = v3
            self.position = p
            return r4
        except _struct_error:
            raise truncated("stored_reply", self) from None
