"""However operations follow each other in one COMPOUND, nothing is left behind that belongs to no client.

Every pair of operations that make, change or end clients, sessions, opens and locks is tried; then the state and what
is stored of it are looked through.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nfsd.state.fold import Fold
from nfsd.state.model import LockState
from tests.compound.core import Core, Session, Wire, arms, decoded
from tests.state.world import fold_all, new_state
from tests.support import operations as ops
from tests.support.operations import Op
from xdr.generated import nfs4

NEXT_BOOT = b"boot two"
OWNER = b"client"


def check(core: Core) -> None:
    """Whatever there is belongs to a client that is there; so does what is stored."""
    state = core.state
    clients = state.clients.by_id
    for held in state.filter.opens.values():
        assert clients.get(held.holder.clientid) is held.holder
        assert held.holder.opens[held.key] is held
    for found in state.stateids.values():
        assert clients.get(found.holder.clientid) is found.holder
        if isinstance(found, LockState):
            assert state.filter.opens[found.open.key] is found.open
    for session in state.sessions.values():
        assert clients.get(session.client.clientid) is session.client and session.client.confirmed
    for owner in state.closed.values():
        assert clients.get(owner.client.clientid) is owner.client
    assert set(state.filter.holders) == {client.key for client in clients.values() if client.confirmed}
    fold = Fold(new_state())
    fold_all(fold, core.store.load())
    assert not list(fold.orphans())
    assert set(fold.state.filter.holders) == set(state.filter.holders)
    assert set(fold.state.filter.opens) == set(state.filter.opens)
    assert set(fold.state.sessions) == set(state.sessions)


# -- NFSv4.1 ------------------------------------------------------------------------------------------------


class Scene:
    """A client of NFSv4.1 with an open and a lock, a second session, and a restarted instance that is not confirmed."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.session = session = Session(core, OWNER)
        opened = arms(session.call(ops.putrootfh(), ops.open_(b"file", how=ops.unchecked()), ops.getfh()))
        self.stateid, self.handle = opened[2].resok4.stateid, opened[3].resok4.object
        locking = ops.lock_new(self.stateid, 0, 10)
        self.lock = arms(session.call(ops.putfh(self.handle), locking))[-1].resok4.lock_stateid
        again = arms(core.call(1, ops.exchange_id(OWNER)))[0].eir_resok4
        self.sequence = again.eir_sequenceid
        made = arms(core.call(1, ops.create_session(session.clientid, self.sequence)))[0].csr_resok4
        self.second: bytes = made.csr_sessionid
        self.restarted = arms(core.call(1, ops.exchange_id(OWNER, NEXT_BOOT)))[0].eir_resok4


def _backchannel(_scene: Scene) -> list[Op]:
    security = [nfs4.callback_sec_parms4(nfs4.AUTH_NONE)]
    return [Op(nfs4.OP_BACKCHANNEL_CTL, nfs4.BACKCHANNEL_CTL4args(1, security))]


STEPS: dict[str, Callable[[Scene], list[Op]]] = {
    "restart": lambda s: [ops.create_session(s.restarted.eir_clientid, s.restarted.eir_sequenceid)],
    "third session": lambda s: [ops.create_session(s.session.clientid, s.sequence + 1)],
    "exchange_id": lambda _s: [ops.exchange_id(OWNER)],
    "exchange_id, restarted": lambda _s: [ops.exchange_id(OWNER, b"boot 333")],
    "exchange_id, another": lambda _s: [ops.exchange_id(b"another")],
    "destroy_session": lambda s: [ops.destroy_session(s.session.sessionid)],
    "destroy_session, other": lambda s: [ops.destroy_session(s.second)],
    "destroy_clientid": lambda s: [ops.destroy_clientid(s.session.clientid)],
    "destroy_clientid, restarted": lambda s: [ops.destroy_clientid(s.restarted.eir_clientid)],
    "reclaim_complete": lambda _s: [ops.reclaim_complete()],
    "backchannel_ctl": _backchannel,
    "open": lambda _s: [ops.putrootfh(), ops.open_(b"new", owner=b"new", how=ops.unchecked())],
    "open again": lambda s: [ops.putfh(s.handle), ops.open_(None, ops.READ)],
    "lock": lambda s: [ops.putfh(s.handle), ops.lock_new(s.stateid, 20, 10, owner=b"new")],
    "lock, current": lambda _s: [ops.lock_new(ops.CURRENT, 40, 10, owner=b"newer")],
    "lock more": lambda s: [ops.putfh(s.handle), ops.lock_more(s.lock, 60, 10)],
    "locku": lambda s: [ops.putfh(s.handle), ops.locku(ops.with_seqid(s.lock, 0), 0, 10)],
    "free_stateid": lambda s: [ops.free_stateid(ops.with_seqid(s.lock, 0))],
    "downgrade": lambda s: [ops.putfh(s.handle), ops.open_downgrade(ops.with_seqid(s.stateid, 0), ops.READ)],
    "close": lambda s: [ops.putfh(s.handle), ops.close(ops.with_seqid(s.stateid, 0))],
    "mkdir": lambda _s: [ops.putrootfh(), ops.mkdir(b"directory")],
}


