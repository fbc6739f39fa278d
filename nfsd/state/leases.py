"""Leases (RFC 8881 8.3, 8.4.2.4; RFC 7530 9.5), and the end of what nobody has renewed or claimed.

Owns when a client is expired, the courtesy shown to it, what is reaped, how much at a time, and the end of a start's
blackout.  Must not know operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nfsd.log import get_logger, limiter
from nfsd.state import blackouts, leftovers, owners
from nfsd.state.asker import Asker
from nfsd.state.clients import remove_client
from nfsd.state.model import Client, SeqidOwner
from nfsd.state.tables import State
from statestore import ChangeSet, Claims, Waiting

log = get_logger()

COURTESY_S: Final = 24 * 3600.0
"""Clients whose lease ran out stay for this long if nobody conflicts with them (RFC 8881 8.4.2.4)."""

PORTION: Final = 512
"""Clients and owners that the reaper looks at in one turn: less than 1 ms."""
ROUND_S: Final = 1.0
"""Between two rounds of the reaper."""
SWEEPS: Final = 4
"""Portions of a start's blackout that are swept in one round."""
BREATH_S: Final = 0.005
"""Between two turns of the reaper while there is more to do: others have at least half of the time."""


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


class Reaper:
    """Removes what nobody will miss: clients long expired, unconfirmed ones, idle owners, what removed clients left.

    It goes round all of them, one portion of a round in a turn, so that nobody waits for it.  `round_over` says that
    the last turn has ended a round, `rounds` counts them.
    """

    def __init__(self, state: State) -> None:
        self.round_over = False
        self.rounds = 0
        self._state = state
        self._now = state.filter.began
        self._rests_until = state.filter.began
        self._changes = ChangeSet()
        self._round = self._go_round()

    def turn(self, now: float) -> tuple[ChangeSet, float]:
        """Do a portion of it; returns what that changes, and in how many seconds the next turn is due."""
        state = self._state
        self._now = now
        self._changes = changes = ChangeSet()
        self.round_over = False
        more = bool(state.leftovers)
        if more:
            leftovers.take_away_some(state, changes)
        if now >= self._rests_until or not more:
            self.round_over = self._goes_on()
            if self.round_over:
                self.rounds += 1
                self._round = self._go_round()
                self._rests_until = now + ROUND_S
            else:
                more = True
        return changes, BREATH_S if more else ROUND_S

    def _goes_on(self) -> bool:
        """Do some steps of the round; whether it is over."""
        for _ in range(PORTION):
            ends_turn = next(self._round, None)
            if ends_turn is None:
                return True
            if ends_turn:
                break
        return False

    def _go_round(self) -> Iterator[bool]:
        """One round, of small steps, each of which says whether it was enough for one turn.

        What was there when it began may have gone when its step comes.
        """
        state = self._state
        blackouts.reap(state, self._now, self._changes)
        for _ in range(SWEEPS):
            if state.filter.waiting is not None:
                reason = state.filter.sweep(self._now, self._changes)
                if reason is not None:
                    end_reclaim(state, self._changes, reason)
                yield True
        for client in state.clients:
            if not client.removed:
                yield self._look_at(client)
                if not client.family:
                    for owner in (*client.open_owners.values(), *client.lock_owners.values()):
                        if not client.removed:
                            self._look_at_owner(owner)
                            yield False

    def _look_at(self, client: Client) -> bool:
        """Remove a client whose lease ran out, unless it is shown courtesy; whether that was much work."""
        state, now = self._state, self._now
        if is_expired(state, client, now):
            if any(session.is_busy(None) for session in client.sessions.values()):
                # It waits for us, not we for it: a file system may take longer than a lease.
                client.heard = now
                return False
            if not client.confirmed or idle_s(state, client, now) > COURTESY_S or not client.opens:
                _say_expired(client, "lease")
                was_confirmed = client.confirmed
                remove_client(state, self._changes, client)
                return was_confirmed
        return False

    def _look_at_owner(self, owner: SeqidOwner) -> None:
        """Forget an owner of NFSv4.0 without opens and locks that has been idle for a lease time."""
        if owner.holds or owner.asker is not None:
            return
        state = self._state
        if self._now - max(owner.used, state.filter.began) > state.clients.lease_time_s:
            owners.forget(state, self._changes, owner)
