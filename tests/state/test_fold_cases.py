"""The fold, case by case: orphans, records in an order that no server writes, and values that cannot be read."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from nfsd.state import clients, locks, opens, owners, records, sessions
from nfsd.state.fold import KINDS, LOAD_ERRORS, SLOTS_MAX, Fold
from nfsd.state.ids import INSTANCE_MAX, INSTANCES_KEY
from nfsd.state.model import Client, LockState, OpenState, SeqidOwner
from nfsd.state.sessions import finish
from statestore import HOLDER, META, OPEN, OWNER, PENDING, RANGE, SLOT, STREAM, ChangeSet
from tests.state.snapshot import snapshot
from tests.state.world import BOTH, CALLER, READ, Entry, World, entries_of, fold_all
from xdr.generated import nfs4

# As many as the profile says, fewer for `make quick`.
EXAMPLES = settings.default.max_examples if settings.default is not None else 100

PARENTS = {STREAM: HOLDER, SLOT: STREAM, OWNER: HOLDER, OPEN: HOLDER, RANGE: OPEN}


class Furnished(World):
    """A world with one record of each kind at least: a client of each family, with opens, locks, a slot, owners."""

    def __init__(self) -> None:
        super().__init__()
        self.new, self.old = self.client(b"new"), self.client(b"old", 0)
        self.channel = self.session(self.new)
        changes = ChangeSet()
        slot = self.channel.slot(1)
        slot.used, slot.sequence = True, 5
        finish(self.channel, slot, [b"reply"], changes, True, True)
        self.state.filter.keep_pending(self.files[0].handle, changes)
        self.commit(changes)
        self.held = self.open(self.new, b"owner", self.files[0])
        self.held40 = self.open(self.old, b"owner", self.files[1])
        self.owned(self.held40.seqid_owner, nfs4.OP_OPEN)
        self.lock = self.locked(self.held, b"locker", 0, 10)
        self.lock40 = self.locked(self.held40, b"locker", 0, 10)

    def owned(self, owner: object, operation: int, status: int = 0, result: bytes = b"result") -> None:
        """An owner's request has been counted."""
        assert isinstance(owner, SeqidOwner)
        changes = ChangeSet()
        owners.begin(owner, 1 if owner.seqid is None else owner.seqid + 1)
        owners.remember(changes, owner, operation, status, result, b"handle")
        self.commit(changes)

    def locked(self, held: OpenState, name: bytes, start: int, end: int, exclusive: bool = True) -> LockState:
        """A lock, of NFSv4.0 with its owner."""
        asker = self.asker(held.holder)
        lock = locks.lock_state(self.state, asker, held, name)
        if not held.holder.family and lock.seqid_owner is None:
            lock.seqid_owner = owner = self.owner(held.holder, name, True)
            owner.holds.add(lock)
            owners.begin_at(asker.changes, owner, 7)
        locks.take(self.state, asker, lock, start, end, exclusive)
        self.commit(asker.changes)
        return lock

    def record(self, kind: int, number: int = 0) -> tuple[bytes, bytes]:
        """Key and value of one stored record."""
        key, value = [(key, value) for each, key, value in self.records() if each == kind][number]
        assert value is not None
        return key, value


def states_in_any_order(world: World, before: list[Entry], changes: ChangeSet) -> None:
    """Whatever the order in which a follower folds the changes, it has what the live state has."""
    world.commit(changes)
    for entries in itertools.permutations(entries_of(changes)):
        follower = world.follower(before)
        fold_all(follower, entries)
        assert world.differences(follower) == []
        assert list(follower.orphans()) == []


# -- orders that matter ---------------------------------------------------------------------------------------


def test_lock_of_two_opens_taken_over_and_freed() -> None:
    """One lock owner, two opens: the second takes the range over, and the first goes in the same change."""
    world = Furnished()
    second = world.open(world.new, b"another", world.files[0])
    before = world.records()
    asker = world.asker(world.new)
    other = locks.lock_state(world.state, asker, second, b"locker")
    locks.take(world.state, asker, other, 5, 20, False)
    locks.release(world.state, asker.changes, world.lock)
    assert [tuple(each[1:]) for each in world.state.filter.ranges[world.held.object]] == [(5, 20, False)]
    states_in_any_order(world, before, asker.changes)


def test_lock_of_two_opens_moves_back_and_forth() -> None:
    """One lock owner, two opens: what one takes from the other and gives back is nobody's."""
    world = Furnished()
    other = world.locked(world.open(world.new, b"another", world.files[0]), b"locker", 20, 30)
    before = world.records()
    asker = world.asker(world.new)
    locks.take(world.state, asker, other, 5, 8, True)
    locks.take(world.state, asker, world.lock, 25, 40, False)
    locks.give_back(world.state, asker, other, 0, 6)
    states_in_any_order(world, before, asker.changes)


