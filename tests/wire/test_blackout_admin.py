"""Blackouts that an administrator sets: what is refused meanwhile, what is not, and how they end."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import operations as ops
from tests.support.client import Client40, Opened, Owner40, Session, mount, unique
from tests.support.control import ControlError
from tests.support.waiting import until, watch
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

LONG_S = 600
DEADLINE_S = 20.0
EXPORT = "rw,insecure,no_root_squash"


@pytest.fixture(scope="module")
def plain(make_server: MakeServer) -> ServerProcess:
    """A server with two exports and figures."""
    return make_server(
        exports={"/export": EXPORT, "/second": EXPORT}, settings={"metrics": "127.0.0.1:0", "log_level": "info"}
    )


@pytest.fixture
def server(plain: ServerProcess) -> Iterator[ServerProcess]:
    """The server; no blackout is left behind."""
    yield plain
    for row in plain.ask("blackout", action="list"):
        name = int(row["name"], 16) if row["what"] == "client" else row["name"]
        plain.ask("blackout", action="lift", **{row["what"]: name})
    assert not plain.faults()


def begin(server: ServerProcess, seconds: int = LONG_S, **arguments: Any) -> dict[str, Any]:
    """Set a blackout; its row."""
    row: dict[str, Any] = server.ask("blackout", action="set", seconds=seconds, **arguments)
    return row


def lift(server: ServerProcess, **arguments: Any) -> bool:
    """Lift one."""
    return bool(server.ask("blackout", action="lift", **arguments))


class Held:
    """A file that a client of NFSv4.2 has open and locked, and how the file is called."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.session: Session = mount(connect(server), minor=2)
        self.name = unique(b"held")
        self.path = f"/export/{self.name.decode()}"
        self.opened: Opened = self.session.create(self.name)
        self.lock = self.session.lock(self.opened, 0, 10)

    def statuses(self, session: Session) -> set[int]:
        """What requests on the file are answered that a blackout is in the way of."""
        stateid = self.opened.stateid if session is self.session else ops.ANONYMOUS
        directory, new = session.directory, unique(b"new")
        on_file = (
            ops.read(stateid), ops.write(stateid, b"x"), ops.lockt(50, 1), ops.open_(None),
            ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o600)), ops.setxattr(b"a", b"b"),
        )  # fmt: skip
        two = (ops.putfh(directory), ops.savefh())
        found = {session.status(ops.putfh(self.opened.handle), operation) for operation in on_file}
        found |= {
            session.open_status(self.name),
            session.open_status(self.name, how=ops.unchecked(ops.attrs(size=0))),
            session.status(ops.putfh(directory), ops.remove(self.name)),
            session.status(*two, ops.rename(self.name, new)),
            session.status(ops.putfh(self.opened.handle), ops.savefh(), ops.putfh(directory), ops.link(new)),
        }
        if session is self.session:
            found.add(session.status(ops.putfh(self.opened.handle), ops.lock_more(self.lock, 20, 5)))
            found.add(session.status(ops.putfh(self.opened.handle), ops.lock_new(stateid, 30, 5, owner=b"another")))
        return found


@pytest.fixture
def held(server: ServerProcess, connect: Connect) -> Held:
    """The file and its holder."""
    return Held(server, connect)


@pytest.mark.parametrize(("response", "status"), [
    ("retry", nfs4.NFS4ERR_DELAY), ("fail", nfs4.NFS4ERR_ACCESS),
])  # fmt: skip
def test_file(server: ServerProcess, connect: Connect, held: Held, response: str, status: int) -> None:
    """Everybody's requests are refused, the holder's too; what gives back and what looks is served."""
    other = mount(connect(server), minor=2)
    row = begin(server, file=held.path, response=response)
    assert (row["why"], row["response"], row["name"]) == ("administrator", response, held.path)
    assert held.statuses(other) == {status}
    assert held.statuses(held.session) == {status}
    put = ops.putfh(held.opened.handle)
    held.session.ok(put, ops.getattr_(), ops.access())
    held.session.ok(put, ops.locku(held.lock, 5, 5))
    (listed,) = server.ask("blackout", action="list")
    assert listed["refusals"] == 24
    assert datetime.fromisoformat(listed["until"]) > datetime.now(UTC)
    assert lift(server, file=held.path)
    assert not lift(server, file=held.path)
    held.session.ok(put, ops.write(held.opened.stateid, b"on"), ops.close(held.opened.stateid))


