"""Records that are read by hand say the same as the generated decoder, and those of older releases are still read."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from nfsd.state import opens, records
from nfsd.state.fold import LOAD_ERRORS
from nfsd.state.model import Client, Grants, LockState, OpenState, SeqidOwner, Slot
from nfsd.vfs.interface import Credentials
from statestore import (
    KIND_NAMES,
    NEWEST,
    OPEN,
    RANGE,
    SLOT,
    TO_END,
    ChangeSet,
    MemoryStore,
    RangeSet,
    Subject,
    decode_open,
    decode_ranges,
)
from tests.state.world import Requester, World, entries_of
from xdr.codec import XdrError
from xdr.generated import stored

FIXTURES = Path(__file__).parents[1] / "statestore" / "fixtures"
U32 = some.integers(0, 2**32 - 1)
INSTANCE = some.integers(0, 2**48 - 1)


def client_of(clientid: int = 7) -> Client:
    """A client that somebody else has confirmed."""
    client = Client(clientid=clientid, family=1, owner=b"c", verifier=bytes(8), principal=b"p", now=0.0)
    client.confirmed = True
    return client


def value_of(changes: ChangeSet) -> bytes:
    """The one value that a set puts."""
    [(_kind, _key, value)] = entries_of(changes)
    assert value is not None
    return value


def open_value(owner: bytes, handle: bytes, grants: Grants, numbers: tuple[int, int, int]) -> bytes:
    """An open's record."""
    held = OpenState(client_of(numbers[0]), os.urandom(16), handle, owner, numbers[1], grants[0][0])
    held.access, held.deny, held.seqid = 3, 1, numbers[2]
    held.granted, held.others = grants[0][1], grants[1:]
    held.access_seen, held.deny_seen = 8, 3
    changes = ChangeSet()
    records.put_open(changes, held)
    return value_of(changes)


CALLERS = some.builds(Credentials, U32, U32, some.lists(U32, max_size=16).map(tuple))


@given(
    some.binary(max_size=64), some.binary(min_size=1, max_size=64),
    some.lists(some.tuples(CALLERS, some.integers(0, 3)), min_size=1, max_size=8).map(tuple),
    some.tuples(some.integers(0, 2**64 - 1), INSTANCE, U32),
)  # fmt: skip
def test_open(owner: bytes, handle: bytes, grants: Grants, numbers: tuple[int, int, int]) -> None:
    """Every field is the one that was put, and that the generated decoder finds."""
    clientid, instance, seqid = numbers
    holder_key, access, deny, object, rest = decode_open(open_value(owner, handle, grants, numbers))
    assert (holder_key, access, deny, object) == (clientid.to_bytes(8, "big"), 3, 1, handle)
    unpacker = stored.StoredUnpacker(rest)
    kept = unpacker.unpack_stored_open_rest()
    unpacker.done()
    assert records.open_rest(rest) == (8, 3, seqid, instance, owner, grants)
    assert records.open_rest(rest) == (
        kept.access_seen, kept.deny_seen, kept.seqid, kept.instance, kept.owner,
        tuple((Credentials(each.uid, each.gid, tuple(each.groups)), each.access) for each in kept.grants),
    )  # fmt: skip
    assert records.recorded_grant(rest, grants[0][0]) == grants[0][1]
    assert records.recorded_grant(rest, Credentials(-1, -1)) == 0


def test_open_truncated() -> None:
    """A record that lacks bytes at its end, or has more, is refused."""
    value = open_value(b"owner", b"handle", ((Credentials(1, 2, (3, 4)), 3), (Credentials(5, 6), 1)), (1, 2, 3))
    for size in (*range(len(value)), len(value) + 1, len(value) + 4):
        with pytest.raises(LOAD_ERRORS):
            records.open_rest(decode_open((value + bytes(4))[:size])[4])


