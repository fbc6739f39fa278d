"""Two toy services, which know nothing of each other, over one filter and one store.

The desk lends documents with share modes; the warehouse leases whole objects for itself alone. Each has its own
classes, its own private bytes and its own way to say no. That both work shows what the filter is: nobody's own.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import pytest

from statestore import (
    HOLDER,
    OPEN,
    RANGE,
    TO_END,
    Answer,
    Blackout,
    ChangeSet,
    Claimed,
    Claims,
    Durations,
    Filter,
    Holder,
    MemoryStore,
    Open,
    Subject,
    Verdict,
    Waiting,
    Why,
    decode_open,
    decode_ranges,
    put_open,
    put_ranges,
    resume_key,
)

SECRET = b"secret" * 5
READ, WRITE = 1, 2
BEGAN, IN_TIME, OVER = 1000.0, 1010.0, 1030.0
AnyFilter = Filter[Holder[Any], Open]
AnyVerdict = Verdict[Holder[Any], Open]


class Usual(Durations):
    """Every object waits for 30 s."""

    def of_object(self, object: bytes) -> int | None:
        return None

    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        return 30, "usual"


class Busy(Exception):
    """The desk's word for no: `again` says that it is worth asking again."""

    def __init__(self, again: bool) -> None:
        super().__init__(again)
        self.again = again


class Reader(Holder["Loan"]):
    """Somebody at the desk, with the name on the card."""

    __slots__ = ("card",)

    def __init__(self, card: str) -> None:
        super().__init__(blake2b(card.encode(), digest_size=8, person=b"desk").digest(), card.encode())
        self.card = card


class Loan(Open):
    """A document that a reader has, and which pages he has marked: the desk's private bytes."""

    __slots__ = ("marked",)
    holder: Reader

    def __init__(self, key: bytes, reader: Reader, document: bytes, access: int, deny: int, marked: str) -> None:
        super().__init__(key, reader, document, access, deny)
        self.marked = marked


