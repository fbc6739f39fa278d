"""What every store promises, over the memory store and the LMDB store at both levels."""

import tempfile
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import (
    HOLDER,
    META,
    NEWEST,
    OPEN,
    SLOT,
    STREAM,
    ChangeSet,
    LmdbStore,
    MemoryStore,
    Store,
    StoreFailed,
    StoreNewer,
)


def changes_of(*puts: tuple[int, bytes, bytes]) -> ChangeSet:
    changes = ChangeSet()
    for kind, key, value in puts:
        changes.put(kind, key, value)
    return changes


def commit_all(store: Store, *sets: ChangeSet) -> int:
    for changes in sets:
        ticket = store.commit(changes)
    store.wait(ticket)
    return ticket


def test_commit_tickets_rise_from_1(backend: Any) -> None:
    """Tickets count the change sets of this opening, empty ones too."""
    store = backend.open()
    assert store.durable == 0
    tickets = [
        store.commit(changes_of((OPEN, b"a", b"1"))),
        store.commit(ChangeSet()),
        store.commit(ChangeSet()),
    ]
    assert tickets == [1, 2, 3]
    store.wait(3)
    assert store.durable == 3
    store.close()


def test_load_first_opening_is_empty(backend: Any) -> None:
    """A new state has no records of its user, and nothing damaged."""
    store = backend.open()
    assert list(store.load()) == []
    assert store.damaged == []
    store.close()


def test_load_reopened_in_order(backend: Any) -> None:
    """What was committed is there at the next opening, ordered by kind and key, empty values too."""
    store = backend.open()
    commit_all(store, changes_of((OPEN, b"b", b"2"), (HOLDER, b"z", b"")), changes_of((OPEN, b"a", b"1")))
    store.close()
    assert list(backend.open().load()) == [(HOLDER, b"z", b""), (OPEN, b"a", b"1"), (OPEN, b"b", b"2")]


def test_load_keeps_its_users_meta_records(backend: Any) -> None:
    """META is shared with the user, who sees its own records only."""
    store = backend.open()
    commit_all(store, changes_of((META, b"cluster", b"name")))
    store.close()
    assert list(backend.open().load()) == [(META, b"cluster", b"name")]


def test_commit_later_change_wins(backend: Any) -> None:
    """Within a set and between sets of one batch the later change of a key counts."""
    store = backend.open()
    first = changes_of((OPEN, b"a", b"old"), (OPEN, b"b", b"old"), (OPEN, b"a", b"new"))
    second = ChangeSet()
    second.remove(OPEN, b"b")
    third = changes_of((OPEN, b"c", b"old"))
    third.remove(OPEN, b"c")
    third.put(OPEN, b"c", b"new")
    commit_all(store, first, second, third)
    assert list(store.load()) == [(OPEN, b"a", b"new"), (OPEN, b"c", b"new")]
    store.close()


def test_commit_remove_of_nothing(backend: Any) -> None:
    """Removing what is not there is no error."""
    store = backend.open()
    changes = ChangeSet()
    changes.remove(OPEN, b"absent")
    commit_all(store, changes)
    assert list(store.load()) == []
    store.close()


def test_merge_is_as_if_made_later() -> None:
    """A merged set's changes take the place of earlier ones."""
    one = changes_of((OPEN, b"a", b"1"), (OPEN, b"b", b"1"))
    two = changes_of((OPEN, b"a", b"2"))
    two.remove(OPEN, b"b")
    one.merge(two)
    store = MemoryStore()
    commit_all(store, one)
    assert list(store.load()) == [(OPEN, b"a", b"2")]


def test_changeset_is_true_when_it_has_changes() -> None:
    """An empty set is false, a removal is a change."""
    changes = ChangeSet()
    assert not changes
    changes.remove(OPEN, b"a")
    assert changes
    assert len(changes) == 1


@pytest.mark.parametrize("key", [b"", bytes(511)])
def test_put_key_of_wrong_size(key: bytes) -> None:
    """A key that no engine could store is refused before memory is ahead of the disk."""
    with pytest.raises(ValueError, match="1 to 510"):
        ChangeSet().put(OPEN, key, b"")
    with pytest.raises(ValueError, match="1 to 510"):
        ChangeSet().remove(OPEN, key)