@given(some.binary(max_size=64), U32, INSTANCE)
def test_lock(owner: bytes, seqid: int, instance: int) -> None:
    """Every field is the one that was put, and that the generated decoder finds."""
    held = OpenState(client_of(), bytes(16), b"handle", b"owner", 1, Credentials(0, 0))
    lock = LockState(held, owner, instance, RangeSet())
    lock.seqid = seqid
    lock.set(5, 9, True)
    lock.set(20, TO_END, False)
    changes = ChangeSet()
    records.put_lock(changes, lock)
    party, ranges, rest = decode_ranges(value_of(changes))
    assert (party, [each[1:] for each in ranges]) == (owner, [(5, 9, True), (20, TO_END, False)])
    unpacker = stored.StoredUnpacker(rest)
    kept = unpacker.unpack_stored_lock_rest()
    unpacker.done()
    assert records.lock_rest(rest) == (kept.seqid, kept.instance) == (seqid, instance)
    for wrong in (*(rest[:size] for size in range(len(rest))), rest + bytes(1)):
        with pytest.raises(struct.error):
            records.lock_rest(wrong)


@given(U32, some.none() | some.binary(max_size=64))
def test_slot(seqid: int, reply: bytes | None) -> None:
    """A slot's sequence id, and whether there is a reply, even an empty one."""
    slot = Slot(bytes(16), 3)
    slot.seqid, slot.reply = seqid, reply
    changes = ChangeSet()
    records.put_slot(changes, slot)
    assert entries_of(changes)[0][:2] == (SLOT, bytes(16) + b"\0\0\0\3")
    value = value_of(changes)
    assert records.decode_slot(value) == (seqid, reply)
    for size in range(8):
        with pytest.raises(struct.error):
            records.decode_slot(value[:size])


def test_client_not_confirmed() -> None:
    """Only confirmed clients are ever stored."""
    client = client_of()
    client.confirmed = False
    with pytest.raises(AssertionError):
        records.put_client(ChangeSet(), client)


def test_client_and_owner_truncated() -> None:
    """A record of the generated codec that lacks bytes, or has more, is refused."""
    client = client_of()
    owner = SeqidOwner(client, b"owner", False)
    for put, decode in ((records.put_client, records.decode_client), (records.put_owner, records.decode_owner)):
        changes = ChangeSet()
        put(changes, client if decode is records.decode_client else owner)  # type: ignore[arg-type]
        value = value_of(changes)
        decode(value)
        for wrong in (*(value[:size] for size in range(len(value))), value + bytes(4)):
            with pytest.raises(XdrError):
                decode(wrong)


def test_address() -> None:
    """A client's address is a record of its own, which goes with the client."""
    client = client_of()
    client.address = "192.0.2.1"
    changes = ChangeSet()
    records.put_client(changes, client)
    key = records.address_key(client.key)
    assert records.holder_of_address(key) == client.key
    assert (10, key, b"192.0.2.1") in entries_of(changes)
    records.remove_client(changes, client)
    assert [value for _kind, _key, value in entries_of(changes)] == [None, None, None]
    assert records.holder_of_address(b"instances") is None


# -- what older releases have written -------------------------------------------------------------------------


def version_1(part: str) -> MemoryStore:
    """The store that a release before version 2 of OPEN and RANGE has left."""
    return left_by("version-1.json", part)


def left_by(file: str, part: str) -> MemoryStore:
    """The store that an older release has left."""
    numbers = {name: kind for kind, name in KIND_NAMES.items()}
    found = json.loads((FIXTURES / file).read_text())[part]["records"]
    return MemoryStore(
        records={
            bytes((numbers[each["kind"]],)) + bytes.fromhex(each["key"]): bytes.fromhex(each["stored"])
            for each in found
        },
        upgrades=records.UPGRADES,
    )


@pytest.mark.parametrize("part", ["kernel", "table"])
def test_version_1(part: str) -> None:
    """The fold of an older release's records has its clients with their opens and locks (the fixture's `about`)."""
    store = version_1(part)
    fold = World().follower(store.load())
    assert store.damaged == []
    state = fold.state
    names = sorted(client.owner for client in state.clients)
    assert names == [b"client0", b"client1", b"dying", b"older0", b"older1"]
    assert (len(state.filter.opens), len(state.locks)) == (9, 8)
    by_name = {client.owner: client for client in state.clients}
    for name in (b"client0", b"client1", b"older0", b"older1"):
        assert len(by_name[name].opens) == (3 if name == b"client0" else 2)
        for held in by_name[name].opens.values():
            for lock in (held.locks or {}).values():
                ranges = [tuple(each[1:]) for each in lock.held()]
                assert ranges == [(10, 30, True), (100, TO_END, False)]
                assert lock.owner in (name + b"-kept", name + b"-removed")
    second = [held for held in by_name[b"client0"].opens.values() if held.owner == b"second"]
    assert [(held.access, held.deny, held.locks) for held in second] == [(1, 2, None)]
    assert all(
        held.seqid_owner is not None and len(held.seqid_owner.holds) == len(held.holder.opens)
        for name in (b"older0", b"older1")
        for held in by_name[name].opens.values()
    )
    assert len(state.filter.pending) == (4 if part == "kernel" else 0)
    assert {subject for subject, _target in state.filter.blackouts.standing} == set(Subject)
    assert list(fold.orphans()) == []


