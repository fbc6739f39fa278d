"""Tickets, the queue of change sets, and who writes them: the calling thread, or one writer thread.

Owns the order of tickets, what `durable` says and the state after a failure. It must not know how an engine
writes: that is `_write`, which makes one batch durable as a whole or raises.
"""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Final

from statestore.errors import StoreFailed
from statestore.records import ChangeSet
from statestore.store import DurableHook, FailureHook

Entries = Mapping[bytes, bytes | None]
# Bounds how long the first change set of a batch waits for the others' pages to be written.
BATCH_CHANGESETS_MAX: Final = 1024


class CommitQueue(ABC):
    """What both ways of writing share: tickets, the queue, the failure that ends everything."""

    def __init__(self, on_durable: DurableHook | None, on_failure: FailureHook | None) -> None:
        self.durable: int = 0
        self.transactions: int = 0
        self.used: int = 0
        self.nearly_full: bool = False
        self._ticket: int = 0
        self._queue: deque[tuple[int, Entries]] = deque()
        self._failure: BaseException | None = None
        self._closed: bool = False
        self._on_durable: DurableHook | None = on_durable
        self._on_failure: FailureHook | None = on_failure

    @abstractmethod
    def _write(self, entries: Entries) -> None:
        """Make the entries durable, all or none; None as a value removes. Raises StoreFailed."""

    @abstractmethod
    def flush(self) -> None:
        """Start making everything queued durable."""

    @abstractmethod
    def wait(self, ticket: int) -> None:
        """Block until the ticket is durable."""

    @abstractmethod
    def _stop(self) -> None:
        """Make everything queued durable for the last time. After a failure, do nothing."""

    def commit(self, changes: ChangeSet) -> int:
        """Queue the changes and return their ticket. Raises StoreFailed after any failure."""
        if self._failure is not None or self._closed:
            raise self._refusal()
        self._ticket = ticket = self._ticket + 1
        self._queue.append((ticket, changes.entries))
        return ticket

    def _write_batch(self) -> int:
        """Write the next batch as one transaction; return its highest ticket, or 0 if nothing was queued."""
        queue = self._queue
        if not queue:
            return 0
        ticket, entries = queue.popleft()
        if queue:
            merged = dict(entries)
            for _ in range(min(len(queue), BATCH_CHANGESETS_MAX - 1)):
                ticket, entries = queue.popleft()
                merged.update(entries)
            entries = merged
        self._write(entries)
        self.transactions += 1
        return ticket

    def _fail(self, error: BaseException) -> None:
        """Enter the state that nothing leaves, and tell the user once."""
        if self._failure is not None:
            return
        self._failure = error
        self._queue.clear()
        if self._on_failure is not None:
            self._on_failure(error)

    def _refusal(self) -> StoreFailed:
        if self._failure is not None:
            refusal = StoreFailed(f"the store has failed and takes nothing more: {self._failure}")
            refusal.__cause__ = self._failure
            return refusal
        return StoreFailed("the store is closed; open it again to go on")


class InlineQueue(CommitQueue):
    """Writes in the thread that calls `flush`, which is the thread that calls `commit`."""

    def flush(self) -> None:
        """Make everything queued durable before returning. Raises StoreFailed."""
        if self._failure is not None:
            raise self._refusal()
        try:
            while ticket := self._write_batch():
                self.durable = ticket
                if self._on_durable is not None:
                    self._on_durable(ticket)
        except BaseException as error:
            self._fail(error)
            raise

    def wait(self, ticket: int) -> None:
        """Make the ticket durable. Raises StoreFailed."""
        if self.durable < ticket:
            self.flush()
        if self.durable < ticket:
            raise ValueError(f"ticket {ticket} has not been given out; the last one is {self._ticket}")

    def _stop(self) -> None:
        """Write what is queued, unless the store has failed already."""
        if self._failure is None:
            self.flush()


class ThreadQueue(CommitQueue):
    """Writes in one thread of its own, which owns every write transaction.

    While a batch is being written the next one gathers. The hooks are called in the writer thread.
    """

    def __init__(self, on_durable: DurableHook | None, on_failure: FailureHook | None) -> None:
        super().__init__(on_durable, on_failure)
        # True asks for the queue to be written, False for the end. C code: a wake costs no lock in Python.
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._woken: bool = False
        self._progress = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="statestore-writer", daemon=True)

    def flush(self) -> None:
        """Wake the writer if something is queued. Raises StoreFailed after any failure."""
        if self._failure is not None:
            raise self._refusal()
        if self._queue and not self._woken:
            self._woken = True
            self._wake.put(True)

    def wait(self, ticket: int) -> None:
        """Block until the ticket is durable. Raises StoreFailed."""
        if ticket > self._ticket:
            raise ValueError(f"ticket {ticket} has not been given out; the last one is {self._ticket}")
        if self.durable >= ticket:
            return
        self.flush()
        with self._progress:
            self._progress.wait_for(lambda: self.durable >= ticket or self._failure is not None)
        if self.durable < ticket:
            raise self._refusal()

    def _stop(self) -> None:
        """Have what is queued written, and end the writer thread."""
        self._wake.put(True)
        self._wake.put(False)
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._wake.get():
                # Cleared before the queue is read: whoever appends after the last read wakes us again.
                self._woken = False
                while ticket := self._write_batch():
                    with self._progress:
                        self.durable = ticket
                        self._progress.notify_all()
                    if self._on_durable is not None:
                        self._on_durable(ticket)
        except BaseException as error:
            # Also what a hook raises: without this thread nothing would ever become durable again.
            try:
                self._fail(error)
            finally:
                with self._progress:
                    self._progress.notify_all()
