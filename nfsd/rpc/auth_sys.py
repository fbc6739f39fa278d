"""The flavour AUTH_SYS (RFC 5531, appendix A): the caller as the client's machine names it.

Owns the decoding of its credential, and the callers that were decoded last.  Must not know squashing.
"""

from __future__ import annotations

import struct
from typing import Final

from nfsd.vfs.interface import Credentials

_MACHINE_NAME_MAX: Final = 255  # RFC 5531, appendix A
_GROUPS_MAX: Final = 16  # RFC 5531, appendix A
_KNOWN_MAX: Final = 1024

_ONE: Final = struct.Struct(">I")

known_callers: Final[dict[bytes, Credentials]] = {}
"""Callers by their credential's bytes, all forgotten when there are too many."""


def caller_of(body: bytes) -> Credentials | None:
    """The caller that a credential names, remembered in `known_callers`; None if the credential is malformed."""
    cred = decode_auth_sys(body)
    if cred is not None:
        if len(known_callers) >= _KNOWN_MAX:
            known_callers.clear()
        known_callers[body] = cred
    return cred


def decode_auth_sys(body: bytes) -> Credentials | None:
    """The caller that an AUTH_SYS body names (RFC 5531, appendix A), or None if the body is malformed."""
    try:
        name_size = _ONE.unpack_from(body, 4)[0]
        if name_size > _MACHINE_NAME_MAX:
            return None
        at = 8 + (name_size + 3 & ~3)
        uid, gid, count = struct.unpack_from(">3I", body, at)
        if count > _GROUPS_MAX or at + 12 + 4 * count != len(body):
            return None
        groups = struct.unpack_from(f">{count}I", body, at + 12)
    except struct.error:
        return None
    if 0xFFFFFFFF in (uid, gid) or 0xFFFFFFFF in groups:
        return None  # the system's "leave it as it is"
    return Credentials(uid=uid, gid=gid, groups=groups)
