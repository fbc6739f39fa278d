"""Much work for one client comes in portions, over crashes, and nobody is told that it is done before it is."""

from __future__ import annotations

from typing import Any

import pytest

from nfsd.state import leases, leftovers, locks
from nfsd.state.records import removed_key
from statestore import META
from tests.compound.core import Core, Session, arms
from tests.support import operations as ops
from xdr.generated import nfs4

COUNT = 9


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "PORTION", 2)
    monkeypatch.setattr(locks, "RELEASED_AT_ONCE", 4)


def opening(session: Session, name: bytes = b"file", deny: int = 0, owner: bytes = b"owner") -> tuple[bytes, Any]:
    """Open a file of the root: its handle and the stateid."""
    opened = ops.open_(name, deny=deny, owner=owner, how=ops.unchecked())
    results = arms(session.call(ops.putrootfh(), opened, ops.getfh()))
    return results[3].resok4.object, results[2].resok4.stateid


def restarted(core: Core) -> Session:
    """A client that has files open and locks on them, and starts again: what it had before is left over."""
    session = Session(core, b"client")
    for number in range(COUNT):
        handle, stateid = opening(session, b"file %d" % number, nfs4.OPEN4_SHARE_DENY_BOTH)
        arms(session.call(ops.putfh(handle), ops.lock_new(stateid)))
    [known] = arms(core.call(1, ops.exchange_id(b"client", b"restart.")))
    again = known.eir_resok4
    arms(core.call(1, ops.create_session(again.eir_clientid, again.eir_sequenceid, fore=ops.channel(slots=4))))
    assert session.call(ops.putrootfh()).status == nfs4.NFS4ERR_BADSESSION
    assert len(core.state.leftovers) == 1
    return session


def drain(core: Core) -> int:
    """Reap until nothing is left over; how many turns that took."""
    turns = 0
    while core.state.leftovers:
        assert core.taken.reap() == leases.BREATH_S or not core.state.leftovers
        core.settle()
        turns += 1
    return turns


@pytest.mark.parametrize("damaged", [False, True])
def test_restarted_client_over_crashes(core: Core, damaged: bool) -> None:
    """What an earlier instance has left goes on going after each crash, also if its mark is damaged."""
    restarted(core)
    [(key, _client)] = core.state.leftovers.items()
    other = Session(core, b"other")
    for crash in range(3):
        if damaged:
            mark = bytes((META,)) + removed_key(key)
            core.store.records[mark] = core.store.records[mark][:-1] + b"\xff"
        core = other.core = core.crash()
        assert list(core.state.leftovers) == [key]
        assert len(core.taken.quarantine) == (crash + 1 if damaged else 0)
        opening(other, b"file %d" % crash, nfs4.OPEN4_SHARE_DENY_BOTH)
        core.taken.reap()
        core.settle()
    assert drain(core) > 2
    assert {held.holder.owner for held in core.state.filter.opens.values()} == {b"other"}
    core = other.core = core.crash()
    assert not core.state.leftovers and len(core.state.filter.opens) == 3
    core.close()


def test_reclaim_leaves_leftovers_out(core: Core) -> None:
    """A start that lets clients claim what they had has nothing to claim for a client that was removed."""
    restarted(core)
    core.settings["recovery"] = "reclaim"
    core = core.crash()
    assert core.state.filter.claims is None and len(core.taken.quarantine) == 0
    assert [key for key in core.store.records if key[0] not in (META,)] == []
    assert all(not key[1:].startswith((b"removed", b"address")) for key in core.store.records)
    core.close()


def test_close_with_many_locks(core: Core) -> None:
    """CLOSE of an open with many lock owners says DELAY until the last portion of their locks."""
    session = Session(core)
    handle, stateid = opening(session)
    for number in range(COUNT):
        lock = ops.lock_new(stateid, number, 1, owner=b"locker %d" % number)
        arms(session.call(ops.putfh(handle), lock))
    for left in (5, 1):
        assert session.call(ops.putfh(handle), ops.close(stateid)).status == nfs4.NFS4ERR_DELAY
        assert len(core.state.locks) == left
    core = session.core = core.crash()
    assert len(core.state.locks) == 1
    arms(session.call(ops.putfh(handle), ops.close(stateid)))
    assert not core.state.locks and not core.state.filter.opens
    core.close()


def test_release_lockowner_with_many_stateids(core: Core) -> None:
    """RELEASE_LOCKOWNER of an owner with lock stateids on many files says DELAY until the last portion of them."""
    [known] = arms(core.call(0, ops.setclientid(b"client40")))
    clientid = known.resok4.clientid
    arms(core.call(0, ops.setclientid_confirm(clientid, known.resok4.setclientid_confirm)))
    release = ops.release_lockowner(clientid, b"locker")
    for number in range(6):
        opened = ops.open_(b"file %d" % number, owner=b"%d" % number, clientid=clientid, seqid=1, how=ops.unchecked())
        results = arms(core.call(0, ops.putrootfh(), opened, ops.getfh()))
        handle, stateid = results[2].resok4.object, results[1].resok4.stateid
        confirmed = arms(core.call(0, ops.putfh(handle), ops.open_confirm(stateid, 2)))[1].resok4.open_stateid
        lock = ops.lock_new(
            confirmed, owner=b"locker", clientid=clientid, open_seqid=3, lock_seqid=1 + 2 * number
        )  # fmt: skip
        locked = arms(core.call(0, ops.putfh(handle), lock))[1].resok4.lock_stateid
        if not number:
            assert core.call(0, release).status == nfs4.NFS4ERR_LOCKS_HELD
        arms(core.call(0, ops.putfh(handle), ops.locku(locked, seqid=2 + 2 * number)))
    assert core.call(0, release).status == nfs4.NFS4ERR_DELAY
    assert len(core.state.locks) == 2
    arms(core.call(0, release))
    assert not core.state.locks
    arms(core.call(0, release))


def test_too_many_stateids_of_a_lock_owner(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock owner has a limited number of stateids on one file, one for each open; the ones it has go on."""
    monkeypatch.setattr(locks, "STATEIDS_PER_OWNER_MAX", 2)
    session = Session(core)
    found = [opening(session, owner=b"%d" % number) for number in range(3)]
    for number, (handle, stateid) in enumerate(found):
        reply = session.call(ops.putfh(handle), ops.lock_new(stateid, 10 * number, 1))
        assert reply.status == (nfs4.NFS4ERR_DELAY if number == 2 else nfs4.NFS4_OK)
    handle, stateid = found[1]
    arms(session.call(ops.putfh(handle), ops.lock_new(stateid, 50, 1)))


def test_reaper_goes_round_in_turns(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round over many clients takes several turns, with a short pause between them, and misses nobody."""
    monkeypatch.setattr(leases, "PORTION", 3)
    for number in range(10):
        arms(core.call(1, ops.exchange_id(b"client %d" % number)))
    while core.taken.reap() == leases.BREATH_S:
        pass
    assert len(core.state.clients) == 10
    core.clock.now_s += core.config.lease_time_s + 1
    pauses = [core.taken.reap() for _ in range(4)]
    assert pauses == [leases.BREATH_S] * 3 + [leases.ROUND_S]
    assert len(core.state.clients) == 0
