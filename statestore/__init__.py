"""The state store: who holds what on which object, what conflicts, and what survives a crash.

This room imports the standard library, and its engine in one file. It knows no protocol: whoever uses it puts
its own bytes into the values of records, and nobody here looks inside.
"""

from statestore.directory import LOCK_NAME, lock_directory, read_secret, touch
from statestore.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFenced,
    StoreLocked,
    StoreMissing,
    StoreNewer,
)
from statestore.kinds import (
    ANSWER,
    GRANT,
    HOLDER,
    INTENT,
    KIND_NAMES,
    META,
    NAME,
    OPEN,
    OWNER,
    PEER,
    PENDING,
    QUARANTINE,
    RANGE,
    SLOT,
    STREAM,
    kind_name,
)
from statestore.lmdbstore import LmdbReader, LmdbStore, open_readonly, rehearse
from statestore.memory import MemoryStore
from statestore.quarantine import Kept, Quarantine, decode_kept
from statestore.ranges import TO_END, Range, RangeSet
from statestore.records import ChangeSet, Damage, useless
from statestore.resume import resume_key
from statestore.shares import Share, ShareTable
from statestore.store import Level, Store
from statestore.verify import REFERENCES, Dangling, Reference, Report, dump, verify

__all__ = [
    "ANSWER",
    "GRANT",
    "HOLDER",
    "INTENT",
    "KIND_NAMES",
    "LOCK_NAME",
    "META",
    "NAME",
    "OPEN",
    "OWNER",
    "PEER",
    "PENDING",
    "QUARANTINE",
    "RANGE",
    "REFERENCES",
    "SLOT",
    "STREAM",
    "TO_END",
    "ChangeSet",
    "Damage",
    "Dangling",
    "Kept",
    "Level",
    "LmdbReader",
    "LmdbStore",
    "MemoryStore",
    "Quarantine",
    "Range",
    "RangeSet",
    "Reference",
    "Report",
    "Share",
    "ShareTable",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFenced",
    "StoreLocked",
    "StoreMissing",
    "StoreNewer",
    "decode_kept",
    "dump",
    "kind_name",
    "lock_directory",
    "open_readonly",
    "read_secret",
    "rehearse",
    "resume_key",
    "touch",
    "useless",
    "verify",
]
