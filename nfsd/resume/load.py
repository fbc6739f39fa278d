"""Loading what the store holds: the protocol state, and beside it the records that others take over.

Owns the order of loading, and which records are nobody's state.  Must not know how a record is read (`nfsd/state`),
nor how an interrupted request is carried on (`requests.py`).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Final

from nfsd.durable.verifier import VERIFIER_KEY, losses_of, put_losses
from nfsd.exports import numbers
from nfsd.resume.losses import Losses
from nfsd.state import leases
from nfsd.state.fold import KINDS, LOAD_ERRORS, Fold
from nfsd.state.model import identity_of
from nfsd.state.records import (
    address_key,
    decode_client,
    holder_of_mark,
    open_rest,
    orphaned,
    removed_key,
    unreadable,
)
from nfsd.state.tables import State
from statestore import (
    ANSWER,
    HOLDER,
    INTENT,
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
    ChangeSet,
    Claims,
    Store,
    Waiting,
    decode_open,
    decode_ranges,
)
from xdr.codec import XdrError

Rows = list[tuple[bytes, bytes]]

_ASIDE: Final = (NAME, ANSWER, INTENT, PEER, QUARANTINE)
_CLAIMED: Final = (HOLDER, OPEN, RANGE)
_OPEN_KEY_SIZE: Final = 16
# Records loaded at a time, while nobody else may run: about 30 ms.
_STEP: Final = 8192


class Loaded:
    """What a store held when this process took it over; complete after `load`.

    `losses` are the records that were of no use; `verifier_losses` says how often data may have been lost that was not
    committed; `numbers` are the records of the exports' numbers.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.losses = Losses()
        self.verifier_losses = 0
        self.numbers: Rows = []
        self._fold = Fold(state)
        self._aside: dict[int, Rows] = {kind: [] for kind in _ASIDE}
        # With `recovery = "reclaim"`: what clients may claim again, and what nobody can use any more.
        self._claimed: dict[int, Rows] = {kind: [] for kind in _CLAIMED}
        self._useless = ChangeSet()

    def rows(self, kind: int) -> Rows:
        """Keys and values of a kind that is no protocol state: NAME, ANSWER, INTENT, PEER or QUARANTINE."""
        return self._aside[kind]

    async def load(self, store: Store, *, resume: bool, spare_verifier: int) -> None:
        """Take over everything; others may run between steps of some milliseconds.

        Without `resume` clients have to claim what they held.  `spare_verifier` is the count of losses from which to
        go on where the stored one is lost.  Raises StoreError.
        """
        losses, apply = self.losses, self._fold.apply
        folded = KINDS if resume else frozenset((META, PENDING))
        for number, (kind, key, value) in enumerate(store.load()):
            try:
                if kind in folded:
                    apply(kind, key, value)
                else:
                    self._put_aside(kind, key, value)
            except LOAD_ERRORS as error:
                losses.left_out.append(unreadable(kind, key, value, error))
            if kind == META:
                self._note(key, value)
            if not number % _STEP:
                await asyncio.sleep(0)
        for damage in store.damaged:
            # A mark says all by its key: whoever was removed stays so.
            if damage.kind == META and holder_of_mark(damage.key) is not None:
                apply(META, damage.key, b"")
                losses.changes.put(META, damage.key, b"")
        losses.left_out += [orphaned(*orphan) for orphan in self._fold.orphans()]
        losses.damaged = store.damaged
        losses.stand_in(self._aside[NAME], self.numbers)
        if losses.has(META, VERIFIER_KEY):
            self.verifier_losses = spare_verifier
            put_losses(losses.changes, spare_verifier)

    def _note(self, key: bytes, value: bytes) -> None:
        """Take over a single fact."""
        if key == VERIFIER_KEY:
            self.verifier_losses = losses_of(value)
        elif numbers.is_key(key):
            try:
                numbers.decode(value)
            except ValueError as error:
                self.losses.left_out.append(unreadable(META, key, value, error))
            else:
                self.numbers.append((key, value))

    def _put_aside(self, kind: int, key: bytes, value: bytes) -> None:
        """Keep a record that is not folded."""
        if kind in self._aside:
            self._aside[kind].append((key, value))
        elif kind in self._claimed:
            self._claimed[kind].append((key, value))
        elif kind in (STREAM, SLOT, OWNER):
            self._useless.remove(kind, key)

    def wait_for_holders(self, waiting: Waiting, *, resume: bool) -> ChangeSet:
        """Black out what was loaded until its holders have returned; returns what nobody can use any more."""
        claims = None
        if not resume:
            self.state.instances.forget()
            claims = self._claims(waiting)
        leases.wait_for_holders(self.state, waiting, claims)
        return self._useless

    def _claims(self, waiting: Waiting) -> Claims:
        """What clients may claim, from the opens and locks of before."""
        claims, left_out, addresses = Claims(waiting), self.losses.left_out, self._fold.addresses
        identities: dict[bytes, bytes] = {}
        removed = self._fold.removed
        for key, value in self._claimed[HOLDER]:
            if key in removed:
                for record in ((HOLDER, key), (META, address_key(key)), (META, removed_key(key))):
                    self._useless.remove(*record)
                continue
            try:
                kept = decode_client(value)
            except XdrError as error:
                left_out.append(unreadable(HOLDER, key, value, error))
                continue
            identities[key] = identity = identity_of(kept.owner, kept.principal)
            claims.add_holder(identity, [(HOLDER, key), (META, address_key(key))])
        for key, value in self._claimed[OPEN]:
            try:
                holder_key, access, deny, handle, rest = decode_open(value)
                if holder_key in removed:
                    self._useless.remove(OPEN, key)
                    continue
                open_rest(rest)
                address = addresses.get(holder_key, "")
                claims.add_open(key, identities[holder_key], holder_key, handle, access, deny, address, rest)
            except KeyError:
                left_out.append(orphaned(OPEN, key, value))
            except (ValueError, struct.error) as error:
                left_out.append(unreadable(OPEN, key, value, error))
        ranges = dict(self._claimed[RANGE])
        for key, value in ranges.items():
            if self._useless.has(OPEN, key[:_OPEN_KEY_SIZE]):
                self._useless.remove(RANGE, key)
                continue
            try:
                owner, held, _rest = decode_ranges(value)
                claims.add_ranges(key, key[:_OPEN_KEY_SIZE], owner, held)
            except (ValueError, struct.error) as error:
                left_out.append(unreadable(RANGE, key, value, error))
        left_out += [orphaned(RANGE, key, ranges[key]) for key in claims.settle(self._useless)]
        self._claimed.clear()
        return claims
