"""Numbers that are never used twice: clientids and the instance part of stateids.

Owns their layout.  A clientid is the store's epoch and a count within it.  An instance is drawn from a block that
was reserved in the store beforehand, so that no crash can make one come again.
"""

from __future__ import annotations

import struct

from statestore import META, ChangeSet

_KEY = b"instances"
_VALUE = struct.Struct(">Q")
_BLOCK = 1 << 20
INSTANCE_MAX = (1 << 48) - 1

KEY_PART_SIZE = 6


class Instances:
    """Hands out the instance numbers (48 bits) that make every stateid unique for ever."""

    __slots__ = ("_next", "_reserved")

    def __init__(self, reserved: bytes | None) -> None:
        """Begin after everything that an earlier server may have handed out; `reserved` is the stored ceiling."""
        self._next = _VALUE.unpack(reserved)[0] if reserved else 1
        self._reserved = self._next

    def next(self, changes: ChangeSet) -> int:
        """A fresh instance; when a block is used up, the reservation of the next one joins `changes`."""
        instance = self._next
        if instance >= self._reserved:
            self._reserved = instance + _BLOCK
            changes.put(META, _KEY, _VALUE.pack(self._reserved))
        assert instance <= INSTANCE_MAX, "2^48 stateids have been used up"
        self._next = instance + 1
        return instance


INSTANCES_KEY = _KEY


def stateid_other(key: bytes, instance: int) -> bytes:
    """The 12 bytes of stateid4.other: a part of the resume key, which cannot be guessed, and the instance."""
    return key[:KEY_PART_SIZE] + instance.to_bytes(6, "big")


class Clientids:
    """Hands out clientids: the epoch in the upper 32 bits, a count in the lower."""

    __slots__ = ("_epoch", "_count")

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch & 0xFFFFFFFF
        self._count = 0

    def next(self) -> int:
        """A clientid that no server of this state directory has used."""
        self._count += 1
        assert self._count <= 0xFFFFFFFF
        return self._epoch << 32 | self._count
