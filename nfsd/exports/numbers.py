"""The numbers of exports: written in every handle, kept in the state store, never given to two exports.

Owns which export gets which number, and the records of it. It must not open anything.

An export is the directory that it is of and the place where clients find it: only where both are what they were is it
the export of before. One that is withdrawn keeps its number, so that its handles go stale, reach no other export, and
are good again when it is back. With `fsid=` the administrator names the number, and one of the two may change.

    META   key      "export.", the number u32, which copy u8
           value    flags u8 (bit 0: it is the export's number now), size u16 of the pseudo path, pseudo path,
                    directory; empty where it was lost: then only `fsid=` gives the number again         all big-endian

There are two copies of each, because all handles of all clients hang on one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from nfsd.exports.options import ExportError
from statestore import META, ChangeSet

KEY_PREFIX: Final = b"export."
LOST: Final = b""
"""The value that stands in the place of a lost record."""

_NUMBER: Final = struct.Struct(">I")
_COPIES: Final = (b"\0", b"\1")
_KEY_SIZE: Final = len(KEY_PREFIX) + _NUMBER.size + 1
_HEAD: Final = struct.Struct(">BH")
_CURRENT: Final = 1


class Place(NamedTuple):
    """What an export is known by: the pseudo path, and the directory."""

    pseudo: str
    path: str


class Wanted(NamedTuple):
    """An export that wants a number: any, or the one of `fsid=`."""

    place: Place
    fsid: int | None


class _Given(NamedTuple):
    """Whose a number is or was, None where that was lost; `current`: the export goes by it now."""

    place: Place | None
    current: bool


def is_key(key: bytes) -> bool:
    """Return whether a META record is one of a number."""
    return key.startswith(KEY_PREFIX) and len(key) == _KEY_SIZE


def stand_ins(rows: Iterable[tuple[bytes, bytes]], lost: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """Return (key, value) in the place of lost META records: what the other copy says, LOST where that is lost too."""
    values = {key[:-1]: value for key, value in rows}
    return [(key, values.get(key[:-1], LOST)) for key in lost if is_key(key)]


class Numbers:
    """The numbers that have been given. `changes` are those that are to be stored, before a handle is told."""

    def __init__(self, rows: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`rows` are the (key, value) of the store's META records of numbers. Raises ValueError."""
        self._given: dict[int, _Given] = {}
        self.changes = ChangeSet()
        for key, value in rows:
            (number,) = _NUMBER.unpack_from(key, len(KEY_PREFIX))
            self._given[number] = decode(value)

    def assign(self, exports: Sequence[Wanted]) -> list[int]:
        """Return the number of each export: the one of before, that of `fsid=`, or the lowest that was never given.

        Raises ExportError for an `fsid=` that is another export's, or was.
        """
        places = {each.place for each in exports}
        for each in exports:
            if each.fsid is not None:
                self._require_free(each.fsid, each.place, places - {each.place})
        named = {each.fsid for each in exports}
        current = {given.place: number for number, given in self._given.items() if given.current}
        free = iter(number for number in range(1, 1 << 32) if number not in self._given and number not in named)
        numbers = []
        for place, fsid in exports:
            number = fsid or current.get(place) or next(free)
            numbers.append(number)
            before = current.get(place, number)
            if before != number:
                self._put(before, _Given(place, False))
            if self._given.get(number) != _Given(place, True):
                self._put(number, _Given(place, True))
        return numbers

    def _require_free(self, number: int, place: Place, others: set[Place]) -> None:
        given = self._given.get(number)
        if given is None or given.place is None or given.place == place:
            return
        whose = given.place
        if whose in others or place.pseudo != whose.pseudo and place.path != whose.path:
            raise ExportError(
                f"fsid={number} of {place.path} at {place.pseudo} has been given to {whose.path} at {whose.pseudo}, "
                "whose handles would reach it: give a number that no export has had, or none"
            )

    def _put(self, number: int, given: _Given) -> None:
        self._given[number] = given
        assert given.place is not None
        for copy in _COPIES:
            self.changes.put(META, KEY_PREFIX + _NUMBER.pack(number) + copy, encode(given.place, given.current))


def encode(place: Place, current: bool) -> bytes:
    """Return the value of a number's record."""
    pseudo = os.fsencode(place.pseudo)
    return _HEAD.pack(_CURRENT if current else 0, len(pseudo)) + pseudo + os.fsencode(place.path)


def decode(value: bytes) -> _Given:
    """Return what a record says. Raises ValueError."""
    if value == LOST:
        return _Given(None, False)
    try:
        flags, size = _HEAD.unpack_from(value)
    except struct.error as error:
        raise ValueError(str(error)) from error
    end = _HEAD.size + size
    if end >= len(value):
        raise ValueError(f"a pseudo path of {size} bytes and a directory in {len(value)} bytes")
    place = Place(os.fsdecode(value[_HEAD.size : end]), os.fsdecode(value[end:]))
    return _Given(place, bool(flags & _CURRENT))
