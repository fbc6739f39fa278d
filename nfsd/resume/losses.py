"""The records that a start could not trust: put aside for the operator, settled with their holders, said in the log.

Owns what happens to them between the load and the first connection.  What each costs is `salvage.py`'s.

MUST be durable before anybody is served: otherwise the next start would find a record again that somebody has been
told is gone.
"""

from __future__ import annotations

from nfsd.durable.outbox import Outbox
from nfsd.exports import numbers
from nfsd.log import get_logger
from nfsd.resume import salvage
from nfsd.state.tables import State
from nfsd.vfs import objects
from statestore import META, NAME, ChangeSet, Damage, Quarantine, kind_name

log = get_logger()


class Losses:
    """What one start could not load: `damaged` records, and sound ones that were `left_out`.

    `changes` are what their loss means for the store, but for the moving itself.
    """

    def __init__(self) -> None:
        self.damaged: list[Damage] = []
        self.left_out: list[Damage] = []
        self.changes = ChangeSet()

    def all(self) -> list[Damage]:
        """All of them, in the order of their kinds."""
        return sorted((*self.damaged, *self.left_out), key=lambda each: (each.kind, each.key))

    def keys(self, kind: int) -> list[bytes]:
        """The keys of those of a kind."""
        return [each.key for each in self.all() if each.kind == kind]

    def has(self, kind: int, key: bytes) -> bool:
        """Whether a record is among them."""
        return key in self.keys(kind)

    def stand_in(self, rows: list[tuple[bytes, bytes]], given: list[tuple[bytes, bytes]]) -> None:
        """Fill the place of lost rows of object tables, and of lost numbers of exports (`given`).

        No other object ever gets their ids, no other export their numbers.
        """
        for key, value in numbers.stand_ins(given, self.keys(META)):
            given.append((key, value))
            self.changes.put(META, key, value)
        known = {key for key, _value in rows}
        for key in self.keys(NAME):
            if objects.is_key(key) and key not in known:
                rows.append((key, objects.EMPTY_ROW))
                self.changes.put(NAME, key, objects.EMPTY_ROW)

    def settle(self, outbox: Outbox, quarantine: Quarantine, state: State, now: float, when_ns: int) -> None:
        """Have each loss cost only its own holder, and move the records aside; all is durable on return.

        `when_ns` is the time in ns since 1970.
        """
        lost = self.all()
        if not lost:
            return
        for event, records in (("record.damaged", self.damaged), ("record.left_out", self.left_out)):
            for damage in records:
                log.error(event, record=str(damage), kind=kind_name(damage.kind), cost=salvage.COSTS.get(damage.kind))
        changes = ChangeSet()
        for damage in lost:
            quarantine.keep(changes, damage, epoch=outbox.store.epoch, when_ns=when_ns)
        changes.merge(self.changes)
        salvage.settle(state, lost, now, changes)
        outbox.commit_now(changes)
        log.warning("records.quarantined", count=len(lost), kept=len(quarantine))


def put_aside(outbox: Outbox, quarantine: Quarantine, damage: Damage, when_ns: int) -> None:
    """Move one more record aside; durable on return."""
    log.error("record.left_out", record=str(damage), kind=kind_name(damage.kind), cost=salvage.COSTS.get(damage.kind))
    changes = ChangeSet()
    quarantine.keep(changes, damage, epoch=outbox.store.epoch, when_ns=when_ns)
    outbox.commit_now(changes)
