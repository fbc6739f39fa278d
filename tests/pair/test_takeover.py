"""kill -9 of the active worker, again and again, under load: what clients find, and that nobody is refused."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Callable

from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Client40, Connection, Owner40, Reply, Session, mount
from tests.support.waiting import let_pass
from xdr.generated import nfs4

KILLS = 20
SPACING_S = (0.26, 0.5)


class Persistent:
    """A client of NFSv4.1 that sends what got no reply again, on a new connection, as Linux does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.session: Session = mount(Connection(port))
        self.reconnects = 0

    def call(self, *operations: ops.Op) -> Reply:
        """The reply, however many connections that takes."""
        session = self.session
        message = session.message(*operations, cache=True)
        while True:
            try:
                reply = Reply(session.connection.rpc(message))
                break
            except (EOFError, ConnectionError):
                self.reconnect()
        assert reply.results[0].sr_status == nfs4.NFS4_OK, nfs4.nfsstat4_names[reply.results[0].sr_status]
        session.seqids[0] += 1
        return reply

    def ok(self, *operations: ops.Op) -> list[object]:
        """The results; every operation must succeed."""
        reply = self.call(*operations)
        assert reply.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[reply.status]
        return reply.results[1:]

    def reconnect(self) -> None:
        """A new connection, from a new port."""
        self.reconnects += 1
        self.session.connection.close()
        self.session.connection = Connection(self.port)

    def close(self) -> None:
        """Close the connection."""
        self.session.connection.close()


class Load(threading.Thread):
    """Runs a step until it is told to stop; keeps what went wrong."""

    def __init__(self, step: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.step = step
        self.count = 0
        self.error: BaseException | None = None
        self.stopped = threading.Event()

    def run(self) -> None:
        """Step after step."""
        try:
            while not self.stopped.is_set():
                self.step()
                self.count += 1
        except BaseException as error:
            self.error = error

    def finish(self) -> None:
        """Stop; fails if a step had failed."""
        self.stopped.set()
        self.join(20.0)
        assert self.error is None, repr(self.error)
        assert self.count > 0


def connect_once(port: int) -> None:
    """One connection and its end. ConnectionRefusedError is what must never be seen."""
    with socket.create_connection(("127.0.0.1", port), 15.0) as connection:
        # With a reset, so that a tight loop does not use up the ports.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    let_pass(0.0005, "a tight loop would use up the ports")


def files_step(client: Persistent) -> Callable[[], None]:
    """Create, write, close, remove: each exactly once."""
    session, count = client.session, 0

    def step() -> None:
        nonlocal count
        count += 1
        name = b"work-%d" % count
        how = ops.guarded(ops.attrs(mode=0o644))
        opening = ops.open_(name, how=how)
        made = client.call(ops.putfh(session.directory), opening, ops.getfh())
        assert made.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[made.status]
        handle, stateid = made.results[3].resok4.object, made.results[2].resok4.stateid
        client.ok(ops.putfh(handle), ops.write(stateid, b"data", stable=nfs4.FILE_SYNC4))
        client.ok(ops.putfh(handle), ops.close(stateid))
        removed = client.call(ops.putfh(session.directory), ops.remove(name))
        assert removed.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[removed.status]

    return step


def test_kill_active_under_load(pair: PairProcess) -> None:
    """Twenty kills: the same session, clientid, open and lock go on, nobody else gets the lock, nobody is refused."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    holder, asker, worker = Persistent(pair.port), Persistent(pair.port), Persistent(pair.port)
    opened = holder.session.create(b"held")
    lock = holder.session.lock(opened, 0, 100)
    mine = holder.session

    def hold() -> None:
        holder.ok(ops.putfh(opened.handle), ops.read(opened.stateid), ops.getattr_())
        let_pass(0.002, "the four loads share two processors")

    def ask() -> None:
        reply = asker.call(ops.putfh(opened.handle), ops.lockt(0, 10))
        assert reply.status == nfs4.NFS4ERR_DENIED, nfs4.nfsstat4_names[reply.status]
        let_pass(0.002, "the four loads share two processors")

    loads = [Load(hold), Load(ask), Load(files_step(worker)), Load(lambda: connect_once(pair.port))]
    for load in loads:
        load.start()
    clientid, sessionid = mine.clientid, mine.sessionid
    last = 0
    for _ in range(KILLS):
        let_pass(chance.uniform(*SPACING_S), "deaths in quick succession are put off, which is another test")
        pair.settled(after=last)
        last = pair.kill_active()
    found = pair.settled(after=last)
    for load in loads:
        load.finish()
    assert found["takeovers"] == KILLS and found["epoch"] == KILLS + 1
    assert holder.reconnects >= KILLS
    assert (mine.clientid, mine.sessionid) == (clientid, sessionid)
    holder.ok(ops.putfh(opened.handle), ops.locku(lock, 0, 100))
    assert asker.call(ops.putfh(opened.handle), ops.lockt(0, 10)).status == nfs4.NFS4_OK
    holder.ok(ops.putfh(opened.handle), ops.close(opened.stateid))
    totals = [line["total_s"] for line in pair.events("takeover.done")][1:]
    print(f"takeovers: {[round(total * 1000, 1) for total in totals]} ms; {[load.count for load in loads]} steps")
    assert not pair.events("server.fault") and not pair.events("takeover.delayed")
    for client in (holder, asker, worker):
        client.close()


def test_kill_active_v40(pair: PairProcess) -> None:
    """An NFSv4.0 client keeps clientid, owner's sequence and open, and gets a reset when the worker dies."""
    connection = Connection(pair.port)
    client = Client40(connection)
    owner = Owner40(client)
    opened = owner.open(b"file", how=ops.unchecked(ops.attrs(mode=0o644)))
    for _ in range(3):
        last = pair.kill_active()
        try:
            ended = client.connection.socket.recv(1)
            raise AssertionError(f"an end of file ({ended!r}) where a reset was due")
        except ConnectionResetError:
            client.connection.close()
        client.connection = Connection(pair.port)
        client.ok(ops.renew(client.clientid))
        client.ok(ops.putfh(opened.handle), ops.read(opened.stateid))
        pair.settled(after=last)
    client.ok(ops.putfh(opened.handle), ops.close(opened.stateid, owner.next()))
    client.connection.close()


def test_recovery_is_told(pair: PairProcess) -> None:
    """status, the log and the figures have the phases of the takeover."""
    last = pair.kill_active()
    found = pair.settled(after=last)
    assert list(found["recovery"]) == ["detect", "open", "load", "listen", "total"]
    assert 0 < sum(list(found["recovery"].values())[:-1]) <= found["recovery"]["total"] + 0.001
    done = pair.events("takeover.done")[-1]
    assert done["total_s"] == found["recovery"]["total"]
    phases = [line["phase"] for line in pair.events("takeover.phase")][-5:]
    assert phases == list(found["recovery"])
    died = pair.events("worker.died")
    assert [(line["role"], line["signal"], line["worker_pid"]) for line in died] == [("active", "SIGKILL", last)]


def test_connect_before_service(pair: PairProcess) -> None:
    """A connection made while nobody serves waits, and is answered by the next worker."""
    before = pair.settled()
    last = pair.kill_active()
    connections = [Connection(pair.port) for _ in range(50)]
    answered = 0
    for connection in connections:
        try:
            connection.null()
            answered += 1
        except (EOFError, ConnectionError):
            # The dying worker had taken it.
            continue
        finally:
            connection.close()
    assert answered
    assert pair.settled(after=last)["pid"] == before["warm_pid"]