def test_nameless_file_changes_hands() -> None:
    """The last open of a nameless file goes as another one comes: the file stays pending."""
    world = Furnished()
    before = world.records()
    asker = world.asker(world.new)
    opens.grant(world.state, asker, world.new, b"late", world.files[0], READ, 0, CALLER, READ)
    opens.release(world.state, asker.changes, world.held)
    assert world.files[0].handle in world.state.filter.pending
    states_in_any_order(world, before, asker.changes)


def test_owner_closes_twice() -> None:
    """Only the open that an owner closed last is remembered."""
    world = Furnished()
    owner = world.held40.seqid_owner
    assert owner is not None
    follower = world.follower(world.records())
    done = len(world.steps)
    for held in (world.held40, world.open(world.old, b"owner", world.files[2])):
        changes = ChangeSet()
        opens.release(world.state, changes, held)
        owners.closed(world.state, owner, held.other)
        world.commit(changes)
        world.owned(owner, nfs4.OP_CLOSE)
    for entries in world.steps[done:]:
        fold_all(follower, entries)
    assert len(world.state.closed) == 1
    assert world.differences(follower) == []


def test_client_restarts_and_opens_again() -> None:
    """A client's next instance has the resume keys of the one before: its open takes the old one's place."""
    world = Furnished()
    for lock in (world.lock, world.lock40):
        changes = ChangeSet()
        locks.release(world.state, changes, lock)
        world.commit(changes)
    before = world.records()
    asker = world.asker()
    again = Client(
        clientid=world.state.new_clientid(),
        family=1,
        owner=b"new",
        verifier=b"restart!",
        principal=b"1:0",
        now=1.0,
    )
    clients.remove_client(world.state, asker.changes, world.new)
    clients.confirm(world.state, again)
    records.put_client(asker.changes, again)
    held = opens.grant(world.state, asker, again, b"owner", world.files[0], BOTH, 0, CALLER, BOTH)
    assert held.key == world.held.key
    states_in_any_order(world, before, asker.changes)


def test_orphan_superseded_is_forgotten() -> None:
    """A record that waited for its parent, and comes anew with another that is there, is removed once for all."""
    world = Furnished()
    key, value = world.record(OPEN)
    holder_key = value[:8]
    other = next(client.key for client in world.state.clients if client.key != holder_key)
    follower = world.follower(each for each in world.records() if each[1] not in (holder_key, key))
    fold_all(follower, [(OPEN, key, value)])
    assert (OPEN, key, value) in list(follower.orphans())
    fold_all(follower, [(OPEN, key, other + value[8:])])
    assert key in follower.state.filter.opens
    assert OPEN not in [kind for kind, _key, _value in follower.orphans()]
    fold_all(follower, [(OPEN, key, None)])
    assert key not in follower.state.filter.opens


# -- orphans --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PARENTS))
def test_parent_goes_and_comes_back(kind: int) -> None:
    """A parent that is removed takes its children along; they are there again when it is."""
    world = Furnished()
    whole = world.records()
    for key, value in [(key, value) for each, key, value in whole if each == PARENTS[kind]]:
        follower = world.follower(whole)
        fold_all(follower, [(PARENTS[kind], key, None)])
        fold_all(follower, [(PARENTS[kind], key, value)])
        assert world.differences(follower) == []
        assert list(follower.orphans()) == []


def test_parent_gone() -> None:
    """Without its client nothing of it is there, but waits; the values are those that were stored."""
    world = Furnished()
    whole = world.records()
    follower = world.follower(whole)
    for client in (world.new, world.old):
        fold_all(follower, [(HOLDER, client.key, None)])
    state = follower.state
    assert not (state.filter.opens or state.stateids or state.locks or state.sessions or state.closed)
    assert not len(state.clients) and not state.filter.shares.objects and not state.filter.ranges
    waiting = sorted(follower.orphans())
    assert waiting == sorted(each for each in whole if each[0] in PARENTS)


def test_children_first() -> None:
    """Children before their parents, and theirs before these."""
    world = Furnished()
    whole = world.records()
    deepest_first = (RANGE, SLOT, OPEN, OWNER, STREAM, META, PENDING, HOLDER)
    follower = world.follower(sorted(whole, key=lambda each: deepest_first.index(each[0])))
    assert world.differences(follower) == []
    assert list(follower.orphans()) == []


