"""A damaged record costs only its own holder, who is told; it is said once, and put aside (docs/failover.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from statestore import (
    ANSWER,
    HOLDER,
    INTENT,
    META,
    NAME,
    OPEN,
    OWNER,
    PENDING,
    QUARANTINE,
    RANGE,
    SLOT,
    STREAM,
)
from tests.support import operations as ops
from tests.support.client import Client40, Opened, Owner40, Reply, begin_session, identify, mount, unique
from tests.wire.conftest import Connect, MakeServer
from tests.wire.server import ServerProcess
from tests.wire.store import Records, flip, harm, rewrite, stored_records
from tests.wire.test_v40_owners import Locker40
from xdr.generated import nfs4

LOST = nfs4.SEQ4_STATUS_ADMIN_STATE_REVOKED


@pytest.fixture(scope="module")
def harmed_server(make_server: MakeServer) -> Iterator[ServerProcess]:
    """A server whose records every test of this file damages; in the end a start is silent."""
    server = make_server()
    yield server
    server.restart()
    said = records_said(server)
    assert said and len(set(said)) == len(said), "a record was reported by two starts"


def records_said(server: ServerProcess) -> list[str]:
    """The lines about lost records, from all starts."""
    events = [event for name in ("record.damaged", "record.left_out") for event in server.events(name)]
    return [event["record"] for event in events]


class Holder:
    """A client of NFSv4.1 with two open files; it holds a lock on each."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.server, self.connect = server, connect
        self.owner = unique(b"owner")
        self.session = mount(connect(server), owner=self.owner)
        self.files: list[tuple[Opened, nfs4.stateid4]] = []
        self.names = [unique(b"file"), unique(b"file")]
        for name in self.names:
            opened = self.session.create(name)
            self.files.append((opened, self.session.lock(opened)))

    @property
    def key(self) -> bytes:
        """The key of its record."""
        return self.session.clientid.to_bytes(8, "big")

    def back(self) -> None:
        """Connect again."""
        self.session.connection = self.connect(self.server)

    def begin_again(self) -> int:
        """EXCHANGE_ID and CREATE_SESSION as after BADSESSION; the clientid."""
        connection = self.session.connection
        found = identify(connection, self.owner)
        again = begin_session(connection, found.eir_clientid, found.eir_sequenceid)
        self.session.sessionid, self.session.seqids = again.sessionid, again.seqids
        return found.eir_clientid

    def reads(self, number: int, *, by_lock: bool = False) -> int:
        """The status of a READ under an open or its lock."""
        opened, lock = self.files[number]
        return self.session.status(ops.putfh(opened.handle), ops.read(lock if by_lock else opened.stateid))

    def is_whole(self) -> bool:
        """Whether it has all that it had."""
        return all(
            self.reads(number, by_lock=by_lock) == nfs4.NFS4_OK for number in (0, 1) for by_lock in (False, True)
        )

    def flags(self) -> int:
        """What SEQUENCE says (RFC 8881 18.46.3)."""
        flags: int = self.session.call().results[0].sr_resok4.sr_status_flags
        return flags & LOST


Harmed = Callable[..., None]


@pytest.fixture
def harmed(harmed_server: ServerProcess, connect: Connect) -> Iterator[Harmed]:
    """Kills the server, damages a record, and starts it again; afterwards others are whole."""
    server = harmed_server
    other = Holder(server, connect)
    other40 = Owner40(Client40(connect(server)))
    opened40 = other40.create(unique(b"file"))

    def harm_one(kind: int, key: Callable[[bytes], bool], put: Records | None = None, **where: int) -> None:
        before = server.ask("status")["quarantined"], len(server.faults())
        server.kill()
        rewrite(server.state, put or {})
        keys = harm(server.state, kind, key, flip(**where))
        server.start()
        assert server.ask("status")["quarantined"] > before[0]
        said = server.faults()[before[1] :]
        assert all(any(key.hex() in str(event) for event in said) for key in keys)

    yield harm_one
    other.back()
    assert other.is_whole() and not other.flags()
    other40.client.connection = connect(server)
    assert other40.client.status(ops.putfh(opened40.handle), ops.read(opened40.stateid)) == nfs4.NFS4_OK


@pytest.fixture
def holder(harmed_server: ServerProcess, connect: Connect) -> Holder:
    """The one whose record is damaged."""
    return Holder(harmed_server, connect)