class Desk:
    """Lends documents. Its records' private bytes begin with b"D"."""

    def __init__(self, shared: AnyFilter, store: MemoryStore) -> None:
        self.filter = shared
        self.store = store
        self.log: list[AnyVerdict] = []

    def lend(self, reader: Reader, document: bytes, access: int, deny: int, now: float, marked: str = "") -> Loan:
        """Lend a document. Raises Busy."""
        verdict = self.filter.share_verdict(document, access, deny, now)
        if verdict is not None:
            self.log.append(verdict)
            raise Busy(verdict.answer is Answer.WAIT)
        key = resume_key(SECRET, b"desk", reader.identity, document)
        loan = Loan(key, reader, document, access, deny, marked)
        changes = ChangeSet()
        if reader.key not in self.filter.holders:
            self.filter.add_holder(reader)
            changes.put(HOLDER, reader.key, b"D" + reader.card.encode())
        self.filter.add_open(loan)
        put_open(changes, loan, b"D" + marked.encode())
        self.store.wait(self.store.commit(changes))
        return loan

    def give_back(self, loan: Loan) -> None:
        """Take a document back."""
        changes = ChangeSet()
        self.filter.remove_open(loan, changes)
        self.store.wait(self.store.commit(changes))

    def load(self, records: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Resume what the desk's readers had; records of others are none of its business."""
        for kind, key, value in records:
            if kind == HOLDER and value[:1] == b"D":
                self.filter.add_holder(Reader(value[1:].decode()))
            elif kind == OPEN:
                holder_key, access, deny, document, private = decode_open(value)
                reader = self.filter.holders.get(holder_key)
                if private[:1] == b"D" and isinstance(reader, Reader):
                    self.filter.add_open(Loan(key, reader, document, access, deny, private[1:].decode()))


class Lease(Open):
    """An object that a tenant has for himself: all its bytes, under a number that the warehouse counts."""

    __slots__ = ("number",)

    def __init__(self, key: bytes, tenant: Holder[Any], object: bytes, number: int) -> None:
        super().__init__(key, tenant, object, WRITE, 0)
        self.number = number

    def range_keys(self) -> tuple[bytes, ...]:
        return (self.key + self.key,)


class Warehouse:
    """Leases objects. Its records' private bytes are b"W" and four bytes of a number."""

    def __init__(self, shared: AnyFilter, store: MemoryStore) -> None:
        self.filter = shared
        self.store = store
        self.leases: dict[bytes, Lease] = {}

    def lease(self, tenant: bytes, object: bytes, number: int, now: float) -> str:
        """Lease an object: "yes", "later" or "no"."""
        holder = self.filter.holders.get(tenant) or Holder(tenant, b"tenant " + tenant)
        for verdict in (
            self.filter.blackout_verdict(object, None, holder.identity, "", now),
            self.filter.claim_verdict(object, holder.identity, now),
            self.filter.share_verdict(object, WRITE, 0, now),
            self.filter.range_verdict(object, tenant + b"all", 0, TO_END, True, now),
        ):
            if verdict is not None:
                return "later" if verdict.answer is Answer.WAIT else "no"
        self.filter.add_holder(holder)
        lease = Lease(self.key_of(holder.identity, object), holder, object, number)
        self.hold(lease)
        changes = ChangeSet()
        changes.put(HOLDER, tenant, b"W")
        self.put(lease, changes)
        self.store.wait(self.store.commit(changes))
        return "yes"

    @staticmethod
    def key_of(identity: bytes, object: bytes) -> bytes:
        """The resume key of a lease."""
        return resume_key(SECRET, b"warehouse", identity, object)

    def hold(self, lease: Lease) -> None:
        """Have the filter know a lease, and the bytes under it."""
        self.filter.add_open(lease)
        self.filter.range_set(lease.object).set(lease.holder.key + b"all", 0, TO_END, True)
        self.leases[lease.object] = lease

    def put(self, lease: Lease, changes: ChangeSet) -> None:
        """Put a lease's records."""
        private = b"W" + lease.number.to_bytes(4, "big")
        put_open(changes, lease, private)
        ranges = self.filter.range_set(lease.object).owned(lease.holder.key + b"all")
        put_ranges(changes, lease.key + lease.key, b"all", ranges, private)

    def load(self, records: Sequence[tuple[int, bytes, bytes]]) -> None:
        """Resume what the tenants had."""
        for kind, key, value in records:
            if kind == HOLDER and value == b"W":
                self.filter.add_holder(Holder(key, b"tenant " + key))
            elif kind == OPEN:
                holder_key, _access, _deny, object, private = decode_open(value)
                if private[:1] == b"W":
                    number = int.from_bytes(private[1:], "big")
                    self.hold(Lease(key, self.filter.holders[holder_key], object, number))

    def load_claims(self, records: Sequence[tuple[int, bytes, bytes]], claims: Claims) -> None:
        """Let the tenants claim what they had."""
        for kind, key, value in records:
            if kind == HOLDER and value == b"W":
                claims.add_holder(b"tenant " + key, [(HOLDER, key)])
            elif kind == OPEN:
                holder_key, access, deny, object, private = decode_open(value)
                if private[:1] == b"W":
                    claims.add_open(key, b"tenant " + holder_key, holder_key, object, access, deny)
            elif kind == RANGE:
                party, ranges, _private = decode_ranges(value)
                claims.add_ranges(key, key[:16], party, ranges)


class House:
    """One process: the store, the filter over it, and both services."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore(upgrades={})
        self.filter: AnyFilter = Filter(BEGAN)
        self.desk = Desk(self.filter, self.store)
        self.warehouse = Warehouse(self.filter, self.store)

    def after_crash(self, *, retry: bool = True) -> "House":
        """The next process, which has resumed what both had."""
        house = House(self.store.crash())
        records = list(house.store.load())
        assert not house.store.damaged
        house.desk.load(records)
        house.warehouse.load(records)
        house.filter.begin_waiting(Waiting(BEGAN, Usual(), retry=retry))
        return house


@pytest.fixture
def house() -> House:
    """A process in which a reader has b"book" and denies writing, and a tenant has leased b"box"."""
    house = House()
    house.desk.lend(Reader("ann"), b"book", READ, WRITE, BEGAN, "page 7")
    assert house.warehouse.lease(b"tenant-1", b"box", 99, BEGAN) == "yes"
    return house


def test_services_conflict(house: House) -> None:
    """What one service has lent, the other cannot lease, and the other way round."""
    assert house.warehouse.lease(b"tenant-1", b"book", 1, BEGAN) == "no"
    with pytest.raises(Busy) as refused:
        house.desk.lend(Reader("bob"), b"box", READ, WRITE, BEGAN)
    assert not refused.value.again
    verdict = house.desk.log[-1]
    assert isinstance(verdict.open, Lease) and verdict.holder is house.filter.holders[b"tenant-1"]
    assert house.warehouse.lease(b"tenant-2", b"box", 1, BEGAN) == "no"
    assert house.filter.refusals == 0


def test_services_share_what_does_not_conflict(house: House) -> None:
    """Both may have an object as long as neither's masks deny it; what goes is free for the other."""
    house.desk.lend(Reader("bob"), b"box", READ, 0, BEGAN)
    loan = next(held for held in house.filter.opens.values() if isinstance(held, Loan) and held.object == b"book")
    house.desk.give_back(loan)
    assert house.warehouse.lease(b"tenant-1", b"book", 1, BEGAN) == "yes"


def test_each_keeps_its_private_bytes(house: House) -> None:
    """Over two crashes each service finds what it has put, and the filter finds the conflicts."""
    house = house.after_crash().after_crash()
    [loan] = [held for held in house.filter.opens.values() if isinstance(held, Loan)]
    assert (loan.marked, loan.holder.card, loan.deny) == ("page 7", "ann", WRITE)
    assert house.warehouse.leases[b"box"].number == 99
    verdict = house.filter.range_verdict(b"box", b"strangerx", 5, 6, False, OVER)
    assert verdict is not None and verdict.why is Why.RANGE and verdict.holder is not None
    assert verdict.holder.key == b"tenant-1"


def test_blackout_after_a_start_covers_other_services(house: House) -> None:
    """Who has not come back to one service is waited for by the other one's requests, until his time is over."""
    house = house.after_crash()
    assert house.warehouse.lease(b"tenant-1", b"book", 1, IN_TIME) == "later"
    with pytest.raises(Busy) as refused:
        house.desk.lend(Reader("bob"), b"box", READ, WRITE, IN_TIME)
    assert refused.value.again and house.desk.log[-1].waits_for == (b"tenant-1",)
    assert house.filter.refusals == 2
    assert house.warehouse.lease(b"tenant-1", b"book", 1, OVER) == "no"
    for holder in house.filter.holders.values():
        holder.heard = IN_TIME
    assert house.warehouse.lease(b"tenant-1", b"book", 1, IN_TIME) == "no"
    assert house.filter.refusals == 2
    assert house.filter.sweep(IN_TIME, ChangeSet()) == "returned"


def test_holder_that_is_let_go(house: House) -> None:
    """A service that takes what is in the way from its holder withdraws the verdict and asks again."""
    house = house.after_crash()
    verdict = house.filter.share_verdict(b"book", WRITE, 0, IN_TIME)
    assert verdict is not None and isinstance(verdict.open, Loan)
    house.desk.give_back(verdict.open)
    house.filter.withdraw(verdict)
    assert house.filter.share_verdict(b"book", WRITE, 0, IN_TIME) is None
    assert house.filter.refusals == 0


def test_claims_of_one_service_refuse_the_other(house: House) -> None:
    """After a start that resumes nothing, the tenant's claim keeps others out, and gives back exactly what was his."""
    records = list(house.store.crash().load())
    after = House()
    claims = after.filter.claims = Claims(Waiting(BEGAN, Usual()))
    after.warehouse.load_claims(records, claims)
    changes = ChangeSet()
    assert claims.settle(changes) == [] and not changes
    assert after.filter.begin_waiting(claims.waiting)
    assert after.warehouse.lease(b"tenant-2", b"box", 1, IN_TIME) == "later"
    key = Warehouse.key_of(b"tenant tenant-1", b"box")
    assert claims.claim_open(key, WRITE, WRITE, IN_TIME) is Claimed.NOT_RECORDED
    assert claims.claim_open(key, WRITE, 0, IN_TIME) is Claimed.GRANTED
    assert claims.claim_range(key, b"all", 0, TO_END, True, IN_TIME) is Claimed.GRANTED
    holder: Holder[Any] = Holder(b"tenant-9", b"tenant tenant-1", heard=IN_TIME)
    after.filter.add_holder(holder)
    after.warehouse.hold(Lease(key, holder, b"box", 99))
    assert after.filter.complete_claims(holder.identity, changes) == (1, 0)
    assert changes.entries == {bytes((HOLDER,)) + b"tenant-1": None}
    assert after.warehouse.lease(b"tenant-2", b"box", 1, IN_TIME) == "no"


def test_blackout_of_an_object_refuses_every_service(house: House) -> None:
    """What somebody has blacked out is closed to whoever asks, by whatever service."""
    changes = ChangeSet()
    blackout = Blackout(Subject.OBJECT, b"crate", "a crate", key=b"b", until=OVER, retry=False)
    house.filter.blackouts.begin(blackout, b"", changes)
    assert house.warehouse.lease(b"tenant-1", b"crate", 1, IN_TIME) == "no"
    assert house.filter.blackout_verdict(b"crate", None, b"ann", "", IN_TIME) is not None
    assert blackout.refusals == house.filter.refusals == 2
    assert house.warehouse.lease(b"tenant-1", b"crate", 1, OVER) == "yes"
