"""Loading what the store holds: the protocol state, and beside it the records that others take over.

Owns the order of loading, and which records are nobody's state.  Must not know how a record is read (`nfsd/state`),
nor how an interrupted request is carried on (`requests.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from nfsd.durable.verifier import VERIFIER_KEY, losses_of, put_losses
from nfsd.resume.losses import Losses
from nfsd.state.reclaim import Reclaim
from nfsd.state.state import State
from nfsd.state.waiting import Waiting
from statestore import ANSWER, INTENT, META, NAME, PEER, PENDING, QUARANTINE, ChangeSet, Store

Rows = list[tuple[bytes, bytes]]
_ASIDE = (NAME, ANSWER, INTENT, PEER, QUARANTINE)


class Loaded:
    """What a store held when this process took it over; complete after `load`.

    names, answers, intents, peers, quarantined   keys and values of records that are no protocol state
    verifier_losses     how often data may have been lost that was not committed
    claims              opens and locks that clients may claim again, with `recovery = "reclaim"`
    losses              records that were of no use
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.losses = Losses()
        self.verifier_losses = 0
        self._aside: dict[int, Rows] = {kind: [] for kind in _ASIDE}
        self._claims: list[tuple[int, bytes, bytes]] = []

    def rows(self, kind: int) -> Rows:
        """The records of a kind that is no protocol state: NAME, ANSWER, INTENT, PEER or QUARANTINE."""
        return self._aside[kind]

    async def load(self, store: Store, now: float, *, resume: bool, spare_verifier: int) -> None:
        """Take over everything; others may run between steps of some milliseconds.

        Without `resume` clients have to claim what they held.  `spare_verifier` is the count of losses from which to
        go on where the stored one is lost.  Raises StoreError.
        """
        entries = self._sorted_out(store)
        if resume:
            steps = self.state.load_steps(entries, now)
        else:
            self._claims = list(entries)
            steps = self.state.load_steps([each for each in self._claims if each[0] in (META, PENDING)], now)
        for left_out in steps:
            self.losses.left_out += left_out
            await asyncio.sleep(0)
        losses = self.losses
        losses.damaged = store.damaged
        losses.stand_in(self._aside[NAME])
        if losses.has(META, VERIFIER_KEY):
            self.verifier_losses = spare_verifier
            put_losses(losses.changes, spare_verifier)

    def _sorted_out(self, store: Store) -> Iterator[tuple[int, bytes, bytes]]:
        """What the store holds for the state; other records are put aside."""
        blackouts, left_out = self.state.blackouts, self.losses.left_out
        aside = self._aside
        for entry in store.load():
            if entry[0] in aside:
                aside[entry[0]].append(entry[1:])
                continue
            if entry[:2] == (META, VERIFIER_KEY):
                self.verifier_losses = losses_of(entry[2])
            if entry[0] != META or not blackouts.takes(entry[1], entry[2], left_out):
                yield entry

    def wait_for_holders(self, waiting: Waiting, *, resume: bool) -> ChangeSet:
        """Black out what was loaded until its holders have returned; returns what nobody can use any more."""
        state = self.state
        changes = ChangeSet()
        if not resume:
            state.instances.forget()
            reclaim = Reclaim(waiting, state.blackouts.addresses)
            changes = reclaim.load(self._claims)
            self._claims.clear()
            self.losses.left_out += reclaim.left_out
            if not len(reclaim):
                return changes
            state.reclaim = reclaim
        state.wait_for_holders(waiting)
        return changes