def test_put_unknown_kind() -> None:
    """Only kinds of the table can be stored."""
    with pytest.raises(KeyError):
        ChangeSet().put(200, b"a", b"")


def test_commit_largest_key_and_large_value(backend: Any) -> None:
    """A key of 510 bytes and a value of many pages come back unchanged."""
    value = bytes(range(256)) * 400
    store = backend.open()
    commit_all(store, changes_of((SLOT, bytes(510), value)))
    store.close()
    assert list(backend.open().load()) == [(SLOT, bytes(510), value)]


def test_epoch_rises_at_each_opening(backend: Any) -> None:
    """Each opening is told from all earlier ones."""
    epochs = []
    for _ in range(3):
        store = backend.open()
        epochs.append(store.epoch)
        store.close()
    assert epochs == [1, 2, 3]


def test_close_writes_the_queue(backend: Any) -> None:
    """What was queued and not flushed is durable after close; a second close does nothing."""
    store = backend.open()
    store.commit(changes_of((OPEN, b"a", b"1")))
    store.close()
    store.close()
    assert store.durable == 1
    assert list(backend.open().load()) == [(OPEN, b"a", b"1")]


def test_commit_after_close(backend: Any) -> None:
    """A closed store takes nothing."""
    store = backend.open()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.commit(ChangeSet())


def test_wait_unknown_ticket(backend: Any) -> None:
    """Waiting for a ticket that nobody has would never end."""
    store = backend.open()
    with pytest.raises(ValueError, match="ticket 1 "):
        store.wait(1)
    store.close()


def test_durable_hook_is_called_in_order(backend: Any) -> None:
    """The hook hears of each batch, after `durable` says so, and of the last ticket."""
    heard: list[int] = []
    store = backend.open(on_durable=heard.append)
    for number in range(20):
        store.commit(changes_of((OPEN, b"a", bytes([number]))))
        if number % 3 == 0:
            store.flush()
    store.close()
    assert heard == sorted(set(heard))
    assert heard[-1] == 20


def test_flush_of_nothing(backend: Any) -> None:
    """Flushing an empty queue is free and gives no ticket."""
    store = backend.open()
    store.flush()
    store.flush()
    assert store.durable == 0
    store.close()


def test_commit_failure_ends_the_store(backend: Any) -> None:
    """A failed commit is told once and never durable; nothing is taken after it, the state is sound."""
    failures: list[BaseException] = []
    store = backend.open(on_failure=failures.append)
    commit_all(store, changes_of((OPEN, b"kept", b"1")))
    backend.break_disk(store)
    ticket = store.commit(changes_of((OPEN, b"large", bytes(2 << 20))))
    with pytest.raises(StoreFailed):
        store.wait(ticket)
    assert store.durable == 1
    assert len(failures) == 1
    assert isinstance(failures[0], StoreFailed)
    for _ in range(2):
        with pytest.raises(StoreFailed, match="has failed"):
            store.commit(changes_of((OPEN, b"small", b"")))
        with pytest.raises(StoreFailed):
            store.flush()
        with pytest.raises(StoreFailed):
            store.wait(ticket)
    store.close()
    assert len(failures) == 1
    assert list(backend.open().load()) == [(OPEN, b"kept", b"1")]


def test_close_with_a_queue_that_fails(backend: Any) -> None:
    """A failure while closing is raised: somebody may have been promised the queue's answers."""
    store = backend.open()
    backend.break_disk(store)
    store.commit(changes_of((OPEN, b"large", bytes(2 << 20))))
    with pytest.raises(StoreFailed):
        store.close()
    store.close()


def test_durable_hook_that_raises_is_a_failure(backend: Any) -> None:
    """An answer that cannot be released must not leave a store that seems to work."""
    failures: list[BaseException] = []

    def broken(ticket: int) -> None:
        raise RuntimeError("no loop")

    store = backend.open(on_durable=broken, on_failure=failures.append)
    ticket = store.commit(ChangeSet())
    with pytest.raises((RuntimeError, StoreFailed)):
        store.flush()
        store.wait(ticket + 0)
        store.commit(ChangeSet())
        store.wait(ticket + 1)
    assert [str(error) for error in failures] == ["no loop"]
    store.close()


