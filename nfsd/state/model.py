"""The records of protocol state in memory: clients, sessions and slots, owners, opens and locks, as they refer to
each other.

Owns their fields and nothing else.  What changes them is in a file for each noun; how they are stored, in
`records.py`.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

from nfsd.rpc.connection import Carried, Connection
from nfsd.vfs.interface import Credentials, Node
from statestore import Holder, Open, Range, RangeSet
from xdr.generated import nfs4

KEY_PART_SIZE: Final = 6
"""Bytes of stateid4.other that come from the resume key; the other six are the instance."""

Grants = tuple[tuple[Credentials, int], ...]
"""What callers, as squashed, were granted by their OPENs: OPEN4_SHARE_ACCESS bits; who opened last comes first."""

SESSION_SIZE: Final = 2048
SLOT_SIZE: Final = 512
"""Bytes that a session and each of its slots are counted with, besides replies."""

_NUMBER: Final = struct.Struct(">I")


def identity_of(owner: bytes, principal: bytes) -> bytes:
    """What stays the same over a client's restarts and reclaims: its owner string and who it is."""
    return len(owner).to_bytes(4, "big") + owner + principal


def stateid_other(key: bytes, instance: int) -> bytes:
    """The 12 bytes of stateid4.other: a part of the resume key, which cannot be guessed, and the instance."""
    return key[:KEY_PART_SIZE] + instance.to_bytes(6, "big")


class Callback:
    """Where an NFSv4.0 client takes its callbacks (cb_client4)."""

    __slots__ = ("program", "netid", "address", "ident")

    def __init__(self, program: int = 0, netid: bytes = b"", address: bytes = b"", ident: int = 0) -> None:
        self.program = program
        self.netid = netid
        self.address = address
        self.ident = ident


class Client(Holder["OpenState"]):
    """One client instance (RFC 8881 2.4, RFC 7530 9.1).

    `family` is 0 for NFSv4.0 and 1 for 4.1 and later: their owner strings are separate name spaces.  `heard` is when
    its lease was renewed last, 0.0 if not since this server began.  `peer` is where it came from this time.
    """

    __slots__ = (
        "clientid", "family", "owner", "verifier", "principal", "confirmed", "sessions", "reclaim_complete",
        "create_sequence", "create_reply", "confirm", "callback", "open_owners", "lock_owners", "label", "peer",
        "lost_until", "reply_cache_size",
    )  # fmt: skip

    def __init__(
        self, *, clientid: int, family: int, owner: bytes, verifier: bytes, principal: bytes, now: float
    ) -> None:
        super().__init__(clientid.to_bytes(8, "big"), identity_of(owner, principal), "", now)
        self.clientid = clientid
        self.family = family
        self.owner = owner
        self.verifier = verifier
        self.principal = principal
        self.confirmed = False
        self.sessions: dict[bytes, Session] = {}
        self.reclaim_complete = False
        self.create_sequence = 0
        self.create_reply = b""
        self.confirm = bytes(8)
        self.callback = Callback()
        self.open_owners: dict[bytes, SeqidOwner] = {}
        self.lock_owners: dict[bytes, SeqidOwner] = {}
        self.label = f"{clientid:016x}"
        self.peer = ""
        # Until when its sessions say that it has lost something, in case it does not ask what.
        self.lost_until = 0.0
        # Bytes that its sessions' slots may keep.
        self.reply_cache_size = 0

    def has_state(self) -> bool:
        """Whether anything would be lost with it (RFC 8881 18.50.3)."""
        return bool(self.opens or self.sessions)


class Channel:
    """What one direction of a session carries (channel_attrs4): sizes in bytes, counts."""

    __slots__ = ("request_size_max", "reply_size_max", "reply_cached_max", "operations_max", "slots")

    def __init__(
        self, *, request_size_max: int, reply_size_max: int, reply_cached_max: int, operations_max: int, slots: int
    ) -> None:
        self.request_size_max = request_size_max
        self.reply_size_max = reply_size_max
        self.reply_cached_max = reply_cached_max
        self.operations_max = operations_max
        self.slots = slots


