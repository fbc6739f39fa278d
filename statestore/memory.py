"""A state store in memory, for tests and simulations: the same promises, and crashes on demand.

Owns what a crash leaves. It passes the contract suite that the real store passes. It must not be used where
state is to survive the process.
"""

from collections.abc import Iterator, Mapping

from statestore.errors import StoreFailed
from statestore.queueing import Entries, InlineQueue
from statestore.records import Damage
from statestore.store import DurableHook, FailureHook
from statestore.upgrades import Upgrades, load_record


class MemoryStore(InlineQueue):
    """Keeps records in a dict; `crash` gives the store that the next process would find."""

    def __init__(
        self,
        *,
        on_durable: DurableHook | None = None,
        on_failure: FailureHook | None = None,
        records: Mapping[bytes, bytes] | None = None,
        epoch: int = 1,
        secret: bytes = bytes(32),
        upgrades: Upgrades | None = None,
    ) -> None:
        super().__init__(on_durable, on_failure)
        self.upgrades: Upgrades | None = upgrades
        self.epoch: int = epoch
        self.secret: bytes = secret
        self.damaged: list[Damage] = []
        self.records: dict[bytes, bytes] = dict(records or {})
        self._next_error: BaseException | None = None

    def load(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (kind, key, value) of every sound record, ordered by kind and key.

        Raises StoreNewer; StoreError where the converter of an older record is missing.
        """
        self.damaged = []
        for stored_key, stored_value in sorted(self.records.items()):
            value = load_record(stored_key, stored_value, self.upgrades, "memory")
            if isinstance(value, Damage):
                self.damaged.append(value)
            else:
                yield stored_key[0], stored_key[1:], value

    def look_for_room(self) -> None:
        """There is room until a test says otherwise, by `nearly_full`."""
        self.used = sum(len(key) + len(value) for key, value in self.records.items())

    def close(self) -> None:
        """Make everything queued durable and take no more."""
        if self._closed:
            return
        self._closed = True
        self._stop()

    def crash(self, keep: int | None = None) -> "MemoryStore":
        """Die, and return the store that the next process opens, its epoch raised by one.

        It has everything durable and of the queued changes those up to ticket `keep` (none if it is None): a
        crash may come after a batch reached the disk and before it was acknowledged. Raises ValueError for
        a `keep` below the durable ticket, which no crash can leave.
        """
        if keep is not None and keep < self.durable:
            raise ValueError(f"ticket {self.durable} is durable: a crash cannot keep only {keep}")
        survivors = dict(self.records)
        for ticket, entries in self._queue:
            if keep is not None and ticket <= keep:
                _apply(survivors, entries)
        self._failure = StoreFailed("the store has crashed")
        self._queue.clear()
        return MemoryStore(
            on_durable=self._on_durable,
            on_failure=self._on_failure,
            records=survivors,
            epoch=self.epoch + 1,
            secret=self.secret,
            upgrades=self.upgrades,
        )

    def fail_next(self, error: BaseException) -> None:
        """Make the next write fail, as a full or broken disk would."""
        self._next_error = error

    def _write(self, entries: Entries) -> None:
        if self._next_error is not None:
            raise StoreFailed(f"commit failed: {self._next_error}") from self._next_error
        _apply(self.records, entries)


def _apply(records: dict[bytes, bytes], entries: Entries) -> None:
    for stored_key, stored_value in entries.items():
        if stored_value is None:
            records.pop(stored_key, None)
        else:
            records[stored_key] = stored_value
