"""What comes after a recovery: other clients, undecidable requests, files without a name, and limits."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nfsd.resume import requests
from nfsd.rpc.message import decode_call
from nfsd.state import blackouts, leases, reply_cache
from nfsd.state.blackouts import EXPORT
from nfsd.state.clients import remove_client
from nfsd.state.reply_cache import ReplyCache
from statestore import ANSWER, INTENT, ChangeSet
from tests.once.harness import Boundaries, Crash, World, decoded
from tests.once.scenarios import Client, rename
from tests.support import operations as ops
from xdr.generated import nfs4

OWNER = 1234
MakeWorld = Callable[..., World]


@pytest.fixture
def make_world(boundaries: Boundaries, directory: Path) -> Iterator[MakeWorld]:
    """Worlds that are gone after the test."""
    worlds: list[World] = []

    def make(**settings: Any) -> World:
        worlds.append(World(boundaries, directory, **settings))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with kernel handles."""
    return make_world()


def die_after(world: World, call: str, record: bytes) -> None:
    """Send a request and die right behind a system call of that name."""
    point = f"after {call}"
    boundaries = world.boundaries
    passed = boundaries._pass

    def watch(name: str) -> None:
        if name == point:
            boundaries.dead = True
            raise Crash(name)

    boundaries._pass = watch  # type: ignore[method-assign]
    try:
        with pytest.raises(Crash):
            world.send(record)
    finally:
        boundaries._pass = passed  # type: ignore[method-assign]
    world.die()


def status(body: bytes) -> int:
    """A reply's status."""
    found: int = decoded(body).status
    return found


# -- other clients between the recovery and the retry -----------------------------------------------------------


@pytest.mark.parametrize("minor", [0, 1])
def test_retry_after_somebody_removed_it(world: World, minor: int) -> None:
    """A made directory that another client has removed since is not made again by the retry."""
    client = Client(world, minor)
    record = client.record(ops.putfh(client.root), ops.mkdir(b"d"))
    die_after(world, "mkdir", record)
    world.start()
    other = Client(world, 1, b"other")
    other.ok(ops.putfh(other.root), ops.remove(b"d"))
    assert status(world.send(record)) == nfs4.NFS4_OK
    assert not (world.export / "d").exists()


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("kind", ["mkdir", "open"])
def test_begun_before_a_blackout(world: World, minor: int, kind: str) -> None:
    """What had begun is carried on though its export has been blacked out since; what comes later waits."""
    client = Client(world, minor)
    changes, now = ChangeSet(), world.life.engine.now()
    # Only its record is there before the crash.
    blackouts.begin(world.life.state, blackouts.make(EXPORT, b"/", "/", until=now + 600, retry=True), now, changes)
    world.life.state.filter.blackouts.standing.clear()
    world.life.outbox.commit_now(changes)
    making = ops.mkdir(b"made") if kind == "mkdir" else client.opening(b"made", ops.unchecked())
    record = client.record(ops.putfh(client.root), making)
    die_after(world, "mkdir" if kind == "mkdir" else "open", record)
    world.start()
    assert status(world.send(record)) == nfs4.NFS4_OK
    assert (world.export / "made").exists()
    later = client.record(ops.putfh(client.root), ops.mkdir(b"later"))
    assert status(world.send(later)) == nfs4.NFS4ERR_DELAY
    assert not (world.export / "later").exists()


@pytest.mark.parametrize("minor", [0, 1])
def test_retry_after_somebody_made_it(world: World, minor: int) -> None:
    """A removed name that another client has taken since is not removed again by the retry."""
    (world.export / "f").write_bytes(b"old")
    client = Client(world, minor)
    record = client.record(ops.putfh(client.root), ops.remove(b"f"))
    die_after(world, "unlink", record)
    world.start()
    other = Client(world, 1, b"other")
    other.ok(ops.putfh(other.root), ops.mkdir(b"f"))
    assert status(world.send(record)) == nfs4.NFS4_OK
    assert (world.export / "f").is_dir()


def test_retry_of_truncation_keeps_later_data(world: World) -> None:
    """A truncation is not made a second time over what another client has written since."""
    (world.export / "f").write_bytes(b"")
    client = Client(world, 1)
    client.open(b"f")
    record = client.record(ops.putfh(client.handle), ops.setattr_(client.held, ops.attrs(size=0)))
    die_after(world, "ftruncate", record)
    world.start()
    other = Client(world, 1, b"other")
    other.ok(ops.putfh(client.handle), ops.write(ops.ANONYMOUS, b"later"))
    assert status(world.send(record)) == nfs4.NFS4_OK
    assert (world.export / "f").read_bytes() == b"later"


