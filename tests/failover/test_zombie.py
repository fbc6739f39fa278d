"""A node that is frozen at any boundary of a request, and thawed after another one has taken over, does no harm.

    python -m pytest tests/failover/test_zombie.py -m long -s      # every request, every boundary

Three worlds. In the first the fence is real: it ends the frozen node's processes and waits for that. In the second
the fence lies, as if the nodes were two machines that see the same disk: only the node's own notice that it stood
still is left, which is a hint; what it misses is a system call that is already allowed. In the third that notice is
taken away too: the harm is then found, so the judge can find it.
"""

from __future__ import annotations

import select
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from statestore import dump
from tests.support import operations as ops
from tests.support.client import Opened, Session, mount
from tests.support.processes import gone
from tests.support.waiting import let_pass, until

from .nodes import Group, GroupNode

FROZEN_S = 0.8
PAUSE_MAX_S = 0.4
THAWED_S = 0.5
PROGRAM = (sys.executable, "-m", "tests.failover.stage")
REQUESTS = ("mkdir", "remove", "open", "lock", "write")
# What is allowed already cannot be called back by the process itself: that is what fences are for.
ALLOWED_ALREADY = frozenset({"before mkdir", "before unlink", "before open", "before pwrite"})


@dataclass
class Client:
    """The client's session, and its request in several kinds."""

    session: Session
    opened: Opened

    def message(self, kind: str) -> bytes:
        """The next request of slot 0."""
        session, held = self.session, self.opened
        directory = ops.putfh(session.directory)
        made = ops.open_(b"made", owner=b"made", how=ops.guarded(ops.attrs(mode=0o644)))
        requests = {
            "mkdir": (directory, ops.mkdir(b"made")),
            "remove": (directory, ops.remove(b"victim")),
            "open": (directory, made, ops.getfh()),
            "lock": (ops.putfh(held.handle), ops.lock_new(held.stateid, owner=b"locker")),
            "write": (ops.putfh(held.handle), ops.write(held.stateid, data=b"written")),
        }
        return session.message(*requests[kind], cache=True)


@pytest.fixture
def group(namespaces: None, tmp_path: Path) -> Iterator[Group]:
    """Two nodes; a can be frozen at a boundary."""
    with Group(tmp_path) as opened:
        yield opened


def stage(node: GroupNode, **settings: Any) -> None:
    """Start a node with boundaries."""
    node.program = PROGRAM
    node.configure(**settings)
    node.start(environment={"UNDERSTUDY_STAGE": str(node.directory)})


def elsewhere(group: Group) -> None:
    """Node b gets locks of its own on the same store, as a second machine would have them."""
    group.b.state = group.directory / "state-b"
    group.b.state.mkdir(mode=0o700)
    for name in ("data.mdb", "secret"):
        (group.b.state / name).symlink_to(group.state / name)


def prepare(group: Group) -> Client:
    """Node a serves a client, who has a file open; there is another file to remove."""
    group.a.promote()
    session = mount(group.connect())
    opened = session.create(b"held", owner=b"first")
    session.ok(ops.putfh(session.directory), ops.open_(b"victim", owner=b"victim", how=ops.unchecked()))
    (group.export / "victim").unlink()
    (group.export / "victim").touch()
    return Client(session, opened)


def boundaries(group: Group, kind: str) -> list[str]:
    """The boundaries that a request passes on node a, in their order; it is carried out."""
    client = prepare(group)
    (group.a.directory / "at").write_text("0")
    client.session.connection.rpc(client.message(kind))
    passed = group.a.directory / "passed"
    until(lambda: passed.read_text().endswith("after reply\n"), "the last boundary is passed")
    client.session.connection.close()
    names = (group.a.directory / "passed").read_text().splitlines()
    (group.a.directory / "passed").unlink()
    group.a.kill()
    for path in group.export.iterdir():
        if path.name != ".understudy":
            path.rmdir() if path.is_dir() else path.unlink()
    return names


def freeze(group: Group, client: Client, kind: str, number: int) -> None:
    """Send the request, and have node a frozen at a boundary of it."""
    (group.a.directory / "at").write_text(str(number))
    client.session.connection.send(client.message(kind))
    pid = group.a.pid if group.a.child is not None else 0
    until(lambda: _stopped(pid), "the node is frozen")
    # A frozen machine's kernel is silent too.
    group.network.cut("a")


def _stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def picture(group: Group) -> dict[str, Any]:
    """Everything that a zombie could spoil: the tree with its contents, and every record of the store."""
    tree = {
        str(path.relative_to(group.export)): (path.lstat().st_ino, path.read_bytes() if path.is_file() else b"")
        for path in sorted(group.export.rglob("*"))
    }
    return {"tree": tree, "store": {(record["kind"], record["key"]): record for record in dump(group.b.state, {})}}


