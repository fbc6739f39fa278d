"""Records and the change sets that carry them to the disk.

Owns the stored form of a record and its checksum. It must not know what a value means, nor which engine keeps
it. LMDB pages carry no checksum, so each record has its own.

    stored key    kind u8, key (1-510 bytes)
    stored value  version u8, flags u8 (0), length u32, crc32 u32, value      all big-endian

The CRC is taken over the stored key and the value, so that a value that turns up under another key is damage
too. Version, flags and length are compared with the only values they can have; every flipped bit is found.

A release that changes a record's layout, or what its user puts into the value, raises the kind's version (NEWEST)
and keeps reading the older ones (statestore/upgrades.py). From version 2 on the CRC begins with version and flags: so
a record of a newer release, which must not be taken for lost, is told from one whose version byte was damaged. The
same holds for kinds that are not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Final
from zlib import crc32

from statestore.errors import StoreNewer
from statestore.kinds import KIND_NAMES, OPEN, RANGE, kind_name

NEWEST: Final[Mapping[int, int]] = dict.fromkeys(KIND_NAMES, 1) | {OPEN: 3, RANGE: 2}
"""The newest version of each kind's records; every version from 1 on is sound."""
FRAME: Final = Struct(">BBII")
FRAME_SIZE: Final = FRAME.size
# LMDB refuses keys over 511 bytes; one of them is the kind.
KEY_SIZE_MAX: Final = 510
# Whose flipped bit is looked for: all that have a holder. Each bit costs a checksum of the record.
FLIPPED_KEY_SIZE_MAX: Final = 64

_PREFIXES: Final[Mapping[int, bytes]] = {kind: bytes((kind,)) for kind in KIND_NAMES}
_pack: Final = FRAME.pack
_unpack: Final = FRAME.unpack_from
_newest: Final = NEWEST.get
# What the CRC begins with, by version: nothing in version 1, later version and flags.
_STARTS: Final = (0, 0, crc32(b"\x02\x00"), crc32(b"\x03\x00"))


class ChangeSet:
    """What one request changes, made durable as a whole or not at all.

    Frames are built when a record is put, so that a commit only hands bytes on. A later change of a key takes
    the place of an earlier one. After `commit` the set belongs to the store: the caller MUST NOT change it.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes | None] = {}

    def put(self, kind: int, key: bytes, value: bytes, version: int = 1) -> None:
        """Set a record, whose value has the layout of that version of its kind.

        Raises KeyError for an unknown kind, ValueError for a key not of 1-510 bytes or a version that no release knows.
        """
        stored_key = _PREFIXES[kind] + key
        if not 1 < len(stored_key) <= 511:
            raise ValueError(f"a record's key has {len(key)} bytes; it must have 1 to {KEY_SIZE_MAX}")
        if version != 1 and not 1 <= version <= NEWEST[kind]:
            raise ValueError(f"version {version} of {kind_name(kind)}; there are versions 1 to {NEWEST[kind]}")
        crc = crc32(value, crc32(stored_key, _STARTS[version]))
        self.entries[stored_key] = _pack(version, 0, len(value), crc) + value

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
    """A record that cannot be trusted: its kind, its key, and what is wrong with it.

    `stored_key` and `stored_value` are what was found. `newer` says that it is sound, of a release to come.
    """

    kind: int
    key: bytes
    reason: str
    stored_key: bytes = field(default=b"", compare=False, repr=False)
    stored_value: bytes = field(default=b"", compare=False, repr=False)
    newer: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{kind_name(self.kind)} {self.key.hex()}: {self.reason}"

    def value(self) -> bytes:
        """Return what is left of the record's value."""
        return self.stored_value[FRAME_SIZE:]


def useless(kind: int, key: bytes, value: bytes, reason: str, version: int = 1) -> Damage:
    """Return a sound record that is of no use all the same, as damage. `version` is that of the value's layout."""
    return Damage(kind, key, reason, *encode_record(kind, key, value, version))


def encode_record(kind: int, key: bytes, value: bytes, version: int = 1) -> tuple[bytes, bytes]:
    """Return (stored key, stored value). Raises as `ChangeSet.put` does."""
    changes = ChangeSet()
    changes.put(kind, key, value, version)
    [(stored_key, stored_value)] = changes.entries.items()
    assert stored_value is not None
    return stored_key, stored_value


def decode_record(stored_key: bytes, stored_value: bytes) -> bytes | Damage:
    """Return the record's value, or what is wrong with it. Never raises, whatever the bytes are.

    The layout of the value is that of the record's version, which is the first byte of `stored_value`.
    """
    if stored_key and len(stored_value) >= FRAME_SIZE:
        version, flags, length, crc = _unpack(stored_value)
        value = stored_value[FRAME_SIZE:]
        if (
            0 < version <= _newest(stored_key[0], 0)
            and flags == 0
            and length == len(value)
            and crc == crc32(value, crc32(stored_key, _STARTS[version]))
        ):
            return value
    return _examine(stored_key, stored_value)


def _examine(stored_key: bytes, stored_value: bytes) -> Damage:
    """Return what is wrong with a record that is not as it should be."""
    kind, key = (stored_key[0], stored_key[1:]) if stored_key else (0, b"")

    def damage(reason: str, newer: bool = False) -> Damage:
        return Damage(kind, key, reason, stored_key, stored_value, newer)

    if len(stored_value) < FRAME_SIZE:
        return damage(f"truncated frame: {len(stored_value)} of {FRAME_SIZE} bytes")
    version, flags, length, crc = FRAME.unpack_from(stored_value)
    value = stored_value[FRAME_SIZE:]
    newest = NEWEST.get(kind, 1)
    if not 0 < version <= newest:
        newer = version > newest and crc == crc32(value, crc32(stored_key, crc32(stored_value[:2])))
        wrong = damage(f"record version {version}, expected {newest}", newer)
        # Another kind has that version: it may be the kind that is damaged.
        return _misplaced(wrong, version, crc) if 0 < version < len(_STARTS) and not newer else wrong
    found = crc32(value, crc32(stored_key, _STARTS[version]))
    if kind not in KIND_NAMES and crc == found:
        return damage("unknown kind, written by a newer release", True)
    if flags != 0:
        return damage(f"unknown flags {flags:#04x}")
    if length != len(value):
        return damage(f"length {length} in the frame, {len(value)} bytes stored")
    return _misplaced(damage(f"checksum {crc:08x} in the frame, {found:08x} computed"), version, crc)


def _misplaced(damage: Damage, version: int, crc: int) -> Damage:
    """Return the damage under the key that the record had, if it is one flipped bit of the key that is wrong."""
    stored_key, value = damage.stored_key, damage.value()
    if len(stored_key) > FLIPPED_KEY_SIZE_MAX:
        return damage
    for bit in range(8 * len(stored_key)):
        candidate = bytearray(stored_key)
        candidate[bit // 8] ^= 1 << bit % 8
        if version <= NEWEST.get(candidate[0], 0) and crc32(value, crc32(candidate, _STARTS[version])) == crc:
            reason = f"found under the key {stored_key.hex()}"
            return replace(damage, kind=candidate[0], key=bytes(candidate[1:]), reason=reason)
    return damage


def refuse_newer(damage: Damage, where: object) -> None:
    """Do nothing about real damage. Raises StoreNewer for what a newer release has written."""
    if damage.newer:
        raise StoreNewer(
            f"the state in {where} has a record of a newer release ({damage});"
            " start that release, or restore a backup made by this one"
        )
