"""The stored form of opens and ranges: a head that this room reads, then what their service keeps for itself.

Owns the layouts of the kinds OPEN and RANGE from version 2 on. In version 1 a service laid out the whole value; of
that only the holder's key at the beginning of an OPEN is known here. It must not look into the private bytes, whose
changes raise the versions too.

    OPEN   key      resume key (16 bytes)
           value    holder's key (8 bytes), access u8, deny u8, size u16 of the object, object, private bytes to the end
    RANGE  key      key of its open (16 bytes), 16 bytes more that tell the open's parties apart
           value    size u16 of the party, count u32 of the ranges, party, then of each range its start u64, its last
                    byte u64 and exclusive u8 (0 or 1), private bytes to the end              all big-endian

A takeover decodes them by the hundred thousand, and every open and close waits for one to be encoded: both are by hand.
"""

from collections.abc import Sequence
from struct import Struct, error
from typing import Final

from statestore.kinds import OPEN, RANGE
from statestore.model import HOLDER_KEY_SIZE, Open
from statestore.ranges import Range
from statestore.records import NEWEST, ChangeSet

_OPEN_VERSION: Final = NEWEST[OPEN]
_RANGE_VERSION: Final = NEWEST[RANGE]

_OPEN: Final = Struct(">BBH")
_OPEN_STORED: Final = Struct(f">{HOLDER_KEY_SIZE}sBBH")
_OPEN_SIZE: Final = _OPEN_STORED.size
_RANGES: Final = Struct(">HI")
_RANGE: Final = Struct(">QQB")
_pack_open: Final = _OPEN.pack
_unpack_open: Final = _OPEN_STORED.unpack_from


def put_open(changes: ChangeSet, held: Open, private: bytes) -> None:
    """Set an open's record. Raises ValueError for what the layout has no room for."""
    object = held.object
    try:  # As `encode_open` does it, without the call.
        value = held.holder.key + _pack_open(held.access, held.deny, len(object)) + object + private
    except error as cause:
        raise _no_room(held, cause) from cause
    changes.put(OPEN, held.key, value, _OPEN_VERSION)


def put_ranges(changes: ChangeSet, key: bytes, party: bytes, ranges: Sequence[Range], private: bytes) -> None:
    """Set the record of the ranges that one party holds under one open.

    `party` is its name inside its holder. Raises ValueError for what the layout has no room for.
    """
    changes.put(RANGE, key, encode_ranges(party, ranges, private), _RANGE_VERSION)


def encode_open(held: Open, private: bytes) -> bytes:
    """Return the value of an open's record. Raises ValueError for what the layout has no room for."""
    object = held.object
    try:
        return held.holder.key + _pack_open(held.access, held.deny, len(object)) + object + private
    except error as cause:
        raise _no_room(held, cause) from cause


def decode_open(value: bytes) -> tuple[bytes, int, int, bytes, bytes]:
    """Return (holder's key, access, deny, object, private bytes). Raises ValueError."""
    try:
        holder_key, access, deny, size = _unpack_open(value)
    except error as cause:
        raise ValueError(f"an open of {len(value)} bytes, which is less than its head") from cause
    end = _OPEN_SIZE + size
    if not size or end > len(value):
        raise ValueError(f"an open of {len(value)} bytes, with an object of {size}")
    return holder_key, access, deny, value[_OPEN_SIZE:end], value[end:]


def encode_ranges(party: bytes, ranges: Sequence[Range], private: bytes) -> bytes:
    """Return the value of the record of a party's ranges. Raises ValueError for what the layout has no room for."""
    pack = _RANGE.pack
    try:
        head = _RANGES.pack(len(party), len(ranges)) + party
        return head + b"".join([pack(start, end - 1, exclusive) for _, start, end, exclusive in ranges]) + private
    except error as cause:
        raise ValueError(f"{len(ranges)} ranges of a party of {len(party)} bytes: {cause}") from cause


def decode_ranges(value: bytes) -> tuple[bytes, list[Range], bytes]:
    """Return (party, its ranges, private bytes). Raises ValueError."""
    try:
        party_size, count = _RANGES.unpack_from(value)
    except error as cause:
        raise ValueError(f"ranges of {len(value)} bytes, which is less than their head") from cause
    start = _RANGES.size + party_size
    end = start + count * _RANGE.size
    if end > len(value):
        raise ValueError(f"{count} ranges of a party of {party_size} bytes in {len(value)} bytes")
    party = value[_RANGES.size : start]
    return party, [_range(party, *fields) for fields in _RANGE.iter_unpack(value[start:end])], value[end:]


def _range(party: bytes, start: int, last: int, exclusive: int) -> Range:
    """Return a range as it is in memory. Raises ValueError."""
    if start > last:
        raise ValueError(f"a range from {start} to {last}, which ends before it starts")
    if exclusive > 1:
        raise ValueError(f"a range with {exclusive} for whether it is exclusive")
    return Range(party, start, last + 1, exclusive == 1)


def _no_room(held: Open, cause: error) -> ValueError:
    return ValueError(f"masks {held.access}, {held.deny} and an object of {len(held.object)} bytes: {cause}")