class Slot:
    """One slot: the last sequence id, its reply if that was kept, and the request that runs now.

    `resumed` is set while the stored sequence id is only a lower bound.  `asked` is what the last request was about and
    who asked, as far as a retry is compared.  `retries` are where the running request was sent again, with its xid
    there.
    """

    __slots__ = ("key", "number", "seqid", "reply", "running", "resumed", "used", "sequence", "asked", "retries")

    def __init__(self, sessionid: bytes, number: int) -> None:
        self.key = sessionid + _NUMBER.pack(number)
        self.number = number
        self.seqid = 0
        self.reply: bytes | None = None
        self.running: object | None = None
        self.resumed = False
        self.used = False
        self.sequence = 0
        self.asked: tuple[int, int, Credentials] | None = None
        self.retries: list[tuple[Connection, int]] = []


class Session(Carried):
    """One session of a client (RFC 8881 2.10).

    `connections` carry it, `back_connections` its callbacks.  `resumed`: it was loaded from the store.  `heard` is when
    its last request came, 0.0 if none has.
    """

    __slots__ = (
        "sessionid", "client", "flags", "callback_program", "fore", "back", "slots", "reply_size_max", "destroyed",
        "connections", "back_connections", "resumed", "heard",
    )  # fmt: skip

    def __init__(
        self, sessionid: bytes, client: Client, *, flags: int, callback_program: int, fore: Channel, back: Channel
    ) -> None:
        self.sessionid = sessionid
        self.client = client
        self.flags = flags
        self.callback_program = callback_program
        self.fore = fore
        self.back = back
        # Made when they are first used: most clients use few.
        self.slots: list[Slot | None] = [None] * fore.slots
        self.resumed = False
        self.heard = 0.0
        self.reply_size_max = fore.reply_size_max
        self.destroyed = False
        self.connections: set[Connection] = set()
        self.back_connections: set[Connection] = set()

    def slot(self, number: int) -> Slot:
        """The slot of that number, below len(slots); of a session that was loaded, its sequence id is a bound."""
        slot = self.slots[number]
        if slot is None:
            slot = self.slots[number] = Slot(self.sessionid, number)
            slot.resumed = self.resumed
        return slot

    @property
    def reply_cache_size(self) -> int:
        """Bytes that it and the replies in its slots may take."""
        return SESSION_SIZE + len(self.slots) * (SLOT_SIZE + self.fore.reply_cached_max)

    def join(self, connection: Connection) -> None:
        """A connection carries this session from now on."""
        if connection.carry(self):
            self.connections.add(connection)

    def lost(self, connection: Connection) -> None:
        """A connection that carried this session has ended."""
        self.connections.discard(connection)
        self.back_connections.discard(connection)

    def is_busy(self, but_for: object) -> bool:
        """Whether other requests than this one are running."""
        return any(slot is not None and slot.running not in (None, but_for) for slot in self.slots)


class SeqidOwner:
    """One open owner or lock owner of an NFSv4.0 client (RFC 7530 9.1.7).

    `seqid` is the last sequence id counted, None before the first; `asked` the one of the request under way.
    `operation`, `status`, `result` and `handle` are the last reply's and its file handle.  `closed` is the
    stateid4.other that the owner closed last.  `holds` are its opens or lock stateids; `used` is when it was last heard
    of.  `asker` is the request under way, which may be put aside.
    """

    __slots__ = (
        "client", "owner", "is_lock_owner", "confirmed", "seqid", "asked", "operation", "status", "result", "handle",
        "closed", "holds", "key", "used", "asker",
    )  # fmt: skip

    def __init__(self, client: Client, owner: bytes, is_lock_owner: bool) -> None:
        self.client = client
        self.owner = owner
        self.is_lock_owner = is_lock_owner
        self.confirmed = is_lock_owner
        self.seqid: int | None = None
        self.asked = 0
        self.operation = 0
        self.status = 0
        self.result: bytes | None = None
        self.handle = b""
        self.closed = b""
        self.holds: set[OpenState | LockState] = set()
        self.used = 0.0
        self.asker: object | None = None
        kind = b"l" if is_lock_owner else b"o"
        self.key = client.key + hashlib.blake2b(kind + owner, digest_size=16).digest()