def test_setattr_goes_on_where_it_was(world: World) -> None:
    """Steps that were taken are not taken again: the mode that was set would forbid them."""
    (world.export / "f").write_bytes(b"data")
    os.chown(world.export / "f", OWNER, OWNER)
    client = Client(world, 1)
    world.uid = OWNER
    values = ops.attrs(size=1, mode=0o444)
    record = client.record(ops.putfh(client.root), ops.lookup(b"f"), ops.setattr_(ops.ANONYMOUS, values))
    die_after(world, "chmod", record)
    world.start()
    assert status(world.send(record)) == nfs4.NFS4_OK
    assert (world.export / "f").read_bytes() == b"d"


def test_request_that_waited_for_a_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others did while a request waited is not undone: it goes on from where it waited."""
    first, other = Client(world, 1), Client(world, 1, b"other")
    record = first.record(
        ops.putfh(first.root), first.opening(b"f", ops.guarded()),
        ops.write(ops.CURRENT, b"data", stable=nfs4.FILE_SYNC4), ops.getfh(),
    )  # fmt: skip
    waiting: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(world.life.engine.threads, "run", lambda work, _done: waiting.append(work))
        world.life.dispatch(world.wire, decode_call(record))
    assert waiting
    other.ok(ops.putfh(other.root), ops.remove(b"f"))
    assert not (world.export / "f").exists()
    world.restart()
    body = world.send(record)
    assert status(body) == nfs4.NFS4_OK
    assert not (world.export / "f").exists()
    results = decoded(body).resarray
    first.handle, first.held = results[-1].arm.resok4.object, results[2].arm.resok4.stateid
    read = first.ok(ops.putfh(first.handle), ops.read(first.held))[-1].resok4
    assert read.data == b"data"


@pytest.mark.parametrize("minor", [0, 1])
def test_exclusive_with_another_clients_verifier(world: World, minor: int) -> None:
    """An exclusive create may be repeated by its client, and by nobody else who comes with the same verifier."""
    (world.export / "f").write_bytes(b"")
    for name, expected in ((b"client", nfs4.NFS4_OK), (b"other", nfs4.NFS4ERR_EXIST)):
        client = Client(world, minor, name)
        client.open(b"f")
        for _ in range(2):
            record = client.record(ops.putfh(client.root), client.opening(b"new", ops.exclusive(b"the same")))
            assert status(world.send(record)) == expected


# -- undecidable ------------------------------------------------------------------------------------------------


def test_undecidable_session(world: World) -> None:
    """Where nobody can tell, the session is dead; its client makes a new one and finds its opens."""
    for name in ("f", "g"):
        (world.export / name).write_bytes(b"data")
    client = Client(world, 1)
    client.open(b"g")
    record = client.record(*rename(b"f", b"new")(client))
    die_after(world, "rename", record)
    (world.export / "new").rename(world.export / "elsewhere")
    world.start()
    assert world.life.engine.counters.recovered == {"undecidable": 1}
    assert status(world.send(record)) == nfs4.NFS4ERR_DEADSESSION
    assert status(world.send(record)) == nfs4.NFS4ERR_BADSESSION
    assert (world.export / "elsewhere").exists()
    again: Any = client.plain(ops.exchange_id(b"client"))[0].eir_resok4
    assert again.eir_clientid == client.clientid
    begun: Any = client.plain(ops.create_session(client.clientid, again.eir_sequenceid))[0].csr_resok4
    client.sessionid, client.seqid = begun.csr_sessionid, 0
    read = client.ok(ops.putfh(client.handle), ops.read(client.held))[-1].resok4
    assert read.data == b"data"


def test_undecidable_v40(world: World) -> None:
    """NFSv4.0 has no sessions: the retry runs anew."""
    (world.export / "f").write_bytes(b"")
    client = Client(world, 0)
    record = client.record(*rename(b"f", b"new")(client))
    die_after(world, "rename", record)
    (world.export / "new").rename(world.export / "elsewhere")
    world.start()
    assert world.life.engine.counters.recovered == {"undecidable": 1}
    assert status(world.send(record)) == nfs4.NFS4ERR_NOENT


def test_local_program_took_the_name(world: World) -> None:
    """An object of another kind cannot be the one intended: the request was not carried out, and fails."""
    client = Client(world, 1)
    record = client.record(ops.putfh(client.root), ops.mkdir(b"d"))
    die_after(world, "commit", record)
    (world.export / "d").write_bytes(b"local")
    world.start()
    assert status(world.send(record)) == nfs4.NFS4ERR_EXIST


def test_recovery_in_vain(world: World) -> None:
    """A request whose recovery ends the process again and again is given up, and the server serves."""
    client = Client(world, 1)
    record = client.record(ops.putfh(client.root), ops.mkdir(b"d"))
    die_after(world, "mkdir", record)
    for _ in range(requests.ATTEMPTS_MAX):
        world.boundaries.arm(3)
        with pytest.raises(Crash):
            world.start()
        world.die()
    world.start()
    assert world.life.engine.counters.recovered == {"undecidable": 1}
    assert status(world.send(record)) == nfs4.NFS4ERR_DEADSESSION


def test_unreadable_intent(world: World) -> None:
    """An intent that cannot be read is dropped and counted; the server serves."""
    client = Client(world, 1)
    changes = ChangeSet()
    changes.put(INTENT, b"s" + client.sessionid + bytes(4), b"nonsense")
    changes.put(INTENT, b"s" + bytes(20), b"of no session")
    world.life.outbox.commit_now(changes)
    world.restart()
    assert world.life.engine.counters.recovered == {"undecidable": 1, "dropped": 1}
    assert status(world.send(client.record(ops.putrootfh()))) == nfs4.NFS4ERR_DEADSESSION


# -- files without a name ---------------------------------------------------------------------------------------


def tombs(world: World) -> list[Path]:
    """The tombs of the export."""
    return list((world.export / ".understudy").iterdir())


def removed_while_open(world: World) -> Client:
    """A client that has removed a file that it has open."""
    (world.export / "f").write_bytes(b"data")
    client = Client(world, 1)
    client.open(b"f")
    client.ok(ops.putfh(client.root), ops.remove(b"f"))
    assert not (world.export / "f").exists()
    return client


def test_unlinked_survives_restarts(world: World) -> None:
    """A file without a name is read over any number of restarts, and freed with its last close (RFC 8881 18.16.4)."""
    client = removed_while_open(world)
    world.restart()
    world.restart()
    links = client.ok(ops.putfh(client.handle), ops.getattr_(nfs4.FATTR4_NUMLINKS))[-1].resok4.obj_attributes
    assert bytes(links.attr_vals) == bytes(4)
    read = client.ok(ops.putfh(client.handle), ops.read(client.held))[-1].resok4
    assert read.data == b"data"
    client.ok(ops.putfh(client.handle), ops.close(client.held))
    assert tombs(world) == []
    assert status(world.send(client.record(ops.putfh(client.handle), ops.getattr_()))) == nfs4.NFS4ERR_STALE
    world.restart()
    assert not world.life.state.filter.pending


def test_unlinked_before_its_holder_returns(world: World) -> None:
    """A file is kept for an open that was loaded and not used yet."""
    (world.export / "f").write_bytes(b"data")
    client = Client(world, 1)
    client.open(b"f")
    world.restart()
    client.ok(ops.putfh(client.root), ops.remove(b"f"))
    read = client.ok(ops.putfh(client.handle), ops.read(client.held))[-1].resok4
    assert read.data == b"data"


def test_unlinked_flag(make_world: MakeWorld) -> None:
    """The client is told that files live on only where they do."""
    flags = {}
    for handles in ("kernel", "table"):
        world = make_world(handles=handles)
        client = Client(world, 1)
        opened = client.ok(ops.putfh(client.root), client.opening(b"f", ops.guarded()))[-1].resok4
        flags[handles] = opened.rflags & nfs4.OPEN4_RESULT_PRESERVE_UNLINKED
    assert flags["kernel"] and not flags["table"]
    assert not (make_world(options=",ro").export / ".understudy").exists()


def test_unlinked_of_a_removed_client(world: World) -> None:
    """The file goes with the client that had it open."""
    client = removed_while_open(world)
    assert len(tombs(world)) == 1
    changes = ChangeSet()
    remove_client(world.life.state, changes, world.life.state.clients.by_id[client.clientid])
    world.life.outbox.commit(changes)
    world.life.outbox.flush()
    assert tombs(world) == []


def test_unlinked_may_be_claimed(world: World) -> None:
    """After a start that makes clients claim their opens the file is there until nobody can claim it any more."""
    removed_while_open(world)
    world.recovery = "reclaim"
    world.restart()
    assert len(tombs(world)) == 1
    world.life.taken.reap()
    assert len(tombs(world)) == 1
    leases.end_reclaim(world.life.state, ChangeSet(), "time")
    world.life.taken.reap()
    assert tombs(world) == [] and not world.life.state.filter.pending


def test_tomb_without_record(world: World) -> None:
    """A tomb that no record tells of is swept at the start; what is no tomb stays."""
    (world.export / ".understudy" / "00aa").write_bytes(b"")
    (world.export / ".understudy" / "note.txt").write_bytes(b"")
    world.restart()
    assert [path.name for path in tombs(world)] == ["note.txt"]


def test_other_links_need_no_tomb(world: World) -> None:
    """A file that keeps another name keeps living by that."""
    (world.export / "f").write_bytes(b"data")
    (world.export / "g").hardlink_to(world.export / "f")
    client = Client(world, 1)
    client.open(b"f")
    client.ok(ops.putfh(client.root), ops.remove(b"f"))
    assert tombs(world) == [] and not world.life.state.filter.pending


def test_tombs_are_hidden(world: World) -> None:
    """Clients cannot see, use or replace the directory of the tombs."""
    client = Client(world, 1)
    (world.export / "f").write_bytes(b"")
    root, name = ops.putfh(client.root), b".understudy"
    listed = client.ok(root, ops.Op(nfs4.OP_READDIR, nfs4.READDIR4args(0, bytes(8), 4096, 4096, 0)))[-1].resok4
    assert [entry.name for entry in listed.reply.entries] == [b"f"]
    assert status(world.send(client.record(root, ops.lookup(name)))) == nfs4.NFS4ERR_NOENT
    for operation in (ops.mkdir(name), ops.remove(name), ops.Op(nfs4.OP_RENAME, nfs4.RENAME4args(b"f", name))):
        assert status(world.send(client.record(root, ops.savefh(), operation))) == nfs4.NFS4ERR_ACCESS, operation
    assert (world.export / ".understudy").is_dir() and (world.export / "f").exists()


# -- NFSv4.0's duplicate requests -------------------------------------------------------------------------------


def test_duplicates_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest reply goes when there are too many, and its record in the same transaction; the order is kept."""
    monkeypatch.setattr(reply_cache, "REPLIES_MAX", 2)
    cache = ReplyCache()
    records: dict[bytes, bytes | None] = {}
    keys = [("192.0.2.1", xid, 100, 7) for xid in range(4)]
    for number, key in enumerate(keys):
        changes = ChangeSet()
        cache.add(key, b"reply %d" % number, changes)
        records.update(changes.entries)
        if number == 2:
            kept = [(stored[1:], value[10:]) for stored, value in records.items() if value is not None]
            assert all(stored[0] == ANSWER for stored in records)
            cache = ReplyCache()
            cache.load(kept)
    assert [cache.get(key) for key in keys] == [None, None, b"reply 2", b"reply 3"]


