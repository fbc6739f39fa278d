"""Wire handles: what a client holds of an object, bytes that nobody but this cluster can make.

Owns the layout and its MAC. It must not know what a body means: the file systems do.

    version u8, export's number u8, body, MAC (8 bytes)
    version u8, 0, export's number u32, body, MAC (8 bytes)      of an export whose number is above 255

| version | body                                                            |
|---------|-----------------------------------------------------------------|
| KERNEL  | the kernel's handle type u8, its opaque bytes                    |
| TABLE   | id u64 of a row in the object table                              |
| MEMORY  | number u64 and generation u64 of an object of a tree in memory   |
| PSEUDO  | 16 bytes digest of a path of the pseudo file system; number 0    |

The MAC is BLAKE2b keyed with the cluster's secret, over everything before it: a client cannot make a handle
of an object outside an export, nor turn one export's handle into another's. No part is a device number, so
the handle is the same on every node that mounts the file system.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b
from typing import Final

from nfsd.vfs.interface import HANDLE_SIZE_MAX, BadHandle

KERNEL: Final = 1
TABLE: Final = 2
PSEUDO: Final = 3
MEMORY: Final = 4

MAC_SIZE: Final = 8
"""Bytes: a forger needs 2**63 tries on average, each a request to the server."""

_LONG_NUMBER_SIZE: Final = 4
_SHORT_NUMBER_MAX: Final = 255

BODY_SIZE_MAX: Final = HANDLE_SIZE_MAX - 2 - _LONG_NUMBER_SIZE - MAC_SIZE
"""Bytes of a body that fits whatever the export's number is."""


class HandleCodec:
    """Makes and checks handles with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, digest_size=32, person=b"wire handle").digest()

    def encode(self, version: int, export_id: int, body: bytes) -> bytes:
        """Return the wire handle. Raises ValueError for a body that is too long."""
        if export_id <= _SHORT_NUMBER_MAX:
            head = bytes((version, export_id)) + body
        else:
            head = bytes((version, 0)) + export_id.to_bytes(_LONG_NUMBER_SIZE, "big") + body
        if len(head) > HANDLE_SIZE_MAX - MAC_SIZE:
            raise ValueError(f"a handle's body has at most {BODY_SIZE_MAX} bytes, not {len(body)}")
        return head + blake2b(head, key=self._key, digest_size=MAC_SIZE).digest()

    def decode(self, handle: bytes) -> tuple[int, int, bytes]:
        """Return (version, export's number, body). Raises BadHandle for anything that `encode` did not make."""
        if not 2 + MAC_SIZE < len(handle) <= HANDLE_SIZE_MAX:
            raise BadHandle("no handle has this length")
        head = handle[:-MAC_SIZE]
        wanted = blake2b(head, key=self._key, digest_size=MAC_SIZE).digest()
        if not hmac.compare_digest(wanted, handle[-MAC_SIZE:]):
            raise BadHandle("the handle's check bytes are wrong")
        if head[1] or head[0] == PSEUDO:
            return head[0], head[1], head[2:]
        end = 2 + _LONG_NUMBER_SIZE
        return head[0], int.from_bytes(head[2:end], "big"), head[end:]
