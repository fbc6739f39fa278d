"""Leases (RFC 8881 8.3, 8.4.2.4; RFC 7530 9.5), and the end of what nobody has renewed or claimed.

Owns when a client is expired, the courtesy shown to it, what is reaped every second, and the end of a start's
blackout.  Must not know operations.
"""

from __future__ import annotations

from typing import Final

from nfsd.log import get_logger, limiter
from nfsd.state import blackouts, owners
from nfsd.state.asker import Asker
from nfsd.state.clients import remove_client
from nfsd.state.model import Client
from nfsd.state.tables import State
from statestore import ChangeSet, Claims, Waiting

log = get_logger()

COURTESY_S: Final = 24 * 3600.0
"""Clients whose lease ran out stay for this long if nobody conflicts with them (RFC 8881 8.4.2.4)."""


def idle_s(state: State, client: Client, now: float) -> float:
    """How long ago a client was heard of; a start renews every lease."""
    return now - max(client.heard, state.filter.began)


def is_expired(state: State, client: Client, now: float) -> bool:
    """Whether the lease has run out; its state stays until somebody conflicts with it (courtesy)."""
    return idle_s(state, client, now) > state.clients.lease_time_s


def take_from_expired(state: State, asker: Asker, client: Client) -> bool:
    """Remove a client that only holds its state by courtesy, because somebody conflicts with it."""
    if client is asker.client or not is_expired(state, client, asker.now):
        return False
    _say_expired(client, "conflict")
    remove_client(state, asker.changes, client)
    return True


def _say_expired(client: Client, reason: str) -> None:
    limiter.write(
        "info", "client.expired", about=client.address, client=client.label, opens=len(client.opens), reason=reason
    )


def wait_for_holders(state: State, waiting: Waiting, claims: Claims | None) -> None:
    """After a start: what was loaded, or may be claimed, is blacked out until its holders have returned."""
    if state.filter.begin_waiting(waiting, claims):
        holders = sum(1 for client in state.clients if client.opens)
        log.info("blackout.began", why="takeover", holders=holders, opens=len(state.filter.opens))


def reclaim_complete(state: State, changes: ChangeSet, client: Client) -> None:
    """A client claims nothing more."""
    claims = state.filter.claims
    if claims is not None:
        done = state.filter.complete_claims(client.identity, changes)
        log.info("reclaim.complete", client=client.label, claimed=done.claimed, dropped=done.dropped)
        if not len(claims):
            end_reclaim(state, changes, "returned")


def end_reclaim(state: State, changes: ChangeSet, reason: str) -> None:
    """Nothing can be claimed any more."""
    if state.filter.claims is not None:
        done = state.filter.end_claims(changes)
        log.info("reclaim.ended", claimed=done.claimed, dropped=done.dropped)
    waiting = state.filter.end_waiting()
    if waiting is not None:
        log.info("blackout.ended", why="takeover", reason=reason, refusals=waiting.refusals.total())


def reap(state: State, now: float) -> ChangeSet:
    """Remove what nobody will miss: blackouts that are over, unconfirmed clients, clients long expired, idle owners."""
    changes = ChangeSet()
    blackouts.reap(state, now, changes)
    reason = state.filter.sweep(now, changes)
    if reason is not None:
        end_reclaim(state, changes, reason)
    for client in state.clients:
        if not is_expired(state, client, now):
            continue
        if not client.confirmed or idle_s(state, client, now) > COURTESY_S or not client.opens:
            _say_expired(client, "lease")
            remove_client(state, changes, client)
    for client in state.clients:
        _reap_owners(state, client, now, changes)
    return changes


def _reap_owners(state: State, client: Client, now: float, changes: ChangeSet) -> None:
    """Forget NFSv4.0 owners without opens and locks that have been idle for a lease time."""
    if not client.family:
        for owner in (*client.open_owners.values(), *client.lock_owners.values()):
            if (
                not owner.users
                and owner.asker is None
                and now - max(owner.used, state.filter.began) > state.clients.lease_time_s
            ):
                owners.forget(state, changes, owner)