def test_setattr_of_times_beyond_64_bits(world: World) -> None:
    """A time that no 64 bits of nanoseconds hold is set, and the file's attributes can be set again."""
    client = Client(world, 1)
    made = client.ok(ops.putfh(client.root), ops.mkdir(b"made"), ops.getfh())[-1].resok4.object
    for name in ("atime_ns", "mtime_ns"):
        os.utime(world.export / "made", ns=(1 << 63, 1 << 63))
        assert getattr(os.stat(world.export / "made"), f"st_{name}") > (1 << 63) - 1
        client.ok(ops.putfh(made), ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o700)))


def test_replies_of_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's many requests take no other client's replies, and the store keeps no more than the cache."""
    monkeypatch.setattr(reply_cache, "REPLIES_OF_ADDRESS_MAX", 3)
    cache = ReplyCache()
    kept: dict[bytes, bytes | None] = {}
    for number in range(10):
        for key in (("busy", number, 8, 8), ("quiet", 1, 8, 8)):
            changes = ChangeSet()
            cache.add(key, b"reply", changes)
            kept |= changes.entries
    assert cache.get(("quiet", 1, 8, 8)) == b"reply"
    assert [number for number in range(10) if cache.get(("busy", number, 8, 8))] == [7, 8, 9]
    stored_keys = [key for key, value in kept.items() if value is not None]
    assert len(stored_keys) == len(cache) == 4
