"""After a start: until when each object with recorded state waits for its holders.

Owns the deadlines, one for each object and holder, which begin together and last as long as `Durations` says. What an
object says itself is read when somebody asks for the object, or later in small portions, so that no takeover waits
for it. It must not know who has come back (`filter.py`, `claims.py`), nor where durations are kept.
"""

import heapq
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

# Objects whose own duration is read in one turn: about 2.5 ms.
SWEEP_COUNT: Final = 128
# Objects whose time is over in one turn.
DUE_COUNT: Final = 1024
# A takeover is not the time for it: seconds after the start at which the first portion is read.
SWEEP_AFTER_S: Final = 1.0

BY_OBJECT: Final = "object"
"""Whose word a duration is: the object's own."""
BY_LIFT: Final = "administrator"
"""Whose word a duration is: somebody has said that nobody is waited for any more."""

Missing = Iterable[tuple[bytes, bytes, str]]
"""(object, holder's key, holder's address) of what holders who have not come back hold."""


class Durations(ABC):
    """How long objects wait for their holders; the service derives its own."""

    @abstractmethod
    def of_object(self, object: bytes) -> int | None:
        """Return the seconds that the object says itself, None if it says nothing. May read the disk."""

    @abstractmethod
    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        """Return the seconds for an object that says nothing itself, and whose word that is.

        `address` is where its holder came from, empty if that is not known. MUST NOT read the disk.
        """


class Waiting:
    """The deadlines after one start, at the time `began`; `retry`: who is refused meanwhile is told to ask again.

    `refusals` counts them by object.
    """

    __slots__ = ("_deadlines", "_durations", "_lifted", "_own", "_swept", "_unread", "began", "refusals", "retry")

    def __init__(self, began: float, durations: Durations, *, retry: bool = False) -> None:
        self.began = began
        self.retry = retry
        self.refusals: Counter[bytes] = Counter()
        self._durations = durations
        self._own: dict[bytes, int | None] = {}
        self._lifted: set[bytes] = set()
        self._unread: Iterator[tuple[bytes, bytes, str]] | None = None
        self._swept = False
        self._deadlines: list[tuple[float, bytes]] = []

    def seconds(self, object: bytes, address: str, *, read: bool = True) -> tuple[int, str]:
        """Return how long an object waits for the holder from that address, and whose word it is.

        Without `read` only what has been read before counts of the object's own word.
        """
        if object in self._lifted:
            return 0, BY_LIFT
        own = self.of_object(object) if read else self._own.get(object)
        return (own, BY_OBJECT) if own is not None else self._durations.configured(object, address)

    def of_object(self, object: bytes) -> int | None:
        """Return what the object says itself, as it was when that was first asked after the start."""
        if object not in self._own:
            self._own[object] = self._durations.of_object(object)
        return self._own[object]

    def until(self, object: bytes, address: str) -> float:
        """Return when an object has waited long enough for the holder from that address."""
        return self.began + self.seconds(object, address)[0]

    def lift(self, object: bytes) -> None:
        """Wait no longer for this object's holders."""
        self._lifted.add(object)

    def due(self, missing: Callable[[], Missing], now: float) -> set[bytes]:
        """Return some objects whose time is over, each once; reads what some more objects say themselves.

        What `missing` returns MUST bear that its holders change while it is gone through.
        """
        if self._unread is None:
            self._unread = iter(missing())
        portion = list(islice(self._unread, SWEEP_COUNT))
        self._swept = len(portion) < SWEEP_COUNT
        for object, _key, address in portion:
            heapq.heappush(self._deadlines, (self.until(object, address), object))
        over: set[bytes] = set()
        while self._deadlines and self._deadlines[0][0] <= now and len(over) < DUE_COUNT:
            over.add(heapq.heappop(self._deadlines)[1])
        return over

    def is_over(self) -> bool:
        """Return whether every object's time is over, as far as `due` has been asked."""
        return self._swept and not self._deadlines
