"""Compiled encoders: one function for each set of attributes that clients ask for.

Owns the plans and their bounded caches.  A plan is compiled from the table's rows on the first
request for its mask: neighbouring fixed-size values are fused into one struct, the rest are
pieces joined between.  It must not know operations.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable
from typing import Any

from nfsd.attributes.owners import OwnerStrings
from nfsd.attributes.rows import ATTRIBUTES, BTIME, EXCLCREAT, STATFS, SUPPORTED, WRITE_ONLY, Attribute
from nfsd.attributes.wire import U32, bitmap, opaque
from nfsd.errors import Nfs4Error
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

# Real clients use about ten masks; the bound is for a client that tries them all.
PLANS_MAX = 512


class Environment:
    """What values depend on besides the object: the request's minor version, and the lease time in seconds."""

    __slots__ = ("minor", "lease_time_s")

    minor: int
    lease_time_s: int


Values = Callable[[Environment, Node, os.stat_result], bytes]


class Plan:
    """How to encode one set of attributes.

    `mask` is what will be returned, `values` gives the attr_vals, `header` is the encoded bitmap4.
    `needs_node` is False where the values come from nothing but constants.  `without_btime` is the
    plan for objects with an unknown birth time, None where that was not asked for.
    """

    __slots__ = ("header", "mask", "needs_node", "values", "without_btime")

    def __init__(self, minor: int, mask: int) -> None:
        rows = [row for number, row in sorted(ATTRIBUTES.items()) if mask >> number & 1]
        self.mask = mask
        self.header = bitmap(mask)
        self.needs_node = mask & ~(1 << nfs4.FATTR4_RDATTR_ERROR) != 0
        self.values = _compile(rows)
        self.without_btime: Plan | None = None
        if mask >> nfs4.FATTR4_TIME_CREATE & 1:
            self.without_btime = Plan(minor, mask & ~(1 << nfs4.FATTR4_TIME_CREATE))


_plans: tuple[dict[int, Plan], ...] = tuple({} for _ in SUPPORTED)


def plan_for(minor: int, mask: int) -> Plan:
    """The plan for a requested mask, attributes that are not offered left out.

    Raises Nfs4Error INVAL where the mask has a write-only attribute (RFC 8881 5.5).
    """
    plan = _plans[minor].get(mask)
    if plan is None:
        check_readable(minor, mask)
        plan = Plan(minor, mask & SUPPORTED[minor])
        if len(_plans[minor]) >= PLANS_MAX:
            _plans[minor].clear()
        _plans[minor][mask] = plan
    return plan


def check_readable(minor: int, mask: int) -> None:
    """Raise Nfs4Error INVAL where `mask` has an attribute that can only be set."""
    if mask & WRITE_ONLY[minor]:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "write-only attribute asked for")


def encode(c: Environment, node: Node, st: os.stat_result, mask: int) -> tuple[int, bytes]:
    """The attributes of `node` in `mask`: those returned, and their values as attr_vals.

    `st` is the object's stat result.  Raises Nfs4Error INVAL for write-only attributes, OSError
    where statfs or the birth time cannot be read.
    """
    plan = _plans[c.minor].get(mask) or plan_for(c.minor, mask)
    if plan.without_btime is not None and node.fs.btime_ns(node) is None:
        plan = plan.without_btime
    return plan.mask, plan.values(c, node, st)


def encode_fattr(c: Environment, node: Node, st: os.stat_result, mask: int) -> bytes:
    """The attributes of `node` in `mask` as one encoded fattr4: bitmap4 and opaque attr_vals (RFC 8881 3.3.7)."""
    plan = _plans[c.minor].get(mask) or plan_for(c.minor, mask)
    if plan.without_btime is not None and node.fs.btime_ns(node) is None:
        plan = plan.without_btime
    values = plan.values(c, node, st)
    return plan.header + U32.pack(len(values)) + values


def rdattr_error_fattr(status: int) -> bytes:
    """The encoded fattr4 of a READDIR entry whose attributes could not be read (RFC 8881 5.8.1.12)."""
    return _RDATTR_HEADER + U32.pack(status)


_RDATTR_HEADER = bitmap(1 << nfs4.FATTR4_RDATTR_ERROR) + U32.pack(4)


def clone_granularity(node: Node) -> int:
    """The byte granularity of CLONE on the node's file system (RFC 7862 12.2.1)."""
    return int(node.fs.statfs(node).f_bsize)


# -- what the rows' expressions may use ----------------------------------------------------------------

# Indexed by the four type bits of st_mode.
_TYPES = {
    stat.S_IFREG: nfs4.NF4REG,
    stat.S_IFDIR: nfs4.NF4DIR,
    stat.S_IFBLK: nfs4.NF4BLK,
    stat.S_IFCHR: nfs4.NF4CHR,
    stat.S_IFLNK: nfs4.NF4LNK,
    stat.S_IFSOCK: nfs4.NF4SOCK,
    stat.S_IFIFO: nfs4.NF4FIFO,
}
TYPE_OF = tuple(_TYPES.get(bits << 12, 0) for bits in range(16))

HELPERS: dict[str, Any] = {
    "TYPE_OF": TYPE_OF,
    "OWNERS": OwnerStrings(),
    "SUPPORTED_BITMAPS": tuple(map(bitmap, SUPPORTED)),
    "EXCLCREAT_BITMAPS": tuple(map(bitmap, EXCLCREAT)),
    "major": os.major,
    "minor": os.minor,
    "opaque": opaque,
}


def _compile(rows: list[Attribute]) -> Values:
    """A function (c, node, st) -> attr_vals for these rows, in ascending order of number."""
    names: dict[str, Any] = dict(HELPERS)
    pieces: list[str] = []
    formats: list[str] = []
    arguments: list[str] = []

    def close_struct() -> None:
        if formats:
            name = f"pack{len(pieces)}"
            names[name] = struct.Struct(">" + "".join(formats)).pack
            pieces.append(f"{name}({', '.join(arguments)})")
            formats.clear()
            arguments.clear()

    for row in rows:
        if row.format:
            formats.append(row.format)
            arguments.extend(f"({value})" for value in row.values)
        else:
            close_struct()
            pieces.append(row.values[0])
    close_struct()
    needs = {row.needs for row in rows}
    lines = ["def values(c, node, st):", "    fs = node.fs"]
    if STATFS in needs:
        lines.append("    sv = fs.statfs(node)")
    if BTIME in needs:
        lines.append("    born = fs.btime_ns(node)")
    lines.append(f"    return {_joined(pieces)}")
    exec(compile("\n".join(lines), "<attribute plan>", "exec"), names)
    compiled: Values = names["values"]
    return compiled


def _joined(pieces: list[str]) -> str:
    if not pieces:
        return "b''"
    if len(pieces) <= 2:
        return " + ".join(pieces)
    return f"b''.join(({', '.join(pieces)}))"
