"""The duplicate request cache of NFSv4.0, which has no slots (RFC 7530 2.1, 16.1; RFC 5531 8).

Owns which requests count as the same: client address, xid and a checksum of the record.  Only requests that changed
something are kept; everything else may run twice.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict

# The newest of all clients together; at about 300 bytes each.
REPLIES_MAX = 16_384
REPLY_SIZE_MAX = 4096
# Requests that change names are far smaller; what is behind this is file data.
_CHECKED_SIZE = 4096

Key = tuple[str, int, int, int]


def key_of(address: str, xid: int, record: bytes | bytearray) -> Key:
    """What a retransmission has in common with its first sending."""
    return address, xid, len(record), zlib.crc32(record[:_CHECKED_SIZE])


class DuplicateCache:
    """The last replies to requests that changed something."""

    def __init__(self) -> None:
        self._replies: OrderedDict[Key, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: Key) -> bytes | None:
        """The reply to this request, if it has been sent before."""
        return self._replies.get(key)

    def add(self, key: Key, reply: bytes) -> None:
        """Keep a reply, in place of the oldest one; one that is too large is not kept."""
        if len(reply) > REPLY_SIZE_MAX:
            return
        self._replies[key] = reply
        if len(self._replies) > REPLIES_MAX:
            self._replies.popitem(last=False)
