"""The duplicate request cache of NFSv4.0, which has no slots (RFC 7530 2.1, 16.1; RFC 5531 8).

Owns which requests count as the same: client address, xid and a checksum of the record.  Only requests that changed
something are kept; everything else may run twice.  A reply is stored in the transaction that has the request's
changes, so that a retransmission finds it after a restart too.
"""

from __future__ import annotations

import struct
import zlib
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable

from statestore import ANSWER, ChangeSet, Damage, useless
from xdr.codec import XdrError
from xdr.generated import stored

# The newest of all clients together; at about 300 bytes each.
REPLIES_MAX = 16_384
# Of one address: what four connections may have in flight. Nobody asks again for what was answered long ago, and
# every start has to read all of them.
REPLIES_OF_ADDRESS_MAX = 1_024
REPLY_SIZE_MAX = 4096
# Requests that change names are far smaller; what is behind this is file data.
_CHECKED_SIZE = 4096
_HEAD = struct.Struct(">QI")
_RECORD_KEY = struct.Struct(">3I")

Key = tuple[str, int, int, int]


def key_of(address: str, xid: int, record: bytes | bytearray) -> Key:
    """What a retransmission has in common with its first sending."""
    return address, xid, len(record), zlib.crc32(record[:_CHECKED_SIZE])


class ReplyCache:
    """The last replies to requests that changed something."""

    def __init__(self) -> None:
        self._replies: OrderedDict[Key, bytes] = OrderedDict()
        self._of_address: defaultdict[str, deque[Key]] = defaultdict(deque)
        self._number = 0

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: Key) -> bytes | None:
        """The reply to this request, if it has been sent before."""
        return self._replies.get(key)

    def add(self, key: Key, reply: bytes, changes: ChangeSet) -> None:
        """Keep a reply, in place of the oldest one; one that is too large is not kept."""
        if len(reply) > REPLY_SIZE_MAX:
            return
        self._keep(key, reply)
        self._number += 1
        changes.put(ANSWER, record_key(key), _HEAD.pack(self._number, len(reply)) + reply + bytes(-len(reply) & 3))
        if len(self._of_address[key[0]]) > REPLIES_OF_ADDRESS_MAX:
            self._forget(key[0], changes)
        if len(self._replies) > REPLIES_MAX:
            self._forget(next(iter(self._replies))[0], changes)

    def _keep(self, key: Key, reply: bytes) -> None:
        if key not in self._replies:
            self._of_address[key[0]].append(key)
        self._replies[key] = reply

    def _forget(self, address: str, changes: ChangeSet) -> None:
        """Forget the oldest reply to an address."""
        mine = self._of_address[address]
        oldest = mine.popleft()
        if not mine:
            del self._of_address[address]
        del self._replies[oldest]
        changes.remove(ANSWER, record_key(oldest))

    def load(self, entries: Iterable[tuple[bytes, bytes]]) -> list[Damage]:
        """Take over the stored replies; returns those that cannot be read."""
        found = []
        left_out = []
        for key_bytes, value in entries:
            try:
                unpacker = stored.StoredUnpacker(value)
                kept = unpacker.unpack_stored_reply()
                unpacker.done()
                found.append((kept.number, _key_from(key_bytes), kept.reply))
            except (XdrError, ValueError, struct.error) as error:
                left_out.append(useless(ANSWER, key_bytes, value, f"cannot be read: {error!r}"))
        for number, key, reply in sorted(found):
            self._number = number
            self._keep(key, reply)
        return left_out


def record_key(key: Key) -> bytes:
    """The key of a reply's record: xid, size, checksum, address."""
    address, xid, size, checksum = key
    return _RECORD_KEY.pack(xid, size, checksum) + address.encode()


def _key_from(stored_key: bytes) -> Key:
    xid, size, checksum = _RECORD_KEY.unpack_from(stored_key)
    return stored_key[_RECORD_KEY.size :].decode(), xid, size, checksum
