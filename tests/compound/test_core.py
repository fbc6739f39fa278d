"""The core runs without a disk, a clock or a thread, dies, and takes over what it has left."""

from __future__ import annotations

import struct

import pytest

from nfsd.attributes import owners
from nfsd.state import locks
from tests.compound.core import Core, Session, arms, decoded
from tests.support import operations as ops
from xdr.generated import nfs4


def opening(session: Session, name: bytes = b"file") -> tuple[bytes, nfs4.stateid4]:
    """Open a file of the root, which is made if it is not there: its handle and the stateid."""
    results = arms(session.call(ops.putrootfh(), ops.open_(name, how=ops.unchecked()), ops.getfh()))
    return results[3].resok4.object, results[2].resok4.stateid


@pytest.mark.parametrize("durability", ["process", "power"])
def test_open_and_lock_survive(durability: str) -> None:
    """A file, an open and a lock of the life before are there in the next, under the same stateids."""
    core = Core(durability=durability)
    session = Session(core)
    handle, stateid = opening(session)
    written = arms(session.call(ops.putfh(handle), ops.write(stateid, b"data", stable=nfs4.FILE_SYNC4)))
    assert written[-1].resok4.count == 4
    locked = arms(session.call(ops.putfh(handle), ops.lock_new(stateid, 0, 10)))[-1].resok4.lock_stateid
    core = session.core = core.crash()
    assert len(core.state.filter.opens) == len(core.state.locks) == 1
    results = arms(session.call(ops.putfh(handle), ops.read(stateid), ops.locku(locked, 0, 10), ops.close(stateid)))
    assert results[2].resok4.data == b"data"
    assert not core.state.filter.opens and not core.state.locks
    core.close()


def test_crash_before_durable() -> None:
    """What was not durable has not happened, and no reply of it has left."""
    core = Core()
    session = Session(core)
    opening(session)
    record = session.record(ops.putrootfh(), ops.open_(b"file", owner=b"another"))
    count = len(core.wire.replies)
    core.deliver(record)
    assert len(core.wire.replies) == count
    assert len(core.state.filter.opens) == 2
    core = session.core = core.crash()
    assert len(core.state.filter.opens) == 1
    again = core.send(record)
    assert len(core.state.filter.opens) == 2
    assert core.send(record) == again
    core.close()


def test_crash_before_acknowledged() -> None:
    """What was durable when the process died, and not yet answered, is answered to a retry from the store."""
    core = Core()
    session = Session(core)
    opening(session)
    record = session.record(ops.putrootfh(), ops.open_(b"file", owner=b"another"))
    core.deliver(record)
    core = core.crash(keep=core.outbox.last_ticket)
    assert len(core.state.filter.opens) == 2
    commits = core.outbox.last_ticket
    core.send(record)
    assert len(core.state.filter.opens) == 2 and core.outbox.last_ticket == commits
    core.close()


def test_deterministic() -> None:
    """Two cores of one seed give the same bytes; one of another seed does not."""
    sent = []
    for seed in (1, 1, 2):
        core = Core(seed=seed)
        session = Session(core)
        opening(session)
        sent.append([body for _xid, body in core.wire.replies])
        core = session.core = core.crash()
        opening(session)
        sent[-1] += [body for _xid, body in core.wire.replies]
        core.close()
    assert sent[0] == sent[1] != sent[2]


def test_lease_by_the_given_clock(core: Core) -> None:
    """A lease runs out when the clock that was injected says so."""
    session = Session(core)
    opening(session)
    other = Session(core, b"other")
    conflicting = ops.putrootfh(), ops.open_(b"file", deny=nfs4.OPEN4_SHARE_DENY_BOTH)
    assert other.call(*conflicting).status == nfs4.NFS4ERR_SHARE_DENIED
    core.clock.now_s += core.config.lease_time_s + 1
    assert other.call(*conflicting).status == nfs4.NFS4_OK
    assert session.call(ops.putrootfh()).status == nfs4.NFS4ERR_BADSESSION


