"""A server that is followed: everything that it commits is folded in a random order, and compared with its live state.

Owns the follower and where it is put into the server's process. As a program (`python -c "from tests.wire.followed
import main; main()"`) it is `understudy`. After each request the records that changed are compared; all of the state
when it is small, and else at every 50th request. A difference is an event `fold.differs` in the server's log, which
`ServerProcess.faults` finds. FOLD_FORGETS names a field of an open that the follower is to get wrong, to see that it
bites. Must not be used but in tests: nothing in the server knows of it.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
from collections.abc import Callable
from typing import Any

from nfsd.compound.evaluate import Compound
from nfsd.durable.outbox import Outbox
from nfsd.log import get_logger
from nfsd.resume import load
from nfsd.state import sessions
from nfsd.state.fold import KINDS, LOAD_ERRORS, Fold
from nfsd.state.model import Session, Slot
from nfsd.state.tables import State
from statestore import SLOT, ChangeSet, kind_name
from statestore.records import FRAME_SIZE
from tests.state.snapshot import described, differences, snapshot

PROGRAM = (sys.executable, "-c", "from tests.wire.followed import main; main()")
SMALL = 64
WHOLE_EVERY = 50

log = get_logger()

Record = tuple[int, bytes]


class Follower:
    """Folds what a live state's records become, and says where the two differ."""

    def __init__(self, live: State) -> None:
        self._live = live
        state = State(
            secret=live.secret, epoch=1, lease_time_s=1, limits=live.limits, now=live.filter.began,
            random_bytes=bytes, wall_offset_s=live.wall_offset_s,
        )  # fmt: skip
        self._fold = Fold(state)
        self._state = state
        self._seed = int.from_bytes(os.urandom(4), "big")
        self._random = random.Random(self._seed)
        self._touched: dict[Record, None] = {}
        # Requests that may have changed the live state and have committed nothing of it yet.
        self._under_way: set[Compound] = set()
        # Slots whose last request was not stored.
        self._ahead: set[bytes] = set()
        self._loaded: list[tuple[int, bytes, bytes | None]] = []
        self.requests = self.compared = self.whole = 0

    # -- what is stored -----------------------------------------------------------------------------------

    def load(self, kind: int, key: bytes, value: bytes | None) -> None:
        """A record that the server has taken over."""
        self._loaded.append((kind, key, value))

    def follow(self, changes: ChangeSet) -> None:
        """Changes are on their way to the store."""
        self._fold_loaded()
        entries = [(key[0], key[1:], value and value[FRAME_SIZE:]) for key, value in changes.entries.items()]
        self._apply([each for each in entries if each[0] in KINDS])

    def _fold_loaded(self) -> None:
        if self._loaded:
            loaded, self._loaded = self._loaded, []
            self._apply(loaded)

    def _apply(self, entries: list[tuple[int, bytes, bytes | None]]) -> None:
        self._random.shuffle(entries)
        for kind, key, value in entries:
            self._touched[kind, key] = None
            try:
                self._fold.apply(kind, key, value)
            except LOAD_ERRORS as error:
                self._differs([f"{kind_name(kind)} {key.hex()} cannot be folded: {error!r}"])

    # -- what is compared ---------------------------------------------------------------------------------

    def begins(self, compound: Compound) -> None:
        """A request goes on."""
        self._under_way.add(compound)

    def pauses(self, compound: Compound) -> None:
        """A request has ended, or waits without having changed anything."""
        self._under_way.discard(compound)

    def finished(self, slot: Slot, stored: bool) -> None:
        """The last request of a slot was stored, or was not."""
        (self._ahead.discard if stored else self._ahead.add)(slot.key)

    def compare(self) -> None:
        """A request has been answered."""
        self.requests += 1
        if self._under_way:
            return
        self._fold_loaded()
        self.compared += 1
        touched, self._touched = self._touched, {}
        found = []
        for kind, key in touched:
            if kind == SLOT and key in self._ahead:
                continue
            ours, theirs = described(self._live, kind, key), described(self._state, kind, key)
            if ours != theirs:
                found.append(f"{kind_name(kind)} {key.hex()}: {ours} live, {theirs} folded")
        held = self._live.filter
        if len(held.holders) + len(held.opens) <= SMALL or not self.compared % WHOLE_EVERY:
            found += self._compare_whole()
        if found:
            self._differs(found)

    def _compare_whole(self) -> list[str]:
        self.whole += 1
        running = {
            slot.key
            for session in self._live.sessions.values()
            for slot in session.slots
            if slot is not None and slot.running is not None
        }
        ahead = self._ahead | running
        orphans = [f"{kind_name(kind)} {key.hex()} is an orphan" for kind, key, _value in self._fold.orphans()]
        return orphans + differences(snapshot(self._live, ahead), snapshot(self._state, ahead))

    def _differs(self, found: list[str]) -> None:
        log.critical("fold.differs", seed=self._seed, what=found[:20], count=len(found))


