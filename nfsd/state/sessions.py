"""Sessions and their slots (RFC 8881 2.10): the reply cache, and what a retry finds in it.

Owns Session and Slot and their records.  A slot's stored sequence id is a lower bound: a SEQUENCE that changed
nothing is not written, so after a restart the first request of each slot may be any number ahead.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from nfsd.rpc.connection import Carried, Connection
from nfsd.state import records
from statestore import SLOT, STREAM, ChangeSet
from xdr.codec import Buffer

if TYPE_CHECKING:
    from nfsd.state.clients import Client

_SLOT = struct.Struct(">II")
_HAS_REPLY = 1
_NUMBER = struct.Struct(">I")


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

    `resumed` is set while the stored sequence id is only a lower bound.
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
        self.asked: tuple[int, int] | None = None
        self.retries: list[tuple[Connection, int]] = []
        """Where the running request was sent again meanwhile, with its xid there."""

    def finish(
        self, session: Session, body: list[Buffer], changes: ChangeSet, changed: bool, cache: bool
    ) -> list[Buffer]:
        """The request has been evaluated: keep its reply where that was asked for (`cache`) or something `changed`.

        Returns the body, joined where it was kept.
        """
        self.running = None
        self.seqid = self.sequence
        if not changed and not cache:
            self.reply = None
            return body
        joined = b"".join(body)
        reply = joined if len(joined) <= session.fore.reply_cached_max else None
        self.reply = reply
        if changed and not session.destroyed:
            if reply is None:
                changes.put(SLOT, self.key, _SLOT.pack(self.seqid, 0))
            else:
                changes.put(SLOT, self.key, _SLOT.pack(self.seqid, _HAS_REPLY) + reply)
        return [joined]

    def load(self, value: bytes) -> None:
        """Take over what the store has."""
        self.seqid, flags = _SLOT.unpack_from(value)
        self.reply = value[_SLOT.size :] if flags & _HAS_REPLY else None
        self.resumed = True
        self.used = True


class Session(Carried):
    """One session of a client."""

    __slots__ = (
        "sessionid", "client", "flags", "callback_program", "fore", "back", "slots", "reply_size_max", "destroyed",
        "connections", "back_connections", "resumed",
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

    def save(self, changes: ChangeSet) -> None:
        """Put its record."""
        changes.put(STREAM, self.sessionid, records.encode_session(self))

    def remove(self, changes: ChangeSet) -> None:
        """Remove its record and those of its slots."""
        self.destroyed = True
        changes.remove(STREAM, self.sessionid)
        for slot in self.slots:
            if slot is not None and (slot.used or slot.resumed):
                changes.remove(SLOT, slot.key)
