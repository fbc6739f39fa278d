"""A request that waits in a thread: what it has changed by then is durable before anything that others do after it."""

from __future__ import annotations

import pytest

from statestore import OPEN, RANGE
from tests.compound.core import Core, Session, arms, decoded
from tests.support import operations as ops
from xdr.generated import nfs4


def opening(session: Session) -> tuple[bytes, nfs4.stateid4]:
    """Open a file of the root for both, which is made if it is not there."""
    results = arms(session.call(ops.putrootfh(), ops.open_(b"file", how=ops.unchecked()), ops.getfh()))
    return results[3].resok4.object, results[2].resok4.stateid


def write_that_waits(stateid: nfs4.stateid4) -> ops.Op:
    """A WRITE that has to be on the disk, which is a thread's work."""
    return ops.write(stateid, b"data", stable=nfs4.FILE_SYNC4)


def stored(core: Core, kind: int) -> int:
    """How many records of a kind are durable."""
    return sum(1 for key in core.store.records if key[0] == kind)


def finish(core: Core) -> None:
    """Let the threads do what waits for them."""
    core.threads.keeps = False
    while core.threads.waiting:
        core.threads.work()
    core.settle()


def test_closed_while_another_request_waits(core: Core) -> None:
    """A lock that a waiting request took, and that ended meanwhile with its open, is not stored again by its reply."""
    session = Session(core)
    handle, stateid = opening(session)
    lock = arms(session.call(ops.putfh(handle), ops.lock_new(stateid, 0, 10)))[-1].resok4.lock_stateid
    core.threads.keeps = True
    core.deliver(session.record(ops.putfh(handle), ops.lock_more(lock, 20, 10), write_that_waits(stateid)))
    core.settle()
    assert core.threads.waiting
    now, held = nfs4.stateid4(0, lock.other), nfs4.stateid4(0, stateid.other)
    arms(session.call(ops.putfh(handle), ops.locku(now), ops.free_stateid(now), ops.close(held), slot=1))
    finish(core)
    assert not core.state.filter.opens and not core.state.locks
    assert stored(core, OPEN) == stored(core, RANGE) == 0
    assert not core.crash().state.locks


@pytest.mark.parametrize("durability", ["process", "power"])
def test_crash_while_a_request_waits_that_took_from_an_expired_client(durability: str) -> None:
    """Who is granted what a waiting request has taken from an expired client is alone with it after a crash."""
    core = Core(durability=durability)
    expired, asking, third = (Session(core, owner) for owner in (b"expired", b"asking", b"third"))
    handle, stateid = opening(expired)
    arms(expired.call(ops.putfh(handle), ops.lock_new(stateid, 0, 10)))
    (_, asked), (_, granted) = opening(asking), opening(third)
    core.clock.now_s += core.config.lease_time_s + 1
    core.threads.keeps = True
    core.deliver(asking.record(ops.putfh(handle), ops.lockt(0, 10), write_that_waits(asked)))
    core.settle()
    assert core.threads.waiting
    arms(third.call(ops.putfh(handle), ops.lock_new(granted, 0, 10)))
    after = core.crash()
    assert len(after.state.locks) == 1
    assert expired.sessionid not in after.state.sessions and third.sessionid in after.state.sessions
    after.close()


def test_crash_while_a_request_waits(core: Core) -> None:
    """What a request did before it waited is not done twice, and its retry is answered."""
    session = Session(core)
    handle, stateid = opening(session)
    core.threads.keeps = True
    record = session.record(ops.putfh(handle), ops.lock_new(stateid, 0, 10), write_that_waits(stateid), cache=True)
    core.deliver(record)
    core.settle()
    core = session.core = core.crash()
    results = arms(decoded(core.send(record)))
    assert results[2].resok4.lock_stateid.seqid == 1
    assert results[3].resok4.count == 4
    assert len(core.state.locks) == 1
