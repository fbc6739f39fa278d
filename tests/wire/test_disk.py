"""A store that is lost, newer or damaged as a whole, and a disk that is full or fails under a running server.

In each case: an error that names cause and remedy, the process ends, and nothing false was acknowledged: what was
acknowledged before is there once the cause has been removed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from statestore import NEWEST, OPEN
from tests.support import operations as ops
from tests.support.client import Client40, Opened, Owner40, Session, mount, unique
from tests.support.waiting import until
from tests.wire.conftest import Connect
from tests.wire.faults import SUPPORTED, FaultyServer
from tests.wire.store import rewrite
from xdr.generated import nfs4

EXIT_FAILED, EXIT_FAULT = 1, 70
REQUESTS_MAX = 1000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """A server of one's own, not started."""
    made = FaultyServer(tmp_path)
    yield made
    made.stop()


# -- the store before the start -----------------------------------------------------------------------------


def sound(stored_key: bytes, version: int, value: bytes) -> dict[bytes, bytes]:
    """A sound record: of version 1, or as a release to come writes it."""
    head = bytes((version, 0))
    crc = crc32(value, crc32(stored_key, crc32(head) if version > 1 else 0))
    return {stored_key: head + len(value).to_bytes(4, "big") + crc.to_bytes(4, "big") + value}


def cut(path: Path, size: int) -> None:
    """Make a file shorter."""
    os.truncate(path, size)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "data lost": (lambda state: (state / "data.mdb").unlink(), "data.mdb is missing, though there has been state"),
    "data emptied": (lambda state: cut(state / "data.mdb", 0), "data.mdb is empty, though there has been state"),
    "data overwritten": (lambda state: (state / "data.mdb").write_bytes(bytes(20_000)), "restore a backup"),
    "secret lost": (lambda state: (state / "secret").unlink(), "secret is missing, .*; copy it from the cluster"),
    "newer format": (
        lambda state: rewrite(state, sound(b"\x0astore.format", 1, (2).to_bytes(4, "big"))),
        "has format 2, this release reads up to 1; start the newer release, or restore a backup",
    ),
    "newer record": (
        lambda state: rewrite(state, sound(b"\x05" + bytes(16), NEWEST[OPEN] + 1, b"what is to come")),
        f"a record of a newer release .*record version {NEWEST[OPEN] + 1}.*; start that release, or restore a backup",
    ),
}


def test_refused_stores(server: FaultyServer, connect: Connect) -> None:
    """The start is refused, in words, and changes nothing: with what was lost put back everything is there."""
    server.start()
    session = mount(connect(server))
    opened = session.create(unique(b"file"))
    lock = session.lock(opened)
    server.stop()
    aside = server.directory / "aside"
    shutil.copytree(server.state, aside)
    for name, (harm, words) in REFUSALS.items():
        harm(server.state)
        with pytest.raises(RuntimeError, match="the server did not start"):
            server.start()
        [failed] = server.events("server.failed")
        assert pytest.raises(AssertionError, match=words).matches(AssertionError(failed["reason"])), (name, failed)
        assert server.exit_code == EXIT_FAILED
        server.log.unlink()
        shutil.rmtree(server.state)
        shutil.copytree(aside, server.state)
    server.start()
    session.connection = connect(server)
    put = ops.putfh(opened.handle)
    assert session.status(put, ops.read(opened.stateid), ops.read(lock)) == nfs4.NFS4_OK
    assert not server.faults()


def test_refused_as_a_pair(server: FaultyServer) -> None:
    """The supervisor ends with its worker, and says the same."""
    server.pair = True
    server.start()
    server.stop()
    (server.state / "data.mdb").unlink()
    with pytest.raises(RuntimeError, match="the server did not start"):
        server.start()
    assert "though there has been state" in server.events("server.failed")[0]["reason"]
    assert server.exit_code == EXIT_FAILED
    (server.state / "secret").unlink()
    server.start()


# -- the disk under a running server ------------------------------------------------------------------------


class Burden:
    """A client that opens one file after the other until it is answered no more."""

    def __init__(self, server: FaultyServer, connect: Connect) -> None:
        self.server, self.connect = server, connect
        self.session: Session = mount(connect(server))
        self.acknowledged: list[Opened] = []
        self.asked = b""

    def bear(self) -> None:
        """Go on to the bitter end."""
        for _ in range(REQUESTS_MAX):
            self.asked = unique(b"file-" + b"x" * 200)
            try:
                self.acknowledged.append(self.session.create(self.asked))
            except (EOFError, OSError):
                return
        pytest.fail("the disk never failed")

    def check(self) -> None:
        """All that was acknowledged is there, and the request that was not can be sent again."""
        session = self.session
        session.connection = self.connect(self.server)
        # Its sequence id may have been used up or not: the same request with the same id, as a client does.
        again = session.open(self.asked, how=ops.guarded(ops.attrs(mode=0o666)))
        for opened in (*self.acknowledged, again):
            assert session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) == nfs4.NFS4_OK
        assert len({opened.handle for opened in (*self.acknowledged, again)}) == len(self.acknowledged) + 1


FAULTS = {
    "write:8": ("process", "store.failed", "No space left on device"),
    "sync:8": ("power", "store.failed", "Input/output error"),
    "meta:8": ("power", "store.failed", "Input/output error"),
    "file-sync:9": ("power", "sync.failed", "Input/output error"),
}


