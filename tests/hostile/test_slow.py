"""File systems that are slow or hang: who does not use them notices nothing, and a worker can die beside them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.server import STOP_S
from tests.hostile.honest import HonestClient
from tests.hostile.mounted import SlowMount
from tests.hostile.run import P99_MAX_MS, judge_end
from tests.hostile.server import HONEST, NEIGHBOUR, OWN, SHARED, TargetServer
from tests.support import operations as ops
from tests.support.client import Connection, Reply, Session, mount, unique
from tests.support.control import ControlError
from tests.support.waiting import let_pass, until
from xdr.generated import nfs4

# More than the server has threads (limits.threads): whoever waits for the slow ones must not take the last one.
NEIGHBOURS = 12
EVERYDAY_P99_MAX_MS = 150.0
FAILOVER_MAX_S = 5.0
PATIENCE_S = 100.0

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("fuse"),
]


class Neighbours:
    """Clients of the slow export that look, open, write, read and list, each in a thread; `rounds` counts."""

    def __init__(self, port: int) -> None:
        self.rounds = 0
        self.problems: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(NEIGHBOURS)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _run(self, number: int) -> None:
        try:
            with contextlib.closing(Connection(self._port, source=NEIGHBOUR, timeout_s=PATIENCE_S)) as connection:
                session = mount(connection, owner=unique(b"neighbour"), pseudo=SHARED.strip("/").encode())
                while not self._stop.is_set():
                    self._round(session, b"file %d" % number)
                    self.rounds += 1
        except (AssertionError, EOFError, OSError) as error:
            self.problems.append(f"a neighbour after {self.rounds} rounds: {error!r}")

    def _round(self, session: Session, name: bytes) -> None:
        opened = session.open(name, how=ops.unchecked(ops.attrs(mode=0o666)))
        put = ops.putfh(opened.handle)
        session.ok(put, ops.write(opened.stateid, b"slowly" * 100), ops.getattr_(nfs4.FATTR4_SIZE))
        session.ok(put, ops.read(opened.stateid), ops.close(opened.stateid))
        listing = nfs4.READDIR4args(0, bytes(8), 4096, 8192, 1 << nfs4.FATTR4_SIZE | 1 << nfs4.FATTR4_FILEID)
        session.ok(ops.putfh(session.directory), ops.Op(nfs4.OP_READDIR, listing))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TargetServer]:
    """A server whose shared export will be slow; it is not started."""
    tmp_path.chmod(0o755)
    server = TargetServer(tmp_path, "process")
    yield server
    server.close()


@pytest.fixture
def slow(tmp_path: Path, server: TargetServer) -> Iterator[SlowMount]:
    """The shared export's file system, which is as quick as it gets until a test says otherwise."""
    slow = SlowMount(tmp_path, server.path_of(SHARED))
    yield slow
    slow.close()


def felt(server: TargetServer, slow: SlowMount, seconds: float, lasts_s: float, p99_max_ms: float) -> list[str]:
    """What is wrong for an honest client while neighbours use an export whose every call takes `seconds`."""
    honest, neighbours = HonestClient(server.port), Neighbours(server.port)
    honest.start()
    began = time.monotonic()
    let_pass(min(lasts_s / 2, 5.0), "the quiet time is measured")
    slowed = time.monotonic()
    slow.set(seconds)
    neighbours.start()
    let_pass(lasts_s, "the file system is slow for so long")
    over = time.monotonic()
    # Those who wait for it go on; the honest client waits for nobody.
    slow.set(0.0)
    neighbours.stop()
    honest.stop()
    quiet, during = honest.between(began, slowed), honest.between(slowed, over)
    mounts = honest.mounted_between(slowed, over)
    print(f"quiet {quiet} ms, during {during} ms, {len(mounts)} mounts, {neighbours.rounds} slow rounds")
    bound_ms = max(p99_max_ms, 2 * quiet.p99_ms)
    found = [*honest.problems, *neighbours.problems]
    if not during.p99_ms <= bound_ms:
        found.append(f"p99 {during.p99_ms:.0f} ms; at most {bound_ms:.0f} ms")
    if not mounts:
        found.append("no new mount")
    if not neighbours.rounds:
        found.append("the neighbours did nothing")
    return found


