"""After a start: how long each file waits for its holders, by its own word, its holder's address, its export."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.support import operations as ops
from tests.support.client import Opened, Session, begin_session, identify, mount, unique
from tests.support.waiting import until
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from tests.wire.test_reclaim import claim_previous
from xdr.generated import nfs4

ATTRIBUTE = b"blackout_time_s"
LONG_S = 600
DEADLINE_S = 20.0
EXPORT = "rw,insecure,no_root_squash"
EXPORTS = {"/export": EXPORT, "/none": f"{EXPORT},blackout=0", "/long": f"{EXPORT},blackout={LONG_S}"}
PATIENT_CLIENT = "127.0.0.9"
CLIENTS = {f"{PATIENT_CLIENT}/32": LONG_S + 100}


@pytest.fixture(scope="module")
def reclaiming(make_server: MakeServer) -> ServerProcess:
    """Holders claim their files again; files wait for two minutes unless somebody says otherwise."""
    settings = {"recovery": "reclaim", "blackout_s": 120}
    return make_server(settings=settings, exports=EXPORTS, client_blackouts=CLIENTS)


@pytest.fixture(scope="module")
def resuming(make_server: MakeServer) -> ServerProcess:
    """Everything is as it was, and requesters wait for holders who have not returned."""
    settings = {"recovery": "resume", "blackout_s": 120, "blackout_response": "retry"}
    return make_server(settings=settings, exports=EXPORTS, client_blackouts=CLIENTS)


class Holder:
    """A client with one open and locked file, whose attribute says how long it waits."""

    def __init__(
        self, server: ServerProcess, connect: Connect, attribute: bytes = b"", pseudo: bytes = b"export",
        source: str = "127.0.0.1",
    ) -> None:  # fmt: skip
        self.server, self.connect, self.pseudo, self.source = server, connect, pseudo, source
        self.owner, self.name = unique(b"holder"), unique(b"file")
        self.session: Session = mount(connect(server, source=source), owner=self.owner, pseudo=pseudo, minor=2)
        self.opened: Opened = self.session.open(
            self.name, deny=nfs4.OPEN4_SHARE_DENY_WRITE, how=ops.guarded(ops.attrs(mode=0o666))
        )
        self.session.lock(self.opened, 0, 10)
        if attribute:
            self.session.ok(ops.putfh(self.opened.handle), ops.setxattr(ATTRIBUTE, attribute))

    def other(self) -> Session:
        """Somebody else."""
        return mount(self.connect(self.server), pseudo=self.pseudo, minor=2)

    def claim(self, *, lock: bool = False) -> int:
        """Come back, and claim the open."""
        connection = self.connect(self.server, source=self.source)
        found = identify(connection, self.owner)
        self.session = begin_session(connection, found.eir_clientid, found.eir_sequenceid, minor=2)
        claim = claim_previous(ops.BOTH, nfs4.OPEN4_SHARE_DENY_WRITE)
        reply = self.session.call(ops.putfh(self.opened.handle), claim)
        if lock and reply.status == nfs4.NFS4_OK:
            locking = ops.lock_new(reply.results[-1].resok4.stateid, 0, 10, reclaim=True)
            return self.session.status(ops.putfh(self.opened.handle), locking)
        return reply.status

    def row(self) -> dict[str, Any] | None:
        """What the listing says of the file."""
        rows = self.server.ask("blackout", action="list")
        return next((row for row in rows if row["file"] == self.opened.handle.hex()), None)


@pytest.mark.parametrize("value", [b"3601", b"-1", b"soon", b"", b"1.5", b" 1"])
def test_attribute_invalid(resuming: ServerProcess, connect: Connect, value: bytes) -> None:
    """A client may say 0 to 3600 in decimal digits, and nothing else; other attributes are free."""
    session = mount(connect(resuming), minor=2)
    put = ops.putfh(session.create(unique(b"file")).handle)
    assert session.status(put, ops.setxattr(ATTRIBUTE, value)) == nfs4.NFS4ERR_INVAL
    session.ok(put, ops.setxattr(b"another", value))
    session.ok(put, ops.setxattr(ATTRIBUTE, b"3600"), ops.removexattr(ATTRIBUTE))


def test_attribute_is_on_the_file(resuming: ServerProcess, connect: Connect) -> None:
    """The time of a blackout is an attribute like any other for local programs."""
    holder = Holder(resuming, connect, b"77")
    assert os.getxattr(resuming.export / holder.name.decode(), "user.blackout_time_s") == b"77"


@pytest.mark.parametrize(("attribute", "pseudo", "source", "least_s", "why"), [
    (b"", b"export", "127.0.0.1", 100, "takeover"),
    (b"", b"long", "127.0.0.1", LONG_S - 20, "takeover"),
    (b"", b"none", PATIENT_CLIENT, LONG_S + 80, "takeover"),
    (b"900", b"none", PATIENT_CLIENT, 880, "attribute"),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["reclaim", "resume"])
def test_precedence(
    reclaiming: ServerProcess, resuming: ServerProcess, connect: Connect, mode: str, attribute: bytes,
    pseudo: bytes, source: str, least_s: int, why: str,
) -> None:  # fmt: skip
    """The file's word counts before its holder's, that before the export's, that before the server's."""
    server = reclaiming if mode == "reclaim" else resuming
    holder = Holder(server, connect, attribute, pseudo, source)
    label = f"{holder.session.clientid:016x}"
    server.restart()
    status = nfs4.NFS4ERR_GRACE if mode == "reclaim" else nfs4.NFS4ERR_DELAY
    assert holder.other().open_status(holder.name) == status
    row = holder.row()
    assert row is not None
    assert least_s < row["left_s"] <= least_s + 20
    assert (row["why"], row["holders"], row["refusals"], row["response"]) == (why, [label], 1, "retry")


@pytest.mark.parametrize(("attribute", "pseudo"), [(b"0", b"long"), (b"", b"none")])
def test_reclaim_no_time(reclaiming: ServerProcess, connect: Connect, attribute: bytes, pseudo: bytes) -> None:
    """A file that waits for nobody is anybody's at once, while others still wait; its holder has lost it."""
    patient = Holder(reclaiming, connect)
    holder = Holder(reclaiming, connect, attribute, pseudo)
    reclaiming.restart()
    other = holder.other()
    assert other.open_status(holder.name) == nfs4.NFS4_OK
    assert holder.claim() == nfs4.NFS4ERR_NO_GRACE
    assert holder.row() is None
    assert patient.claim(lock=True) == nfs4.NFS4_OK


