"""What every state store promises.

Owns the interface between the state store and its user. It must not know an engine.

Crash atomicity: the changes of one ChangeSet are all on the disk after a crash, or none is; and if those of
ticket n are, so are those of every lower ticket. The user MUST NOT let an answer leave before `durable` has
reached its ticket. After a failure nobody knows what is on the disk: the user MUST NOT answer or retry.
"""

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from statestore.records import ChangeSet, Damage

Level = Literal["process", "power"]
# Called with the highest durable ticket, or with the failure.
DurableHook = Callable[[int], None]
FailureHook = Callable[[BaseException], None]


class Store(Protocol):
    """Keeps records through the crashes that its level of durability covers."""

    secret: bytes
    """The cluster's secret, 32 bytes, which goes into resume keys."""
    epoch: int
    """How often this state has been opened for writing; raised by one, durably, at each opening."""
    durable: int
    """The highest ticket whose changes survive a crash; 0 at first. Read it as often as wanted."""
    transactions: int
    """How many batches have been made durable."""
    used: int
    """Bytes that the records take in the data file, at the last look for room."""
    nearly_full: bool
    """Whether at the last look so little room was left that nothing more should be added: removals would fail next."""
    damaged: list[Damage]
    """What `load` could not trust; complete when `load` is exhausted."""

    def load(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield (kind, key, value) of every sound record, ordered by kind and key.

        Damaged records are left out and listed in `damaged`. To be exhausted before the first `commit`:
        queued changes are not seen. A store that was given converters yields every value in the newest version of
        its kind (upgrades.py). Raises StoreDamaged when the file cannot be walked, StoreNewer when a newer release
        has written a record, StoreError when the converter of an older record is missing.
        """
        ...

    def commit(self, changes: ChangeSet) -> int:
        """Queue the changes and return their ticket: 1, 2, 3 ... Never blocks.

        Raises StoreFailed after any failure.
        """
        ...

    def flush(self) -> None:
        """Start making everything queued durable; at level "process" it is durable on return.

        Raises StoreFailed (and has called the failure hook) when that failed.
        """
        ...

    def wait(self, ticket: int) -> None:
        """Block until the ticket is durable. For shutdown and tests. Raises StoreFailed."""
        ...

    def look_for_room(self) -> None:
        """Bring `used` and `nearly_full` up to date; to be called every second or so. Raises StoreFailed."""
        ...

    def close(self) -> None:
        """Make everything queued durable, and let the next opener in. A second call does nothing.

        Raises StoreFailed when that failed; the store is closed all the same. A store that had failed before
        closes without another word.
        """
        ...
