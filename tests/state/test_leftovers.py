"""Removed clients: gone at once for everybody, and their records little by little, whatever crash comes between."""

from __future__ import annotations

from unittest import mock

import pytest

from nfsd.config import Limits
from nfsd.errors import Nfs4Error
from nfsd.state import clients, conflicts, leftovers, locks, opens, owners, records, stateids
from nfsd.state.clients import remove_client
from nfsd.state.fold import Fold
from nfsd.state.model import Client, OpenState
from nfsd.state.tables import State
from nfsd.vfs.interface import Node
from statestore import META, OPEN, TO_END, ChangeSet
from statestore.verify import REFERENCES
from tests.state.world import BOTH, CALLER, READ, WRITE, Entry, Requester, World, new_state
from tests.support.steps import steps
from xdr.generated import nfs4

FILES = 5


def lock(world: World, held: OpenState, owner: bytes, start: int, exclusive: bool = True) -> None:
    asker = world.asker(held.holder)
    found = locks.lock_state(world.state, asker, held, owner)
    if not held.holder.family and found.seqid_owner is None:
        found.seqid_owner = world.owner(held.holder, owner, True)
        found.seqid_owner.holds.add(found)
        owners.begin_at(asker.changes, found.seqid_owner, 1)
    locks.take(world.state, asker, found, start, start + 1, exclusive)
    world.commit(asker.changes)


def full_world(family: int) -> tuple[World, Client]:
    """A client that has every file open and three locks on each, another one that has one lock, and a session."""
    world = World(files=FILES)
    client = world.client(b"owner", family)
    if family:
        world.session(client)
    for number, node in enumerate(world.files):
        held = world.open(client, b"opener", node, BOTH, WRITE)
        if held.seqid_owner is not None:
            changes = ChangeSet()
            owners.begin_at(changes, held.seqid_owner, 1)
            world.commit(changes)
        for start in range(3):
            lock(world, held, b"locker %d" % start, 10 * number + start)
    return world, client


def remove(world: World, client: Client, portion: int) -> None:
    """Remove a client, and commit."""
    changes = ChangeSet()
    with mock.patch.object(leftovers, "PORTION", portion):
        remove_client(world.state, changes, client)
    world.commit(changes)


def take_away(world: World, portion: int = 1) -> None:
    """Take one portion away, and commit."""
    changes = ChangeSet()
    with mock.patch.object(leftovers, "PORTION", portion):
        leftovers.take_away_some(world.state, changes)
    world.commit(changes)


def dangling(records: list[Entry]) -> list[Entry]:
    """Records that name what is not there, as `understudy store verify` finds them."""
    there = {(kind, key) for kind, key, _value in records}
    found = []
    for kind, key, value in records:
        for rule in REFERENCES:
            if rule.kind == kind:
                target = rule.target_key(key, value or b"")
                if target is not None and (rule.target, target) not in there:
                    found.append((kind, key, value))
    return found


def is_free(state: State, node: Node) -> None:
    """Another client may open the file alone, and lock all of it, at once.  Raises Nfs4Error."""
    asker = Requester()
    conflicts.check_shares(state, asker, node.handle, BOTH, BOTH)
    conflicts.check_range(state, asker, node.handle, b"somebody" + b"else", 0, TO_END, True)


@pytest.mark.parametrize("family", [0, 1])
@pytest.mark.parametrize("portion", [0, 1, 3])
def test_crash_at_each_step(family: int, portion: int) -> None:
    """After a crash anywhere nothing dangles, nobody has anything or is hindered, and the next process goes on."""
    world, client = full_world(family)
    other = world.client(b"other", family)
    if family:
        world.open(other, b"opener", world.file(b"its own"))
    remove(world, client, portion)
    first = len(world.steps)
    while world.state.leftovers:
        records = world.records()
        assert dangling(records) == []
        follower = world.follower(records)
        check_resumed(world, follower, client, portion or 1)
        take_away(world, portion or 1)
    assert len(world.steps) - first > 3
    assert world.differences(world.follower(world.records())) == []
    assert not any(client.key in key for _kind, key, _value in world.records())