@pytest.mark.parametrize("owner", [b"locker", b"another"])
def test_no_room_for_a_range(core: Core, monkeypatch: pytest.MonkeyPatch, owner: bytes) -> None:
    """A LOCK above the limit, by way of another open, leaves no lock stateid behind that nobody was told."""
    monkeypatch.setattr(locks, "RANGES_PER_OWNER_MAX", 1)
    session = Session(core)
    handle, first = opening(session)
    arms(session.call(ops.putfh(handle), ops.lock_new(first, 0, 10)))
    second = arms(session.call(ops.putrootfh(), ops.open_(b"file", owner=b"another")))[2].resok4.stateid
    reply = session.call(ops.putfh(handle), ops.lock_new(second, 20, 10, owner=owner))
    refused = owner == b"locker"
    assert reply.status == (nfs4.NFS4ERR_DELAY if refused else nfs4.NFS4_OK)
    assert sum(map(len, core.state.locks.values())) == (1 if refused else 2)


def test_null(core: Core) -> None:
    """NULL is answered with nothing."""
    core.deliver(core.record(1, procedure=0))
    assert core.wire.replies == [(core.xid, b"")]


def test_one_owner_in_two_minor_versions(core: Core) -> None:
    """A client of NFSv4.0 and one of 4.1 may have one owner string, one principal and one open owner."""
    opening(Session(core, b"same"))
    [known] = arms(core.call(0, ops.setclientid(b"same")))
    clientid = known.resok4.clientid
    arms(core.call(0, ops.setclientid_confirm(clientid, known.resok4.setclientid_confirm)))
    arms(core.call(0, ops.putrootfh(), ops.open_(b"file", clientid=clientid, seqid=1)))
    assert len(core.state.filter.opens) == 2


@pytest.mark.parametrize("minor", [0, 1])
def test_a_name_is_looked_up_aside(core: Core, monkeypatch: pytest.MonkeyPatch, minor: int) -> None:
    """Who sets an owner by name waits until it has been looked up, once; nobody else does."""
    monkeypatch.setattr(owners, "NAMES", owners.Names())
    session = Session(core)
    handle, _stateid = opening(session)
    name = struct.pack(">I", 9) + b"root@here" + bytes(3)
    setting = ops.setattr_(ops.ANONYMOUS, nfs4.fattr4(1 << nfs4.FATTR4_OWNER, name))
    operations = [ops.putfh(handle), setting]
    core.threads.keeps = True
    count = len(core.wire.replies)
    record = session.record(*operations) if minor else core.record(0, *operations)
    core.deliver(record)
    core.settle()
    assert len(core.wire.replies) == count and len(core.threads.waiting) == 1
    arms(Session(core, b"other").call(ops.putrootfh(), ops.getfh()))
    core.threads.keeps = False
    core.threads.work()
    core.settle()
    assert decoded(core.wire.replies[-1][1]).status == nfs4.NFS4_OK
    assert arms(core.call(0, *operations))[-1] is not None
    assert not core.threads.waiting


def test_an_open_of_an_owner_by_name(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFSv4.0: an OPEN that has to wait for a name leaves its open owner free, and counts once."""
    monkeypatch.setattr(owners, "NAMES", owners.Names())
    told = arms(core.call(0, ops.setclientid(b"client")))[0].resok4
    arms(core.call(0, ops.setclientid_confirm(told.clientid, told.setclientid_confirm)))
    name = struct.pack(">I", 9) + b"root@here" + bytes(3)
    how = ops.unchecked(nfs4.fattr4(1 << nfs4.FATTR4_OWNER, name))
    core.threads.keeps = True
    core.deliver(core.record(0, ops.putrootfh(), ops.open_(b"file", how=how, clientid=told.clientid, seqid=1)))
    core.settle()
    assert len(core.threads.waiting) == 1 and not core.state.filter.opens
    core.threads.keeps = False
    core.threads.work()
    core.settle()
    opened = arms(decoded(core.wire.replies[-1][1]))[1].resok4
    [held] = core.state.filter.opens.values()
    assert held.seqid_owner is not None and held.seqid_owner.seqid == 1 and held.seqid_owner.asker is None
    arms(core.call(0, ops.putfh(held.object), ops.open_confirm(opened.stateid, 2)))