@pytest.mark.parametrize(
    ("seconds", "lasts_s", "p99_max_ms"),
    [
        pytest.param(0.3, 1.5, EVERYDAY_P99_MAX_MS, id="slow"),
        pytest.param(60.0, 1.5, EVERYDAY_P99_MAX_MS, id="hung"),
        pytest.param(1.0, 20.0, P99_MAX_MS, id="slow-long", marks=pytest.mark.long),
        pytest.param(60.0, 60.0, P99_MAX_MS, id="hung-long", marks=pytest.mark.long),
    ],
)
def test_others_notice_nothing(
    server: TargetServer, slow: SlowMount, seconds: float, lasts_s: float, p99_max_ms: float
) -> None:
    """Clients of another export go on as before while clients work on a slow one, and while it hangs."""
    server.start()
    found = felt(server, slow, seconds, lasts_s, p99_max_ms)
    assert not [*found, *judge_end(server)]


class PairServer(TargetServer):
    """A supervisor and two workers, which serve the two exports."""

    def words(self) -> list[str]:
        """Serve with a warm worker."""
        return [word for word in super().words() if word != "--no-pair"]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[PairServer]:
    """A pair whose shared export hangs when a test says so; it is not started."""
    tmp_path.chmod(0o755)
    pair = PairServer(tmp_path, "process")
    yield pair
    pair.close()


def warm(pair: PairServer) -> int:
    """The process id of the worker that serves, once another stands by."""

    def look() -> int:
        try:
            status = pair.status()
        except ControlError:
            return 0
        return int(status["pid"]) if status["role"] == "active" and status["warm_pid"] else 0

    return until(look, lambda: f"a warm worker stands by: {pair.report()}")


def hang(slow: SlowMount, server: TargetServer) -> None:
    """Let the shared export hang, with a call of a neighbour in it that has come so far."""
    stuck = mount(Connection(server.port, source=NEIGHBOUR), pseudo=SHARED.strip("/").encode())
    slow.hang()
    stuck.connection.send(stuck.message(ops.putfh(stuck.directory), ops.getattr_(nfs4.FATTR4_SIZE)))
    let_pass(0.5, "the call hangs by now")


def test_failover_while_hung(tmp_path: Path, pair: PairServer) -> None:
    """The active worker is killed while a call hangs in it: the next one serves, its old connections end, in time."""
    slow = SlowMount(tmp_path, pair.path_of(SHARED))
    try:
        pair.start()
        pid = warm(pair)
        connection = Connection(pair.port, source=HONEST, timeout_s=FAILOVER_MAX_S)
        session = mount(connection, pseudo=OWN.strip("/").encode())
        hang(slow, pair)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        session.connection = Connection(pair.port, source=HONEST, timeout_s=FAILOVER_MAX_S)
        reply = Reply(session.connection.rpc(session.message(ops.putfh(session.directory), ops.getattr_())))
        served_s = time.monotonic() - began
        with pytest.raises(EOFError):
            connection.receive_record()
        ended_s = time.monotonic() - began
        print(f"served after {served_s:.3f} s, the old connection ended after {ended_s:.3f} s")
        assert reply.status == nfs4.NFS4_OK
        assert max(served_s, ended_s) < FAILOVER_MAX_S
        assert warm(pair) != pid
    finally:
        slow.close()


@pytest.mark.long
def test_orderly_stop_while_hung(server: TargetServer, slow: SlowMount) -> None:
    """A server that is told to stop while a call hangs ends within its own time limit for that."""
    server.start()
    hang(slow, server)
    server.send_signal(signal.SIGTERM)
    server.end(STOP_S + 5)