@pytest.mark.parametrize("family", [0, 1])
def test_very_many_opens_go_in_order(family: int) -> None:
    """The opens of a client that has very many go in the order of their records, but for those that somebody meets."""
    world = World(files=40)
    client = world.client(b"owner", family)
    for node in world.files:
        world.open(client, b"opener", node, BOTH, WRITE)
    with mock.patch.multiple(leftovers, ORDER_ABOVE=39, ORDERED_AT_ONCE=15):
        remove(world, client, 4)
        for number in range(8):
            # One is met before all are in order, others later.
            is_free(world.state, world.files[4 * number])
            take_away(world, 4)
            assert dangling(world.records()) == []
        while world.state.leftovers:
            take_away(world, 4)
    portions = [[key[:2] for kind, key, value in step if kind == OPEN and value is None] for step in world.steps]
    gone = [key for portion in portions for key in sorted(portion)]
    assert len(gone) > 20 and gone == sorted(gone)
    assert not (world.state.in_order or world.state.filter.opens or world.state.filter.holders)


def check_resumed(world: World, follower: Fold, client: Client, portion: int) -> None:
    """What another process makes of what a crash has left."""
    assert list(follower.orphans()) == []
    assert world.differences(follower) == []
    state = follower.state
    assert client.key in state.leftovers
    assert client.clientid not in state.clients.by_id and not state.sessions
    for node in world.files:
        is_free(state, node)
    while state.leftovers:
        changes = ChangeSet()
        leftovers.take_away_some(state, changes)
    assert len(state.filter.holders) == 1 and len(state.filter.opens) == client.family and not state.locks
    assert state.filter.tally.count == 0


def test_evicted_client() -> None:
    """Who makes room for another leaves its opens over like any removed client, and its address with the last."""
    limits = Limits(clients_per_address_max=1)
    world = World(files=FILES, limits=limits)
    client = world.client(b"owner", address="192.0.2.9")
    changes = ChangeSet()
    records.put_address(changes, client)
    world.commit(changes)
    for node in world.files:
        world.open(client, b"opener", node, BOTH, WRITE)
    changes = ChangeSet()
    world.now += world.state.clients.lease_time_s + 1
    with mock.patch.object(leftovers, "PORTION", 2):
        clients.establish(world.state, changes, newcomer(world, client.address), world.now)
    world.commit(changes)
    assert world.state.clients.evicted == {"client": 1} and not client.confirmed
    assert len(world.state.clients.of_address[client.address]) == world.state.clients.counts()[0] == 1
    while world.state.leftovers:
        follower = world.follower(world.records()).state
        assert list(follower.leftovers) == [client.key] and not follower.clients.of_address
        assert follower.leftovers[client.key].address == client.address
        take_away(world, 2)
    assert not any(client.key in key for _kind, key, _value in world.records())


def newcomer(world: World, address: str) -> Client:
    """A client from that address that has not been confirmed yet."""
    client = Client(
        clientid=world.state.new_clientid(), family=1, owner=b"new", verifier=bytes(8), principal=b"1:0", now=world.now
    )
    client.address = address
    world.state.clients.add_unconfirmed(client)
    return client


def test_small_client_leaves_nothing() -> None:
    """What fits in a portion goes with the client, without a mark."""
    world, client = full_world(1)
    remove(world, client, 128)
    assert not world.state.leftovers
    assert [entry for entry in world.steps[-1] if entry[0] == META and entry[2] is not None] == []
    assert not world.state.filter.holders and not world.state.stateids


@pytest.mark.parametrize("family", [0, 1])
def test_stateids_are_gone_at_once(family: int) -> None:
    """Whatever is left of a removed client, its stateids name nothing any more, in requests under way too."""
    world, client = full_world(family)
    [held, *_] = list(client.opens.values())
    asker = world.asker(client)
    stateid = held.stateid()
    assert stateids.find(world.state, asker, stateid) is held
    remove(world, client, 0)
    wanted = nfs4.NFS4ERR_BAD_STATEID if family else nfs4.NFS4ERR_EXPIRED
    for _ in range(2):
        with pytest.raises(Nfs4Error) as refused:
            stateids.find(world.state, asker, stateid)
        assert refused.value.status == wanted
        while world.state.leftovers:
            take_away(world, 100)
    node = world.file(b"another")
    with pytest.raises(Nfs4Error) as refused:
        opens.grant(world.state, asker, client, b"opener", node, READ, 0, CALLER, READ)
    assert refused.value.status == nfs4.NFS4ERR_EXPIRED


