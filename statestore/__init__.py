"""The state store: who holds what on which object, what conflicts, and what survives a crash.

This room imports the standard library, and its engine in one file. It knows no protocol: whoever uses it puts
its own bytes into the values of records, and nobody here looks inside.
"""

from statestore.blackout import BLACKOUTS_MAX, Blackout, Blackouts, Subject
from statestore.claims import Claim, Claimed, Claims, Completed
from statestore.directory import LOCK_NAME, check_rights, lock_directory, read_secret, touch
from statestore.errors import (
    StoreDamaged,
    StoreError,
    StoreFailed,
    StoreFenced,
    StoreLocked,
    StoreMissing,
    StoreNewer,
)
from statestore.filter import Filter
from statestore.heads import decode_open, decode_ranges, encode_open, encode_ranges, put_open, put_ranges
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
from statestore.model import HOLDER_KEY_SIZE, Holder, Open
from statestore.quarantine import Kept, Quarantine, decode_kept
from statestore.ranges import TO_END, Range, RangeSet, Tally
from statestore.records import NEWEST, ChangeSet, Damage, useless
from statestore.resume import resume_key
from statestore.shares import Shares
from statestore.store import Level, Store
from statestore.upgrades import Upgrade, Upgrades
from statestore.verdict import Answer, Verdict, Why
from statestore.verify import REFERENCES, Dangling, Reference, Report, dump, verify
from statestore.waiting import BY_LIFT, BY_OBJECT, SWEEP_AFTER_S, Durations, Missing, Waiting

__all__ = [
    "ANSWER",
    "BLACKOUTS_MAX",
    "BY_LIFT",
    "BY_OBJECT",
    "GRANT",
    "HOLDER",
    "HOLDER_KEY_SIZE",
    "INTENT",
    "KIND_NAMES",
    "LOCK_NAME",
    "META",
    "NAME",
    "NEWEST",
    "OPEN",
    "OWNER",
    "PEER",
    "PENDING",
    "QUARANTINE",
    "RANGE",
    "REFERENCES",
    "SLOT",
    "STREAM",
    "SWEEP_AFTER_S",
    "TO_END",
    "Answer",
    "Blackout",
    "Blackouts",
    "ChangeSet",
    "Claim",
    "Claimed",
    "Claims",
    "Completed",
    "Damage",
    "Dangling",
    "Durations",
    "Filter",
    "Holder",
    "Kept",
    "Level",
    "LmdbReader",
    "LmdbStore",
    "MemoryStore",
    "Missing",
    "Open",
    "Quarantine",
    "Range",
    "RangeSet",
    "Reference",
    "Report",
    "Shares",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreFailed",
    "StoreFenced",
    "StoreLocked",
    "StoreMissing",
    "StoreNewer",
    "Subject",
    "Tally",
    "Upgrade",
    "Upgrades",
    "Verdict",
    "Waiting",
    "Why",
    "check_rights",
    "decode_kept",
    "decode_open",
    "decode_ranges",
    "dump",
    "encode_open",
    "encode_ranges",
    "kind_name",
    "lock_directory",
    "open_readonly",
    "put_open",
    "put_ranges",
    "read_secret",
    "rehearse",
    "resume_key",
    "touch",
    "useless",
    "verify",
]
