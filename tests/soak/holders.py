"""Clients that hold much and write down all that they were told: the load under which the server is killed.

Owns the two kinds of client, NFSv4.1 with several slots in flight and NFSv4.0 with its owners' sequence ids, and
what each request means for their ledger.  Must not kill or judge.
"""

from __future__ import annotations

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.soak.ledger import ANYTHING, GONE, Facts, Ledger
from tests.support.client import Connection, Reply, compound
from tests.support.operations import channel, encoded
from tests.support.rpc import call
from xdr.generated import nfs4

OPENS_MAX = 24
TIMEOUT_S = 20.0
CHANNEL = channel(operations=32, slots=32)
RANGES_MAX = 12
_MODE = nfs4.fattr4(1 << nfs4.FATTR4_MODE, b"\0\0\x01\xa4")
_CREATE = nfs4.openflag4(nfs4.OPEN4_CREATE, nfs4.createhow4(nfs4.UNCHECKED4, createattrs=_MODE))
_NONE = nfs4.state_protect4_a(nfs4.SP4_NONE)


class Held:
    """An open that a client was told, and the lock stateid under it."""

    __slots__ = ("name", "owner", "handle", "stateid", "access", "lock", "ranges", "lock_owner", "lock_seqid")

    def __init__(self, name: bytes, owner: bytes, handle: bytes, stateid: nfs4.stateid4, access: int) -> None:
        self.name = name
        self.owner = owner
        self.handle = handle
        self.stateid = stateid
        self.access = access
        self.lock: nfs4.stateid4 | None = None
        self.ranges: dict[int, int] = {}
        self.lock_owner = b"lock of " + name
        self.lock_seqid = 0

    def lock_fact(self, seqid: int, ranges: dict[int, int]) -> tuple[Any, ...]:
        """What the store has to say of its lock."""
        return self.lock_owner, seqid, tuple((at, at + size - 1, True) for at, size in sorted(ranges.items()))


class Action(NamedTuple):
    """A request: what it asks, what it changes if it is carried out, and what to do with its reply."""

    operations: list[bytes]
    changes: Facts
    took: Callable[[Reply], None]
    tolerated: tuple[int, ...] = ()