def test_restarted_client_opens_at_once() -> None:
    """A new instance gets the very opens that the old one has left, with nothing of what was under them."""
    world, client = full_world(1)
    remove(world, client, 0)
    again = world.client(b"owner", 1, verifier=b"restart.")
    for node in world.files[:2]:
        asker = world.asker(again)
        conflicts.check_shares(world.state, asker, node.handle, READ, 0)
        leftovers.make_way(world.state, asker, again, b"opener", node.handle)
        held = opens.grant(world.state, asker, again, b"opener", node, READ, 0, CALLER, READ)
        world.commit(asker.changes)
        assert not held.locks and held.seqid == 1
    resumed = world.follower(world.records())
    assert world.differences(resumed) == []
    assert all(not held.locks for held in resumed.state.filter.holders[again.key].opens.values())
    while world.state.leftovers:
        take_away(world)
    assert set(world.state.filter.opens) == set(again.opens)
    assert world.differences(world.follower(world.records())) == []


def test_too_much_in_the_way() -> None:
    """Who meets more than a portion is told to ask again, and gets on with each time."""
    world = World(files=1)
    client, [node] = world.client(b"owner"), world.files
    for number in range(6):
        held = world.open(client, b"opener %d" % number, node, READ, WRITE)
        lock(world, held, b"locker %d" % number, 0, exclusive=False)
    remove(world, client, 0)
    with mock.patch.object(leftovers, "PORTION", 4):
        for left in (2, 0):
            asker = world.asker()
            if left:
                with pytest.raises(Nfs4Error) as refused:
                    conflicts.check_range(world.state, asker, node.handle, b"somebody", 0, 1, True)
                assert refused.value.status == nfs4.NFS4ERR_DELAY
            else:
                conflicts.check_range(world.state, asker, node.handle, b"somebody", 0, 1, True)
            world.commit(asker.changes)
            assert len(world.state.locks) == left
        with pytest.raises(Nfs4Error) as refused:
            conflicts.check_shares(world.state, world.asker(), node.handle, WRITE, 0)
        assert refused.value.status == nfs4.NFS4ERR_DELAY
        conflicts.check_shares(world.state, world.asker(), node.handle, WRITE, 0)


def test_many_locks_under_one_open() -> None:
    """An open with more locks than a portion that a new instance wants goes in portions too."""
    world = World(files=1)
    client, [node] = world.client(b"owner"), world.files
    held = world.open(client, b"opener", node)
    for number in range(5):
        lock(world, held, b"locker %d" % number, number)
    remove(world, client, 0)
    again = world.client(b"owner", verifier=b"restart.")
    with mock.patch.object(leftovers, "PORTION", 3):
        with pytest.raises(Nfs4Error) as refused:
            leftovers.make_way(world.state, world.asker(again), again, b"opener", node.handle)
        assert refused.value.status == nfs4.NFS4ERR_DELAY
        leftovers.make_way(world.state, world.asker(again), again, b"opener", node.handle)
    assert not world.state.filter.opens and not world.state.locks


def test_leftovers_leave_room() -> None:
    """Where there may be no more opens, what removed clients have left makes room for those of others."""
    world = World(files=FILES)
    world.state = new_state(limits=Limits(opens_max=FILES))
    client = world.client(b"owner")
    for node in world.files:
        world.open(client, b"opener", node)
    other = world.client(b"other")
    with pytest.raises(Nfs4Error):
        world.open(other, b"opener", world.files[0])
    remove(world, client, 0)
    asker = world.asker(other)
    with mock.patch.object(leftovers, "PORTION", 2):
        leftovers.make_way(world.state, asker, other, b"opener", world.files[0].handle)
    opens.grant(world.state, asker, other, b"opener", world.files[0], BOTH, 0, CALLER, BOTH)
    assert len(world.state.filter.opens) == FILES - 1


def test_removal_costs_a_portion() -> None:
    """Removing a client, and each portion after it, cost the same whatever it has open."""
    costs = []
    for count in (400, 4_000):
        world = World(files=1)
        world.state = new_state(limits=Limits(opens_max=count))
        client = world.client(b"owner")
        asker = world.asker(client)
        for number in range(count):
            opens.grant(world.state, asker, client, b"opener %d" % number, world.files[0], READ, 0, CALLER, READ)
        world.commit(asker.changes)
        first = ChangeSet()
        cost = steps(lambda client=client, world=world, first=first: remove_client(world.state, first, client))  # type: ignore[misc]
        second = ChangeSet()
        cost += steps(lambda world=world, second=second: leftovers.take_away_some(world.state, second))  # type: ignore[misc]
        assert len(client.opens) == count - 2 * leftovers.PORTION
        assert len(second) == leftovers.PORTION
        costs.append(cost)
    assert costs[1] < 1.1 * costs[0], costs
