"""Numbers that are never used twice: clientids and the instance part of stateids.

Owns their layout.  A clientid is the store's epoch and a count within it, enciphered so that nobody can guess another
client's from his own.  An instance is drawn from a block that was reserved in the store beforehand, so that no crash
can make one come again.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Container

from nfsd.state.model import KEY_PART_SIZE
from statestore import META, ChangeSet

INSTANCES_KEY = b"instances"
_VALUE = struct.Struct(">QQ")
_BLOCK = 1 << 20
INSTANCE_MAX = (1 << 48) - 1
# A new store begins its count at random between these, so that stateids of a lost store are known for what they are.
_FIRST_MIN, _FIRST_SPAN = 1 << 40, 1 << 40
# Four are proven to do for few numbers (Luby and Rackoff); twice as many cost 8 us for each client.
_ROUNDS = 8


class Instances:
    """Hands out the instance numbers (48 bits) that make every stateid unique for ever."""

    __slots__ = ("_first", "_next", "_reserved", "_valid_from")

    def __init__(self, first: int, reserved: int) -> None:
        """Begin after everything that an earlier server may have handed out."""
        self._first = self._valid_from = first
        self._next = reserved
        self._reserved = reserved

    @classmethod
    def of_new_store(cls, random_bytes: Callable[[int], bytes]) -> Instances:
        """The numbers of a store that has handed out none."""
        first = _FIRST_MIN + int.from_bytes(random_bytes(8), "big") % _FIRST_SPAN
        return cls(first, first)

    @classmethod
    def of_stored(cls, value: bytes) -> Instances:
        """The numbers that follow those of an earlier server.  Raises struct.error."""
        first, reserved = _VALUE.unpack(value)
        return cls(first, reserved)

    def next(self, changes: ChangeSet) -> int:
        """A fresh instance; when a block is used up, the reservation of the next one joins `changes`."""
        instance = self._next
        if instance >= self._reserved:
            self._reserved = instance + _BLOCK
            changes.put(META, INSTANCES_KEY, _VALUE.pack(self._first, self._reserved))
        assert instance <= INSTANCE_MAX, "2^47 stateids have been used up"
        self._next = instance + 1
        return instance

    def forget(self) -> None:
        """What was handed out until now names nothing any more, because clients have to claim it again."""
        self._valid_from = self._next

    def is_foreign(self, other: bytes) -> bool:
        """Whether a stateid4.other cannot have been made by a server of this store."""
        return not self._valid_from <= int.from_bytes(other[KEY_PART_SIZE:], "big") < self._next


class Clientids:
    """Hands out clientids: the epoch and a count, 32 bits each, under a permutation of 64 bits with a secret key."""

    __slots__ = ("_secret", "_epoch", "_count")

    def __init__(self, epoch: int, secret: bytes) -> None:
        self._secret = secret
        self._epoch = epoch & 0xFFFFFFFF
        self._count = 0

    def next(self, taken: Container[int]) -> int:
        """A clientid that no server of this state directory has used, and that is not zero.

        `taken` are those in use: stores of before have some that were not enciphered.
        """
        while True:
            self._count += 1
            assert self._count <= 0xFFFFFFFF
            clientid = _permuted(self._secret, self._epoch << 32 | self._count)
            if clientid and clientid not in taken:
                return clientid


def _permuted(secret: bytes, number: int) -> int:
    """Another number of 64 bits, different for each: a Feistel network, whose rounds are keyed hashes of one half."""
    left, right = number >> 32, number & 0xFFFFFFFF
    for turn in range(_ROUNDS):
        half = bytes((turn,)) + right.to_bytes(4, "big")
        digest = hashlib.blake2b(half, key=secret, person=b"clientid", digest_size=4).digest()
        left, right = right, left ^ int.from_bytes(digest, "big")
    return left << 32 | right