@pytest.mark.parametrize("kind", sorted(PARENTS))
def test_orphan_removed(kind: int) -> None:
    """An orphan that is removed while it waits does not come with its parent."""
    world = Furnished()
    whole = world.records()
    key, _value = world.record(kind)
    follower = world.follower(each for each in whole if each[0] != HOLDER)
    assert key in [each for each_kind, each, _value in follower.orphans() if each_kind == kind]
    fold_all(follower, [(kind, key, None)])
    assert key not in [each for each_kind, each, _value in follower.orphans() if each_kind == kind]
    fold_all(follower, [each for each in whole if each[0] == HOLDER])
    expected = world.follower(each for each in whole if (each[0], each[1]) != (kind, key))
    assert snapshot(follower.state) == snapshot(expected.state)
    fold_all(follower, whole)
    assert world.differences(follower) == []


def test_orphan_changed() -> None:
    """Of an orphan that changes while it waits the last value counts."""
    world = Furnished()
    before = world.records()
    asker = world.asker(world.new)
    opens.downgrade(world.state, asker, world.held, BOTH, 0)
    world.commit(asker.changes)
    follower = world.follower(each for each in before if each[0] != HOLDER)
    fold_all(follower, entries_of(asker.changes))
    fold_all(follower, [each for each in before if each[0] == HOLDER])
    assert world.differences(follower) == []


def test_orphan_that_its_parent_cannot_take() -> None:
    """A slot beyond its session's: the session comes all the same, the slot stays an orphan until it is removed."""
    world = Furnished()
    whole = world.records()
    _key, value = world.record(SLOT)
    beyond = world.channel.sessionid + struct.pack(">I", 4)
    follower = world.follower([(SLOT, beyond, value), *whole])
    assert world.differences(follower) == []
    assert list(follower.orphans()) == [(SLOT, beyond, value)]
    fold_all(follower, [(STREAM, world.channel.sessionid, None), *whole])
    assert list(follower.orphans()) == [(SLOT, beyond, value)]
    fold_all(follower, [(SLOT, beyond, None)])
    assert list(follower.orphans()) == []
    assert world.differences(follower) == []


def test_removal_of_nothing() -> None:
    """Whatever is removed need not be there."""
    world = Furnished()
    follower = world.follower(world.records())
    for kind in KINDS:
        for key in (b"x", bytes(8), bytes(16), bytes(20), bytes(32), records.address_key(bytes(8)), b"blackout.x"):
            fold_all(follower, [(kind, key, None)])
    assert world.differences(follower) == []


# -- values that cannot be read -------------------------------------------------------------------------------


def open_value(instance: int, owner: bytes = b"owner") -> bytes:
    """An open of the furnished world's, with another instance or owner."""
    world = Furnished()
    world.held.instance, world.held.owner = instance, owner
    changes = ChangeSet()
    records.put_open(changes, world.held)
    [(_kind, _key, value)] = entries_of(changes)
    assert value is not None
    return value


def lock_value(instance: int, owner: bytes = b"locker") -> bytes:
    """A lock of the furnished world's, with another instance or owner."""
    world = Furnished()
    world.lock.instance, world.lock.owner = instance, owner
    changes = ChangeSet()
    records.put_lock(changes, world.lock)
    [(_kind, _key, value)] = entries_of(changes)
    assert value is not None
    return value


def session_value(slots: int) -> bytes:
    """A session of the furnished world's, with more slots."""
    world = Furnished()
    world.channel.fore.slots = slots
    changes = ChangeSet()
    records.put_session(changes, world.channel)
    [(_kind, _key, value)] = entries_of(changes)
    assert value is not None
    return value


def unchanged(fold: Fold, kind: int, key: bytes, value: bytes) -> None:
    """A value is refused, and has changed nothing."""
    before, waiting = snapshot(fold.state), sorted(fold.orphans())
    with pytest.raises(LOAD_ERRORS):
        fold.apply(kind, key, value)
    assert snapshot(fold.state) == before
    assert sorted(fold.orphans()) == waiting


@pytest.mark.parametrize("kind", [HOLDER, STREAM, SLOT, OWNER, OPEN, RANGE])
@pytest.mark.parametrize("whole", [True, False])
def test_truncated(kind: int, whole: bool) -> None:
    """A value that ends too early is refused, whether what it belongs to is there or not, and itself or not."""
    world = Furnished()
    key, value = world.record(kind)
    stored = world.records()
    follower = world.follower(each for each in stored if whole or each[0] != HOLDER)
    alone = world.follower(
        each for each in stored if (each[0], each[1]) != (kind, key) and (whole or each[0] != HOLDER)
    )
    for size in range(8 if kind == SLOT else len(value)):
        unchanged(follower, kind, key, value[:size])
        unchanged(alone, kind, key, value[:size])