@pytest.mark.parametrize("first", STEPS)
def test_pairs(first: str) -> None:
    """Every operation after every other one, and the same once more after a crash."""
    for second in STEPS:
        core = Core()
        scene = Scene(core)
        reply = scene.session.call(*STEPS[first](scene), *STEPS[second](scene))
        check(core)
        following = core.crash()
        check(following)
        following.close()
        assert reply.resarray[0].arm.sr_status == nfs4.NFS4_OK, (first, second)


@pytest.mark.parametrize("step", ["open", "reclaim_complete", "backchannel_ctl", "mkdir"])
def test_after_the_own_client_has_gone(core: Core, step: str) -> None:
    """A request whose client goes with its own CREATE_SESSION changes nothing afterwards: DEADSESSION."""
    scene = Scene(core)
    reply = scene.session.call(*STEPS["restart"](scene), *STEPS[step](scene))
    assert reply.status == nfs4.NFS4ERR_DEADSESSION
    assert not core.state.filter.opens


def test_while_a_thread_works(core: Core) -> None:
    """A client that goes while its request waits for a thread opens nothing when that goes on."""
    scene = Scene(core)
    session = scene.session
    core.threads.keeps = True
    writing = ops.putfh(scene.handle), ops.write(scene.stateid, b"data", stable=nfs4.FILE_SYNC4)
    core.deliver(session.record(*writing, *STEPS["open"](scene)))
    assert len(core.threads.waiting) == 1
    arms(core.call(1, *STEPS["restart"](scene)))
    core.threads.work()
    core.settle()
    reply = decoded(core.wire.replies[-1][1])
    assert reply.status == nfs4.NFS4ERR_DEADSESSION
    check(core)


def test_retry_moves_its_client() -> None:
    """A retry from another address is answered from the cache, and where its client is now is stored."""
    core = Core()
    session = Session(core, OWNER)
    record = session.record(ops.putrootfh(), ops.mkdir(b"directory"))
    first = core.send(record)
    there = Wire(2, "192.0.2.2")
    core.deliver(record, there)
    core.settle()
    assert there.replies[0][1] == first
    core = core.crash()
    assert [client.address for client in core.state.clients] == ["192.0.2.2"]


# -- NFSv4.0 ------------------------------------------------------------------------------------------------


class Scene40:
    """A client of NFSv4.0 with an open and a lock, and a restarted instance that is not confirmed."""

    def __init__(self, core: Core) -> None:
        self.core = core
        told = arms(core.call(0, ops.setclientid(OWNER)))[0].resok4
        self.clientid: int = told.clientid
        arms(core.call(0, ops.setclientid_confirm(told.clientid, told.setclientid_confirm)))
        opening = ops.open_(b"file", owner=b"owner", how=ops.unchecked(), clientid=self.clientid, seqid=1)
        opened = arms(core.call(0, ops.putrootfh(), opening, ops.getfh()))
        self.handle = opened[2].resok4.object
        confirmed = core.call(0, ops.putfh(self.handle), ops.open_confirm(opened[1].resok4.stateid, 2))
        self.stateid = arms(confirmed)[-1].resok4.open_stateid
        locking = ops.lock_new(self.stateid, 0, 10, clientid=self.clientid, open_seqid=3, lock_seqid=1)
        self.lock = arms(core.call(0, ops.putfh(self.handle), locking))[-1].resok4.lock_stateid
        self.restarted = arms(core.call(0, ops.setclientid(OWNER, NEXT_BOOT)))[0].resok4


def _lock40(s: Scene40) -> list[Op]:
    locking = ops.lock_new(s.stateid, 20, 10, owner=b"new", clientid=s.clientid, open_seqid=4, lock_seqid=1)
    return [ops.putfh(s.handle), locking]


STEPS_40: dict[str, Callable[[Scene40], list[Op]]] = {
    "restart": lambda s: [ops.setclientid_confirm(s.restarted.clientid, s.restarted.setclientid_confirm)],
    "setclientid": lambda _s: [ops.setclientid(OWNER)],
    "setclientid, restarted": lambda _s: [ops.setclientid(OWNER, b"boot 333")],
    "renew": lambda s: [ops.renew(s.clientid)],
    "open": lambda s: [
        ops.putrootfh(), ops.open_(b"new", owner=b"new", how=ops.unchecked(), clientid=s.clientid, seqid=1)
    ],
    "open again": lambda s: [ops.putrootfh(), ops.open_(b"file", owner=b"owner", clientid=s.clientid, seqid=4)],
    "lock": _lock40,
    "lock more": lambda s: [ops.putfh(s.handle), ops.lock_more(s.lock, 60, 10, lock_seqid=2)],
    "locku": lambda s: [ops.putfh(s.handle), ops.locku(s.lock, 0, 10, seqid=2)],
    "release_lockowner": lambda s: [ops.release_lockowner(s.clientid, b"locker")],
    "downgrade": lambda s: [ops.putfh(s.handle), ops.open_downgrade(s.stateid, ops.READ, seqid=4)],
    "close": lambda s: [ops.putfh(s.handle), ops.close(s.stateid, seqid=4)],
    "mkdir": lambda _s: [ops.putrootfh(), ops.mkdir(b"directory")],
}  # fmt: skip


@pytest.mark.parametrize("first", STEPS_40)
def test_pairs_v40(first: str) -> None:
    """Every operation after every other one, and the same once more after a crash."""
    for second in STEPS_40:
        core = Core()
        scene = Scene40(core)
        core.call(0, *STEPS_40[first](scene), *STEPS_40[second](scene))
        check(core)
        following = core.crash()
        check(following)
        following.close()
