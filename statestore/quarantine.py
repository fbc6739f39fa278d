"""Records that cannot be trusted, kept aside as they were found: for the operator, never to be loaded again.

Owns the stored form of such a record and how many are kept. It must not know what their loss means to anybody.

    key      epoch u64, the stored key that was found (its end replaced by a digest if that is too long)
    value    when u64 (ns since 1970), size u16 of the stored key, size u16 of the reason, stored key, reason,
             then the stored value as it was found
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from struct import Struct, error
from typing import Final

from statestore.kinds import QUARANTINE
from statestore.records import KEY_SIZE_MAX, ChangeSet, Damage

# Of all starts together; the oldest go first.
KEPT_MAX: Final = 10_000
_EPOCH: Final = Struct(">Q")
_HEAD: Final = Struct(">QHH")
_DIGEST_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """One record that was put aside: at which epoch and time (ns since 1970), why, and what was found."""

    epoch: int
    when_ns: int
    reason: str
    stored_key: bytes
    stored_value: bytes


class Quarantine:
    """The records that are kept aside, oldest first, known by their keys."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._keys = sorted(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def keep(self, changes: ChangeSet, damage: Damage, *, epoch: int, when_ns: int) -> None:
        """Move a record aside: `changes` remove it from its place, and put it here."""
        stored_key, reason = damage.stored_key, damage.reason.encode()
        key = _key_of(epoch, stored_key)
        head = _HEAD.pack(when_ns, len(stored_key), len(reason))
        changes.entries[stored_key] = None
        changes.put(QUARANTINE, key, head + stored_key + reason + damage.stored_value)
        self._keys.append(key)
        if len(self._keys) > KEPT_MAX:
            changes.remove(QUARANTINE, self._keys.pop(0))


def _key_of(epoch: int, stored_key: bytes) -> bytes:
    key = _EPOCH.pack(epoch) + stored_key
    if len(key) > KEY_SIZE_MAX:
        key = key[: KEY_SIZE_MAX - _DIGEST_SIZE] + blake2b(stored_key, digest_size=_DIGEST_SIZE).digest()
    return key


def decode_kept(key: bytes, value: bytes) -> Kept:
    """Return what was put aside. Raises ValueError."""
    try:
        (epoch,) = _EPOCH.unpack_from(key)
        when_ns, key_size, reason_size = _HEAD.unpack_from(value)
    except error as cause:
        raise ValueError(f"a quarantined record of {len(value)} bytes") from cause
    start = _HEAD.size + key_size
    end = start + reason_size
    reason = value[start:end].decode("utf-8", "replace")
    return Kept(epoch, when_ns, reason, value[_HEAD.size : start], value[end:])
