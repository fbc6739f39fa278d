"""After a start: until when each file with recorded state waits for its holders.

Owns the deadlines, one for each file and holder, which begin together and last as long as `Durations` says.  A
file's attribute is read when somebody asks for the file, or later in small portions, so that no takeover waits for
it.  Must not know who has returned (`State`, `Reclaim`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from nfsd.state.durations import Durations

# Files whose attribute is read in one turn of the reaper: about 10 ms.
SWEEP_COUNT = 512
# A takeover is not the time for it.
SWEEP_AFTER_S = 1.0

Missing = Iterable[tuple[bytes, str, str]]
"""(file handle, holder's label, holder's address) of what holders who have not returned hold."""


class Waiting:
    """The deadlines after one start, which was at `began`.  `retry`: conflicts are answered DELAY meanwhile."""

    def __init__(self, began: float, durations: Durations, *, retry: bool = False) -> None:
        self.began = began
        self.retry = retry
        self.refusals: Counter[bytes] = Counter()
        self._durations = durations
        self._files: dict[bytes, int | None] = {}
        self._lifted: set[bytes] = set()
        self._unread: Iterator[tuple[bytes, str, str]] | None = None
        self._swept = False
        self._deadlines: list[tuple[float, bytes]] = []

    def seconds(self, handle: bytes, address: str, *, read: bool = True) -> tuple[int, str]:
        """How long a file waits for the holder from that address, and whose word it is.

        Without `read` only what has been read before counts of the file's own word.
        """
        if handle in self._lifted:
            return 0, "administrator"
        own = self.of_file(handle) if read else self._files.get(handle)
        return (own, "file") if own is not None else self._durations.configured(handle, address)

    def of_file(self, handle: bytes) -> int | None:
        """What the file itself says, as it was when that was first asked after the start."""
        if handle not in self._files:
            self._files[handle] = self._durations.of_file(handle)
        return self._files[handle]

    def until(self, handle: bytes, address: str) -> float:
        """When a file has waited long enough for the holder from that address."""
        return self.began + self.seconds(handle, address)[0]

    def lift(self, handle: bytes) -> None:
        """Wait no longer for this file's holders."""
        self._lifted.add(handle)

    def due(self, missing: Callable[[], Missing], now: float) -> set[bytes]:
        """Files whose time is over since the last call; reads some more files' attributes."""
        if self._unread is None:
            self._unread = iter(list(missing()))
        portion = list(islice(self._unread, SWEEP_COUNT))
        self._swept = len(portion) < SWEEP_COUNT
        for handle, _label, address in portion:
            heapq.heappush(self._deadlines, (self.until(handle, address), handle))
        over = set()
        while self._deadlines and self._deadlines[0][0] <= now:
            over.add(heapq.heappop(self._deadlines)[1])
        return over

    def is_over(self) -> bool:
        """Whether every file's time is over, as far as `due` has been asked."""
        return self._swept and not self._deadlines