@pytest.mark.parametrize(
    ("kind", "key_of", "value_of"),
    [
        (HOLDER, lambda world: bytes(8), lambda world: world.record(HOLDER)[1]),
        (STREAM, lambda world: bytes(16), lambda world: world.record(STREAM)[1]),
        (STREAM, lambda world: world.new.key, lambda world: world.record(STREAM)[1]),
        (STREAM, lambda world: world.record(STREAM)[0], lambda world: session_value(SLOTS_MAX + 1)),
        (STREAM, lambda world: world.record(STREAM)[0], lambda world: session_value(0xFFFFFFFF)),
        (SLOT, lambda world: world.channel.sessionid + bytes((0, 0, 0, 4)), lambda world: world.record(SLOT)[1]),
        (OWNER, lambda world: world.old.key + bytes(16), lambda world: world.record(OWNER)[1]),
        (OWNER, lambda world: world.record(OWNER, 0)[0], lambda world: world.record(OWNER, 1)[1]),
        (OPEN, lambda world: world.held.key, lambda world: open_value(INSTANCE_MAX + 1)),
        (OPEN, lambda world: b"k" * 15, lambda world: open_value(5)),
        (RANGE, lambda world: world.lock.key, lambda world: lock_value(INSTANCE_MAX + 1)),
        (RANGE, lambda world: world.lock.key, lambda world: lock_value(world.lock.instance, b"somebody else")),
        (RANGE, lambda world: world.lock.key, lambda world: lock_value(5, b"somebody else")),
        (RANGE, lambda world: world.held.key + bytes(16), lambda world: lock_value(5)),
        (META, lambda world: INSTANCES_KEY, lambda world: bytes(15)),
        (META, lambda world: records.address_key(world.new.key), lambda world: b"\xff"),
        (META, lambda world: b"blackout.x", lambda world: bytes(3)),
    ],
)  # fmt: skip
def test_impossible(kind: int, key_of: object, value_of: object) -> None:
    """A value that means nothing under its key is refused."""
    world = Furnished()
    assert callable(key_of) and callable(value_of)
    follower = world.follower(world.records())
    assert world.differences(follower) == []
    unchanged(follower, kind, key_of(world), value_of(world))


def test_open_of_another_owner_under_the_same_key() -> None:
    """An open whose owner is another one takes the old one's place, with its locks."""
    world = Furnished()
    follower = world.follower(world.records())
    key = world.held.key
    follower.apply(OPEN, key, open_value(world.held.instance, b"somebody"))
    assert follower.state.filter.opens[key].owner == b"somebody"
    assert len(follower.state.filter.opens[key].locks or {}) == 1


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(
    some.sampled_from(sorted(KINDS)), some.integers(0, 3), some.integers(0, 400), some.binary(max_size=40),
    some.booleans(), some.booleans(),
)  # fmt: skip
def test_garbage(kind: int, number: int, place: int, garbage: bytes, replace: bool, alone: bool) -> None:
    """Whatever a value is, it is read, or refused without a change."""
    world = Furnished()
    stored = world.records()
    keys = [(key, value) for each, key, value in stored if each == kind]
    key, value = keys[number % len(keys)]
    assert value is not None
    at = place % (len(value) + 1)
    harmed = value[:at] + garbage + value[at + len(garbage) * replace :]
    follower = world.follower(each for each in stored if not alone or each[0] == kind)
    before, waiting = snapshot(follower.state), sorted(follower.orphans())
    try:
        follower.apply(kind, key, harmed)
    except LOAD_ERRORS:
        assert snapshot(follower.state) == before
        assert sorted(follower.orphans()) == waiting
    else:
        follower.apply(kind, key, None)
        follower.apply(kind, key, value)
        if kind not in (HOLDER, STREAM):  # Their children may not have found their way back.
            assert (kind, key) not in [each[:2] for each in follower.orphans()] or alone


def test_session_taken_over_lives_on() -> None:
    """A session that was folded is a live one: it is removed with the slots that its records spoke of."""
    world = Furnished()
    follower = world.follower(world.records())
    changes = ChangeSet()
    sessions.remove_session(follower.state, changes, follower.state.sessions[world.channel.sessionid])
    removed = {(kind, key) for kind, key, value in entries_of(changes) if value is None}
    assert removed == {(STREAM, world.channel.sessionid), (SLOT, world.channel.slot(1).key)}
