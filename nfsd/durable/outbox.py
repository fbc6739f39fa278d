"""The outbox: changes go in, and replies come out when the changes that they tell of are durable.

Owns the tickets, the replies that wait for them, and the work that has to wait likewise.  It knows the store and
nothing of requests: a reply is bytes for a destination.  It is used from the event loop's thread only, but for the
one call that the store's writer thread makes.

MUST: no reply leaves before its ticket is durable, and none at all once the store has failed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection

from nfsd.log import get_logger
from statestore import ChangeSet, Store

log = get_logger()

# Within so many records a look at the store's room is due, however short the time.
_LOOK_RECORDS = 512

Buffer = bytes | bytearray | memoryview
OpenStore = Callable[[Callable[[int], None]], Store]
"""Opens the store; its argument is to be called by the store's writer thread with the highest durable ticket."""


class Destination:
    """Where replies go: a connection as the outbox sees it."""

    __slots__ = ()

    def reply(self, xid: int, body: list[Buffer]) -> None:
        """Send `body` as the reply to `xid`; it may leave at once."""
        raise NotImplementedError

    def hold_writes(self) -> None:
        """Collect what is sent from now on."""

    def flush(self) -> None:
        """Write what was collected since `hold_writes`."""


class Outbox:
    """One store's changes and the replies behind them.

    `check` is called before anything becomes visible to others; it MUST NOT return when this process may not serve
    any more.
    """

    def __init__(
        self, open_store: OpenStore, loop: asyncio.AbstractEventLoop, check: Callable[[], None] | None = None
    ) -> None:
        """Raises StoreError as opening the store does."""
        self._loop = loop
        self._check = check
        self.store = open_store(self._durable)
        self.records = 0
        self.names_ticket = 0
        """What every reply has to wait for, because it may show a row of an object table."""
        self.last_ticket = 0
        """What a reply has to wait for that shows other requests' changes."""
        self._replies: deque[tuple[int, Destination, int, list[Buffer]]] = deque()
        self._afterwards: deque[tuple[int, Callable[[], None]]] = deque()
        self._watched: Collection[object] = ()
        self._watcher: Callable[[ChangeSet, int], None]
        self._flush_scheduled = False
        self._look_at = _LOOK_RECORDS

    # -- changes in ---------------------------------------------------------------------------------------

    def commit(self, changes: ChangeSet) -> int:
        """Hand changes to the store; the ticket to wait for."""
        self.records += len(changes)
        self.last_ticket = ticket = self.store.commit(changes)
        if self._watched:
            self._watcher(changes, ticket)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self.flush)
        return ticket

    def commit_now(self, changes: ChangeSet) -> None:
        """Make changes durable before returning, together with everything handed over before."""
        self.records += len(changes)
        self.last_ticket = ticket = self.store.commit(changes)
        if self._watched:
            self._watcher(changes, ticket)
        store = self.store
        store.flush()
        if store.durable < ticket:
            store.wait(ticket)
        if self._check is not None:
            self._check()

    def commit_waiting(self, changes: ChangeSet) -> None:
        """Hand changes over and wait until they are durable.  Raises StoreFailed."""
        self.store.wait(self.commit(changes))

    def commit_names(self, changes: ChangeSet) -> None:
        """Hand over rows of an object table: no reply may tell one before it is durable."""
        self.names_ticket = self.commit(changes)

    def look_for_room(self) -> None:
        """See whether the store has room for more; to be called every second.  Raises StoreFailed."""
        self._look_at = self.records + _LOOK_RECORDS
        store, before = self.store, self.store.nearly_full
        store.look_for_room()
        if store.nearly_full != before:
            log.warning("store.nearly_full" if store.nearly_full else "store.has_room", used=store.used)

    def watch(self, things: Collection[object], watcher: Callable[[ChangeSet, int], None]) -> None:
        """Call `watcher` with every ChangeSet and its ticket that is handed over while there are any `things`.

        It is called before the changes are durable.
        """
        self._watched, self._watcher = things, watcher

    # -- replies out --------------------------------------------------------------------------------------

    def send(self, to: Destination, xid: int, body: list[Buffer], ticket: int) -> None:
        """Have a reply sent once `ticket` is durable; at once for ticket 0."""
        if ticket > self.store.durable:
            self._replies.append((ticket, to, xid, body))
        else:
            to.reply(xid, body)

    def afterwards(self, ticket: int, work: Callable[[], None]) -> None:
        """Call `work` once `ticket` is durable, before any reply that waits for it leaves.

        Tickets MUST come in ascending order.
        """
        self._afterwards.append((ticket, work))

    def flush(self) -> None:
        """Write what was handed over as one transaction; after everything that the event loop had ready."""
        self._flush_scheduled = False
        store = self.store
        store.flush()
        if self.records > self._look_at:
            self.look_for_room()
        if store.durable >= self.last_ticket:
            self._release(store.durable)

    def _durable(self, ticket: int) -> None:
        """From the store's writer thread: everything up to `ticket` is durable."""
        self._loop.call_soon_threadsafe(self._release, ticket)

    def _release(self, durable: int) -> None:
        """Let go of what waited for this."""
        if self._check is not None:
            self._check()
        afterwards = self._afterwards
        while afterwards and afterwards[0][0] <= durable:
            afterwards.popleft()[1]()
        replies = self._replies
        touched: dict[Destination, None] = {}
        while replies and replies[0][0] <= durable:
            _ticket, to, xid, body = replies.popleft()
            if to not in touched:
                touched[to] = None
                to.hold_writes()
            to.reply(xid, body)
        for to in touched:
            to.flush()

    # -- the end ------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Make everything that was handed over durable, and let go of all replies.  Raises StoreFailed."""
        self.store.flush()
        if self.last_ticket:
            await asyncio.to_thread(self.store.wait, self.last_ticket)
        self._release(self.store.durable)
