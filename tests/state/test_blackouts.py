"""An administrator's blackouts: what a request hears of them, when they end, and that their records bring them back."""

from __future__ import annotations

import struct

import pytest

from nfsd.errors import Nfs4Error
from nfsd.rpc.connection import Connection
from nfsd.state import blackouts, conflicts
from nfsd.state.blackouts import CLIENT, EXPORT, FILE
from nfsd.state.ids import INSTANCES_KEY
from nfsd.state.model import Client
from nfsd.vfs.interface import Node
from statestore import BLACKOUTS_MAX, META, Blackout, ChangeSet, Subject
from tests.state.world import NOW, World, entries_of, new_state
from xdr.codec import XdrError
from xdr.generated import nfs4


def black_out(world: World, what: str, target: bytes, *, retry: bool = True, address: str = "") -> Blackout:
    """Set one for 10 s."""
    blackout = blackouts.make(what, target, "name", until=NOW + 10, retry=retry, address=address)
    changes = ChangeSet()
    blackouts.begin(world.state, blackout, NOW, changes)
    world.commit(changes)
    return blackout


def refused(
    world: World, node: Node, client: Client | None = None, *, minor: int = 1, address: str = "192.0.2.1"
) -> int:
    """The status that a request gets."""
    asker = world.asker(client, minor)
    asker.connection = Connection(1, address, 700)
    try:
        conflicts.check_blackouts(world.state, asker, node, client)
    except Nfs4Error as error:
        return error.status
    return nfs4.NFS4_OK


def test_file() -> None:
    """One file, for everybody, for its time."""
    world = World()
    black_out(world, FILE, world.files[0].handle)
    assert refused(world, world.files[0]) == nfs4.NFS4ERR_DELAY
    assert refused(world, world.files[1]) == nfs4.NFS4_OK
    world.now = NOW + 10
    assert refused(world, world.files[0]) == nfs4.NFS4_OK
    assert world.state.filter.refusals == 1


def test_export() -> None:
    """Every file of one export, and nothing above it."""
    world = World()
    blackout = black_out(world, EXPORT, blackouts.tree_of("/export"), retry=False)
    assert refused(world, world.files[0]) == refused(world, world.export) == nfs4.NFS4ERR_ACCESS
    assert refused(world, world.namespace.root()) == nfs4.NFS4_OK
    blackouts.end(world.state, blackout, "lifted", ChangeSet())
    black_out(world, EXPORT, blackouts.tree_of("/other"), retry=False)
    assert refused(world, world.files[0]) == nfs4.NFS4_OK


def test_client() -> None:
    """One client by its identity; an NFSv4.0 request that names none by its address."""
    world = World()
    one, two = world.client(b"one"), world.client(b"two")
    black_out(world, CLIENT, one.identity, address="192.0.2.1")
    node = world.files[0]
    assert refused(world, node, one) == nfs4.NFS4ERR_DELAY
    assert refused(world, node, two) == nfs4.NFS4_OK
    assert refused(world, node) == nfs4.NFS4_OK
    assert refused(world, node, minor=0) == nfs4.NFS4ERR_DELAY
    assert refused(world, node, minor=0, address="192.0.2.2") == nfs4.NFS4_OK


def test_lifted() -> None:
    """What was lifted refuses nobody, and its record is gone."""
    world = World()
    blackout = black_out(world, FILE, world.files[0].handle)
    changes = ChangeSet()
    blackouts.end(world.state, blackout, "lifted", changes)
    world.commit(changes)
    assert refused(world, world.files[0]) == nfs4.NFS4_OK
    assert world.records() == []


def test_reap() -> None:
    """A blackout ends by itself, and its record goes."""
    world = World()
    black_out(world, FILE, b"handle")
    for now, left in ((NOW + 9, 1), (NOW + 10, 0)):
        changes = ChangeSet()
        blackouts.reap(world.state, now, changes)
        world.commit(changes)
        assert len(world.records()) == len(world.state.filter.blackouts.standing) == left


def test_record_on_another_clock() -> None:
    """After a restart the end is the same moment of the wall clock, though the server's own clock began anew."""
    before, after = new_state(wall_offset_s=1_000_000.0), new_state(wall_offset_s=1_000_000.0 + NOW)
    changes = ChangeSet()
    name = b"/export/\xff".decode("utf-8", "surrogateescape")
    made = blackouts.make(CLIENT, b"id", name, until=NOW + 10, retry=False, address="::1")
    blackouts.begin(before, made, NOW, changes)
    [(kind, key, value)] = entries_of(changes)
    assert kind == META and value is not None
    assert blackouts.apply(after, key, value)
    found = after.filter.blackouts.standing[Subject.HOLDER, b"id"]
    assert found.until == pytest.approx(10)
    assert (found.name, found.retry, found.address, found.key) == (name, False, "::1", key)
    with pytest.raises(XdrError):
        blackouts.apply(after, key, value[:-1])
    assert not blackouts.apply(after, INSTANCES_KEY, value)
    assert not blackouts.apply(after, INSTANCES_KEY, None)


def test_record_of_nothing_known() -> None:
    """A record about something that no release has blacked out is refused."""
    state, changes = new_state(), ChangeSet()
    blackouts.begin(state, blackouts.make(FILE, b"f", "f", until=NOW, retry=True), NOW, changes)
    [(_kind, key, value)] = entries_of(changes)
    assert value is not None
    for what in (0, 4):
        with pytest.raises(KeyError):
            blackouts.apply(state, key, struct.pack(">I", what) + value[4:])


def test_record_removed() -> None:
    """The removal of its record ends a blackout elsewhere too, and no other one."""
    world, after = World(), new_state()
    one, two = black_out(world, FILE, b"one"), black_out(world, EXPORT, b"two")
    for _kind, key, value in world.records():
        blackouts.apply(after, key, value)
    assert blackouts.apply(after, one.key, None)
    assert [each.key for each in after.filter.blackouts.standing.values()] == [two.key]
    assert blackouts.apply(after, one.key, None)


def test_set_again() -> None:
    """A second blackout of one target takes the first one's place, in the store too."""
    world = World()
    first, second = black_out(world, FILE, b"f"), black_out(world, FILE, b"f", retry=False)
    assert first.key == second.key and len(world.records()) == 1
    assert list(world.state.filter.blackouts.standing.values()) == [second]
    assert (blackouts.response(first), blackouts.response(second)) == ("retry", "fail")


def test_limit() -> None:
    """There is a limit, which setting one again does not meet."""
    state = new_state()

    def begin(target: bytes, until: float = NOW) -> None:
        blackouts.begin(state, blackouts.make(FILE, target, "f", until=until, retry=True), NOW, ChangeSet())

    for number in range(BLACKOUTS_MAX):
        begin(b"%d" % number)
    begin(b"0", NOW + 5)
    with pytest.raises(ValueError, match="lift some"):
        begin(b"more")
    assert len(state.filter.blackouts.standing) == BLACKOUTS_MAX