class OpenState(Open):
    """What one open owner of one client has open of one file (RFC 8881 9.1): `object` is the file handle.

    `access` and `deny` are the unions of what was asked for and not given back.  `caller` is who opened it last, and
    `granted` what of `access` its own OPENs were granted; `others` have opened it too, in the same owner's name.  I/O
    by a caller, within what it was granted, is not checked against the file's permissions again.  `access_seen` and
    `deny_seen` have bit n set where an OPEN asked for exactly n (RFC 8881 18.18.3).  `node` is None until the open is
    first used after a start.
    """

    __slots__ = (
        "node", "owner", "seqid_owner", "access_seen", "deny_seen", "seqid", "instance", "other", "locks", "caller",
        "granted", "others",
    )  # fmt: skip

    holder: Client

    def __init__(
        self, client: Client, key: bytes, handle: bytes, owner: bytes, instance: int, caller: Credentials
    ) -> None:
        # As `Open.__init__` does, without the call: a takeover makes one for every open.
        self.key = key
        self.holder = client
        self.object = handle
        self.access = 0
        self.deny = 0
        self.node: Node | None = None
        self.owner = owner
        self.seqid_owner: SeqidOwner | None = None
        self.access_seen = 0
        self.deny_seen = 0
        self.seqid = 0
        self.instance = instance
        self.other = stateid_other(key, instance)
        self.locks: dict[bytes, LockState] | None = None
        self.caller = caller
        self.granted = 0
        self.others: Grants = ()

    @property
    def open(self) -> OpenState:
        """Itself: what I/O under this stateid is allowed by."""
        return self

    def stateid(self) -> nfs4.stateid4:
        """The stateid4 by which the client knows this now."""
        return nfs4.stateid4(self.seqid, self.other)

    def range_keys(self) -> list[bytes]:
        """The keys of the records of the locks under it."""
        return [lock.key for lock in (self.locks or {}).values()]


class LockState:
    """What one lock owner holds on one file by way of one open.

    `ranges` are everybody's on the file.  `own` are those of the owner's that this stateid took last; it is None as
    long as the owner has no other stateid on the file, for then they are all this one's.
    """

    __slots__ = ("open", "owner", "owner_key", "seqid", "instance", "other", "key", "ranges", "own", "seqid_owner")

    def __init__(self, held: OpenState, owner: bytes, instance: int, ranges: RangeSet) -> None:
        self.open = held
        self.owner = owner
        self.owner_key = held.holder.key + owner
        self.seqid = 0
        self.instance = instance
        self.key = held.key + hashlib.blake2b(owner, digest_size=16).digest()
        self.other = stateid_other(held.key, instance)
        self.ranges = ranges
        self.own: RangeSet | None = None
        self.seqid_owner: SeqidOwner | None = None

    @property
    def holder(self) -> Client:
        """Whose it is."""
        return self.open.holder

    @property
    def object(self) -> bytes:
        """The file handle that it is on."""
        return self.open.object

    def stateid(self) -> nfs4.stateid4:
        """The stateid4 by which the client knows this now."""
        return nfs4.stateid4(self.seqid, self.other)

    def held(self) -> list[Range]:
        """The ranges that this stateid has, in ascending order."""
        return (self.ranges if self.own is None else self.own).owned(self.owner_key)

    def set(self, start: int, end: int, exclusive: bool) -> None:
        """Take a range."""
        self.ranges.set(self.owner_key, start, end, exclusive)
        if self.own is not None:
            self.own.set(self.owner_key, start, end, exclusive)

    def clear(self, start: int, end: int) -> None:
        """Give a range back."""
        self.ranges.clear(self.owner_key, start, end)
        if self.own is not None:
            self.own.clear(self.owner_key, start, end)

    def share_ranges(self) -> None:
        """The owner gets another stateid on the file: tell the ranges apart from now on."""
        if self.own is None:
            self.own = RangeSet()
            for held in self.ranges.owned(self.owner_key):
                self.own.set(self.owner_key, held.start, held.end, held.exclusive)
