"""Random histories of a protocol state, by the server's own functions: each step is one ChangeSet of a few actions.

Owns which actions there are, and what a request does besides the change itself (the sequence ids of NFSv4.0). An action
is a name and a few numbers, which choose among whatever there is, so that a failing history shrinks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from nfsd.errors import Nfs4Error
from nfsd.state import blackouts, clients, conflicts, leftovers, locks, opens, owners, records, sessions
from nfsd.state.model import Callback, Client, LockState, OpenState, SeqidOwner, Session
from nfsd.vfs.interface import Credentials
from statestore import ChangeSet
from tests.state.world import Entry, World
from xdr.generated import nfs4

Action = tuple[str, int, int, int]

Thing = TypeVar("Thing")
_OWNERS = (b"alice", b"bob")
_RETRY, _FAILED = b"result", nfs4.NFS4ERR_SHARE_DENIED


class History(World):
    """A world that lives through actions, a few in each step."""

    def __init__(self) -> None:
        super().__init__()
        self._changes = ChangeSet()

    def commit(self, changes: ChangeSet) -> None:
        """Have it made durable with the rest of the step."""
        self._changes.merge(changes)

    def step(self, actions: Sequence[Action]) -> list[Entry]:
        """One request after another in one ChangeSet; what that changed."""
        self._changes = ChangeSet()
        for name, *numbers in actions:
            ACTIONS[name](self, *numbers)
        super().commit(self._changes)
        return self.steps[-1]

    # -- choices ------------------------------------------------------------------------------------------

    def some_client(self, number: int, family: int | None = None) -> Client | None:
        """One of the confirmed clients."""
        return _one([each for each in self.state.clients if each.confirmed and family in (None, each.family)], number)

    def some_open(self, number: int) -> OpenState | None:
        """One of the opens."""
        return _one([each for each in self.state.filter.opens.values() if not each.holder.removed], number)

    def some_lock(self, number: int) -> LockState | None:
        """One of the lock stateids."""
        return _one([lock for each in self.state.locks.values() for lock in each if not lock.holder.removed], number)

    def count(self, changes: ChangeSet, owner: SeqidOwner | None, operation: int, status: int = nfs4.NFS4_OK) -> None:
        """An owner's request has been answered."""
        if owner is None:
            return
        owners.begin(owner, 1 if owner.seqid is None else owner.seqid + 1)
        owners.remember(changes, owner, operation, status, b"" if status else _RETRY, b"handle")


def _one(things: list[Thing], number: int) -> Thing | None:
    return things[number % len(things)] if things else None


# -- clients and sessions -------------------------------------------------------------------------------------


def confirm(world: History, family: int, owner: int, _third: int) -> None:
    """A client comes, or comes back after a restart of its own."""
    world.client(_OWNERS[owner % 2], family % 2)


def update_client(world: History, number: int, program: int, _third: int) -> None:
    """NFSv4.0: other callbacks; NFSv4.1: it claims nothing more."""
    client = world.some_client(number)
    if client is not None:
        if client.family:
            client.reclaim_complete = True
        else:
            client.callback = Callback(program, b"tcp6", b"::1.0.1", 1)
        changes = ChangeSet()
        records.put_client(changes, client)
        world.commit(changes)


def remove_client(world: History, number: int, _second: int, _third: int) -> None:
    """A client goes, with everything."""
    client = world.some_client(number)
    if client is not None:
        world.ahead.difference_update(_slot_keys(*client.sessions.values()))
        changes = ChangeSet()
        clients.remove_client(world.state, changes, client)
        world.commit(changes)


def take_away(world: History, count: int, _second: int, _third: int) -> None:
    """Some of what a removed client has left is taken away."""
    for client in list(world.state.leftovers.values())[:1]:
        changes = ChangeSet()
        leftovers.take_away(world.state, changes, client, count % 4)
        world.commit(changes)


def add_session(world: History, number: int, slots: int, _third: int) -> None:
    """A client makes a session."""
    client = world.some_client(number, 1)
    if client is not None:
        world.session(client, slots=slots + 1)