@pytest.fixture
def rival(harmed_server: ServerProcess, connect: Connect) -> Holder:
    """Somebody who wants what the holder has lost."""
    return Holder(harmed_server, connect)


def takes_lock(rival: Holder, opened: Opened) -> int:
    """Whether a lock on the whole file would be granted to somebody else."""
    return rival.session.status(ops.putfh(opened.handle), ops.lockt(0, ops.TO_EOF))


def key_of_open(stateid: nfs4.stateid4) -> Callable[[bytes], bool]:
    """Chooses the record of an open, or those of the locks under it: a stateid has a part of their keys."""
    return lambda key: key.startswith(stateid.other[:6])


# -- NFSv4.1 ------------------------------------------------------------------------------------------------


def test_damaged_holder(holder: Holder, rival: Holder, harmed: Harmed) -> None:
    """The client is gone with its session, opens and locks, and begins anew."""
    harmed(HOLDER, lambda key: key == holder.key)
    holder.back()
    rival.back()
    assert holder.session.status() == nfs4.NFS4ERR_BADSESSION
    creating = ops.create_session(holder.session.clientid, holder.session.create_sequence + 1)
    assert holder.session.connection.status(creating) == nfs4.NFS4ERR_STALE_CLIENTID
    assert takes_lock(rival, holder.files[0][0]) == nfs4.NFS4_OK
    before = holder.session.clientid
    assert holder.begin_again() != before
    assert holder.reads(0) == holder.reads(1, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID


@pytest.mark.parametrize("kind", [STREAM, SLOT])
def test_damaged_session(holder: Holder, rival: Holder, harmed: Harmed, kind: int) -> None:
    """The session is gone; the clientid, the opens and the locks are alive (RFC 8881 2.10.13.1.2)."""
    harmed(kind, lambda key: key.startswith(holder.session.sessionid))
    holder.back()
    rival.back()
    assert holder.session.status() == nfs4.NFS4ERR_BADSESSION
    assert takes_lock(rival, holder.files[0][0]) == nfs4.NFS4ERR_DENIED
    before = holder.session.clientid
    assert holder.begin_again() == before
    assert holder.is_whole()
    assert takes_lock(rival, holder.files[0][0]) == nfs4.NFS4ERR_DENIED


def test_damaged_open(holder: Holder, rival: Holder, harmed: Harmed) -> None:
    """One open is gone with its locks; its holder is told before it comes to use it, and keeps the other."""
    opened, lock = holder.files[0]
    harmed(OPEN, key_of_open(opened.stateid), position=-1)
    holder.back()
    rival.back()
    assert holder.flags() == LOST
    assert holder.reads(1) == holder.reads(1, by_lock=True) == nfs4.NFS4_OK
    tested: Any = holder.session.ok(ops.test_stateid(opened.stateid, lock, holder.files[1][1]))[0]
    bad, good = nfs4.NFS4ERR_BAD_STATEID, nfs4.NFS4_OK
    assert tested.tsr_resok4.tsr_status_codes == [bad, bad, good]
    assert holder.flags() == 0
    assert holder.reads(0) == holder.reads(0, by_lock=True) == bad
    assert holder.session.status(ops.putfh(opened.handle), ops.close(opened.stateid)) == bad
    assert takes_lock(rival, opened) == nfs4.NFS4_OK


def test_damaged_open_is_opened_again(holder: Holder, harmed: Harmed) -> None:
    """Opening the file again brings none of the lost locks back, now or at the next start."""
    opened, _lock = holder.files[0]
    harmed(OPEN, key_of_open(opened.stateid))
    holder.back()
    again = holder.session.open(holder.names[0]).stateid
    assert again.other[:6] == opened.stateid.other[:6] and again.other != opened.stateid.other
    holder.server.restart()
    holder.back()
    assert not [row for row in holder.server.ask("locks") if row["file"] == opened.handle.hex()]
    assert holder.reads(0) == holder.reads(0, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID
    assert holder.session.status(ops.putfh(opened.handle), ops.read(again)) == nfs4.NFS4_OK


def test_damaged_range(holder: Holder, rival: Holder, harmed: Harmed) -> None:
    """The locks of one stateid are gone, and its holder is told; the open is alive."""
    opened, lock = holder.files[0]
    harmed(RANGE, key_of_open(opened.stateid), position=-1)
    holder.back()
    rival.back()
    assert holder.flags() == LOST
    assert holder.reads(0, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID
    assert holder.session.status(ops.putfh(opened.handle), ops.locku(lock)) == nfs4.NFS4ERR_BAD_STATEID
    assert holder.reads(0) == holder.reads(1, by_lock=True) == nfs4.NFS4_OK
    assert takes_lock(rival, opened) == nfs4.NFS4_OK
    assert holder.session.lock(opened).other != lock.other


def test_damaged_intent(holder: Holder, harmed: Harmed) -> None:
    """A request that was under way cannot be decided: DEADSESSION once, BADSESSION then; the client is alive."""
    key = b"s" + holder.session.sessionid + bytes(4)
    harmed(INTENT, lambda found: found == key, put={bytes((INTENT,)) + key: bytes(100)})
    holder.back()
    assert holder.session.status() == nfs4.NFS4ERR_DEADSESSION
    assert holder.session.status() == nfs4.NFS4ERR_BADSESSION
    before = holder.session.clientid
    assert holder.begin_again() == before
    assert holder.is_whole()


def test_damaged_pending(holder: Holder, rival: Holder, harmed: Harmed) -> None:
    """A file without a name that is still open costs nothing: it is read until it is closed, over more starts."""
    opened, lock = holder.files[0]
    if not opened.result.rflags & nfs4.OPEN4_RESULT_PRESERVE_UNLINKED:
        pytest.skip("without kernel handles such a file ends with the process")
    rival.session.ok(ops.putfh(rival.session.directory), ops.remove(holder.names[0]))
    harmed(PENDING, lambda key: key == opened.handle, position=3)
    for _ in range(2):
        holder.back()
        assert holder.is_whole()
        holder.server.restart()
    holder.back()
    put = ops.putfh(opened.handle)
    unlocked: Any = holder.session.ok(put, ops.locku(lock), ops.close(opened.stateid))
    assert unlocked[1].lock_stateid.other == lock.other
    assert holder.session.status(put, ops.getattr_()) == nfs4.NFS4ERR_STALE


@pytest.mark.parametrize("key", [b"instances", b"address."])
def test_damaged_setting(holder: Holder, harmed: Harmed, key: bytes) -> None:
    """What belongs to no request costs nobody anything; stateids that are given later are new."""
    harmed(META, lambda found: found == (key if key == b"instances" else key + holder.key))
    holder.back()
    assert holder.is_whole()
    known = {stateid.other for opened, lock in holder.files for stateid in (opened.stateid, lock)}
    assert holder.session.create(unique(b"file")).stateid.other not in known


def test_damaged_verifier(holder: Holder, harmed: Harmed) -> None:
    """Whether unstable data was lost is not known any more: clients are told that it was (RFC 8881 18.32.4)."""
    opened, _lock = holder.files[0]
    writing = [ops.putfh(opened.handle), ops.write(opened.stateid, b"data")]
    before: Any = holder.session.ok(*writing)[-1]
    harmed(META, lambda key: key == b"verifier", put={bytes((META,)) + b"verifier": bytes(14)})
    holder.back()
    after: Any = holder.session.ok(*writing)[-1]
    assert after.resok4.writeverf != before.resok4.writeverf


def test_damaged_quarantine(holder: Holder, harmed: Harmed) -> None:
    """What was put aside may be damaged in its turn."""
    harmed(QUARANTINE, lambda key: key == bytes(8) + b"k", put={bytes((QUARANTINE,)) + bytes(8) + b"k": bytes(30)})
    holder.back()
    assert holder.is_whole()


# -- NFSv4.0 ------------------------------------------------------------------------------------------------


class Holder40:
    """A client of NFSv4.0 with two open owners, each with a locked file."""

    def __init__(self, server: ServerProcess, connect: Connect) -> None:
        self.server, self.connect = server, connect
        self.client = Client40(connect(server))
        self.lockers: list[Locker40] = []
        for _ in range(2):
            owner = Owner40(self.client)
            self.lockers.append(Locker40(owner, owner.create(unique(b"file"))))
            self.lockers[-1].lock()

    def back(self) -> None:
        """Connect again."""
        self.client.connection = self.connect(self.server)

    def reads(self, number: int, *, by_lock: bool = False) -> int:
        """The status of a READ under an open or its lock."""
        locker = self.lockers[number]
        stateid = locker.stateid if by_lock else locker.opened.stateid
        assert stateid is not None
        return self.client.status(ops.putfh(locker.opened.handle), ops.read(stateid))


@pytest.fixture
def holder40(harmed_server: ServerProcess, connect: Connect) -> Holder40:
    """The one whose record is damaged."""
    return Holder40(harmed_server, connect)


def key_of_owner(holder: Holder40, kind: bytes, name: bytes) -> Callable[[bytes], bool]:
    """Chooses an owner's record."""
    key = holder.client.clientid.to_bytes(8, "big") + hashlib.blake2b(kind + name, digest_size=16).digest()
    return lambda found: found == key


def test_damaged_holder_v40(holder40: Holder40, harmed: Harmed) -> None:
    """The client is told by the first thing that it does."""
    harmed(HOLDER, lambda key: key == holder40.client.clientid.to_bytes(8, "big"))
    holder40.back()
    assert holder40.client.status(ops.renew(holder40.client.clientid)) == nfs4.NFS4ERR_STALE_CLIENTID
    assert holder40.reads(0) == holder40.reads(1, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID


def test_damaged_open_owner_v40(holder40: Holder40, rival: Holder, harmed: Harmed) -> None:
    """Nothing that the owner does could be told from a retry: its opens and their locks are gone, the other's not."""
    locker = holder40.lockers[0]
    harmed(OWNER, key_of_owner(holder40, b"o", locker.owner.name))
    holder40.back()
    rival.back()
    assert holder40.reads(0) == holder40.reads(0, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID
    assert holder40.reads(1) == holder40.reads(1, by_lock=True) == nfs4.NFS4_OK
    assert takes_lock(rival, locker.opened) == nfs4.NFS4_OK
    assert holder40.client.status(*holder40.lockers[1].more(20, 5)) == nfs4.NFS4_OK


def test_damaged_lock_owner_v40(holder40: Holder40, rival: Holder, harmed: Harmed) -> None:
    """A lock owner of whom nothing could be told from a retry has lost its locks; the open is alive."""
    locker = holder40.lockers[0]
    harmed(OWNER, key_of_owner(holder40, b"l", locker.name))
    holder40.back()
    rival.back()
    assert holder40.reads(0, by_lock=True) == nfs4.NFS4ERR_BAD_STATEID
    assert holder40.reads(0) == holder40.reads(1, by_lock=True) == nfs4.NFS4_OK
    assert takes_lock(rival, locker.opened) == nfs4.NFS4_OK


def test_damaged_answer_v40(holder40: Holder40, harmed: Harmed) -> None:
    """A retry whose saved answer is lost runs anew; the others' answers are there."""
    name = unique(b"made")
    connection = holder40.client.connection
    making = ops.putfh(holder40.client.directory), ops.mkdir(name)
    message = connection.compound(*making, minor=0)
    first = connection.rpc(message)
    kept = connection.compound(ops.putfh(holder40.client.directory), ops.mkdir(unique(b"made")), minor=0)
    answered = connection.rpc(kept)
    harmed(ANSWER, lambda key: key.startswith(message[:4]))
    holder40.back()
    assert holder40.client.connection.rpc(kept).body == answered.body
    assert Reply(first).status == nfs4.NFS4_OK
    assert Reply(holder40.client.connection.rpc(message)).status == nfs4.NFS4ERR_EXIST


# -- file handles without the kernel's ----------------------------------------------------------------------


def test_damaged_name(make_server: MakeServer, connect: Connect) -> None:
    """The file's handle is stale, for ever: no other file gets its number."""
    server = make_server(settings={"handles": "table"})
    session = mount(connect(server))
    made = [session.create(unique(b"file")) for _ in range(3)]
    newest = max(key for key in stored_records(server.state) if key[0] == NAME)[1:]
    server.kill()
    harm(server.state, NAME, lambda key: key == newest, flip())
    server.start()
    session.connection = connect(server)
    statuses = [session.status(ops.putfh(opened.handle), ops.read(opened.stateid)) for opened in made]
    assert statuses == [nfs4.NFS4_OK, nfs4.NFS4_OK, nfs4.NFS4ERR_STALE]
    server.restart()
    session.connection = connect(server)
    assert session.create(unique(b"file")).handle not in [opened.handle for opened in made]
    assert session.status(ops.putfh(made[2].handle), ops.getattr_()) == nfs4.NFS4ERR_STALE
    assert len(server.events("record.damaged")) == 1
    server.stop()
