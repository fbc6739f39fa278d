"""Records and the change sets that carry them to the disk.

Owns the stored form of a record and its checksum. It must not know what a value means, nor which engine keeps
it. LMDB pages carry no checksum, so each record has its own.

    stored key    kind u8, key (1-510 bytes)
    stored value  version u8 (1), flags u8 (0), length u32, crc32 u32, value      all big-endian

The CRC is taken over the stored key and the value, so that a value that turns up under another key is damage
too. Version, flags and length are compared with the only values they can have; every flipped bit is found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final
from zlib import crc32

from statestore.kinds import KIND_NAMES, kind_name

RECORD_VERSION: Final = 1
FRAME: Final = Struct(">BBII")
FRAME_SIZE: Final = FRAME.size
# LMDB refuses keys over 511 bytes; one of them is the kind.
KEY_SIZE_MAX: Final = 510

_PREFIXES: Final[Mapping[int, bytes]] = {kind: bytes((kind,)) for kind in KIND_NAMES}
_pack: Final = FRAME.pack


class ChangeSet:
    """What one request changes, made durable as a whole or not at all.

    Frames are built when a record is put, so that a commit only hands bytes on. A later change of a key takes
    the place of an earlier one. After `commit` the set belongs to the store: the caller MUST NOT change it.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes | None] = {}

    def put(self, kind: int, key: bytes, value: bytes) -> None:
        """Set a record. Raises KeyError for an unknown kind, ValueError for a key not of 1-510 bytes."""
        stored_key = _PREFIXES[kind] + key
        if not 1 < len(stored_key) <= 511:
            raise ValueError(f"a record's key has {len(key)} bytes; it must have 1 to {KEY_SIZE_MAX}")
        self.entries[stored_key] = _pack(1, 0, len(value), crc32(value, crc32(stored_key))) + value

    def remove(self, kind: int, key: bytes) -> None:
        """Remove a record; one that does not exist is no error. Raises as `put` does."""
        stored_key = _PREFIXES[kind] + key
        if not 1 < len(stored_key) <= 511:
            raise ValueError(f"a record's key has {len(key)} bytes; it must have 1 to {KEY_SIZE_MAX}")
        self.entries[stored_key] = None

    def has(self, kind: int, key: bytes) -> bool:
        """Return whether a record is set or removed."""
        return _PREFIXES[kind] + key in self.entries

    def merge(self, other: "ChangeSet") -> None:
        """Take over the other set's changes, as if they had been made after this one's."""
        self.entries.update(other.entries)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class Damage:
    """A record that cannot be trusted: its kind, its key, and what is wrong with it."""

    kind: int
    key: bytes
    reason: str

    def __str__(self) -> str:
        return f"{kind_name(self.kind)} {self.key.hex()}: {self.reason}"


def encode_record(kind: int, key: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Return (stored key, stored value)."""
    changes = ChangeSet()
    changes.put(kind, key, value)
    [(stored_key, stored_value)] = changes.entries.items()
    assert stored_value is not None
    return stored_key, stored_value


def decode_record(stored_key: bytes, stored_value: bytes) -> bytes | Damage:
    """Return the record's value, or what is wrong with it. Never raises, whatever the bytes are."""
    if not stored_key:
        return Damage(0, b"", "empty key")
    kind, key = stored_key[0], stored_key[1:]
    if kind not in KIND_NAMES:
        return Damage(kind, key, "unknown kind: damaged, or written by a newer release")
    if len(stored_value) < FRAME_SIZE:
        return Damage(kind, key, f"truncated frame: {len(stored_value)} of {FRAME_SIZE} bytes")
    version, flags, length, crc = FRAME.unpack_from(stored_value)
    if version != RECORD_VERSION:
        return Damage(kind, key, f"record version {version}, expected {RECORD_VERSION}")
    if flags != 0:
        return Damage(kind, key, f"unknown flags {flags:#04x}")
    value = stored_value[FRAME_SIZE:]
    if length != len(value):
        return Damage(kind, key, f"length {length} in the frame, {len(value)} bytes stored")
    found = crc32(value, crc32(stored_key))
    if crc != found:
        return Damage(kind, key, f"checksum {crc:08x} in the frame, {found:08x} computed")
    return value
