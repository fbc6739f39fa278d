"""What the outbox stands between, faked: an event loop that does nothing by itself, and a far end that keeps replies.

The store is the one in memory, which passes every store's contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from nfsd.durable.outbox import Outbox
from nfsd.rpc.connection import Connection
from statestore import META, ChangeSet, MemoryStore
from statestore.queueing import Entries


class Loop(asyncio.AbstractEventLoop):
    """Keeps what it is to call until `turn`."""

    def __init__(self) -> None:
        self.ready: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """Keep it."""
        self.ready.append((callback, args))
        return asyncio.Handle(callback, args, self)

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.Handle:
        """Keep it."""
        return self.call_soon(callback, *args)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def turn(self) -> int:
        """Call what is ready now, not what that adds; how many that were."""
        ready, self.ready = self.ready, []
        for callback, args in ready:
            callback(*args)
        return len(ready)


def new_loop() -> Loop:
    """A loop that has no more than the outbox uses of one."""
    return Loop()  # type: ignore[abstract]


class SlowStore(MemoryStore):
    """A store at level "power": `flush` only asks for the writing, which is done when a test says so."""

    def flush(self) -> None:
        """Ask for it."""
        if self._failure is not None:
            raise self._refusal()

    def wait(self, ticket: int) -> None:
        """Write, and wait for that."""
        if self.durable < ticket:
            self.write()

    def write(self) -> None:
        """Do what the writer thread does."""
        super().flush()


class FailingStore(MemoryStore):
    """A store whose disk is full from the first write on."""

    def _write(self, entries: Entries) -> None:
        self.fail_next(OSError(28, "full"))
        super()._write(entries)


class Far(Connection):
    """Keeps what it is sent, and when it was told to hold and to write; `log` may be everybody's."""

    __slots__ = ("log",)

    def __init__(self, number: int, log: list[tuple[Any, ...]]) -> None:
        super().__init__(number)
        self.log = log

    def reply(self, xid: int, body: list[Any]) -> None:
        """Keep it."""
        self.log.append(("reply", self.number, xid, b"".join(body)))

    def hold_writes(self) -> None:
        """Keep it."""
        self.log.append(("hold", self.number))

    def flush(self) -> None:
        """Keep it."""
        self.log.append(("flush", self.number))


def changes(key: bytes = b"key", value: bytes = b"value") -> ChangeSet:
    """A change."""
    made = ChangeSet()
    made.put(META, key, value)
    return made


class Bench:
    """An outbox with everything around it; `log` is what happened, in its order."""

    def __init__(
        self, kind: type[MemoryStore] = MemoryStore, *, on_failure: Callable[[BaseException], None] | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.log: list[tuple[Any, ...]] = []
        self.loop = new_loop()
        self.failures: list[BaseException] = []
        self._kind = kind
        self._on_failure = on_failure or self.failures.append
        self.outbox = Outbox(self._open, self.loop, check)
        self.far, self.other = Far(1, self.log), Far(2, self.log)

    def _open(self, on_durable: Callable[[int], None]) -> MemoryStore:
        slow = self._kind is SlowStore
        self.store = self._kind(on_durable=on_durable if slow else None, on_failure=self._on_failure)
        return self.store

    def write(self) -> None:
        """The writer thread of a slow store writes what is queued."""
        assert isinstance(self.store, SlowStore)
        self.store.write()

    def said(self, what: str) -> list[tuple[Any, ...]]:
        """What of one kind has happened."""
        return [each[1:] for each in self.log if each[0] == what]