def test_file_state_stays(server: ServerProcess, connect: Connect, held: Held) -> None:
    """A file may be closed in a blackout; what is not given back is there afterwards."""
    second = held.session.open(held.name, owner=b"second")
    begin(server, file=held.opened.handle.hex())
    held.session.ok(ops.putfh(held.opened.handle), ops.close(second.stateid))
    assert lift(server, file=held.path)
    other = mount(connect(server))
    assert other.status(ops.putfh(held.opened.handle), ops.lockt(0, 1)) == nfs4.NFS4ERR_DENIED


def test_file_rename_over(server: ServerProcess, connect: Connect, held: Held) -> None:
    """Nothing may take its name."""
    other = mount(connect(server))
    taker = unique(b"taker")
    other.create(taker)
    begin(server, file=held.path)
    two = (ops.putfh(other.directory), ops.savefh())
    assert other.status(*two, ops.rename(taker, held.name)) == nfs4.NFS4ERR_DELAY
    other.ok(*two, ops.rename(taker, unique(b"elsewhere")))


def test_export(server: ServerProcess, connect: Connect, held: Held) -> None:
    """Every file of the export, what would be made in it too; the other export is served."""
    begin(server, export="/export", response="fail")
    name = unique(b"unmade")
    assert held.statuses(held.session) == {nfs4.NFS4ERR_ACCESS}
    assert held.session.open_status(name, how=ops.guarded()) == nfs4.NFS4ERR_ACCESS
    assert held.session.status(ops.putfh(held.session.directory), ops.mkdir(name)) == nfs4.NFS4ERR_ACCESS
    assert not (server.export / name.decode()).exists()
    mount(connect(server), pseudo=b"second").create(unique(b"made"))
    assert lift(server, export="/export/")
    held.session.create(name)


def test_client(server: ServerProcess, connect: Connect, held: Held) -> None:
    """One client on every file, others on none; its lease goes on."""
    other = mount(connect(server))
    begin(server, client=held.session.clientid)
    assert held.statuses(held.session) == {nfs4.NFS4ERR_DELAY}
    assert held.session.open_status(unique(b"unmade"), how=ops.guarded()) == nfs4.NFS4ERR_DELAY
    held.session.ok(ops.putrootfh())
    assert other.open_status(held.name) == nfs4.NFS4_OK
    assert lift(server, client=held.session.clientid)
    held.session.ok(ops.putfh(held.opened.handle), ops.write(held.opened.stateid, b"on"))


def test_client40(server: ServerProcess, connect: Connect) -> None:
    """NFSv4.0: an owner's sequence ids go on over refusals, and I/O is refused though it names no client."""
    client = Client40(connect(server))
    opener = Owner40(client)
    name = unique(b"file40")
    opened = opener.create(name)
    begin(server, client=client.clientid)
    assert client.status(*opener.opening(name)) == nfs4.NFS4ERR_DELAY
    assert client.status(ops.putfh(opened.handle), ops.write(opened.stateid, b"x")) == nfs4.NFS4ERR_DELAY
    client.ok(ops.renew(client.clientid))
    assert lift(server, client=client.clientid)
    opener.open(name)


def test_ends_by_itself(server: ServerProcess, connect: Connect, held: Held) -> None:
    """When the time is over requests are served, and the list is empty."""
    begin(server, seconds=1, file=held.path)
    put = ops.putfh(held.opened.handle)
    status = watch(
        lambda: held.session.status(put, ops.write(held.opened.stateid, b"x")),
        lambda answer: answer != nfs4.NFS4ERR_DELAY,
        DEADLINE_S,
    )
    assert status == nfs4.NFS4_OK
    ended = until(
        lambda: [event for event in server.events("blackout.ended") if event.get("name") == held.path],
        "its end is told",
        DEADLINE_S,
    )
    assert ended[0]["reason"] == "time"
    assert ended[0]["refusals"] > 0
    assert server.ask("blackout", action="list") == []


