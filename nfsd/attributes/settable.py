"""What a client asks to set: the result of decoding, and one decoder an attribute.

Owns the checks on single values a SETATTR, CREATE or OPEN carries (RFC 8881 5.5 and 6.2.4).  It
must not know files: applying the values belongs to the operations.
"""

import struct
from collections.abc import Callable

from nfsd.attributes.owners import resolve_owner
from nfsd.errors import Nfs4Error
from xdr.generated import nfs4

# Twelve permission bits are all a mode4 has (RFC 8881 6.2.4).
MODE_BITS = 0o7777
# The largest signed offset: what the kernel takes as a size.
SIZE_MAX = (1 << 63) - 1

_U32 = struct.Struct(">I")
_U32_PAIR = struct.Struct(">II")
_U64 = struct.Struct(">Q")
_TIME = struct.Struct(">qI")

MODE_ATTRIBUTES = 1 << nfs4.FATTR4_MODE | 1 << nfs4.FATTR4_MODE_SET_MASKED | 1 << nfs4.FATTR4_MODE_UMASK


class SetAttrs:
    """Decoded settable attributes; a field is None (or False) where the client sent none.

    `mask` holds the attribute bits the client sent.  Times are in nanoseconds since the epoch;
    `now_atime` and `now_mtime` ask for the server's clock instead.  `masked_mode` is
    (value, bits), `mode_umask` is (mode, umask) (RFC 8881 5.8, RFC 8275 5).
    """

    __slots__ = (
        "atime_ns", "gid", "mask", "masked_mode", "mode", "mode_umask",
        "mtime_ns", "now_atime", "now_mtime", "size", "uid",
    )  # fmt: skip

    def __init__(self, mask: int = 0) -> None:
        self.mask = mask
        self.size: int | None = None
        self.mode: int | None = None
        self.masked_mode: tuple[int, int] | None = None
        self.mode_umask: tuple[int, int] | None = None
        self.uid: int | None = None
        self.gid: int | None = None
        self.atime_ns: int | None = None
        self.mtime_ns: int | None = None
        self.now_atime = False
        self.now_mtime = False

    def creation_mode(self, default: int) -> int:
        """The permission bits a new object starts with; `default` where the client sent none."""
        if self.mode is not None:
            return self.mode
        if self.mode_umask is not None:
            mode, umask = self.mode_umask
            return mode & ~umask
        if self.masked_mode is not None:
            value, bits = self.masked_mode
            return (default & ~bits) | (value & bits)
        return default

    def creation_mask(self) -> int:
        """The attribute bits that `creation_mode` has taken care of."""
        return self.mask & MODE_ATTRIBUTES


Buffer = bytes | memoryview
Decoder = Callable[[Buffer, int, SetAttrs], int]


def _decode_size(data: Buffer, position: int, out: SetAttrs) -> int:
    (out.size,) = _U64.unpack_from(data, position)
    if out.size > SIZE_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "size beyond the largest file offset")
    return position + 8


def _checked_mode(mode: int) -> int:
    if mode & ~MODE_BITS:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "mode has undefined bits (RFC 8881 6.2.4)")
    return mode


def _decode_mode(data: Buffer, position: int, out: SetAttrs) -> int:
    (mode,) = _U32.unpack_from(data, position)
    out.mode = _checked_mode(mode)
    return position + 4


def _decode_masked_mode(data: Buffer, position: int, out: SetAttrs) -> int:
    value, bits = _U32_PAIR.unpack_from(data, position)
    out.masked_mode = (_checked_mode(value), _checked_mode(bits))
    return position + 8


def _decode_mode_umask(data: Buffer, position: int, out: SetAttrs) -> int:
    mode, umask = _U32_PAIR.unpack_from(data, position)
    out.mode_umask = (_checked_mode(mode), _checked_mode(umask))
    return position + 8


def _opaque_at(data: Buffer, position: int) -> tuple[bytes, int]:
    (size,) = _U32.unpack_from(data, position)
    start = position + 4
    end = start + ((size + 3) & ~3)
    if end > len(data):
        raise struct.error
    return bytes(data[start : start + size]), end


def _decode_owner(data: Buffer, position: int, out: SetAttrs) -> int:
    text, position = _opaque_at(data, position)
    out.uid = resolve_owner(text, group=False)
    return position


def _decode_owner_group(data: Buffer, position: int, out: SetAttrs) -> int:
    text, position = _opaque_at(data, position)
    out.gid = resolve_owner(text, group=True)
    return position


def _time_at(data: Buffer, position: int) -> tuple[int | None, int]:
    """A settime4: nanoseconds, or None for the server's clock; and where it ends."""
    (how,) = _U32.unpack_from(data, position)
    if how == nfs4.SET_TO_SERVER_TIME4:
        return None, position + 4
    if how != nfs4.SET_TO_CLIENT_TIME4:
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "unknown time_how4")
    seconds, nanoseconds = _TIME.unpack_from(data, position + 4)
    if nanoseconds > 999_999_999:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "nseconds beyond 999999999 (RFC 8881 3.3.1)")
    return seconds * 1_000_000_000 + nanoseconds, position + 16


def _decode_atime(data: Buffer, position: int, out: SetAttrs) -> int:
    out.atime_ns, position = _time_at(data, position)
    out.now_atime = out.atime_ns is None
    return position


def _decode_mtime(data: Buffer, position: int, out: SetAttrs) -> int:
    out.mtime_ns, position = _time_at(data, position)
    out.now_mtime = out.mtime_ns is None
    return position


DECODERS: dict[int, Decoder] = {
    nfs4.FATTR4_SIZE: _decode_size,
    nfs4.FATTR4_MODE: _decode_mode,
    nfs4.FATTR4_OWNER: _decode_owner,
    nfs4.FATTR4_OWNER_GROUP: _decode_owner_group,
    nfs4.FATTR4_TIME_ACCESS_SET: _decode_atime,
    nfs4.FATTR4_TIME_MODIFY_SET: _decode_mtime,
    nfs4.FATTR4_MODE_SET_MASKED: _decode_masked_mode,
    nfs4.FATTR4_MODE_UMASK: _decode_mode_umask,
}
