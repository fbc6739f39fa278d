"""Everything that a protocol state holds, in a form that can be compared: of a live one and of the fold of its records.

Owns what counts as the same: every stored field, and every table that is derived from records. Left out is what is
not stored: when a client was heard of, connections, running requests, whether something was resumed, unconfirmed
clients and updates, when an owner was used, and slots whose last request changed nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from nfsd.state.ids import INSTANCES_KEY
from nfsd.state.model import Channel, Client, LockState, OpenState, SeqidOwner, Session, Slot
from nfsd.state.records import holder_of_address
from nfsd.state.tables import State
from statestore import HOLDER, META, OPEN, OWNER, PENDING, RANGE, SLOT, STREAM, Blackout

Section = dict[Any, Any]
Snapshot = dict[str, Section]


class Moment(float):
    """A time in seconds, equal to another within a millisecond: the store keeps the wall clock's."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, float) and abs(self - other) < 0.001

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__


def snapshot(state: State, ahead: Collection[bytes] = ()) -> Snapshot:
    """All of a state, by table; `ahead` are the keys of slots whose last request was not stored."""
    clients = state.filter.holders
    sessions = state.sessions
    opens = state.filter.opens
    locks = dict(_locks(state))
    return {
        "clients": {key: client_fields(client) for key, client in clients.items()},
        "clients by id": {number: each.key for number, each in state.clients.by_id.items() if each.confirmed},
        "clients by owner": {name: each.key for name, each in state.clients._confirmed.items()},
        "sessions": {key: session_fields(session) for key, session in sessions.items()},
        "slots": {slot.key: slot_fields(slot) for slot in _slots(state) if slot.key not in ahead},
        "owners": {owner.key: owner_fields(owner) for owner in _owners(state)},
        "closed": {other: owner.key for other, owner in state.closed.items()},
        "opens": {key: open_fields(held) for key, held in opens.items()},
        "shares": {object: shares_of(state, object) for object in state.filter.shares.objects},
        "locks": {key: lock_fields(lock) for key, lock in locks.items()},
        "locks by owner": {name: sorted(lock.key for lock in each) for name, each in state.locks.items()},
        "stateids": {other: (type(found).__name__, found.key) for other, found in state.stateids.items()},
        "ranges": {object: ranges for object in state.filter.ranges if (ranges := ranges_of(state, object))},
        "pending": dict.fromkeys(state.filter.pending),
        "blackouts": {target: blackout_fields(each) for target, each in state.filter.blackouts.standing.items()},
        "instances": instances_of(state),
    }


def differences(live: Mapping[str, Section], other: Mapping[str, Section]) -> list[str]:
    """What another snapshot has otherwise than the live state's, a line for each entry."""
    found = []
    for name in live.keys() | other.keys():
        ours, theirs = live.get(name, {}), other.get(name, {})
        for key in ours.keys() | theirs.keys():
            if ours.get(key, "nothing") != theirs.get(key, "nothing"):
                found.append(f"{name} {key!r}: {ours.get(key, 'nothing')} live, {theirs.get(key, 'nothing')} folded")
    return sorted(found)


def described(state: State, kind: int, key: bytes) -> Any:
    """What a state has of one record, with what is derived from it; None for nothing."""
    if kind == HOLDER:
        client = state.filter.holders.get(key)
        return None if client is None else (client_fields(client), _client_tables(state, client))
    if kind == STREAM:
        session = state.sessions.get(key)
        return None if session is None else session_fields(session)
    if kind == SLOT:
        slot = slot_at(state, key)
        return None if slot is None else slot_fields(slot)
    if kind == OWNER:
        owner = next((owner for owner in _owners(state, key[:8]) if owner.key == key), None)
        return None if owner is None else (owner_fields(owner), owner.closed and state.closed[owner.closed] is owner)
    if kind == OPEN:
        held = state.filter.opens.get(key)
        if held is None:
            return None
        return open_fields(held), shares_of(state, held.object), state.stateids[held.other] is held
    if kind == RANGE:
        lock = dict(_locks(state, key[:16])).get(key)
        if lock is None:
            return None
        siblings = sorted(each.key for each in state.locks[lock.owner_key, lock.object])
        return lock_fields(lock), ranges_of(state, lock.object), siblings, state.stateids[lock.other] is lock
    if kind == PENDING:
        return key in state.filter.pending or None
    assert kind == META, f"a record of kind {kind}"
    return _meta(state, key)


# -- fields ---------------------------------------------------------------------------------------------------


def client_fields(client: Client) -> Section:
    """A client's stored fields, and the keys of what is its own."""
    callback = client.callback
    return {
        **_fields(
            client, "clientid", "family", "owner", "verifier", "principal", "identity", "confirmed", "reclaim_complete",
            "create_sequence", "create_reply", "confirm", "address", "label",
        ),
        "callback": (callback.program, callback.netid, callback.address, callback.ident),
        "sessions": sorted(client.sessions),
        "opens": sorted(client.opens),
        "open_owners": sorted(name for name, owner in client.open_owners.items() if is_stored(owner)),
        "lock_owners": sorted(name for name, owner in client.lock_owners.items() if is_stored(owner)),
    }  # fmt: skip