class Holder(ABC):
    """A client in a thread.  It stops by itself when its connection is lost, and goes on when `resume` is called.

    `acknowledged` counts replies.  `problems` has everything that was answered otherwise than it should be.
    """

    minor: int

    def __init__(self, name: str, address: tuple[str, int], export: bytes, rng: random.Random) -> None:
        self.name = name
        self.address = address
        self.export = export
        self.rng = rng
        self.ledger = Ledger()
        self.acknowledged = 0
        self.resumed = 0
        self.problems: list[str] = []
        self.wire: Connection
        self.clientid = 0
        self.top = b""
        self.counter = 0
        self._go = threading.Event()
        self._parked = threading.Event()
        self._end = False
        self._begun = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # -- life, called by the test's thread ------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._go.set()
        self._thread.start()

    def wait_parked(self, limit_s: float) -> bool:
        """Wait until it has found that the server has gone: its ledger does not change any more."""
        return self._parked.wait(limit_s)

    def resume(self, end: bool = False) -> None:
        """Go on with a new server; at the `end` only check what is held."""
        self._end = end
        self._parked.clear()
        self._go.set()

    def join(self, limit_s: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(limit_s)
        if self._thread.is_alive():
            self.problems.append("the client does not end")

    def _run(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            try:
                self.wire = Connection(self.address[1], timeout_s=TIMEOUT_S)
                if not self._begun:
                    self.begin()
                    self._begun = True
                else:
                    self.take_up()
                    self.resumed += 1
                if self._end:
                    self.wire.close()
                    return
                while True:
                    self.step()
            except (EOFError, OSError):
                pass  # The server has gone: that is what this load is for.
            except Exception as error:
                self.problems.append(f"{type(error).__name__}: {error}")
            self._parked.set()

    # -- for the two kinds ------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self) -> None:
        """Make the client known to the server."""

    @abstractmethod
    def take_up(self) -> None:
        """Go on after a restart: send again what was in flight, and check what is held."""

    @abstractmethod
    def step(self) -> None:
        """Send and take in one round of requests."""

    def expect(self, reply: Reply, action: Action) -> bool:
        """Whether a reply is a success; anything else that is not tolerated is a problem."""
        if reply.status == nfs4.NFS4_OK:
            return True
        if reply.status not in action.tolerated:
            name = nfs4.nfsstat4_names.get(reply.status, reply.status)
            wanted = " ".join(_name_of(part) for part in action.operations)
            self.problems.append(f"{name} for {wanted} after {self.resumed} restarts")
        return False

    def open_fact(self, held: Held, access: int, seqid: int) -> tuple[Any, ...]:
        """What the store has to say of an open."""
        return self.clientid, held.owner, held.handle, access, 0, seqid

    def fresh_name(self) -> bytes:
        """A file name that nobody has used."""
        self.counter += 1
        return f"{self.name}-{self.counter}".encode()


def _name_of(operation_bytes: bytes) -> str:
    return nfs4.nfs_opnum4_names[int.from_bytes(operation_bytes[:4], "big")].removeprefix("OP_")


def sequence(sessionid: bytes, seqid: int, slot: int, highest: int) -> bytes:
    """SEQUENCE without a reply that is to be cached."""
    return encoded("SEQUENCE", nfs4.SEQUENCE4args(sessionid, seqid, slot, highest, False))


def put(handle: bytes) -> bytes:
    """PUTFH."""
    return encoded("PUTFH", nfs4.PUTFH4args(handle))


class Slot:
    """One slot of a session and what its requests hold: nothing is shared between slots."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.rng = rng
        self.seqid = 0
        self.holds: list[Held] = []
        self.names: list[bytes] = []
        self.action: Action | None = None
        self.message = b""


class SessionHolder(Holder):
    """NFSv4.1: several slots, one request in flight on each, all sent together."""

    minor = 1

    def __init__(self, name: str, address: tuple[str, int], export: bytes, rng: random.Random, slots: int) -> None:
        super().__init__(name, address, export, rng)
        self.slots = [Slot(number, random.Random(f"{name} {number} {rng.random()}")) for number in range(slots)]
        self.sessionid = bytes(16)
        # Replies that the store had for requests in flight: their retries have to be answered by the same bytes.
        self.replays: dict[int, bytes] = {}
        self.replayed = 0

    def begin(self) -> None:
        """EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE, and the export's handle."""
        owner = self.name.encode()
        exchange = nfs4.EXCHANGE_ID4args(nfs4.client_owner4(self.rng.randbytes(8), owner), 0, _NONE, [])
        told = self.wire.ask(encoded("EXCHANGE_ID", exchange), minor=1, xid=1).value(0)
        self.clientid = told.eir_clientid
        create = nfs4.CREATE_SESSION4args(self.clientid, told.eir_sequenceid, 0, CHANNEL, CHANNEL, 1, [])
        made = self.wire.ask(encoded("CREATE_SESSION", create), minor=1, xid=2).value(0)
        self.sessionid = made.csr_sessionid
        facts = self.ledger.facts
        facts["client", self.clientid] = (1, owner)
        facts["session", self.sessionid] = (self.clientid,)
        first = self.slots[0]

        def done(reply: Reply) -> None:
            self.top = reply.value(4).object

        complete = encoded("RECLAIM_COMPLETE", nfs4.RECLAIM_COMPLETE4args(False))
        look = [encoded("PUTROOTFH"), encoded("LOOKUP", nfs4.LOOKUP4args(self.export)), encoded("GETFH")]
        changes: Facts = {("slot", self.sessionid, 0): (1, ANYTHING)}
        self._send([(first, Action([complete, *look], changes, done))])
        self._receive()

    def step(self) -> None:
        """One request on most slots, then all replies."""
        # Some stay idle, so that a kill finds slots without a request in flight too.
        busy = [slot for slot in self.slots if self.rng.random() < 0.8]
        self._send([(slot, self._choose(slot)) for slot in busy])
        self._receive()

    def take_up(self) -> None:
        """Send the same requests again on the same slots, then ask after every stateid."""
        waiting = [slot.message for slot in self.slots if slot.action is not None]
        self.wire.send(*waiting)
        self._receive()
        held = [held for slot in self.slots for held in slot.holds]
        good = [each.stateid for each in held] + [each.lock for each in held if each.lock is not None]
        bad = [nfs4.stateid4(0, key[1]) for key, fact in self.ledger.facts.items() if fact is GONE][-50:]

        def tested(reply: Reply) -> None:
            codes = reply.value(1).tsr_status_codes
            lost = sum(1 for code in codes[: len(good)] if code != nfs4.NFS4_OK)
            risen = sum(1 for code in codes[len(good) :] if code == nfs4.NFS4_OK)
            if lost or risen:
                self.problems.append(f"{lost} of {len(good)} stateids lost, {risen} of {len(bad)} closed ones good")

        test = encoded("TEST_STATEID", nfs4.TEST_STATEID4args([*good, *bad]))
        self._send([(self.slots[0], Action([test], {}, tested))])
        self._receive()

    def note_replays(self, stored: Facts) -> None:
        """Remember which requests in flight the store holds an answer to."""
        for slot in self.slots:
            fact = stored.get(("slot", self.sessionid, slot.number))
            if slot.action is not None and fact is not None and fact[0] == slot.seqid + 1 and fact[1] is not None:
                self.replays[slot.number] = fact[1]

    def _send(self, actions: Sequence[tuple[Slot, Action]]) -> None:
        messages = []
        for slot, action in actions:
            slot.action = action
            head = sequence(self.sessionid, slot.seqid + 1, slot.number, len(self.slots) - 1)
            message = call(slot.number + 1 << 20 | slot.seqid & 0xFFFFF, compound(1, [head, *action.operations]))
            slot.message = message
            key = ("slot", self.sessionid, slot.number)
            if action.changes:
                self.ledger.pending[slot.number] = {**action.changes, key: (slot.seqid + 1, ANYTHING)}
            messages.append(message)
        self.wire.send(*messages)

    def _receive(self) -> None:
        waiting = {slot.number + 1: slot for slot in self.slots if slot.action is not None}
        while waiting:
            reply = Reply(self.wire.receive())
            slot = waiting.pop(reply.xid >> 20)
            self._take(slot, reply)

    def _take(self, slot: Slot, reply: Reply) -> None:
        """A reply has come: what it says is acknowledged from now on."""
        action, slot.action = slot.action, None
        assert action is not None
        self.acknowledged += 1
        slot.seqid += 1
        changes = self.ledger.pending.pop(slot.number, {})
        kept = self.replays.pop(slot.number, None)
        if kept is not None:
            self.replayed += 1
            if kept != reply.body:
                self.problems.append(f"a retry was answered by {reply.body.hex()}, stored was {kept.hex()}")
        if not self.expect(reply, action):
            return
        action.took(reply)
        if changes:
            changes["slot", self.sessionid, slot.number] = (slot.seqid, reply.body)
            self.ledger.facts.update(changes)

    # -- requests -----------------------------------------------------------------------------------------

    def _choose(self, slot: Slot) -> Action:
        holds, rng = slot.holds, slot.rng
        draw = rng.random()
        if not holds or (draw < 0.25 and len(holds) < OPENS_MAX):
            return self._open(slot)
        held = rng.choice(holds)
        if draw < 0.55 and len(held.ranges) < RANGES_MAX:
            return self._lock(slot, held)
        if draw < 0.70 and held.ranges:
            return self._unlock(held)
        if draw < 0.78:
            return self._change_access(held)
        if draw < 0.88:
            return self._close(slot, held)
        if draw < 0.96:
            return self._name(slot)
        return Action([put(self.top), encoded("GETATTR", nfs4.GETATTR4args(0x18))], {}, lambda reply: None)

    def _open_operation(self, owner: bytes, name: bytes, access: int) -> bytes:
        claim = nfs4.open_claim4(nfs4.CLAIM_NULL, file=name)
        return encoded("OPEN", nfs4.OPEN4args(0, access, 0, nfs4.open_owner4(self.clientid, owner), _CREATE, claim))

    def _open(self, slot: Slot) -> Action:
        name, access = self.fresh_name(), slot.rng.choice((2, 3))
        owner = b"owner %d" % slot.rng.randrange(3)

        def took(reply: Reply) -> None:
            held = Held(name, owner, reply.value(3).object, reply.value(2).stateid, access)
            slot.holds.append(held)
            changes["open", held.stateid.other] = self.open_fact(held, access, held.stateid.seqid)
            self.ledger.facts.update(changes)

        # The stateid is not known beforehand: only the slot tells whether it was carried out.
        changes: Facts = {("slot", self.sessionid, slot.number): (slot.seqid + 1, ANYTHING)}
        return Action([put(self.top), self._open_operation(owner, name, access), encoded("GETFH")], changes, took)

    def _change_access(self, held: Held) -> Action:
        """Widen an open by a second OPEN, or narrow it again."""
        seqid = held.stateid.seqid + 1
        access = 2 if held.access == 3 else 3
        if access == 3:
            change = self._open_operation(held.owner, held.name, 3)
            operations = [put(self.top), change]
        else:
            narrow = nfs4.OPEN_DOWNGRADE4args(nfs4.stateid4(0, held.stateid.other), 0, 2, 0)
            operations = [put(held.handle), encoded("OPEN", self._by_handle(held))]
            operations.append(encoded("OPEN_DOWNGRADE", narrow))
            seqid += 1

        def took(_reply: Reply) -> None:
            held.access = access
            held.stateid = nfs4.stateid4(seqid, held.stateid.other)

        return Action(operations, {("open", held.stateid.other): self.open_fact(held, access, seqid)}, took)

    def _by_handle(self, held: Held) -> nfs4.OPEN4args:
        """OPEN for writing only: RFC 8881 18.18.3 lets an open be narrowed only to what was once asked for."""
        owner = nfs4.open_owner4(self.clientid, held.owner)
        return nfs4.OPEN4args(0, 2, 0, owner, nfs4.openflag4(nfs4.OPEN4_NOCREATE), nfs4.open_claim4(nfs4.CLAIM_FH))

    def _lock(self, slot: Slot, held: Held) -> Action:
        start = 100 * slot.rng.randrange(1 << 20)
        ranges = {**held.ranges, start: 10}
        if held.lock is None:
            owner = nfs4.lock_owner4(self.clientid, held.lock_owner)
            locker = nfs4.locker4(True, open_owner=nfs4.open_to_lock_owner4(0, held.stateid, 0, owner))
        else:
            locker = nfs4.locker4(False, lock_owner=nfs4.exist_lock_owner4(held.lock, 0))
        lock = encoded("LOCK", nfs4.LOCK4args(nfs4.WRITE_LT, False, start, 10, locker))

        def took(reply: Reply) -> None:
            held.lock = reply.value(2).lock_stateid
            held.ranges = ranges
            changes["lock", held.lock.other] = held.lock_fact(held.lock.seqid, ranges)
            self.ledger.facts.update(changes)

        changes: Facts = {("slot", self.sessionid, slot.number): (slot.seqid + 1, ANYTHING)}
        if held.lock is not None:
            changes["lock", held.lock.other] = held.lock_fact(held.lock.seqid + 1, ranges)
        return Action([put(held.handle), lock], changes, took)

    def _unlock(self, held: Held) -> Action:
        assert held.lock is not None
        start = next(iter(held.ranges))
        ranges = {at: size for at, size in held.ranges.items() if at != start}
        seqid = held.lock.seqid + 1
        unlock = encoded("LOCKU", nfs4.LOCKU4args(nfs4.WRITE_LT, 0, held.lock, start, 10))

        def took(reply: Reply) -> None:
            held.lock = reply.value(2)
            held.ranges = ranges

        return Action([put(held.handle), unlock], {("lock", held.lock.other): held.lock_fact(seqid, ranges)}, took)

    def _close(self, slot: Slot, held: Held) -> Action:
        changes: Facts = {("open", held.stateid.other): GONE}
        if held.lock is not None:
            changes["lock", held.lock.other] = GONE
        close = encoded("CLOSE", nfs4.CLOSE4args(0, held.stateid))

        def took(_reply: Reply) -> None:
            slot.holds.remove(held)
            slot.names.append(held.name)

        return Action([put(held.handle), close], changes, took)

    def _name(self, slot: Slot) -> Action:
        """Make a directory or remove a closed file: exactly once, whatever was done and not answered before a kill."""
        changes: Facts = {("slot", self.sessionid, slot.number): (slot.seqid + 1, ANYTHING)}
        if slot.names and slot.rng.random() < 0.7:
            name = slot.names[-1]
            remove = encoded("REMOVE", nfs4.REMOVE4args(name))
            slot.names.remove(name)
            return Action([put(self.top), remove], changes, lambda reply: None)
        made = self.fresh_name()
        create = encoded("CREATE", nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4DIR), made, _MODE))
        return Action([put(self.top), create], changes, lambda reply: slot.names.append(made))
