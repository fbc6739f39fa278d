"""The fold: protocol state built from its records, one by one, in any order, changes and removals too.

Owns how each kind of record becomes live state.  Loading is the fold of everything that the store has; whoever
follows a server's changes folds each as it comes.  Must not decide anything, nor change a record.

A record whose holder, session or open is not there yet, or has no place for it, is kept until that comes.  What is
left of such orphans when there is nothing more to come lacks what it belongs to.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state import blackouts, locks, records, sessions
from nfsd.state.ids import INSTANCE_MAX, INSTANCES_KEY, Instances
from nfsd.state.model import Callback, Client, LockState, OpenState, SeqidOwner, Session
from nfsd.state.tables import State
from statestore import (
    HOLDER,
    META,
    OPEN,
    OWNER,
    PENDING,
    RANGE,
    SLOT,
    STREAM,
    ChangeSet,
    Range,
    RangeSet,
    decode_open,
    decode_ranges,
)
from statestore.records import FRAME_SIZE
from xdr.codec import XdrError

LOAD_ERRORS: Final = (KeyError, XdrError, Nfs4Error, ValueError, IndexError, struct.error)
"""What `apply` raises for a value that cannot be read."""

KINDS: Final = frozenset({HOLDER, STREAM, SLOT, OWNER, OPEN, RANGE, PENDING, META})
"""The kinds of record that protocol state consists of."""

SLOTS_MAX: Final = 65_536
"""Slots of a session that a record may speak of; no configuration allows as many (limits.slots_max)."""

_HOLDER_KEY_SIZE, _STREAM_KEY_SIZE, _OPEN_KEY_SIZE = 8, 16, 16

Record = tuple[int, bytes]
"""The kind and the key of a record."""


class Fold:
    """Folds records into a state, which MUST NOT be changed by anybody else meanwhile.

    `addresses` are where clients came from, by the keys of their records; `removed` are the keys of clients that were
    removed and of which something is left.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.addresses: dict[bytes, str] = {}
        self.removed: set[bytes] = set()
        # Clients of one owner after the first: all but one were removed, perhaps by records that are still to come.
        self._twins: dict[tuple[int, bytes], list[Client]] = {}
        self._holders = state.filter.holders
        self._opens = state.filter.opens
        self._orphans: dict[Record, dict[Record, bytes]] = {}
        self._parents: dict[Record, Record] = {}
        self._owners: dict[bytes, SeqidOwner] = {}
        # NFSv4.0's opens and locks whose owner's record has not come yet.
        self._unowned: dict[tuple[bytes, bool, bytes], list[OpenState | LockState]] = {}
        # Owners' names, each once: a client's processes share one, as a rule.
        self._names: dict[bytes, bytes] = {}
        self._locks: dict[bytes, LockState] = {}
        self._apply: dict[int, Callable[[bytes, bytes], None]] = {
            HOLDER: self._client,
            STREAM: self._session,
            SLOT: self._slot,
            OWNER: self._owner,
            OPEN: self._open,
            RANGE: self._range,
            PENDING: self._pending,
            META: self._meta,
        }
        self._remove: dict[int, Callable[[bytes], None]] = {
            HOLDER: self._no_client,
            STREAM: self._no_session,
            SLOT: self._no_slot,
            OWNER: self._no_owner,
            OPEN: self._no_open,
            RANGE: self._no_range,
            PENDING: state.filter.pending.discard,
            META: self._no_meta,
        }

    def apply(self, kind: int, key: bytes, value: bytes | None) -> None:
        """Fold one record, or its removal (None), of one of KINDS.

        Raises LOAD_ERRORS for a value that cannot be read; then nothing has changed.
        """
        if self._parents and (kind, key) in self._parents:
            self._apply_to_orphan(kind, key, value)
        elif value is not None:
            self._apply[kind](key, value)
        else:
            self._remove[kind](key)

    def orphans(self) -> Iterator[tuple[int, bytes, bytes]]:
        """The kind, key and value of every record whose holder, session or open has not come, or did not take it."""
        for children in self._orphans.values():
            for (kind, key), value in children.items():
                yield kind, key, value

    # -- orphans ------------------------------------------------------------------------------------------

    def _wait_for(self, parent: Record, kind: int, key: bytes, value: bytes) -> None:
        child = (kind, key)
        assert child not in self._parents, "a record waits twice"
        self._orphans.setdefault(parent, {})[child] = value
        self._parents[child] = parent

    def _forget_orphan(self, child: Record) -> tuple[Record, bytes]:
        """Wait for its parent no longer; returns that, and the value that waited."""
        parent = self._parents.pop(child)
        waiting = self._orphans[parent]
        value = waiting.pop(child)
        if not waiting:
            del self._orphans[parent]
        return parent, value

    def _apply_to_orphan(self, kind: int, key: bytes, value: bytes | None) -> None:
        """A record that waits for its parent is removed, or takes another value, perhaps with another parent."""
        parent, before = self._forget_orphan((kind, key))
        if value is not None:
            try:
                self._apply[kind](key, value)
            except LOAD_ERRORS:
                self._wait_for(parent, kind, key, before)
                raise

    def _came(self, kind: int, key: bytes) -> None:
        """A parent has come: fold what waited for it.  What it has no place for waits on: that is not its fault."""
        parent = (kind, key)
        for child, value in self._orphans.pop(parent, {}).items():
            del self._parents[child]
            try:
                self._apply[child[0]](child[1], value)
            except LOAD_ERRORS:
                self._wait_for(parent, *child, value)

    def _orphan(self, changes: ChangeSet) -> None:
        """Fold the records of children again whose parent goes: they wait for it to come back."""
        for stored_key, stored_value in changes.entries.items():
            assert stored_value is not None
            self._apply[stored_key[0]](stored_key[1:], stored_value[FRAME_SIZE:])

    # -- clients ------------------------------------------------------------------------------------------

    def _client(self, key: bytes, value: bytes) -> None:
        kept = records.decode_client(value)
        client = self._holders.get(key)
        if client is None:
            client = Client(
                clientid=kept.clientid,
                family=kept.minor,
                owner=kept.owner,
                verifier=kept.verifier,
                principal=kept.principal,
                now=0.0,
            )
            if client.key != key:
                raise ValueError(f"a client {client.label} under the key {key.hex()}")
            client.address = self.addresses.get(key, "")
            before = self.state.clients.confirmed(client.family, client.owner)
            if before is not None:
                self._twins.setdefault((client.family, client.owner), [before]).append(client)
            self.state.clients.confirm(client)
            self.state.filter.add_holder(client)
            if key in self.removed:
                self._leave(client)
        client.verifier = kept.verifier
        client.reclaim_complete = kept.reclaim_complete
        client.create_sequence = kept.create_sequence
        client.create_reply = kept.create_reply
        client.confirm = kept.confirm
        client.callback = Callback(
            kept.callback_program, kept.callback_netid, kept.callback_address, kept.callback_ident
        )
        if self._orphans:
            self._came(HOLDER, key)

    def _leave(self, client: Client) -> None:
        """A client was removed: what it has is left over, and another of its owner may have its place."""
        self.state.clients.remove(client)
        client.removed = True
        client.confirmed = False
        self.state.leftovers[client.key] = client
        for twin in self._twins.get((client.family, client.owner), ()):
            if not twin.removed and self._holders.get(twin.key) is twin:
                self.state.clients.confirm(twin)

    def _no_client(self, key: bytes) -> None:
        client = self._holders.get(key)
        if client is None:
            return
        changes = ChangeSet()
        for session in list(client.sessions.values()):
            records.put_session(changes, session)
            self._put_slots(changes, session)
            self._drop_session(session)
        for held in list(client.opens.values()):
            self._put_open(changes, held)
            self._drop_open(held)
        for owner in (*client.open_owners.values(), *client.lock_owners.values()):
            records.put_owner(changes, owner)
            self._drop_owner(owner)
        self.state.clients.remove(client)
        self.state.filter.remove_holder(client)
        self.state.leftovers.pop(key, None)
        self._orphan(changes)

    # -- sessions -----------------------------------------------------------------------------------------

    def _session(self, key: bytes, value: bytes) -> None:
        kept = records.decode_session(value)
        holder_key = kept.clientid.to_bytes(_HOLDER_KEY_SIZE, "big")
        if len(key) != _STREAM_KEY_SIZE or key[:_HOLDER_KEY_SIZE] != holder_key:
            raise ValueError(f"a session of the client {holder_key.hex()} under the key {key.hex()}")
        if kept.fore.slots > SLOTS_MAX:
            raise ValueError(f"a session of {kept.fore.slots} slots; at most {SLOTS_MAX}")
        client = self._holders.get(holder_key)
        if client is None:
            self._wait_for((HOLDER, holder_key), STREAM, key, value)
            return
        session = self.state.sessions.get(key)
        if session is None:
            session = Session(
                key,
                client,
                flags=kept.flags,
                callback_program=kept.callback_program,
                fore=records.channel_of(kept.fore),
                back=records.channel_of(kept.back),
            )
            session.resumed = True
            sessions.add_session(self.state, session)
            if self._orphans:
                self._came(STREAM, key)
        session.flags, session.callback_program = kept.flags, kept.callback_program

    def _no_session(self, key: bytes) -> None:
        session = self.state.sessions.get(key)
        if session is not None:
            changes = ChangeSet()
            self._put_slots(changes, session)
            self._drop_session(session)
            self._orphan(changes)

    def _put_slots(self, changes: ChangeSet, session: Session) -> None:
        for slot in session.slots:
            if slot is not None and slot.used:
                records.put_slot(changes, slot)

    def _drop_session(self, session: Session) -> None:
        sessions.forget(self.state, session)

    def _slot(self, key: bytes, value: bytes) -> None:
        seqid, reply = records.decode_slot(value)
        session = self.state.sessions.get(key[:_STREAM_KEY_SIZE])
        if session is None:
            self._wait_for((STREAM, key[:_STREAM_KEY_SIZE]), SLOT, key, value)
            return
        slot = session.slot(int.from_bytes(key[_STREAM_KEY_SIZE:], "big"))
        slot.seqid, slot.reply = seqid, reply
        slot.resumed = slot.used = True

    def _no_slot(self, key: bytes) -> None:
        session = self.state.sessions.get(key[:_STREAM_KEY_SIZE])
        number = int.from_bytes(key[_STREAM_KEY_SIZE:], "big")
        if session is not None and number < len(session.slots):
            session.slots[number] = None

    # -- NFSv4.0's owners ---------------------------------------------------------------------------------

    def _owner(self, key: bytes, value: bytes) -> None:
        kept = records.decode_owner(value)
        client = self._holders.get(key[:_HOLDER_KEY_SIZE])
        if client is None:
            self._wait_for((HOLDER, key[:_HOLDER_KEY_SIZE]), OWNER, key, value)
            return
        owner = self._owners.get(key)
        if owner is None or owner.owner != kept.owner or owner.is_lock_owner != kept.is_lock_owner:
            owner = SeqidOwner(client, kept.owner, kept.is_lock_owner)
            if owner.key != key:
                raise ValueError(f"an owner under the key {key.hex()}")
            self._owners[key] = owner
            (client.lock_owners if kept.is_lock_owner else client.open_owners)[kept.owner] = owner
            for held in self._unowned.pop((client.key, kept.is_lock_owner, kept.owner), ()):
                held.seqid_owner = owner
                owner.holds.add(held)
        owner.confirmed = kept.confirmed
        owner.seqid = kept.seqid
        owner.operation, owner.status = kept.operation, kept.status
        # Only failures have no bytes: a success without any is one whose reply was not kept.
        owner.result = kept.result if kept.result or kept.status else None
        owner.handle = kept.object
        self.state.closed.pop(owner.closed, None)
        owner.closed = kept.closed
        if kept.closed:
            self.state.closed[kept.closed] = owner

    def _no_owner(self, key: bytes) -> None:
        owner = self._owners.get(key)
        if owner is not None:
            self._drop_owner(owner)

    def _drop_owner(self, owner: SeqidOwner) -> None:
        """Forget an owner; what it still holds waits for its record to come back."""
        client = owner.client
        del self._owners[owner.key]
        del (client.lock_owners if owner.is_lock_owner else client.open_owners)[owner.owner]
        self.state.closed.pop(owner.closed, None)
        for held in owner.holds:
            held.seqid_owner = None
            self._link(held, owner.is_lock_owner)

    def _link(self, held: OpenState | LockState, is_lock: bool) -> None:
        """Give an open or a lock of NFSv4.0 its owner, or have it wait for its owner's record."""
        client = held.holder
        owner = (client.lock_owners if is_lock else client.open_owners).get(held.owner)
        if owner is None:
            self._unowned.setdefault((client.key, is_lock, held.owner), []).append(held)
        else:
            held.seqid_owner = owner
            owner.holds.add(held)

    def _unlink(self, held: OpenState | LockState, is_lock: bool) -> None:
        """Take an open or a lock that goes from its owner."""
        if held.seqid_owner is not None:
            held.seqid_owner.holds.discard(held)
            return
        name = (held.holder.key, is_lock, held.owner)
        waiting = self._unowned.get(name)
        if waiting is not None and held in waiting:
            waiting.remove(held)
            if not waiting:
                del self._unowned[name]

    # -- opens and locks ----------------------------------------------------------------------------------

    def _open(self, key: bytes, value: bytes) -> None:
        holder_key, access, deny, handle, rest = decode_open(value)
        access_seen, deny_seen, seqid, instance, owner, grants = records.open_rest(rest)
        caller, granted = grants[0]
        if instance > INSTANCE_MAX or len(key) != _OPEN_KEY_SIZE:
            raise ValueError(f"an open of instance {instance} under the key {key.hex()}")
        client = self._holders.get(holder_key)
        held = self._opens.get(key)
        if held is not None:
            if held.holder is client and held.instance == instance and held.object == handle and held.owner == owner:
                self.state.filter.change_open(held, access, deny)
                held.access_seen, held.deny_seen, held.seqid = access_seen, deny_seen, seqid
                held.caller, held.granted, held.others = caller, granted, grants[1:]
                return
            self._no_open(key)
        if client is None:
            self._wait_for((HOLDER, holder_key), OPEN, key, value)
            return
        held = OpenState(client, key, handle, self._names.setdefault(owner, owner), instance, caller)
        held.access, held.deny = access, deny
        held.granted, held.others = granted, grants[1:]
        held.access_seen, held.deny_seen = access_seen, deny_seen
        held.seqid = seqid
        self.state.filter.add_open(held)
        self.state.stateids[held.other] = held
        if not client.family:
            self._link(held, False)
        if self._orphans:
            self._came(OPEN, key)

    def _no_open(self, key: bytes) -> None:
        held = self._opens.get(key)
        if held is not None:
            changes = ChangeSet()
            for lock in (held.locks or {}).values():
                records.put_lock(changes, lock)
            self._drop_open(held)
            self._orphan(changes)

    def _put_open(self, changes: ChangeSet, held: OpenState) -> None:
        records.put_open(changes, held)
        for lock in (held.locks or {}).values():
            records.put_lock(changes, lock)

    def _drop_open(self, held: OpenState) -> None:
        for lock in list((held.locks or {}).values()):
            self._drop_lock(lock)
        # Nameless objects go by their own records, whatever the filter makes of this one's.
        pending = held.object in self.state.filter.pending
        self.state.filter.remove_open(held, ChangeSet())
        if pending:
            self.state.filter.pending.add(held.object)
            self.state.filter.forsaken.discard(held.object)
        del self.state.stateids[held.other]
        if not held.holder.family:
            self._unlink(held, False)

    def _range(self, key: bytes, value: bytes) -> None:
        owner, ranges, rest = decode_ranges(value)
        seqid, instance = records.lock_rest(rest)
        if instance > INSTANCE_MAX:
            raise ValueError(f"a lock of instance {instance}")
        held = self._opens.get(key[:_OPEN_KEY_SIZE])
        if held is None:
            self._wait_for((OPEN, key[:_OPEN_KEY_SIZE]), RANGE, key, value)
            return
        lock = self._locks.get(key)
        if lock is None or lock.instance != instance or lock.owner != owner:
            before, lock = lock, LockState(held, owner, instance, self.state.filter.range_set(held.object))
            if lock.key != key:
                raise ValueError(f"a lock under the key {key.hex()}")
            if before is not None:
                self._drop_lock(before)
            self._locks[key] = lock
            locks.adopt(self.state, lock)
            if not held.holder.family:
                self._link(lock, True)
            for item in ranges:
                lock.set(item.start, item.end, item.exclusive)
        else:
            self._set_ranges(lock, ranges)
        lock.seqid = seqid

    def _set_ranges(self, lock: LockState, ranges: list[Range]) -> None:
        """Put these ranges in the place of a stateid's; the owner's other stateids on the file keep theirs."""
        if lock.own is not None:
            lock.own = RangeSet()
            for item in ranges:
                lock.own.set(lock.owner_key, item.start, item.end, item.exclusive)
        self._join_ranges(lock, ranges)

    def _join_ranges(self, lock: LockState, ranges: list[Range]) -> None:
        """What an owner holds on a file is what all its stateids there hold, `lock` those given."""
        lock.ranges.clear_owner(lock.owner_key)
        for other in self.state.locks.get((lock.owner_key, lock.object), ()):
            held = ranges if other is lock else [] if other.own is None else other.own.owned(lock.owner_key)
            for item in held:
                lock.ranges.set(lock.owner_key, item.start, item.end, item.exclusive)

    def _no_range(self, key: bytes) -> None:
        lock = self._locks.get(key)
        if lock is not None:
            self._drop_lock(lock)

    def _drop_lock(self, lock: LockState) -> None:
        del self._locks[lock.key]
        if not lock.holder.family:
            self._unlink(lock, True)
            lock.seqid_owner = None
        locks.release(self.state, ChangeSet(), lock)
        others = self.state.locks.get((lock.owner_key, lock.object))
        if others:
            self._join_ranges(others[0], others[0].held())

    # -- the rest -----------------------------------------------------------------------------------------

    def _pending(self, key: bytes, _value: bytes) -> None:
        self.state.filter.pending.add(key)

    def _meta(self, key: bytes, value: bytes) -> None:
        if key == INSTANCES_KEY:
            self.state.instances = Instances.of_stored(value)
            return
        marked = records.holder_of_mark(key)
        if marked is not None:
            self.removed.add(marked)
            client = self._holders.get(marked)
            if client is not None and not client.removed:
                self._leave(client)
            return
        holder_key = records.holder_of_address(key)
        if holder_key is None:
            blackouts.apply(self.state, key, value)
            return
        self.addresses[holder_key] = address = value.decode("ascii")
        client = self._holders.get(holder_key)
        if client is not None:
            self._readdress(client, address)

    def _no_meta(self, key: bytes) -> None:
        marked = records.holder_of_mark(key)
        if marked is not None:
            self.removed.discard(marked)  # Its client's record goes with it.
            return
        holder_key = records.holder_of_address(key)
        if holder_key is None:
            blackouts.apply(self.state, key, None)
            return
        self.addresses.pop(holder_key, None)
        client = self._holders.get(holder_key)
        if client is not None:
            self._readdress(client, "")

    def _readdress(self, client: Client, address: str) -> None:
        if client.removed:
            client.address = address
        else:
            self.state.clients.readdress(client, address)