def flip(position: int) -> Any:
    """Return a change of one bit of a stored value, counted from its first byte."""

    def change(value: bytes) -> bytes:
        damaged = bytearray(value)
        damaged[position] ^= 0x10
        return bytes(damaged)

    return change


DAMAGES = {
    "version": (flip(0), "record version 17"),
    "flags": (flip(1), "unknown flags 0x10"),
    "length": (flip(5), "length 19 in the frame, 3 bytes"),
    "checksum": (flip(6), "checksum"),
    "value": (flip(11), "checksum"),
    "shortened": (lambda value: value[:-1], "length 3 in the frame, 2 bytes"),
    "lengthened": (lambda value: value + b"!", "length 3 in the frame, 4 bytes"),
    "frame cut": (lambda value: value[:9], "truncated frame: 9 of 10"),
    "empty": (lambda value: b"", "truncated frame: 0 of 10"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_load_damaged_record(backend: Any, how: str) -> None:
    """A damaged record is left out and reported with its kind and key; the others are loaded."""
    damage, reason = DAMAGES[how]
    store = backend.open()
    commit_all(store, changes_of((STREAM, b"k1", b"abc"), (STREAM, b"k2", b"abc"), (OPEN, b"k1", b"abc")))
    store.close()
    stored_key = bytes((STREAM,)) + b"k1"

    def change(records: dict[bytes, bytes]) -> None:
        records[stored_key] = damage(records[stored_key])

    backend.tamper(change)
    store = backend.open()
    assert list(store.load()) == [(STREAM, b"k2", b"abc"), (OPEN, b"k1", b"abc")]
    [found] = store.damaged
    assert (found.kind, found.key) == (STREAM, b"k1")
    assert reason in found.reason
    assert str(found).startswith("STREAM 6b31: ")


def test_load_record_under_another_key(backend: Any) -> None:
    """A sound value that turns up under another key or kind is damage."""
    store = backend.open()
    commit_all(store, changes_of((OPEN, b"k1", b"abc")))
    store.close()

    def change(records: dict[bytes, bytes]) -> None:
        value = records.pop(bytes((OPEN,)) + b"k1")
        records[bytes((OPEN,)) + b"k2"] = value
        records[bytes((SLOT,)) + b"k1"] = value

    backend.tamper(change)
    store = backend.open()
    assert list(store.load()) == []
    assert [(damage.kind, damage.key) for damage in store.damaged] == [(SLOT, b"k1"), (OPEN, b"k2")]


def test_load_unknown_kind(backend: Any) -> None:
    """A damaged record of no known kind is reported, not passed on."""
    store = backend.open()
    commit_all(store, changes_of((OPEN, b"k1", b"abc")))
    store.close()

    def change(records: dict[bytes, bytes]) -> None:
        records[b"\xc8k1"] = records[bytes((OPEN,)) + b"k1"]

    backend.tamper(change)
    store = backend.open()
    assert list(store.load()) == [(OPEN, b"k1", b"abc")]
    [found] = store.damaged
    assert (found.kind, found.key) == (200, b"k1")
    assert "checksum" in found.reason


def test_load_flipped_key(backend: Any) -> None:
    """A record whose key has one flipped bit is reported under the key that it had, be it the kind that is wrong."""
    store = backend.open()
    commit_all(store, changes_of((OPEN, b"k1", b"abc"), (SLOT, b"k2", b"def")))
    store.close()

    def change(records: dict[bytes, bytes]) -> None:
        records[bytes((OPEN,)) + b"\xeb1"] = records.pop(bytes((OPEN,)) + b"k1")
        records[bytes((SLOT | 128,)) + b"k2"] = records.pop(bytes((SLOT,)) + b"k2")

    backend.tamper(change)
    store = backend.open()
    assert list(store.load()) == []
    assert [(damage.kind, damage.key) for damage in store.damaged] == [(OPEN, b"k1"), (SLOT, b"k2")]
    assert [damage.stored_key for damage in store.damaged] == [b"\x05\xeb1", b"\x83k2"]


def newer_version(stored_key: bytes, value: bytes) -> bytes:
    """A sound record of a kind's next version, as a release to come writes it."""
    head = bytes((NEWEST[stored_key[0]] + 1, 0))
    crc = crc32(value, crc32(stored_key, crc32(head)))
    return head + len(value).to_bytes(4, "big") + crc.to_bytes(4, "big") + value


def newer_kind(stored_key: bytes, value: bytes) -> bytes:
    """A sound record, of whatever kind the key says."""
    return b"\x01\x00" + len(value).to_bytes(4, "big") + crc32(value, crc32(stored_key)).to_bytes(4, "big") + value


@pytest.mark.parametrize(
    ("stored_key", "write"), [(b"\x05k1", newer_version), (b"\x01k1", newer_version), (b"\xc8k1", newer_kind)]
)
def test_load_newer_record(backend: Any, stored_key: bytes, write: Any) -> None:
    """What a newer release has written is refused, never left out; what looks like it by damage is damage."""
    backend.open().close()
    backend.tamper(lambda records: records.update({stored_key: write(stored_key, b"value")}))
    with pytest.raises(StoreNewer, match="record of a newer release"):
        list(backend.open().load())


def test_load_damaged_newer_record(backend: Any) -> None:
    """A record of a newer release that is damaged is damage."""
    backend.open().close()
    stored = newer_version(b"\x05k1", b"value")
    backend.tamper(lambda records: records.update({b"\x05k1": flip(-1)(stored)}))
    store = backend.open()
    assert list(store.load()) == []
    assert [damage.reason for damage in store.damaged] == [
        f"record version {NEWEST[OPEN] + 1}, expected {NEWEST[OPEN]}"
    ]


STEP = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from([OPEN, SLOT]),
        st.binary(min_size=1, max_size=2),
        st.binary(max_size=40),
    ),
    st.tuples(st.just("remove"), st.sampled_from([OPEN, SLOT]), st.binary(min_size=1, max_size=2), st.just(b"")),
    st.tuples(st.sampled_from(["commit", "flush", "reopen"]), st.just(0), st.just(b""), st.just(b"")),
)


