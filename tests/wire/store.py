"""A stopped server's stored records, and damage to them: what a broken disk would do, record by record.

Must not know what the records' values mean beyond whose they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lmdb

from statestore import OPEN, OWNER, QUARANTINE, RANGE, STREAM, kind_name

FRAME_SIZE = 10
_MAP_SIZE = 1 << 30
Harm = Callable[[bytes], bytes]
Records = dict[bytes, bytes]


def flip(position: int = FRAME_SIZE, bit: int = 0) -> Harm:
    """One bit of a stored value is wrong; its record's own first byte is at FRAME_SIZE."""

    def change(stored_value: bytes) -> bytes:
        harmed = bytearray(stored_value)
        harmed[position % len(harmed)] ^= 1 << bit
        return bytes(harmed)

    return change


def stored_records(state: Path) -> Records:
    """Every stored key and value of a stopped server."""
    with lmdb.open(str(state), map_size=_MAP_SIZE, readonly=True) as env, env.begin() as txn:
        return {bytes(key): bytes(value) for key, value in txn.cursor()}


def rewrite(state: Path, changes: Records) -> None:
    """Put stored keys and values behind the store's back."""
    with lmdb.open(str(state), map_size=_MAP_SIZE) as env, env.begin(write=True) as txn:
        for stored_key, stored_value in changes.items():
            txn.put(stored_key, stored_value)


def harm(state: Path, kind: int, key: Callable[[bytes], bool], change: Harm) -> list[bytes]:
    """Change the stored values of a kind whose keys are chosen so; returns the keys, of which there is one at least."""
    found = {
        stored_key: change(stored_value)
        for stored_key, stored_value in stored_records(state).items()
        if stored_key[0] == kind and key(stored_key[1:])
    }
    assert found, f"no such {kind_name(kind)} record"
    rewrite(state, found)
    return [stored_key[1:] for stored_key in found]


def holder_of(records: Records, stored_key: bytes) -> bytes:
    """The clientid that a sound record belongs to, 8 bytes; empty where it belongs to none."""
    kind, key = stored_key[0], stored_key[1:]
    if kind in (OPEN, STREAM):
        return records[stored_key][FRAME_SIZE : FRAME_SIZE + 8]
    if kind == RANGE:
        opened = records.get(bytes((OPEN,)) + key[:16], b"")
        return opened[FRAME_SIZE : FRAME_SIZE + 8]
    return key[:8] if kind in (1, OWNER) else b""


def quarantined(state: Path) -> int:
    """How many records were put aside."""
    return sum(stored_key[0] == QUARANTINE for stored_key in stored_records(state))
