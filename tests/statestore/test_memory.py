"""Crashes of the memory store."""

import pytest

from statestore import OPEN, ChangeSet, MemoryStore, StoreFailed


def put(store: MemoryStore, key: bytes) -> int:
    changes = ChangeSet()
    changes.put(OPEN, key, b"")
    return store.commit(changes)


def keys(store: MemoryStore) -> list[bytes]:
    return [key for _, key, _ in store.load()]


def test_crash_loses_what_was_queued() -> None:
    """Only durable tickets survive, in a store of the next epoch; the dead one takes nothing more."""
    store = MemoryStore()
    put(store, b"a")
    store.flush()
    put(store, b"b")
    after = store.crash()
    assert keys(after) == [b"a"]
    assert after.epoch == store.epoch + 1
    with pytest.raises(StoreFailed, match="crashed"):
        put(store, b"c")


def test_crash_may_keep_what_nobody_was_told_of() -> None:
    """A crash between the write and the answer leaves a prefix of the queue."""
    store = MemoryStore()
    for key in (b"a", b"b", b"c"):
        put(store, key)
    assert keys(store.crash(keep=2)) == [b"a", b"b"]


def test_crash_cannot_lose_what_is_durable() -> None:
    """Asking for that is an error of the test."""
    store = MemoryStore()
    store.wait(put(store, b"a"))
    with pytest.raises(ValueError, match="durable"):
        store.crash(keep=0)


def test_crash_does_not_touch_the_survivor() -> None:
    """Both stores have their own records."""
    store = MemoryStore()
    store.wait(put(store, b"a"))
    after = store.crash()
    after.wait(put(after, b"b"))
    assert keys(store) == [b"a"]