def test_set_again_begins_anew(server: ServerProcess, held: Held) -> None:
    """The last word counts, and there is one row."""
    begin(server, file=held.path, response="retry")
    begin(server, file=held.opened.handle.hex(), response="fail", seconds=5)
    (row,) = server.ask("blackout", action="list")
    assert (row["response"], row["left_s"] <= 5) == ("fail", True)


def test_survives_restart(server: ServerProcess, connect: Connect, held: Held) -> None:
    """Files, exports and clients stay blacked out over a death, to the same moment; a lifted one stays lifted."""
    begin(server, file=held.path, response="fail")
    begin(server, export="/second")
    begin(server, client=held.session.clientid)
    assert lift(server, export="/second")
    before = {row["name"]: row["until"] for row in server.ask("blackout", action="list")}
    server.restart()
    held.session.connection = connect(server)
    rows = [row for row in server.ask("blackout", action="list") if row["why"] == "administrator"]
    after = {row["name"]: row["until"] for row in rows}
    assert after.keys() == before.keys()
    for name, end in after.items():
        difference = datetime.fromisoformat(end) - datetime.fromisoformat(before[name])
        assert abs(difference.total_seconds()) <= 1
    put = ops.putfh(held.opened.handle)
    assert held.session.status(put, ops.read(held.opened.stateid)) == nfs4.NFS4ERR_ACCESS
    assert held.session.open_status(unique(b"unmade"), how=ops.guarded()) == nfs4.NFS4ERR_DELAY
    assert lift(server, file=held.path)
    assert lift(server, client=held.session.clientid)
    held.session.ok(put, ops.write(held.opened.stateid, b"on"))


@pytest.mark.parametrize(("arguments", "error"), [
    ({"file": "/export/none"}, "there is no file"),
    ({"file": "/export/../export"}, "there is no file"),
    ({"file": "zz"}, "there is no file"),
    ({"file": "0102"}, "there is no file"),
    ({"file": "/export"}, "no regular file"),
    ({"export": "/third"}, "there are /export, /second"),
    ({"client": 1}, "there is no client 0x1"),
    ({"client": "1"}, "is not allowed"),
    ({}, "name one"),
    ({"export": "/export", "client": 1}, "name one"),
    ({"export": "/export", "seconds": 0}, "from 1 to"),
    ({"export": "/export", "seconds": True}, "from 1 to"),
    ({"export": "/export", "response": "wait"}, "retry or fail"),
])  # fmt: skip
def test_set_refused(server: ServerProcess, arguments: dict[str, Any], error: str) -> None:
    """What cannot be blacked out is said, with what can."""
    with pytest.raises(ControlError, match=error):
        server.ask("blackout", action="set", **arguments)
    assert server.ask("blackout", action="list") == []


def test_unknown_action(server: ServerProcess) -> None:
    """An action that there is not is refused, with those that there are."""
    with pytest.raises(ControlError, match="list, set, lift"):
        server.ask("blackout", action="dance")


def test_usual_seconds(server: ServerProcess, held: Held) -> None:
    """Without a time it lasts as long as the file would wait for its holders after a start."""
    assert 29 < server.ask("blackout", action="set", file=held.path)["left_s"] <= 30
    held.session.ok(ops.putfh(held.opened.handle), ops.getattr_())
    lift(server, file=held.path)
    held.session.ok(ops.putfh(held.opened.handle), ops.setxattr(b"blackout_time_s", b"90"))
    assert 89 < server.ask("blackout", action="set", file=held.path)["left_s"] <= 90
    assert 29 < server.ask("blackout", action="set", export="/export")["left_s"] <= 30


def test_figures(server: ServerProcess, held: Held) -> None:
    """What is blacked out and what was refused is counted and logged."""
    address = server.events("metrics.listening")[-1]["address"]

    def figure(name: str) -> float:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
            found = re.search(rf"^understudy_{name} (\S+)$", page.read().decode(), re.MULTILINE)
        assert found
        return float(found.group(1))

    refusals = figure("blackout_refusals_total")
    begin(server, file=held.path)
    assert held.session.open_status(held.name) == nfs4.NFS4ERR_DELAY
    assert figure("blackout_files") >= 1
    assert figure("blackout_refusals_total") == refusals + 1
    assert server.events("blackout.began")[-1]["name"] == held.path
    assert server.events("blackout.refused")
