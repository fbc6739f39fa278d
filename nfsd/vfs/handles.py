"""Wire handles: what a client holds of an object, bytes that nobody but this cluster can make.

Owns the layout and its MAC. It must not know what a body means: the file systems do.

    version u8, export id u8, body (up to 54 bytes), MAC (8 bytes)

| version | body                                                            |
|---------|-----------------------------------------------------------------|
| KERNEL  | the kernel's handle type u8, its opaque bytes                    |
| TABLE   | id u64 of a row in the object table                              |
| MEMORY  | number u64 and generation u64 of an object of a tree in memory   |
| PSEUDO  | 16 bytes digest of a path of the pseudo file system; export id 0 |

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

BODY_SIZE_MAX: Final = HANDLE_SIZE_MAX - 2 - MAC_SIZE


class HandleCodec:
    """Makes and checks handles with one secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = blake2b(secret, digest_size=32, person=b"wire handle").digest()

    def encode(self, version: int, export_id: int, body: bytes) -> bytes:
        """Return the wire handle. Raises ValueError for a body that is too long."""
        if len(body) > BODY_SIZE_MAX:
            raise ValueError(f"a handle's body has at most {BODY_SIZE_MAX} bytes, not {len(body)}")
        head = bytes((version, export_id)) + body
        return head + blake2b(head, key=self._key, digest_size=MAC_SIZE).digest()

    def decode(self, handle: bytes) -> tuple[int, int, bytes]:
        """Return (version, export id, body). Raises BadHandle for anything that `encode` did not make."""
        if not 2 + MAC_SIZE < len(handle) <= HANDLE_SIZE_MAX:
            raise BadHandle("no handle has this length")
        head = handle[:-MAC_SIZE]
        wanted = blake2b(head, key=self._key, digest_size=MAC_SIZE).digest()
        if not hmac.compare_digest(wanted, handle[-MAC_SIZE:]):
            raise BadHandle("the handle's check bytes are wrong")
        return head[0], head[1], head[2:]