def run_model(steps: list[tuple[str, int, bytes, bytes]], opening: Any) -> None:
    """Run the steps over a store and a dict, and compare at each opening."""
    model: dict[tuple[int, bytes], bytes] = {}
    pending: dict[tuple[int, bytes], bytes | None] = {}
    store, changes = opening(None), ChangeSet()
    for action, kind, key, value in [*steps, ("commit", 0, b"", b""), ("reopen", 0, b"", b"")]:
        if action == "put":
            changes.put(kind, key, value)
            pending[kind, key] = value
        elif action == "remove":
            changes.remove(kind, key)
            pending[kind, key] = None
        elif action == "commit":
            store.commit(changes)
            changes = ChangeSet()
            model.update({where: what for where, what in pending.items() if what is not None})
            for where in [where for where, what in pending.items() if what is None]:
                model.pop(where, None)
            pending = {}
        elif action == "flush":
            store.flush()
        else:
            store = opening(store)
            assert {(kind, key): value for kind, key, value in store.load()} == model
            assert store.damaged == []
    store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, max_size=40))
def test_model_memory(steps: list[tuple[str, int, bytes, bytes]]) -> None:
    """Any sequence of changes and openings leaves what a dict would have."""

    def opening(before: MemoryStore | None) -> MemoryStore:
        if before is None:
            return MemoryStore()
        before.close()
        return MemoryStore(records=before.records)

    run_model(steps, opening)


@pytest.mark.parametrize("level", ["process", "power"])
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEP, max_size=40))
def test_model_lmdb(level: Any, steps: list[tuple[str, int, bytes, bytes]]) -> None:
    """The store on the disk does what the model does."""
    with tempfile.TemporaryDirectory() as directory:

        def opening(before: LmdbStore | None) -> LmdbStore:
            if before is not None:
                before.close()
            return LmdbStore.open(Path(directory), level=level, on_failure=lambda error: None)

        run_model(steps, opening)
