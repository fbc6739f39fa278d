"""NFSv4.0's client for the kills: open owners and lock owners with sequence ids, one request in flight.

Must not kill or judge, as `holders`.
"""

from __future__ import annotations

import random

from tests.soak.holders import OPENS_MAX, RANGES_MAX, Action, Held, Holder, put
from tests.soak.ledger import GONE, Facts
from tests.support.client import Reply, compound
from tests.support.operations import encoded
from tests.support.rpc import call
from xdr.generated import nfs4

OWNERS = 3
_MODE = nfs4.fattr4(1 << nfs4.FATTR4_MODE, b"\0\0\x01\xa4")
_CREATE = nfs4.openflag4(nfs4.OPEN4_CREATE, nfs4.createhow4(nfs4.UNCHECKED4, createattrs=_MODE))


class OwnerHolder(Holder):
    """NFSv4.0: every request that changes something carries the next sequence id of its open or lock owner."""

    minor = 0

    def __init__(self, name: str, address: tuple[str, int], export: bytes, rng: random.Random) -> None:
        super().__init__(name, address, export, rng)
        self.seqids = {b"owner %d" % number: 0 for number in range(OWNERS)}
        self.holds: list[Held] = []
        self.action: Action | None = None
        # A CLOSE that was carried out and is sent again after a restart: the stateid is not known any more.
        self.forgotten_closes = 0
        self._message = b""
        self._xid = rng.randrange(1 << 30)

    def begin(self) -> None:
        """SETCLIENTID, its confirmation, and one confirmed open for each owner."""
        location = nfs4.netaddr4(b"tcp", b"127.0.0.1.0.1")
        client = nfs4.nfs_client_id4(self.rng.randbytes(8), self.name.encode())
        args = nfs4.SETCLIENTID4args(client, nfs4.cb_client4(1, location), 1)
        told = self.wire.ask(encoded("SETCLIENTID", args), minor=0, xid=1).value(0)
        self.clientid = told.clientid
        confirm = nfs4.SETCLIENTID_CONFIRM4args(told.clientid, told.setclientid_confirm)
        self.wire.ask(encoded("SETCLIENTID_CONFIRM", confirm), minor=0, xid=2).value(0)
        self.ledger.facts["client", self.clientid] = (0, self.name.encode())
        look = [encoded("PUTROOTFH"), encoded("LOOKUP", nfs4.LOOKUP4args(self.export)), encoded("GETFH")]
        self.top = self.wire.ask(*look, minor=0, xid=3).value(2).object
        for owner in self.seqids:
            self._do(self._open(owner))
            held = self.holds[-1]
            self._do(self._confirm(held))

    def take_up(self) -> None:
        """Send the same request again, then write a byte under every stateid."""
        if self.action is not None:
            self.wire.send(self._message)
            self._receive()
        for held in self.holds[-20:]:
            stateid = held.lock or held.stateid
            write = encoded("WRITE", nfs4.WRITE4args(stateid, 0, nfs4.UNSTABLE4, b"x"))
            self._do(Action([put(held.handle), write], {}, lambda reply: None))
        self._do(Action([encoded("RENEW", nfs4.RENEW4args(self.clientid))], {}, lambda reply: None))

    def step(self) -> None:
        """One request and its reply."""
        self._do(self._choose())

    def _do(self, action: Action) -> None:
        self._xid += 1
        self.action = action
        self._message = call(self._xid, compound(0, action.operations))
        if action.changes:
            self.ledger.pending[0] = dict(action.changes)
        self.wire.send(self._message)
        self._receive()

    def _receive(self) -> None:
        reply = Reply(self.wire.receive())
        action, self.action = self.action, None
        assert action is not None
        self.acknowledged += 1
        self.ledger.pending.pop(0, None)
        if reply.status in action.tolerated:
            self.forgotten_closes += 1
        elif not self.expect(reply, action):
            return
        self.ledger.facts.update(action.changes)
        action.took(reply)

    # -- requests -----------------------------------------------------------------------------------------

    def _choose(self) -> Action:
        rng, holds = self.rng, self.holds
        draw = rng.random()
        if not holds or (draw < 0.3 and len(holds) < OPENS_MAX):
            return self._open(rng.choice(list(self.seqids)))
        held = rng.choice(holds)
        if draw < 0.65 and len(held.ranges) < RANGES_MAX:
            return self._lock(held)
        if draw < 0.85 and held.ranges:
            return self._unlock(held)
        return self._close(held)

    def _owner_change(self, owner: bytes) -> Facts:
        return {("open owner", self.clientid, owner): (self.seqids[owner] + 1,)}

    def _open(self, owner: bytes) -> Action:
        name = self.fresh_name()
        claim = nfs4.open_claim4(nfs4.CLAIM_NULL, file=name)
        seqid = self.seqids[owner] + 1
        args = nfs4.OPEN4args(seqid, 3, 0, nfs4.open_owner4(self.clientid, owner), _CREATE, claim)

        def took(reply: Reply) -> None:
            self.seqids[owner] = seqid
            held = Held(name, owner, reply.value(2).object, reply.value(1).stateid, 3)
            self.holds.append(held)
            fact = self.open_fact(held, 3, held.stateid.seqid)
            self.ledger.facts["open", held.stateid.other] = fact

        operations = [put(self.top), encoded("OPEN", args), encoded("GETFH")]
        return Action(operations, self._owner_change(owner), took)

    def _confirm(self, held: Held) -> Action:
        seqid = self.seqids[held.owner] + 1
        confirm = encoded("OPEN_CONFIRM", nfs4.OPEN_CONFIRM4args(held.stateid, seqid))
        changes = self._owner_change(held.owner)
        changes["open", held.stateid.other] = self.open_fact(held, 3, held.stateid.seqid + 1)

        def took(reply: Reply) -> None:
            self.seqids[held.owner] = seqid
            held.stateid = reply.value(1).open_stateid

        return Action([put(held.handle), confirm], changes, took)

    def _lock(self, held: Held) -> Action:
        start = 100 * self.rng.randrange(1 << 20)
        ranges = {**held.ranges, start: 10}
        owner = held.owner
        lock_owner = ("lock owner", self.clientid, held.lock_owner)
        changes: Facts = {}
        if held.lock is None:
            seqid = self.seqids[owner] + 1
            who = nfs4.lock_owner4(self.clientid, held.lock_owner)
            locker = nfs4.locker4(True, open_owner=nfs4.open_to_lock_owner4(seqid, held.stateid, 1, who))
            changes = self._owner_change(owner)
            lock_seqid = 1
        else:
            seqid = self.seqids[owner]
            lock_seqid = held.lock_seqid + 1
            locker = nfs4.locker4(False, lock_owner=nfs4.exist_lock_owner4(held.lock, lock_seqid))
            changes["lock", held.lock.other] = held.lock_fact(held.lock.seqid + 1, ranges)
        changes[lock_owner] = (lock_seqid,)
        lock = encoded("LOCK", nfs4.LOCK4args(nfs4.WRITE_LT, False, start, 10, locker))

        def took(reply: Reply) -> None:
            self.seqids[owner] = seqid
            stateid = held.lock = reply.value(1).lock_stateid
            held.lock_seqid = lock_seqid
            held.ranges = ranges
            self.ledger.facts["lock", stateid.other] = held.lock_fact(stateid.seqid, ranges)

        return Action([put(held.handle), lock], changes, took)

    def _unlock(self, held: Held) -> Action:
        assert held.lock is not None
        start = next(iter(held.ranges))
        ranges = {at: size for at, size in held.ranges.items() if at != start}
        lock_seqid = held.lock_seqid + 1
        changes: Facts = {
            ("lock owner", self.clientid, held.lock_owner): (lock_seqid,),
            ("lock", held.lock.other): held.lock_fact(held.lock.seqid + 1, ranges),
        }
        unlock = encoded("LOCKU", nfs4.LOCKU4args(nfs4.WRITE_LT, lock_seqid, held.lock, start, 10))

        def took(reply: Reply) -> None:
            held.lock = reply.value(1)
            held.lock_seqid = lock_seqid
            held.ranges = ranges

        return Action([put(held.handle), unlock], changes, took)

    def _close(self, held: Held) -> Action:
        seqid = self.seqids[held.owner] + 1
        changes = self._owner_change(held.owner)
        changes["open", held.stateid.other] = GONE
        if held.lock is not None:
            changes["lock", held.lock.other] = GONE
        close = encoded("CLOSE", nfs4.CLOSE4args(seqid, held.stateid))

        def took(_reply: Reply) -> None:
            self.seqids[held.owner] = seqid
            self.holds.remove(held)
            # The server may forget a lock owner without locks after a while.
            self.ledger.facts.pop(("lock owner", self.clientid, held.lock_owner), None)

        return Action([put(held.handle), close], changes, took, (nfs4.NFS4ERR_BAD_STATEID,))
