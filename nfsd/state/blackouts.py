"""The blackouts that an administrator has set, in the words and the records of this server.

Owns how their subjects are called, their records in the store and what the log says of them.  Whom they cover is
`statestore`'s to say; what a request hears of it, `conflicts.py`'s (docs/operating.md).
"""

from __future__ import annotations

import hashlib
from typing import Final

from nfsd.log import get_logger
from nfsd.state.tables import State
from statestore import Blackout, ChangeSet, Subject
from xdr.generated import stored

log = get_logger()

FILE, EXPORT, CLIENT = "file", "export", "client"
NAMES: Final = {Subject.OBJECT: FILE, Subject.TREE: EXPORT, Subject.HOLDER: CLIENT}
SUBJECTS: Final = {name: subject for subject, name in NAMES.items()}
_NUMBERS: Final = {Subject.OBJECT: 1, Subject.TREE: 2, Subject.HOLDER: 3}
_OF_NUMBER: Final = {number: subject for subject, number in _NUMBERS.items()}
_PREFIX: Final = b"blackout."
_NANOSECONDS: Final = 1_000_000_000


def tree_of(pseudo: str) -> bytes:
    """What an export is named by, from its pseudo path."""
    return pseudo.encode("utf-8", "surrogateescape")


def make(what: str, target: bytes, name: str, *, until: float, retry: bool, address: str = "") -> Blackout:
    """A blackout of a file (its handle), an export (`tree_of`) or a client (its identity), to be begun.

    `name` is how people call it; `address` is where a client came from; `until` is a time of the server's own clock.
    """
    key = _PREFIX + hashlib.blake2b(what.encode() + b" " + target, digest_size=16).digest()
    return Blackout(SUBJECTS[what], target, name, key=key, until=until, retry=retry, address=address)


def response(blackout: Blackout) -> str:
    """What a blackout answers, as the configuration calls it."""
    return "retry" if blackout.retry else "fail"


def begin(state: State, blackout: Blackout, now: float, changes: ChangeSet) -> None:
    """Set a blackout, in place of one of the same target.  Raises ValueError where there are too many."""
    packer = stored.StoredPacker()
    packer.pack_stored_blackout(
        stored.stored_blackout(
            what=_NUMBERS[blackout.subject],
            target=blackout.target,
            name=blackout.name.encode("utf-8", "surrogateescape"),
            address=blackout.address.encode(),
            until_ns=int((blackout.until + state.wall_offset_s) * _NANOSECONDS),
            retry=blackout.retry,
        )
    )
    state.filter.blackouts.begin(blackout, packer.get_buffer(), changes)
    log.info(
        "blackout.began",
        why="administrator",
        what=NAMES[blackout.subject],
        name=blackout.name,
        seconds=round(blackout.until - now, 3),
        response=response(blackout),
    )


def end(state: State, blackout: Blackout, reason: str, changes: ChangeSet) -> None:
    """End a blackout."""
    state.filter.blackouts.end(blackout, changes)
    _say_ended(blackout, reason)


def reap(state: State, now: float, changes: ChangeSet) -> None:
    """End those whose time is over."""
    for blackout in state.filter.blackouts.reap(now, changes):
        _say_ended(blackout, "time")


def _say_ended(blackout: Blackout, reason: str) -> None:
    log.info(
        "blackout.ended",
        why="administrator",
        what=NAMES[blackout.subject],
        name=blackout.name,
        reason=reason,
        refusals=blackout.refusals,
    )


def apply(state: State, key: bytes, value: bytes | None) -> bool:
    """Take over a META record, or its removal (None); False if it is none of a blackout.

    Raises XdrError, KeyError, ValueError.
    """
    if not key.startswith(_PREFIX):
        return False
    standing = state.filter.blackouts.standing
    if value is None:
        for target in [target for target, each in standing.items() if each.key == key]:
            del standing[target]
        return True
    unpacker = stored.StoredUnpacker(value)
    kept = unpacker.unpack_stored_blackout()
    unpacker.done()
    blackout = Blackout(
        _OF_NUMBER[kept.what],
        kept.target,
        kept.name.decode("utf-8", "surrogateescape"),
        key=key,
        until=kept.until_ns / _NANOSECONDS - state.wall_offset_s,
        retry=kept.retry,
        address=kept.address.decode("ascii"),
    )
    state.filter.blackouts.adopt(blackout)
    return True
