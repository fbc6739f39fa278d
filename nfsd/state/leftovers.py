"""What removed clients leave behind: taken away a little at a time, and in nobody's way meanwhile.

A client that is removed has gone for everybody at once, in one ChangeSet: its clientid, its sessions, all its stateids.
What it had open may be a million records, and no request may wait for these: they stay where they are, opens and locks
of a holder that is `removed`, until their turn has come.  Whoever meets one before takes it away himself.

A crash leaves a client with its mark (`records.put_removed`): the next start loads it as removed, and goes on.
"""

from __future__ import annotations

from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state import locks, opens, records
from nfsd.state.asker import Asker
from nfsd.state.inorder import InOrder
from nfsd.state.model import Client, OpenState, SeqidOwner
from nfsd.state.tables import State
from statestore import OWNER, ChangeSet, Range
from xdr.generated import nfs4

PORTION: Final = 128
"""Opens, locks and owners taken away at a time: about 2 ms."""
ORDER_ABOVE: Final = 16_384
"""Opens of one client that are brought into the order of their records before they are taken away."""
ORDERED_AT_ONCE: Final = 2048
"""Opens brought into order at a time: about 2 ms."""


def leave(state: State, changes: ChangeSet, client: Client) -> None:
    """A confirmed client without sessions is removed; what is more than a portion is left for later."""
    client.removed = True
    client.confirmed = False
    state.leftovers[client.key] = client
    if len(client.opens) > ORDER_ABOVE:
        state.in_order[client.key] = InOrder()
    take_away(state, changes, client, PORTION)
    if client.key in state.leftovers:
        records.put_removed(changes, client)


def take_away_some(state: State, changes: ChangeSet) -> None:
    """Take a portion of what removed clients have left away, if there is anything."""
    for client in state.leftovers.values():
        take_away(state, changes, client, PORTION)
        return


def take_away(state: State, changes: ChangeSet, client: Client, count: int) -> None:
    """Take up to so many opens, locks and owners of a removed client away; with the last one its record goes."""
    in_order = state.in_order.get(client.key)
    if in_order is not None and not _next_in_order(state, client, in_order, count):
        return
    # Taken from the end: a dict from whose beginning much was taken is slow to begin with.
    while client.opens and count > 0:
        key, held = client.opens.popitem()
        count -= 1 + _release_locks(state, changes, held, count)
        if held.locks:
            client.opens[key] = held
        else:
            _release(state, changes, held)
    for owners in (client.open_owners, client.lock_owners):
        while owners and count > 0:
            _forget(state, changes, owners.popitem()[1])
            count -= 1
    if not (client.key in state.in_order or client.opens or client.open_owners or client.lock_owners):
        records.remove_client(changes, client)
        state.filter.remove_holder(client)
        del state.leftovers[client.key]


def _next_in_order(state: State, client: Client, in_order: InOrder, count: int) -> bool:
    """Have the next opens of a client with very many among its own, the others aside; False if there are none yet."""
    if not in_order.is_complete:
        for _ in range(min(ORDERED_AT_ONCE, len(client.opens))):
            in_order.add(client.opens.popitem()[1])
        in_order.is_complete = not client.opens
        return False
    for held in in_order.take(count - len(client.opens)):
        if state.filter.opens.get(held.key) is held:  # Nobody has met it.
            client.opens[held.key] = held
    if not in_order:
        del state.in_order[client.key]
    return True


def give_way(state: State, asker: Asker, held: OpenState) -> None:
    """Take away a removed client's open that is in somebody's way.

    Raises Nfs4Error(DELAY) if there are too many locks under it to take away at once; then some have gone.
    """
    assert held.holder.removed
    _release_locks(state, asker.changes, held, PORTION)
    if held.locks:
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "many locks of a removed client are in the way")
    _release(state, asker.changes, held)


def give_way_range(state: State, asker: Asker, handle: bytes, found: Range) -> None:
    """Take away the locks of a removed client's lock owner on a file, because one of their ranges is in the way."""
    for lock in list(state.locks[found.owner, handle]):
        state.expired_stateids.add(lock.other)
        locks.release(state, asker.changes, lock)


def make_way(state: State, asker: Asker, client: Client, owner: bytes, handle: bytes) -> None:
    """Before a client opens a file: take away what a removed one, perhaps itself of before, has in its place.

    Raises Nfs4Error(DELAY) as `give_way` does.
    """
    other = state.filter.opens.get(opens.key_of(state, client, owner, handle))
    if other is not None and other.holder.removed:
        give_way(state, asker, other)
    elif len(state.filter.opens) >= state.limits.opens_max:
        take_away_some(state, asker.changes)


def _release_locks(state: State, changes: ChangeSet, held: OpenState, count: int) -> int:
    """Take up to so many locks under an open away; returns how many it were."""
    taken = 0
    while held.locks and taken < count:
        other, lock = held.locks.popitem()
        if not held.holder.family:
            state.expired_stateids.add(other)
        locks.release(state, changes, lock)
        taken += 1
    return taken


def _release(state: State, changes: ChangeSet, held: OpenState) -> None:
    if not held.holder.family:
        state.expired_stateids.add(held.other)
    opens.release(state, changes, held)


def _forget(state: State, changes: ChangeSet, owner: SeqidOwner) -> None:
    changes.remove(OWNER, owner.key)
    state.closed.pop(owner.closed, None)
