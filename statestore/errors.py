"""The errors of the state store.

Owns the one root class of this room and what each subclass means to the caller. A message names the cause
and the remedy, because it is what the operator reads. It must not know any protocol.
"""


class StoreError(Exception):
    """Root of everything this room raises on purpose."""


class StoreFailed(StoreError):
    """A commit failed: memory is ahead of the disk. The process must stop, and acknowledge nothing more."""


class StoreLocked(StoreError):
    """Another process, or another store object of this process, has the state directory open."""


class StoreNewer(StoreError):
    """The state directory was written by a newer release, whose format this one cannot read."""


class StoreDamaged(StoreError):
    """The state file cannot be opened or walked at all. Single damaged records are listed, not raised."""


class StoreMissing(StoreError):
    """There is no state at the given place."""


class StoreFenced(StoreFailed):
    """Another opener has raised the epoch since this store was opened: this process has been replaced."""
