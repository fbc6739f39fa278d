"""At `power` a change of a file system is on the disk before its result is committed, and so before its reply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nfsd.rpc.message import decode_call
from nfsd.vfs.interface import Node
from statestore import INTENT
from tests.once.harness import Boundaries, Wire, World, decoded
from tests.once.scenarios import Client
from tests.support import operations as ops
from xdr.generated import nfs4


class Disk:
    """Watches what is brought to the disk; `failing` makes that fail."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.synced: list[bytes] = []
        self.undecided: list[bool] = []
        self.failing = False
        tree = world.life.namespace.root().fs
        real = tree.sync

        def sync(node: Node) -> None:
            if self.failing:
                raise OSError(5, "no disk")
            self.synced.append(node.handle)
            self.undecided.append(any(kind == INTENT for kind, _key, _value in world.life.outbox.store.load()))
            real(node)

        tree.sync = sync  # type: ignore[method-assign]


@pytest.fixture
def disk(boundaries: Boundaries, directory: Path) -> Iterator[Disk]:
    """A world whose store is synced."""
    world = World(boundaries, directory, durability="power")
    yield Disk(world)
    world.life.outbox.store.wait(world.life.outbox.last_ticket)
    world.close()


def settled(disk: Disk, record: bytes) -> Any:
    """Send a request, let everything become durable, and return the reply."""
    reply = decoded(disk.world.send(record))
    disk.world.life.outbox.store.wait(disk.world.life.outbox.last_ticket)
    return reply


def test_mkdir_synced_before_result(disk: Disk) -> None:
    """The parent and the new directory are synced while the intent is still there."""
    client = Client(disk.world, 1)
    reply = settled(disk, client.record(ops.putfh(client.root), ops.mkdir(b"made"), ops.getfh()))
    assert reply.status == nfs4.NFS4_OK
    made = reply.resarray[-1].arm.resok4.object
    assert set(disk.synced) == {client.root, made}
    assert all(disk.undecided)


def test_remove_synced(disk: Disk) -> None:
    """The directory that lost a name is synced, also for NFSv4.0."""
    client = Client(disk.world, 0)
    settled(disk, client.record(ops.putfh(client.root), ops.mkdir(b"made")))
    disk.synced.clear()
    assert settled(disk, client.record(ops.putfh(client.root), ops.remove(b"made"))).status == nfs4.NFS4_OK
    assert disk.synced == [client.root]


def test_synced_after_a_later_failure(disk: Disk) -> None:
    """A change is synced also where a later operation of the compound fails."""
    client = Client(disk.world, 1)
    failing = client.record(ops.putfh(client.root), ops.mkdir(b"made"), ops.lookup(b"nothing"))
    assert settled(disk, failing).status == nfs4.NFS4ERR_NOENT
    assert client.root in disk.synced


def test_reading_syncs_nothing(disk: Disk) -> None:
    """What changes nothing waits for no disk."""
    client = Client(disk.world, 1)
    settled(disk, client.record(ops.putfh(client.root), ops.getattr_()))
    assert disk.synced == []


def test_failing_sync_stops(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails nobody is told that the change was made."""
    client = Client(disk.world, 1)
    stopped: list[BaseException] = []

    def stop(error: BaseException) -> None:
        stopped.append(error)
        raise SystemExit(70)

    monkeypatch.setattr(disk.world.life.engine.faults, "sync_failed", stop)
    disk.failing = True
    record = client.record(ops.putfh(client.root), ops.mkdir(b"made"))
    with pytest.raises(SystemExit):
        disk.world.send(record)
    assert len(stopped) == 1
    assert disk.world.wire.body is None


# -- several requests at once -----------------------------------------------------------------------------------


class Threads:
    """Threads that begin their work when they are told to."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting: list[tuple[Any, Any]] = []
        self.outbox = world.life.outbox
        monkeypatch.setattr(world.life.engine.threads, "run", lambda work, done: self.waiting.append((work, done)))

    def run(self) -> None:
        """Do what waits, the oldest first, and let the replies leave."""
        while self.waiting:
            work, done = self.waiting.pop(0)
            done(work(), None)
        self.outbox.flush()


def dispatched(world: World, *records: bytes) -> list[Wire]:
    """Send requests, each over a connection of its own, and do not wait for replies."""
    wires: list[Wire] = []
    for record in records:
        wires.append(Wire(100 + len(wires)))
        world.life.dispatch(wires[-1], decode_call(record))
    return wires


def test_change_waits_for_one_in_doubt(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a change is on the disk nobody changes the same directory; readers and other directories go on."""
    world = disk.world
    first, second = Client(world, 1, b"first"), Client(world, 1, b"second")
    reply = settled(disk, first.record(ops.putfh(first.root), ops.mkdir(b"other"), ops.getfh()))
    other = reply.resarray[-1].arm.resok4.object
    threads = Threads(world, monkeypatch)
    making, removing, reading = dispatched(
        world,
        first.record(ops.putfh(first.root), ops.mkdir(b"d")),
        second.record(ops.putfh(second.root), ops.remove(b"d")),
        Client(world, 1, b"reader").record(ops.putfh(first.root), ops.lookup(b"d")),
    )
    [elsewhere] = dispatched(world, Client(world, 0, b"third").record(ops.putfh(other), ops.mkdir(b"d")))
    assert (world.export / "d").exists(), "the removal has not begun"
    assert reading.body is not None and making.body is removing.body is elsewhere.body is None
    assert len(threads.waiting) == 2
    threads.run()
    for wire in (making, removing, elsewhere):
        assert wire.body is not None and decoded(wire.body).status == nfs4.NFS4_OK
    assert not (world.export / "d").exists()
    assert not world.life.engine.in_doubt.nodes


def test_stopping_leaves_what_waits(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits when the server stops has changed nothing, and is not answered."""
    world = disk.world
    client, second = Client(world, 1), Client(world, 1, b"second")
    threads = Threads(world, monkeypatch)
    making, waiting = dispatched(
        world,
        client.record(ops.putfh(client.root), ops.mkdir(b"d")),
        second.record(ops.putfh(second.root), ops.mkdir(b"e")),
    )
    world.life.engine.in_doubt.close()
    threads.run()
    assert making.body is not None and waiting.body is None
    assert not (world.export / "e").exists()