def session_fields(session: Session) -> Section:
    """A session's stored fields."""
    return {
        **_fields(session, "sessionid", "flags", "callback_program", "reply_size_max", "destroyed"),
        "client": session.client.key,
        "fore": _channel(session.fore),
        "back": _channel(session.back),
        "slots": len(session.slots),
    }


def slot_fields(slot: Slot) -> Section:
    """A slot's stored fields."""
    return _fields(slot, "key", "number", "seqid", "reply")


def slot_at(state: State, key: bytes) -> Slot | None:
    """The slot of a record's key, if it has been used."""
    session = state.sessions.get(key[:16])
    number = int.from_bytes(key[16:], "big")
    slot = session.slots[number] if session is not None and number < len(session.slots) else None
    return slot if slot is not None and (slot.used or slot.resumed) else None


def owner_fields(owner: SeqidOwner) -> Section:
    """An owner's stored fields, and what a retry of its last request would get."""
    retry = None if owner.result is None else (owner.operation, owner.status, owner.result)
    return {
        **_fields(owner, "owner", "is_lock_owner", "confirmed", "seqid", "handle", "closed"),
        "holds": sorted(held.key for held in owner.holds),
        "client": owner.client.key,
        "retry": retry,
    }


def open_fields(held: OpenState) -> Section:
    """An open's stored fields, and the keys of what belongs to it."""
    names = ("access", "deny", "access_seen", "deny_seen", "seqid", "instance", "other", "object", "owner")
    return {
        **_fields(held, *names),
        "grants": ((held.caller, held.granted), *held.others),
        "holder": held.holder.key,
        "seqid_owner": held.seqid_owner and held.seqid_owner.key,
        "locks": sorted(lock.key for lock in (held.locks or {}).values()),
    }


def lock_fields(lock: LockState) -> Section:
    """A lock stateid's stored fields, and its ranges."""
    return {
        **_fields(lock, "owner", "owner_key", "seqid", "instance", "other"),
        "open": lock.open.key,
        "held": [tuple(each) for each in lock.held()],
        "seqid_owner": lock.seqid_owner and lock.seqid_owner.key,
    }


def blackout_fields(blackout: Blackout) -> Section:
    """A blackout's stored fields."""
    return {
        **_fields(blackout, "subject", "target", "name", "key", "retry", "address"),
        "until": Moment(blackout.until),
    }


def shares_of(state: State, object: bytes) -> tuple[Section, int, int]:
    """The masks of an object's opens by their keys, and the unions of them, which the filter's bounds must cover."""
    found = state.filter.shares.objects.get(object)
    if found is None:
        return {}, 0, 0
    access = deny = 0
    for held in found.opens.values():
        access |= held.access
        deny |= held.deny
    assert not access & ~found.access and not deny & ~found.deny, "a bound that is below what it bounds"
    return {key: (held.access, held.deny) for key, held in found.opens.items()}, access, deny


def ranges_of(state: State, object: bytes) -> list[tuple[bytes, int, int, bool]]:
    """The ranges on an object, by party and place."""
    return sorted((each.owner, each.start, each.end, each.exclusive) for each in state.filter.ranges.get(object, ()))


def instances_of(state: State) -> Section:
    """The stored reservation; nothing before the first."""
    instances = state.instances
    if instances._reserved == instances._first:
        return {}
    return {"first": instances._first, "reserved": instances._reserved}


def is_stored(owner: SeqidOwner) -> bool:
    """Whether there is a record of an owner: not before the first request that counts."""
    return owner.seqid is not None


# -- helpers --------------------------------------------------------------------------------------------------


def _fields(thing: object, *names: str) -> Section:
    return {name: getattr(thing, name) for name in names}


def _channel(channel: Channel) -> Section:
    return _fields(channel, *Channel.__slots__)


def _client_tables(state: State, client: Client) -> tuple[bool, bool]:
    confirmed = state.clients.confirmed(client.family, client.owner)
    return state.clients.by_id.get(client.clientid) is client, confirmed is client


def _meta(state: State, key: bytes) -> Any:
    if key == INSTANCES_KEY:
        return instances_of(state)
    holder_key = holder_of_address(key)
    if holder_key is not None:
        client = state.filter.holders.get(holder_key)
        return client and client.address
    return [blackout_fields(each) for each in state.filter.blackouts.standing.values() if each.key == key]


def _slots(state: State) -> Iterator[Slot]:
    for session in state.sessions.values():
        for slot in session.slots:
            if slot is not None and (slot.used or slot.resumed):
                yield slot


def _owners(state: State, client_key: bytes | None = None) -> Iterator[SeqidOwner]:
    holders = state.filter.holders
    clients = holders.values() if client_key is None else filter(None, [holders.get(client_key)])
    for client in clients:
        for owner in (*client.open_owners.values(), *client.lock_owners.values()):
            if is_stored(owner):
                yield owner


def _locks(state: State, open_key: bytes | None = None) -> Iterator[tuple[bytes, LockState]]:
    opens = state.filter.opens
    for held in opens.values() if open_key is None else filter(None, [opens.get(open_key)]):
        for lock in (held.locks or {}).values():
            yield lock.key, lock