class Followed(Fold):
    """The fold that a server loads its records by; it has them folded by the follower too."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self._follower = _following[0] = Follower(state)

    def apply(self, kind: int, key: bytes, value: bytes | None) -> None:
        """Fold one record; those that can be read are the follower's too."""
        super().apply(kind, key, value)
        self._follower.load(kind, key, value)


_following: dict[int, Follower] = {}
"""The one follower of this process, as soon as the server begins to load."""


def patch() -> None:
    """Have this process's server followed."""
    setattr(load, "Fold", Followed)  # noqa: B010  # What a server uses is not the module's to give away.
    _around(Outbox, "commit", _commit)
    _around(Outbox, "commit_now", _commit)
    _around(Compound, "go_on", _go_on)
    _around(Compound, "_reply", _reply)
    _around(sessions, "finish", _finish)
    atexit.register(_say)


def _around(owner: Any, name: str, work: Callable[..., Any]) -> None:
    """Put `work` in the place of a function, which it is given first."""
    real = getattr(owner, name)
    setattr(owner, name, lambda *given, **named: work(real, *given, **named))


def _commit(real: Callable[[Outbox, ChangeSet], int | None], outbox: Outbox, changes: ChangeSet) -> int | None:
    ticket = real(outbox, changes)
    if 0 in _following:
        _following[0].follow(changes)
    return ticket


def _go_on(real: Callable[[Compound], None], compound: Compound) -> None:
    follower = _following[0]
    follower.begins(compound)
    try:
        real(compound)
    finally:
        if not compound.changes.entries:
            follower.pauses(compound)


def _reply(real: Callable[[Compound], None], compound: Compound) -> None:
    real(compound)
    follower = _following[0]
    follower.pauses(compound)
    follower.compare()


def _finish(
    real: Callable[..., Any], session: Session, slot: Slot, body: Any, changes: ChangeSet, changed: bool, cache: bool
) -> Any:
    done = real(session, slot, body, changes, changed, cache)
    _following[0].finished(slot, changed and not session.destroyed)
    return done


def _forget(field: str) -> None:
    """Have the follower keep what it has in a field of an open."""

    def forgetful(real: Callable[..., None], fold: Fold, key: bytes, value: bytes) -> None:
        held = fold._opens.get(key)
        before = getattr(held, field, None)
        real(fold, key, value)
        if held is not None and not isinstance(fold, Followed):
            setattr(held, field, before)

    _around(Fold, "_open", forgetful)


def _say() -> None:
    for follower in _following.values():
        log.info("fold.followed", requests=follower.requests, compared=follower.compared, whole=follower.whole)


def main() -> None:
    """Be `understudy`, followed."""
    forgotten = os.environ.get("FOLD_FORGETS")
    if forgotten:
        _forget(forgotten)
    patch()
    from nfsd.cli import main as understudy

    understudy()