def said(client: Client) -> bytes:
    """What arrives for the client on its old connection within a while."""
    sock = client.session.connection.socket
    if not select.select([sock], [], [], THAWED_S)[0]:
        return b""
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def thaw(group: Group, client: Client) -> list[str]:
    """Let node a go on after b has taken over; what harm it does."""
    let_pass(FROZEN_S, "node a must have stood still for longer than it may")
    before = picture(group)
    # What was in flight before the takeover may still be there to read.
    client.session.connection.socket.setblocking(False)
    try:
        while client.session.connection.socket.recv(65536):
            pass
    except (BlockingIOError, ConnectionResetError):
        pass
    # It still has its address, and can send again.
    group.network.mend("a")
    group.a.signal_all(signal.SIGCONT)
    heard = said(client)
    let_pass(THAWED_S, "what it would do wrong, it would do now")
    after = picture(group)
    harm = [
        f"{what}: {key} was {before[what].get(key)}, is {after[what].get(key)}"
        for what in before
        for key in before[what].keys() | after[what].keys()
        if before[what].get(key) != after[what].get(key)
    ]
    return harm + (["it answered"] if heard else [])


def judge(group: Group, kind: str, number: int) -> list[str]:
    """Freeze, take over, thaw; what harm was done."""
    client = prepare(group)
    freeze(group, client, kind, number)
    group.b.promote()
    go_on(group)
    return thaw(group, client)


def go_on(group: Group) -> None:
    """Another client undoes on node b whatever the frozen request was about to do or has done."""
    session = mount(group.connect())
    directory = ops.putfh(session.directory)
    for name in (b"made", b"victim"):
        session.call(directory, ops.remove(name))
    session.ok(directory, ops.open_(b"victim", owner=b"other", how=ops.unchecked()))
    held = session.open(b"held", owner=b"other")
    session.ok(ops.putfh(held.handle), ops.write(held.stateid, data=b"undone!"))
    session.connection.close()


def check_fenced(group: Group, kind: str) -> None:
    """With a real fence no boundary of this request does harm."""
    stage(group.a)
    names = boundaries(group, kind)
    assert names[0] == "before request" and len(names) >= 6, names
    group.b.start()
    for number, name in enumerate(names, 1):
        stage(group.a)
        harm = judge(group, kind, number)
        assert not harm, f"{kind}, {name}: {harm}"
        assert gone(group.a.pid), "the fence lets nobody live"
        print(f"{kind}, {name}: fenced")
        group.a.kill()
        for path in group.export.iterdir():
            if path.name != ".understudy":
                path.rmdir() if path.is_dir() else path.unlink()
        group.b.let_go()


def test_fenced(group: Group) -> None:
    """Frozen at every boundary of a change of names."""
    check_fenced(group, "mkdir")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", REQUESTS)
def test_fenced_each(group: Group, kind: str) -> None:
    """Frozen at every boundary of every kind of request."""
    check_fenced(group, kind)


def lying_fence(group: Group, kind: str, pause_max_s: float, only: str = "") -> dict[str, list[str]]:
    """By boundary, or by those whose name has `only` in it: what harm a node does that nobody has fenced."""
    found: dict[str, list[str]] = {}
    stage(group.a, fence="true")
    names = boundaries(group, kind)
    for number, name in enumerate(names, 1):
        if only not in name:
            continue
        for path in (*group.state.iterdir(), *group.export.iterdir()):
            if path.is_dir():
                for inner in path.iterdir():
                    inner.unlink()
                path.rmdir()
            else:
                path.unlink()
        stage(group.a, fence="true", hooks=f"pause_max_s = {pause_max_s}\n")
        if group.b.state == group.state:
            elsewhere(group)
            group.b.configure(fence="true")
        group.b.start()
        found[f"{number} {name}"] = judge(group, kind, number)
        if pause_max_s < FROZEN_S:
            until(lambda: group.a.events("fenced"), "it has said why it stops")
            assert any("stood still" in line["reason"] for line in group.a.events("fenced"))
            group.a.wait("fenced")
        for node in (group.a, group.b):
            node.kill()
            node.log.unlink()
    return found


def check_stops_itself(group: Group, kind: str, only: str = "") -> None:
    """What a node does that only notices that it stood still."""
    found = lying_fence(group, kind, PAUSE_MAX_S, only)
    print(kind, found)
    harmful = {name.partition(" ")[2] for name, harm in found.items() if harm}
    assert harmful <= ALLOWED_ALREADY, found


def test_stops_itself(group: Group) -> None:
    """Nobody fenced it, but it notices that it stood still: it commits nothing more, and says why."""
    check_stops_itself(group, "mkdir", "commit")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", REQUESTS)
def test_stops_itself_each(group: Group, kind: str) -> None:
    """A thawed node writes, answers and commits nothing, at every boundary of every kind of request."""
    check_stops_itself(group, kind)


def test_without_fence(group: Group) -> None:
    """With neither fence nor notice the harm is done, and is found."""
    found = lying_fence(group, "mkdir", 60, "after commit")
    print(found)
    assert any(what.startswith("tree: made") for harm in found.values() for what in harm), found