def change_session(world: History, number: int, program: int, _third: int) -> None:
    """BACKCHANNEL_CTL."""
    session = _one(list(world.state.sessions.values()), number)
    if session is not None:
        session.callback_program = program
        changes = ChangeSet()
        records.put_session(changes, session)
        world.commit(changes)


def remove_session(world: History, number: int, _second: int, _third: int) -> None:
    """A session goes."""
    session = _one(list(world.state.sessions.values()), number)
    if session is not None:
        world.ahead.difference_update(_slot_keys(session))
        changes = ChangeSet()
        sessions.remove_session(world.state, changes, session)
        world.commit(changes)


def finish(world: History, number: int, slot_number: int, how: int) -> None:
    """A request of a session has been evaluated; it may have changed something, and ask to be cached."""
    session = _one(list(world.state.sessions.values()), number)
    if session is None:
        return
    slot = session.slot(slot_number % len(session.slots))
    slot.used = True
    slot.sequence = slot.seqid + 1
    changed, cache, too_large = bool(how & 1), bool(how & 2), bool(how & 4)
    changes = ChangeSet()
    sessions.finish(session, slot, [b"reply", bytes(100 if too_large else slot.sequence)], changes, changed, cache)
    (world.ahead.discard if changed else world.ahead.add)(slot.key)
    world.commit(changes)


def _slot_keys(*given: Session) -> list[bytes]:
    return [slot.key for session in given for slot in session.slots if slot is not None]


# -- opens ----------------------------------------------------------------------------------------------------