@pytest.mark.skipif(not SUPPORTED, reason="no numbers of system calls for this machine")
@pytest.mark.parametrize("fault", FAULTS)
def test_failing_disk(tmp_path: Path, connect: Connect, fault: str) -> None:
    """The process ends at the first write or sync that fails, and says why; nobody is told what is not durable."""
    durability, event, words = FAULTS[fault]
    server = FaultyServer(tmp_path, durability=durability)
    server.fault = fault
    server.start()
    burden = Burden(server, connect)
    burden.bear()
    assert server.end() == EXIT_FAULT
    [said] = server.events(event)
    assert words in said["reason"]
    assert "make room or repair the disk, start again" in said["reason"]
    server.fault = ""
    server.start()
    burden.check()
    server.stop()


class SmallDisk:
    """A file system of one's own in memory, in a mount namespace of a process of one's own."""

    def __init__(self, place: Path, size: str) -> None:
        self.place = place
        script = f'mount -t tmpfs -o mode=700,size={size} none "$0" && echo mounted && read end'
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, str(place)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._keeper.stdout is not None
        self.usable = self._keeper.stdout.readline() == b"mounted\n"
        self.prefix = ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", f"--wd={os.getcwd()}"]

    def grow(self, size: str) -> None:
        """Make room."""
        subprocess.run([*self.prefix, "mount", "-o", f"remount,size={size}", str(self.place)], check=True)

    def close(self) -> None:
        """Remove it."""
        self._keeper.communicate(b"\n", timeout=10)


@pytest.fixture
def small_disk(server: FaultyServer, request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    """A disk for the state that is soon full; as large as the test says, or 112 KiB."""
    disk = SmallDisk(server.state, getattr(request, "param", "112k"))
    if not disk.usable:
        disk.close()
        pytest.skip("a mount namespace needs root")
    server.prefix = disk.prefix
    yield disk
    server.stop()
    disk.close()


@pytest.mark.parametrize("pair", [False, True])
def test_full_disk(server: FaultyServer, small_disk: SmallDisk, connect: Connect, pair: bool) -> None:
    """Without a reserve a full disk stops the server; with room it goes on with all that it has acknowledged, a pair
    by itself.
    """
    server.pair = pair
    server.limits["store_reserve_size"] = 0
    server.start()
    burden = Burden(server, connect)
    burden.bear()
    if not pair:
        assert server.end() == EXIT_FAULT
    words = "(the disk is full); stop, make room or repair the disk, start again"
    assert words in server.events("store.failed")[0]["reason"]
    small_disk.grow("64m")
    if not pair:
        server.start()
    burden.check()


def fill(disk: SmallDisk) -> None:
    """Somebody else takes all that the disk has left."""
    script = f"dd if=/dev/zero of={disk.place}/other bs=4k 2>/dev/null; sync"
    subprocess.run([*disk.prefix, "sh", "-c", script], check=True, timeout=60)


def opens(session: Session, status: int) -> None:
    """Wait until an OPEN that makes a file is answered like this."""
    name = nfs4.nfsstat4_names[status]
    until(lambda: session.open_status(unique(b"probe"), how=ops.unchecked()) == status, f"OPEN is answered {name}")


@pytest.mark.parametrize("small_disk", ["24m"], indirect=True)
def test_disk_filled_by_others(server: FaultyServer, small_disk: SmallDisk, connect: Connect) -> None:
    """A disk that somebody else fills stops nobody: what adds state is refused, what removes some is not."""
    server.limits["store_reserve_size"] = 4 << 20
    server.start()
    connection = connect(server)
    session = mount(connection)
    leaving, old = mount(connect(server)), Client40(connect(server))
    opened = [session.create(unique(b"file")) for _ in range(2000)]
    lock = session.lock(opened[0])
    leaving.create(unique(b"left"))
    owner = Owner40(old)
    held = owner.create(unique(b"old"))
    fill(small_disk)
    opens(session, nfs4.NFS4ERR_NOSPC)
    put = ops.putfh(opened[0].handle)
    assert session.status(put, ops.lock_more(lock, 5, 5)) == nfs4.NFS4ERR_DELAY
    again = connection.call(ops.create_session(session.clientid, session.create_sequence + 1))
    assert again.status == nfs4.NFS4ERR_NOSPC
    # The owner's sequence id is where it was: the same number does for CLOSE.
    refused = old.status(*owner.opening(unique(b"no"), how=ops.unchecked(), seqid=owner.seqid + 1))
    assert refused == nfs4.NFS4ERR_RESOURCE
    old.ok(ops.putfh(held.handle), ops.close(held.stateid, owner.next()))
    assert session.status(put, ops.locku(lock)) == nfs4.NFS4_OK
    assert leaving.connection.status(ops.destroy_session(leaving.sessionid)) == nfs4.NFS4_OK
    for each in opened:
        assert session.status(ops.putfh(each.handle), ops.close(each.stateid)) == nfs4.NFS4_OK
    assert server.alive() and server.events("store.nearly_full") and not server.faults()
    small_disk.grow("64m")
    opens(session, nfs4.NFS4_OK)
    assert server.events("store.has_room")


def test_store_as_large_as_it_may_be(server: FaultyServer, connect: Connect) -> None:
    """Opens are refused before the store is as large as it may be, and after a restart too, until closes make room."""
    server.limits["store_size_max"] = 1 << 20
    server.start()
    session = mount(connect(server))
    opened: list[Opened] = []
    with pytest.raises(AssertionError, match="NOSPC"):
        while len(opened) < 20_000:
            opened.append(session.create(unique(b"file-" + b"x" * 200)))
    server.restart()
    session.connection = connect(server)
    assert session.open_status(unique(b"full"), how=ops.unchecked()) == nfs4.NFS4ERR_NOSPC
    for each in opened:
        assert session.status(ops.putfh(each.handle), ops.close(each.stateid)) == nfs4.NFS4_OK
    opens(session, nfs4.NFS4_OK)
    assert not server.faults()