def test_version_1_written_anew() -> None:
    """An open or a lock of an older release is as it was when it is put again, and then has the newest version."""
    store = version_1("kernel")
    before = list(store.load())
    fold = World().follower(before)
    changes = ChangeSet()
    for held in fold.state.filter.opens.values():
        records.put_open(changes, held)
        for lock in (held.locks or {}).values():
            records.put_lock(changes, lock)
    store.wait(store.commit(changes))
    versions = {(key[0], stored_value[0]) for key, stored_value in store.records.items() if key[0] in (OPEN, RANGE)}
    assert versions == {(OPEN, NEWEST[OPEN]), (RANGE, NEWEST[RANGE])}
    later = store.crash()
    later.upgrades = None  # Nothing is left to convert.
    assert list(later.load()) == before


def test_version_1_changed_and_loaded() -> None:
    """An open of an older release lives on: it is closed and downgraded as any other."""
    store = version_1("kernel")
    fold = World().follower(store.load())
    state = fold.state
    asker = Requester()
    [held] = [held for held in state.filter.opens.values() if held.owner == b"second"]
    seqid = held.seqid
    opens.downgrade(state, asker, held, 1, 2)
    gone = next(each for each in state.filter.opens.values() if each.locks)
    opens.release(state, asker.changes, gone)
    store.wait(store.commit(asker.changes))
    after = World().follower(store.crash().load()).state
    assert (len(after.filter.opens), len(after.locks)) == (8, 7)
    assert after.filter.opens[held.key].seqid == seqid + 1 and gone.key not in after.filter.opens


def test_version_2() -> None:
    """Version 2 of OPEN named its last caller alone: what each OPEN asked for is that one's, the rest nobody's."""
    store = left_by("version-2.json", "memory")
    state = World().follower(store.load()).state
    assert store.damaged == []
    alice, bob = Credentials(1000, 100, (4, 5)), Credentials(2000, 200)
    held = {each.owner: each for each in state.filter.opens.values()}
    assert {name: (each.access, each.caller, each.granted, each.others) for name, each in held.items()} == {
        b"alone": (3, alice, 3, ()),
        b"shared": (3, bob, 0, ()),
        b"wide": (3, alice, 1, ()),
        b"older": (1, bob, 1, ()),
    }
    assert [lock.owner for lock in (held[b"wide"].locks or {}).values()] == [b"party"]
    changes = ChangeSet()
    for each in held.values():
        records.put_open(changes, each)
    store.wait(store.commit(changes))
    assert {value[0] for key, value in store.records.items() if key[0] == OPEN} == {NEWEST[OPEN]}
    later = store.crash()
    later.upgrades = None  # Nothing is left to convert.
    again = World().follower(later.load()).state.filter.opens
    assert {key: (each.granted, each.others) for key, each in again.items()} == {
        each.key: (each.granted, each.others) for each in held.values()
    }


@pytest.mark.parametrize(
    ("kind", "file", "part"),
    [(OPEN, "version-1.json", "kernel"), (RANGE, "version-1.json", "kernel"), (OPEN, "version-2.json", "memory")],
)
def test_older_version_unreadable(kind: int, file: str, part: str) -> None:
    """What an older release cannot have written is refused, and so left out."""
    upgrade = records.UPGRADES[kind, int(file[8])]
    raw = left_by(file, part)
    raw.upgrades = None
    key, value = next((key, value) for each, key, value in raw.load() if each == kind)
    upgrade(key, value)
    for wrong in (*(value[:size] for size in range(len(value))), value + bytes(4)):
        with pytest.raises(ValueError):
            upgrade(key, wrong)
