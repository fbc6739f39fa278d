"""Records that were put aside: as they were found, once, and not too many of them."""

from pathlib import Path
from typing import Any

import pytest

from statestore import OPEN, QUARANTINE, ChangeSet, Damage, LmdbStore, Quarantine, decode_kept, dump, useless, verify
from statestore import quarantine as quarantine_module

WHEN_NS = 1_700_000_000_123_000_000


def test_keep_moves_a_damaged_record(backend: Any) -> None:
    """The record is gone from its place, its bytes and the reason are kept, and the next load finds nothing amiss."""
    store = backend.open()
    changes = ChangeSet()
    changes.put(OPEN, b"k1", b"abc")
    changes.put(OPEN, b"k2", b"abc")
    store.wait(store.commit(changes))
    store.close()
    backend.tamper(lambda records: records.update({b"\x05k1": b"\x01\x00garbage"}))
    store = backend.open()
    list(store.load())
    quarantine, changes = Quarantine(), ChangeSet()
    for damage in store.damaged:
        quarantine.keep(changes, damage, epoch=store.epoch, when_ns=WHEN_NS)
    store.wait(store.commit(changes))
    store.close()
    store = backend.open()
    found = {(kind, key): value for kind, key, value in store.load()}
    assert store.damaged == []
    assert len(quarantine) == 1
    assert found.pop((OPEN, b"k2")) == b"abc"
    [(kind, key)] = found
    kept = decode_kept(key, found[kind, key])
    assert kind == QUARANTINE
    assert (kept.epoch, kept.when_ns, kept.stored_key) == (2, WHEN_NS, b"\x05k1")
    assert kept.stored_value == b"\x01\x00garbage"
    assert kept.reason == "truncated frame: 9 of 10 bytes"


def test_keep_long_key() -> None:
    """A key that leaves no room is shortened, differently for different keys; the record has it whole."""
    changes, quarantine = ChangeSet(), Quarantine()
    for end in (b"1", b"2"):
        quarantine.keep(changes, useless(OPEN, bytes(509) + end, b"value", "why"), epoch=1, when_ns=0)
    kept = {key[1:]: value for key, value in changes.entries.items() if value is not None}
    assert [len(key) for key in kept] == [510, 510]
    assert [decode_kept(key, value[10:]).stored_key[-1:] for key, value in kept.items()] == [b"1", b"2"]


def test_keep_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when there are too many."""
    monkeypatch.setattr(quarantine_module, "KEPT_MAX", 2)
    quarantine = Quarantine([b"\0\0\0\0\0\0\0\2b", b"\0\0\0\0\0\0\0\1a"])
    changes = ChangeSet()
    quarantine.keep(changes, Damage(OPEN, b"k", "why", b"\x05k", b""), epoch=3, when_ns=0)
    assert [key for key, value in changes.entries.items() if value is None] == [
        b"\x05k", bytes((QUARANTINE,)) + b"\0\0\0\0\0\0\0\1a",
    ]  # fmt: skip
    assert len(quarantine) == 2


def test_decode_kept_garbage() -> None:
    """What is no quarantined record is refused."""
    with pytest.raises(ValueError, match="quarantined record"):
        decode_kept(b"short", bytes(20))
    with pytest.raises(ValueError, match="quarantined record"):
        decode_kept(bytes(8), bytes(4))


def test_dump_of_the_quarantine(tmp_path: Path) -> None:
    """An operator sees what it was, when and why it was put aside, and its bytes; verify has no complaint."""
    store = LmdbStore.open(tmp_path, level="process", on_failure=lambda error: None)
    changes = ChangeSet()
    Quarantine().keep(changes, useless(OPEN, b"k", b"value", "its holder is missing"), epoch=7, when_ns=WHEN_NS)
    store.wait(store.commit(changes))
    store.close()
    [line] = [line for line in dump(tmp_path) if line["kind"] == "QUARANTINE"]
    assert (line["was"], line["was_key"], line["epoch"]) == ("OPEN", "6b", 7)
    assert line["when"] == "2023-11-14T22:13:20.123+00:00"
    assert line["reason"] == "its holder is missing"
    assert line["stored"].endswith(b"value".hex())
    assert verify(tmp_path).ok