def open_file(world: History, number: int, which: int, masks: int) -> None:
    """OPEN by one of two owners, of one of the files; a conflict is a failure that an owner of NFSv4.0 counts."""
    client = world.some_client(number)
    if client is None:
        return
    asker, node = world.asker(client), world.files[which % len(world.files)]
    name = _OWNERS[which // len(world.files) % 2]
    access, deny = masks % 3 + 1, masks // 3 % 4
    owner = None if client.family else world.owner(client, name)
    try:
        held = client.opens.get(opens.key_of(world.state, client, name, node.handle))
        verdict = world.state.filter.share_verdict(node.handle, access, deny, world.now, held.key if held else None)
        if verdict is not None:
            if verdict.open is not None and verdict.open.holder.removed:
                leftovers.give_way(world.state, asker, verdict.open)
            raise Nfs4Error(_FAILED)
        leftovers.make_way(world.state, asker, client, name, node.handle)
        # A reclaim may grant less than the open has.
        caller, granted = _caller(masks), access & (number % 3 + 1)
        opens.grant(world.state, asker, client, name, node, access, deny, caller, granted, owner)
    except Nfs4Error as error:
        world.count(asker.changes, owner, nfs4.OP_OPEN, error.status)
    else:
        world.count(asker.changes, owner, nfs4.OP_OPEN)
    world.commit(asker.changes)


def _caller(number: int) -> Credentials:
    return Credentials(number, number, tuple(range(number % 3)))


def confirm_open(world: History, number: int, _second: int, _third: int) -> None:
    """OPEN_CONFIRM of NFSv4.0."""
    held = world.some_open(number)
    if held is not None and held.seqid_owner is not None:
        asker = world.asker(held.holder)
        opens.confirm(asker, held)
        world.count(asker.changes, held.seqid_owner, nfs4.OP_OPEN_CONFIRM)
        world.commit(asker.changes)


def downgrade(world: History, number: int, masks: int, _third: int) -> None:
    """OPEN_DOWNGRADE, refused where nothing of the kind was opened."""
    held = world.some_open(number)
    if held is not None:
        asker, status = world.asker(held.holder), nfs4.NFS4_OK
        try:
            opens.downgrade(world.state, asker, held, masks % 3 + 1, masks // 3 % 4)
        except Nfs4Error as error:
            status = error.status
        world.count(asker.changes, held.seqid_owner, nfs4.OP_OPEN_DOWNGRADE, status)
        world.commit(asker.changes)


def close(world: History, number: int, _second: int, _third: int) -> None:
    """CLOSE, whatever locks there are."""
    held = world.some_open(number)
    if held is not None:
        asker, owner = world.asker(held.holder), held.seqid_owner
        opens.release(world.state, asker.changes, held)
        if owner is not None:
            owners.closed(world.state, owner, held.other)
        world.count(asker.changes, owner, nfs4.OP_CLOSE)
        world.commit(asker.changes)


def unlink(world: History, number: int, _second: int, _third: int) -> None:
    """An open file loses its last name."""
    held = world.some_open(number)
    if held is not None:
        changes = ChangeSet()
        world.state.filter.keep_pending(held.object, changes)
        world.commit(changes)


# -- locks ----------------------------------------------------------------------------------------------------


def lock(world: History, number: int, place: int, how: int) -> None:
    """LOCK by one of two lock owners, by way of any open."""
    held = world.some_open(number)
    if held is None:
        return
    asker, name = world.asker(held.holder), _OWNERS[how % 2]
    start, end, exclusive = place, place + 1 + how // 4 % 4, bool(how & 2)
    owner = None if held.holder.family else world.owner(held.holder, name, True)
    if owner is not None:
        owners.begin_at(asker.changes, owner, 1 if owner.seqid is None else owner.seqid + 1)
    try:
        conflicts.check_range(world.state, asker, held.object, held.holder.key + name, start, end, exclusive)
    except Nfs4Error as error:
        world.count(asker.changes, held.seqid_owner, nfs4.OP_LOCK, error.status)
    else:
        found = locks.lock_state(world.state, asker, held, name)
        if owner is not None and found.seqid_owner is None:
            found.seqid_owner = owner
            owner.holds.add(found)
        locks.take(world.state, asker, found, start, end, exclusive)
        world.count(asker.changes, held.seqid_owner, nfs4.OP_LOCK)
    world.commit(asker.changes)


def unlock(world: History, number: int, place: int, size: int) -> None:
    """LOCKU, of what is held and what is not."""
    found = world.some_lock(number)
    if found is not None:
        asker = world.asker(found.holder)
        locks.give_back(world.state, asker, found, place, place + 1 + size)
        world.count(asker.changes, found.seqid_owner, nfs4.OP_LOCKU)
        world.commit(asker.changes)


def free_lock(world: History, number: int, _second: int, _third: int) -> None:
    """A lock stateid goes, with what it holds."""
    found = world.some_lock(number)
    if found is not None:
        changes = ChangeSet()
        locks.release(world.state, changes, found)
        world.commit(changes)


def forget_owner(world: History, number: int, which: int, _third: int) -> None:
    """An idle owner of NFSv4.0 is forgotten."""
    client = world.some_client(number, 0)
    if client is not None:
        idle = [each for each in (*client.open_owners.values(), *client.lock_owners.values()) if not each.holds]
        owner = _one(idle, which)
        if owner is not None:
            changes = ChangeSet()
            owners.forget(world.state, changes, owner)
            world.commit(changes)


# -- blackouts ------------------------------------------------------------------------------------------------


def begin_blackout(world: History, which: int, target: int, seconds: int) -> None:
    """An administrator blacks something out."""
    what = (blackouts.FILE, blackouts.EXPORT, blackouts.CLIENT)[which % 3]
    changes = ChangeSet()
    blackout = blackouts.make(
        what, b"target-%d" % (target % 2), f"name-{seconds}", until=world.now + seconds, retry=bool(seconds & 1)
    )
    blackouts.begin(world.state, blackout, world.now, changes)
    world.commit(changes)


def end_blackout(world: History, number: int, _second: int, _third: int) -> None:
    """A blackout is lifted."""
    blackout = _one(list(world.state.filter.blackouts.standing.values()), number)
    if blackout is not None:
        changes = ChangeSet()
        blackouts.end(world.state, blackout, "lifted", changes)
        world.commit(changes)


ACTIONS: dict[str, Callable[[History, int, int, int], None]] = {
    each.__name__: each
    for each in (
        confirm, update_client, remove_client, take_away, add_session, change_session, remove_session, finish,
        open_file, confirm_open, downgrade, close, unlink, lock, unlock, free_lock, forget_owner, begin_blackout,
        end_blackout,
    )
}  # fmt: skip
