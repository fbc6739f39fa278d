"""A file system that hangs: its keeper is stopped, which is what a call that does not return looks like from here."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pair.process import PairProcess
from tests.support import operations as ops
from tests.support.client import Client40, Connection, Owner40, Reply, Session, mount, unique
from tests.support.processes import gone
from tests.support.rpc import RpcReply
from tests.support.waiting import until
from xdr.generated import nfs4

PROMPT_S = 0.5


class TwoTrees(PairProcess):
    """A pair with one export as usual, and one that is served apart."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.apart = directory / "apart"
        self.apart.mkdir(mode=0o777)
        self.apart.chmod(0o777)

    def words(self) -> list[str]:
        """The command line after `understudy`."""
        return [*super().words(), "--export", f"{self.apart}=/apart,rw,insecure,no_root_squash,apart"]

    def keeper(self) -> int:
        """The process id of the active worker's keeper."""
        worker = self.status()["pid"]

        def look() -> list[int]:
            children = Path(f"/proc/{worker}/task/{worker}/children").read_text(encoding="ascii").split()
            return [int(child) for child in children]

        (found,) = until(look, lambda: "the worker has a keeper")
        return found


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[TwoTrees]:
    """The pair, serving."""
    pair = TwoTrees(tmp_path)
    pair.start()
    pair.settled()
    yield pair
    pair.close()


class Asked:
    """A request whose reply comes when it comes, in a thread."""

    def __init__(self, session: Session, *operations: ops.Op) -> None:
        self.message = session.message(*operations, cache=True)
        self.session = session
        self.reply: RpcReply | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self.reply = self.session.connection.rpc(self.message)

    def wait(self, limit_s: float) -> Reply | None:
        """The reply, if it has come by then."""
        self._thread.join(limit_s)
        return Reply(self.reply) if self.reply is not None else None


def longest_s(session: Session, count: int = 200) -> float:
    """The longest of many requests about the usual export."""
    longest = 0.0
    for number in range(count):
        began_s = time.monotonic()
        session.create(unique(b"near-%d" % number))
        longest = max(longest, time.monotonic() - began_s)
    return longest


def test_only_its_users_wait(trees: TwoTrees) -> None:
    """While one export hangs, others are served as ever, new clients too; then its own clients get their replies."""
    near = mount(Connection(trees.port))
    far = mount(Connection(trees.port), pseudo=b"apart")
    far.create(b"before")
    keeper = trees.keeper()
    os.kill(keeper, signal.SIGSTOP)
    try:
        made = Asked(far, ops.putfh(far.directory), ops.mkdir(b"made"))
        assert longest_s(near) < PROMPT_S
        assert longest_s(mount(Connection(trees.port))) < PROMPT_S
        renewing = mount(Connection(trees.port))
        assert renewing.status(ops.putrootfh(), ops.getattr_(nfs4.FATTR4_TYPE)) == nfs4.NFS4_OK
        assert made.wait(0.1) is None
    finally:
        os.kill(keeper, signal.SIGCONT)
    reply = made.wait(10.0)
    assert reply is not None and reply.status == nfs4.NFS4_OK
    assert (trees.apart / "made").is_dir()


def test_retry_of_what_was_put_aside(trees: TwoTrees) -> None:
    """NFSv4.0: a request that is sent again while it is put aside is carried out once, and answered twice."""
    client = Client40(Connection(trees.port), pseudo=b"apart")
    owner = Owner40(client)
    keeper = trees.keeper()
    os.kill(keeper, signal.SIGSTOP)
    try:
        xid = client.connection.next_xid()
        message = client.connection.compound(
            ops.putfh(client.directory), *owner.opening(b"once", how=ops.unchecked()), minor=0, xid=xid
        )  # fmt: skip
        found: list[Reply] = []
        second = Connection(trees.port)
        threads = [
            threading.Thread(target=lambda each=each: found.append(Reply(each.rpc(message))), daemon=True)
            for each in (client.connection, second)
        ]
        for thread in threads:
            thread.start()
        threads[0].join(0.3)
        assert not found
    finally:
        os.kill(keeper, signal.SIGCONT)
    for thread in threads:
        thread.join(10.0)
    assert [reply.status for reply in found] == [nfs4.NFS4_OK] * 2
    first, again = (reply.results[2].resok4 for reply in found)
    assert first.stateid == again.stateid


def test_takeover_while_it_hangs(trees: TwoTrees) -> None:
    """The next worker serves the other exports at once; what hung is decided when the old keeper has ended, once."""
    near = mount(Connection(trees.port))
    far = mount(Connection(trees.port), pseudo=b"apart")
    held = far.create(b"held")
    keeper = trees.keeper()
    os.kill(keeper, signal.SIGSTOP)
    try:
        Asked(far, ops.putfh(far.directory), ops.mkdir(b"made")).wait(0.3)
        old = trees.kill_active()
        near.connection = Connection(trees.port)
        began_s = time.monotonic()
        assert near.status(ops.putfh(near.directory), ops.getattr_(nfs4.FATTR4_TYPE)) == nfs4.NFS4_OK
        assert time.monotonic() - began_s < 2.0
        assert longest_s(near) < PROMPT_S
        trees.settled(after=old)
        far.connection = Connection(trees.port)
        message = far.message(ops.putfh(far.directory), ops.mkdir(b"made"), cache=True)
        found: list[Reply] = []
        retry = threading.Thread(target=lambda: found.append(Reply(far.connection.rpc(message))), daemon=True)
        retry.start()
        retry.join(0.3)
        assert not found, (found[0].statuses(), gone(keeper), trees.report())
    finally:
        os.kill(keeper, signal.SIGCONT)
    retry.join(10.0)
    assert [reply.status for reply in found] == [nfs4.NFS4_OK]
    far.seqids[0] += 1
    assert (trees.apart / "made").is_dir()
    assert gone(keeper)
    assert far.status(ops.putfh(held.handle), ops.close(held.stateid)) == nfs4.NFS4_OK
    assert not trees.faults()


def test_stop_while_it_hangs(trees: TwoTrees) -> None:
    """A stop does not wait for the file system longer than for anything else, and the state is whole."""
    far = mount(Connection(trees.port), pseudo=b"apart")
    far.create(b"before")
    keeper = trees.keeper()
    os.kill(keeper, signal.SIGSTOP)
    try:
        Asked(far, ops.putfh(far.directory), ops.mkdir(b"made")).wait(0.2)
        began_s = time.monotonic()
        assert trees.stop() == 0
        assert time.monotonic() - began_s < 5.0
    finally:
        os.kill(keeper, signal.SIGCONT)
    until(lambda: gone(keeper), lambda: "the keeper ends")
    assert trees.run("store", "verify", "--state", str(trees.state)).returncode == 0


def test_lost_keeper_stops_the_worker(trees: TwoTrees) -> None:
    """A keeper that dies takes its worker along: nobody else could say what it had done; the next one asks."""
    far = mount(Connection(trees.port), pseudo=b"apart")
    far.create(b"before")
    old = trees.status()["pid"]
    os.kill(trees.keeper(), signal.SIGKILL)
    trees.settled(after=old)
    far.connection = Connection(trees.port)
    far.create(b"after")
    assert [event["reason"] for event in trees.events("keeper.lost")] == ["the keeper has ended"]