def test_reclaim_too_late_for_ever(reclaiming: ServerProcess, connect: Connect) -> None:
    """Once somebody else has been let in, no further death makes the lost claim good again."""
    holder = Holder(reclaiming, connect, b"0")
    reclaiming.restart()
    other = holder.other()
    opened = other.open(holder.name)
    put = ops.putfh(opened.handle)
    other.ok(put, ops.close(opened.stateid), ops.setxattr(ATTRIBUTE, b"600"))
    reclaiming.restart()
    assert holder.claim() == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_expires_unasked(make_server: MakeServer, connect: Connect) -> None:
    """Claims that nobody makes are dropped when their file's time is over, each file's by itself."""
    server = make_server(settings={"recovery": "reclaim", "blackout_s": 1})
    quick, slow = Holder(server, connect), Holder(server, connect, b"600")
    server.restart()
    until(lambda: quick.row() is None, "the time of the quick one is over", DEADLINE_S)
    assert quick.claim() == nfs4.NFS4ERR_NO_GRACE
    assert slow.claim(lock=True) == nfs4.NFS4_OK
    slow.session.ok(ops.reclaim_complete())
    until(lambda: server.events("reclaim.ended"), "all have reclaimed", DEADLINE_S)
    assert server.events("blackout.ended")[-1]["why"] == "takeover"


def test_reclaim_lock_left_out(reclaiming: ServerProcess, connect: Connect) -> None:
    """A lock that was not claimed together with its open is lost for good, over another death too."""
    holder = Holder(reclaiming, connect)
    reclaiming.restart()
    assert holder.claim() == nfs4.NFS4_OK
    holder.session.ok(ops.reclaim_complete())
    reclaiming.restart()
    assert holder.claim(lock=True) == nfs4.NFS4ERR_RECLAIM_BAD


def test_reclaim_lifted(reclaiming: ServerProcess, connect: Connect) -> None:
    """An administrator may end a file's blackout: its claims are lost."""
    holder = Holder(reclaiming, connect)
    reclaiming.restart()
    other = holder.other()
    assert other.open_status(holder.name) == nfs4.NFS4ERR_GRACE
    path = f"/export/{holder.name.decode()}"
    assert reclaiming.ask("blackout", action="lift", file=path) is True
    assert reclaiming.ask("blackout", action="lift", file=path) is False
    assert other.open_status(holder.name) == nfs4.NFS4_OK
    assert holder.claim() == nfs4.NFS4ERR_NO_GRACE


def test_resume_time_over(resuming: ServerProcess, connect: Connect) -> None:
    """When a file's time is over requesters hear the plain denial, and the holder still has what it had."""
    holder = Holder(resuming, connect, b"0")
    resuming.restart()
    assert holder.other().open_status(holder.name) == nfs4.NFS4ERR_SHARE_DENIED
    assert holder.row() is None
    holder.session.connection = connect(resuming)
    holder.session.ok(ops.putfh(holder.opened.handle), ops.write(holder.opened.stateid, b"mine"))


def test_resume_returned(resuming: ServerProcess, connect: Connect) -> None:
    """A file's blackout ends with its holder's return."""
    holder = Holder(resuming, connect)
    resuming.restart()
    other = holder.other()
    assert other.open_status(holder.name) == nfs4.NFS4ERR_DELAY
    assert holder.row() is not None
    holder.session.connection = connect(resuming)
    holder.session.ok(ops.putrootfh())
    assert holder.row() is None
    assert other.open_status(holder.name) == nfs4.NFS4ERR_SHARE_DENIED


def test_attribute_changed_after_the_start(reclaiming: ServerProcess, connect: Connect) -> None:
    """Nobody can end a file's blackout by changing its attribute: that counts from the next start on."""
    holder = Holder(reclaiming, connect, b"700")
    reclaiming.restart()
    other = holder.other()
    other.ok(ops.putfh(holder.opened.handle), ops.setxattr(ATTRIBUTE, b"0"))
    assert other.open_status(holder.name) == nfs4.NFS4ERR_GRACE
    assert other.status(ops.putfh(holder.opened.handle), ops.removexattr(ATTRIBUTE)) == nfs4.NFS4_OK
    assert other.open_status(holder.name) == nfs4.NFS4ERR_GRACE
    assert holder.claim(lock=True) == nfs4.NFS4_OK
